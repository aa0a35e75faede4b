// Package user stores users and their public profiles. All of a profile but its id and lookup is ciphertext and keys.
package user

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liftlog/liftlog-api/shared/apierr"
	"github.com/liftlog/liftlog-api/shared/auth"
	"github.com/liftlog/liftlog-api/shared/postgres"
	"github.com/liftlog/liftlog-api/shared/shortid"
)

// Profile is what everybody may see of a user.
type Profile struct {
	ID     uuid.UUID
	Lookup string
	Content
}

// Content is the part of a profile that its owner writes.
type Content struct {
	EncryptedCurrentPlan    []byte // nil: none
	EncryptedProfilePicture []byte // nil: none
	EncryptedName           []byte // nil: none
	EncryptionIV            []byte // never nil
	RSAPublicKey            []byte // never nil
}

var errUnknown = &apierr.Error{Kind: apierr.NotFound, Detail: "There is no such user."}

// lookupAttempts is how many lookups are tried for a new user; even one clash in 36^12 is not to be expected.
const lookupAttempts = 3

const create = `
	WITH created AS (
		INSERT INTO users (id, user_lookup, hashed_password, salt, created, last_accessed)
		VALUES ($1, $2, $3, $4, now(), now())
		ON CONFLICT (user_lookup) DO NOTHING
		RETURNING id
	)
	INSERT INTO v2_password_proofs (user_id, key_fingerprint, hash_digest, tag)
	SELECT id, $5, $6, $7 FROM created`

// Create stores a new user with an empty profile and returns the lookup it was given.
func Create(ctx context.Context, db *postgres.DB, id uuid.UUID, c auth.Credential) (lookup string, err error) {
	for range lookupAttempts {
		lookup = shortid.New()
		done, err := postgres.Exec(ctx, db, "create user", create, id, lookup, c.HashedPassword, c.Salt, c.Tag.KeyFingerprint, c.Tag.HashDigest, c.Tag.Tag)
		if err != nil {
			return "", err
		}
		if done == 1 {
			return lookup, nil
		}
	}
	return "", fmt.Errorf("create user: no free lookup in %d attempts", lookupAttempts)
}

const columns = `id, user_lookup, encrypted_current_plan, encrypted_profile_picture, encrypted_name, encryption_iv, rsa_public_key`

const (
	findByID     = `SELECT ` + columns + ` FROM users WHERE id = $1`
	findByLookup = `SELECT ` + columns + ` FROM users WHERE user_lookup = $1`
)

// The sizes of columns are known without reading them, so that what does not fit into a page is not read.
const findPage = `
	WITH sized AS (
		SELECT *, coalesce(octet_length(encrypted_current_plan), 0) + coalesce(octet_length(encrypted_profile_picture), 0)
			+ coalesce(octet_length(encrypted_name), 0) + octet_length(encryption_iv) + octet_length(rsa_public_key) AS own_size
		FROM users WHERE id = ANY($1)
	), measured AS (
		SELECT *, row_number() OVER so_far AS n, sum(own_size) OVER so_far AS size, count(*) OVER () AS found
		FROM sized WINDOW so_far AS (ORDER BY id ROWS UNBOUNDED PRECEDING)
	)
	SELECT ` + columns + `, n < found FROM measured WHERE n = 1 OR size <= $2 ORDER BY n`

// Find returns the profile of the user with the id.
func Find(ctx context.Context, db *postgres.DB, id uuid.UUID) (Profile, error) {
	return findOne(ctx, db, findByID, id)
}

// FindByLookup returns the profile of the user with the lookup, which holds no NUL.
func FindByLookup(ctx context.Context, db *postgres.DB, lookup string) (Profile, error) {
	return findOne(ctx, db, findByLookup, lookup)
}

func findOne(ctx context.Context, db *postgres.DB, query string, key any) (Profile, error) {
	return postgres.One(ctx, db, "find user", pgx.RowToStructByPos[Profile], errUnknown, query, key)
}

// Each calls fn for the profile of every user among the ids, once, in no particular order. Ids of nobody are passed over, once it
// is sure that the database is the right one. It reads pages as [postgres.PageBytes] describes: each profile is as it was at one
// moment, which may be a later one for profiles that come later.
func Each(ctx context.Context, db *postgres.DB, ids []uuid.UUID, fn func(Profile) error) error {
	ids = slices.Clone(ids)
	slices.SortFunc(ids, compareIDs)
	ids = slices.Compact(ids)
	unknown := len(ids)
	for look := postgres.FirstPageRows; len(ids) > 0; {
		asked := ids[:min(look, len(ids))]
		page, err := postgres.All(ctx, db, "find users", pgx.RowToStructByPos[found], findPage, asked, postgres.PageBytes)
		if err != nil {
			return err
		}
		for _, p := range page {
			if err := fn(p.Profile); err != nil {
				return err
			}
		}
		done := len(asked)
		if last := len(page) - 1; last >= 0 && page[last].More {
			at, _ := slices.BinarySearchFunc(asked, page[last].ID, compareIDs)
			done = at + 1
		}
		ids, look = ids[done:], postgres.NextPageRows(len(page))
		unknown -= len(page)
	}
	if unknown > 0 {
		return db.Missing(ctx, nil)
	}
	return nil
}

// found is a row of a page.
type found struct {
	Profile

	More bool // users follow that the page has no room for
}

// compareIDs is PostgreSQL's order.
func compareIDs(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) }

const replace = `
	UPDATE users
	SET encrypted_current_plan = $2, encrypted_profile_picture = $3, encrypted_name = $4, encryption_iv = $5, rsa_public_key = $6,
		last_accessed = CASE WHEN last_accessed < now() - interval '1 day' THEN now() ELSE last_accessed END
	WHERE id = $1`

// Replace writes the whole content of the user's profile: what is nil becomes null.
func Replace(ctx context.Context, db *postgres.DB, id uuid.UUID, c Content) error {
	done, err := postgres.Exec(ctx, db, "replace user", replace,
		id, c.EncryptedCurrentPlan, c.EncryptedProfilePicture, c.EncryptedName, c.EncryptionIV, c.RSAPublicKey)
	if err == nil && done == 0 {
		return db.Missing(ctx, errUnknown)
	}
	return err
}

// deleteTimeout is enough to remove a user who has stored as much as the limits allow.
const deleteTimeout = 25 * time.Second

const remove = `DELETE FROM users WHERE id = $1`

// Delete removes the user and, by the tables' cascades, everything of theirs. One who is gone already is no error.
func Delete(ctx context.Context, db *postgres.DB, id uuid.UUID) error {
	_, err := postgres.Exec(ctx, db.Patient(deleteTimeout), "delete user", remove, id)
	return err
}
