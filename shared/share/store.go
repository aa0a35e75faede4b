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
	"github.com/liftlog/liftlog-api/shared/user"
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

const create = `
	WITH touched AS (
		UPDATE users SET last_accessed = now() WHERE id = $2 AND last_accessed < now() - interval '1 day'
	)
	INSERT INTO shared_items (id, user_id, "timestamp", expiry, encrypted_payload, encryption_iv)
	VALUES ($1, $2, now(), $3, $4, $5)
	ON CONFLICT (id) DO NOTHING`

// attempts is how many ids are tried for a new item; even one clash in 36^12 is not to be expected.
const attempts = 3

// Create stores the user's item until the expiry and returns the id for its link.
func Create(ctx context.Context, db *postgres.DB, owner uuid.UUID, payload, iv []byte, expiry time.Time) (id string, err error) {
	for range attempts {
		id = user.NewLookup()
		done, err := postgres.Exec(ctx, db, "create shared item", create, id, owner, postgres.ToTimestamp(expiry), payload, iv)
		if postgres.HasCode(err, postgres.ForeignKeyViolation) { // deleted at this moment
			return "", db.Missing(ctx, errNoUser)
		}
		if err != nil {
			return "", err
		}
		if done == 1 {
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
