// Package share keeps single items behind links. The key is in the link only; the server sees ciphertext.
package share

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liftlog/liftlog-api/shared/apierr"
	"github.com/liftlog/liftlog-api/shared/postgres"
	"github.com/liftlog/liftlog-api/shared/shortid"
)

// Item is what a link leads to.
type Item struct {
	RSAPublicKey     []byte // of its user, for checking the signature
	EncryptedPayload []byte
	EncryptionIV     []byte
}

var (
	errNoUser = &apierr.Error{Kind: apierr.NotFound, Detail: "There is no such user."}
	errNoItem = &apierr.Error{Kind: apierr.NotFound, Detail: "There is no such shared item."}
)

// Counting stops at the limit and needs no more than an index as long as there are fewer items, expired ones among them. Locks
// are taken in v1's order: the user's row last, and at first for its key only.
const create = `
	WITH owner AS MATERIALIZED (
		SELECT id FROM users WHERE id = $2 FOR KEY SHARE
	), admitted AS MATERIALIZED (
		SELECT id FROM owner
		WHERE (SELECT count(*) FROM (SELECT FROM shared_items WHERE user_id = $2 LIMIT (SELECT $6::bigint)) counted) < $6
			OR (SELECT count(*) FILTER (WHERE expiry > now()) < $6 AND count(*) < 2 * $6
				FROM (SELECT expiry FROM shared_items WHERE user_id = $2 LIMIT (SELECT 2 * $6)) counted)
	), created AS (
		INSERT INTO shared_items (id, user_id, "timestamp", expiry, encrypted_payload, encryption_iv)
		SELECT $1, id, now(), $3, $4, $5 FROM admitted
		ON CONFLICT (id) DO NOTHING
		RETURNING user_id
	), touched AS (
		UPDATE users SET last_accessed = now() FROM created
		WHERE users.id = created.user_id AND last_accessed < now() - interval '1 day'
	)
	SELECT EXISTS (SELECT FROM owner), EXISTS (SELECT FROM admitted), EXISTS (SELECT FROM created)`

// attempts is how many ids are tried for a new item; even one clash in 36^12 is not to be expected.
const attempts = 3

// outcome says whether the user is there, whether there was room, and whether the id was free.
type outcome struct{ Known, Admitted, Created bool }

// Create stores the user's item until the expiry and returns the id for its link. When the user has as many items as limit
// that are not expired, or twice as many in all, it is [apierr.Limited]. Items stored at the same moment may exceed the limit
// by as many.
func Create(ctx context.Context, db *postgres.DB, owner uuid.UUID, payload, iv []byte, expiry time.Time, limit int) (id string, err error) {
	for range attempts {
		id = shortid.New()
		done, err := postgres.One(ctx, db, "create shared item", pgx.RowToStructByPos[outcome], nil,
			create, id, owner, postgres.ToTimestamp(expiry), payload, iv, limit)
		switch {
		case err != nil:
			return "", err
		case !done.Known: // deleted at this moment
			return "", db.Missing(ctx, errNoUser)
		case !done.Admitted:
			return "", apierr.Full("The user has too many shared items.")
		case done.Created:
			return id, nil
		}
	}
	return "", fmt.Errorf("create shared item: no free id in %d attempts", attempts)
}

const find = `
	SELECT u.rsa_public_key, s.encrypted_payload, s.encryption_iv
	FROM shared_items s JOIN users u ON u.id = s.user_id
	WHERE s.id = $1 AND s.expiry > $2`

// Find returns the item behind a link. One whose time is up is not found, though its row may still be there. The id
// holds no NUL.
func Find(ctx context.Context, db *postgres.DB, id string, now time.Time) (Item, error) {
	return postgres.One(ctx, db, "find shared item", pgx.RowToStructByPos[Item], errNoItem, find, id, now)
}
