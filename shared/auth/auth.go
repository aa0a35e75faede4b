// Package auth knows a user's password: slowly once, as v1 stored it, and by a keyed tag afterwards.
//
// Passwords are random UUIDs that the server made (122 bits), so stretching them protects nothing; but v1 must be able
// to verify what v2 writes, and v2 what v1 wrote. Beside v1's PBKDF2 hash v2 keeps an HMAC of user, stored hash and
// password under a key of the service, and with it a right or wrong password is known in microseconds.
package auth

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"runtime"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liftlog/liftlog-api/shared/apierr"
	"github.com/liftlog/liftlog-api/shared/fairqueue"
	"github.com/liftlog/liftlog-api/shared/postgres"
)

// v1's way to store a password: PBKDF2-HMAC-SHA512, a salt and a key of 64 bytes each, the key as upper-case hex.
const (
	Iterations = 350_000
	SaltLength = 64
	KeyLength  = 64
)

// passwordForm is what the server makes. Nothing else can be a right password, so nothing else is hashed.
var passwordForm = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// maxWaiting is how many hashes may wait to be made, for checking and for creating each.
const maxWaiting = 32

// key makes tags. Each tag is stored with the fingerprint of the key that made it.
type key struct {
	secret      []byte
	fingerprint []byte
}

// fingerprintSize is the length of a fingerprint in bytes.
const fingerprintSize = 16

// newKey derives the fingerprint by an HMAC under the key itself, of a text shorter than any that a tag is made of.
func newKey(secret []byte) key {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte("fingerprint"))
	return key{secret, mac.Sum(nil)[:fingerprintSize]}
}

// Verifier makes and checks passwords. It is safe for concurrent use.
type Verifier struct {
	keys     []key            // the first one makes tags
	checks   *fairqueue.Queue // apart from creations, so that neither starves the other
	creates  *fairqueue.Queue
	perUser  turns
	slowHash func(password string, salt []byte) ([]byte, error)
}

// New returns a Verifier that hashes on at most half of the processors for checking, and on as many for creating. There has to be
// at least one key: the first makes tags, and each recognises its own. Changing a key takes two deployments, because instances of
// the old and of the new one run side by side: the new key comes behind the old one first, so that every instance recognises its
// tags, and then in front.
func New(keys [][]byte) *Verifier {
	slots := max(1, runtime.GOMAXPROCS(0)/2)
	v := &Verifier{checks: fairqueue.New(slots, maxWaiting), creates: fairqueue.New(slots, maxWaiting), slowHash: hash}
	for _, secret := range keys {
		v.keys = append(v.keys, newKey(secret))
	}
	return v
}

func hash(password string, salt []byte) ([]byte, error) {
	return pbkdf2.Key(sha512.New, password, salt, Iterations, KeyLength)
}

// Credential is what the database keeps of a password.
type Credential struct {
	HashedPassword string // v1's
	Salt           []byte
	Tag            Tag
}

// Tag is the fast proof of a password that belongs to one user and one stored hash.
type Tag struct {
	KeyFingerprint []byte
	HashDigest     []byte // SHA-256 of the stored hash that it was made for
	Tag            []byte
}

// Create makes a password for the user, and what to store of it. It takes as long as v1's hash; see [apierr.Unavailable]
// when too many are being made.
func (v *Verifier) Create(ctx context.Context, user uuid.UUID) (password string, c Credential, err error) {
	err = inTurn(ctx, v.creates, func() error {
		random, err := uuid.NewRandom()
		if err != nil {
			return fmt.Errorf("make a password: %w", err)
		}
		password, c.Salt = random.String(), make([]byte, SaltLength)
		_, _ = rand.Read(c.Salt) // never fails
		key, err := v.slowHash(password, c.Salt)
		if err != nil {
			return fmt.Errorf("hash a password: %w", err)
		}
		c.HashedPassword = strings.ToUpper(hex.EncodeToString(key))
		c.Tag = v.Tag(user, c.HashedPassword, password)
		return nil
	})
	return password, c, err
}

// Tag makes the tag of a password for the stored hash. It does not look whether the password fits the hash.
func (v *Verifier) Tag(user uuid.UUID, hashedPassword, password string) Tag {
	return v.keys[0].tag(user, hashedPassword, password)
}

// tag makes the key's tag. Its input has parts of fixed length before the password, so no two inputs can be confused.
func (k key) tag(user uuid.UUID, hashedPassword, password string) Tag {
	digest := sha256.Sum256([]byte(hashedPassword))
	mac := hmac.New(sha256.New, k.secret)
	mac.Write(user[:])
	mac.Write(digest[:])
	mac.Write([]byte(password))
	return Tag{KeyFingerprint: k.fingerprint, HashDigest: digest[:], Tag: mac.Sum(nil)}
}

// stored is what authentication reads of a user, in one round trip.
type stored struct {
	HashedPassword string
	Salt           []byte
	KeyFingerprint []byte // nil: there is no tag, or it does not say
	HashDigest     []byte
	Tag            []byte // nil: there is none
}

const find = `
	SELECT u.hashed_password, u.salt, p.key_fingerprint, coalesce(p.hash_digest, t.hash_digest), coalesce(p.tag, t.tag)
	FROM users u LEFT JOIN v2_password_proofs p ON p.user_id = u.id LEFT JOIN v2_password_tags t ON t.user_id = u.id
	WHERE u.id = $1`

const remember = `
	INSERT INTO v2_password_proofs (user_id, key_fingerprint, hash_digest, tag)
	SELECT id, $2, $3, $4 FROM users WHERE id = $1
	ON CONFLICT (user_id) DO UPDATE
	SET key_fingerprint = excluded.key_fingerprint, hash_digest = excluded.hash_digest, tag = excluded.tag`

// Verify returns nil when the password is the user's, [apierr.NotFound] when there is no such user,
// [apierr.Unauthenticated] when the password is wrong, and [apierr.Unavailable] when it cannot be checked now. It costs
// one round trip, and a second one when it leaves a new tag behind.
func (v *Verifier) Verify(ctx context.Context, db *postgres.DB, user uuid.UUID, password string) error {
	s, err := v.find(ctx, db, user)
	if err != nil {
		return err
	}
	if !passwordForm.MatchString(password) {
		return errWrong
	}
	if known, right := v.fast(s, user, password); known {
		if !right {
			return errWrong
		}
		if !bytes.Equal(s.KeyFingerprint, v.keys[0].fingerprint) {
			return v.remember(ctx, db, user, s.HashedPassword, password)
		}
		return nil
	}
	return v.perUser.do(ctx, user, func(alone bool) error {
		if !alone { // the one before may have left a tag
			if s, err = v.find(ctx, db, user); err != nil {
				return err
			}
			if known, right := v.fast(s, user, password); known {
				if !right {
					return errWrong
				}
				return nil
			}
		}
		if err := v.slow(ctx, s, password); err != nil {
			return err
		}
		return v.remember(ctx, db, user, s.HashedPassword, password)
	})
}

var (
	errWrong   = &apierr.Error{Kind: apierr.Unauthenticated, Detail: "The password is wrong."}
	errUnknown = &apierr.Error{Kind: apierr.NotFound, Detail: "There is no such user."}
)

func (v *Verifier) find(ctx context.Context, db *postgres.DB, user uuid.UUID) (stored, error) {
	return postgres.One(ctx, db, "read credential", pgx.RowToStructByPos[stored], errUnknown, find, user)
}

// fast decides by the tag, if there is one for the stored hash under a key that is still known. A tag without a fingerprint
// proves that a password is right when it fits, and nothing when it does not.
func (v *Verifier) fast(s stored, user uuid.UUID, password string) (known, right bool) {
	for _, key := range v.keys {
		if s.Tag == nil || s.KeyFingerprint != nil && !bytes.Equal(s.KeyFingerprint, key.fingerprint) {
			continue
		}
		want := key.tag(user, s.HashedPassword, password)
		if !hmac.Equal(want.HashDigest, s.HashDigest) {
			continue
		}
		if hmac.Equal(want.Tag, s.Tag) {
			return true, true
		}
		known = s.KeyFingerprint != nil
	}
	return known, false
}

// slow decides by v1's hash.
func (v *Verifier) slow(ctx context.Context, s stored, password string) error {
	want, err := hex.DecodeString(s.HashedPassword)
	if err != nil {
		return errors.New("read credential: the stored hash is not hexadecimal")
	}
	return inTurn(ctx, v.checks, func() error {
		got, err := v.slowHash(password, s.Salt)
		if err != nil {
			return fmt.Errorf("hash a password: %w", err)
		}
		if subtle.ConstantTimeCompare(got, want) != 1 {
			return errWrong
		}
		return nil
	})
}

// remember stores a tag that the first key makes. When the user was deleted meanwhile it stores none and returns no error: the
// caller's own statement will find that out.
func (v *Verifier) remember(ctx context.Context, db *postgres.DB, user uuid.UUID, hashedPassword, password string) error {
	t := v.Tag(user, hashedPassword, password)
	_, err := postgres.Exec(ctx, db, "store password tag", remember, user, t.KeyFingerprint, t.HashDigest, t.Tag)
	if postgres.HasCode(err, postgres.ForeignKeyViolation) {
		return nil
	}
	return err
}

// Fits reports whether the password is the one that v1 stored the hash and salt of. It takes as long as v1's hash, and leaves
// nothing behind.
func Fits(hashedPassword string, salt []byte, password string) bool {
	want, err := hex.DecodeString(hashedPassword)
	if err != nil || !passwordForm.MatchString(password) {
		return false
	}
	got, err := hash(password, salt)
	return err == nil && subtle.ConstantTimeCompare(got, want) == 1
}
