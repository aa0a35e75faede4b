package feed

import (
	"context"
	"crypto/sha256"

	"github.com/google/uuid"

	"github.com/liftlog/liftlog-api/shared/postgres"
)

// v1 may have stored the secret under a random id. Of v2's own there is one, however many are put at once, because
// its id follows from user and secret.
const addSecret = `
	WITH touched AS (
		UPDATE users SET last_accessed = now() WHERE id = $2 AND last_accessed < now() - interval '1 day'
	)
	INSERT INTO user_follow_secrets (id, user_id, value)
	SELECT $1, $2, $3::text
	WHERE NOT EXISTS (SELECT FROM user_follow_secrets WHERE user_id = $2 AND value = $3::text)
	ON CONFLICT (id) DO NOTHING`

// AddSecret lets whoever holds the secret read the user's events. A secret that is there already stays one secret.
func AddSecret(ctx context.Context, db *postgres.DB, user uuid.UUID, secret string) error {
	_, err := postgres.Exec(ctx, db, "add follow secret", addSecret, secretID(user, secret), user, secret)
	if postgres.HasCode(err, postgres.ForeignKeyViolation) {
		return db.Missing(ctx, errNoUser) // deleted at this moment
	}
	return err
}

// ownVersion is the version of UUIDs whose bits are their maker's own business (RFC 9562).
const ownVersion = 8

func secretID(user uuid.UUID, secret string) uuid.UUID {
	return uuid.NewHash(sha256.New(), user, []byte(secret), ownVersion)
}

// The user's row is locked first, as deleting the user does, so that the two never wait for each other.
const removeSecret = `
	WITH owner AS MATERIALIZED (
		SELECT id FROM users WHERE id = $1 FOR NO KEY UPDATE
	), touched AS (
		UPDATE users SET last_accessed = now() WHERE id = $1 AND last_accessed < now() - interval '1 day'
	)
	DELETE FROM user_follow_secrets s USING owner WHERE s.user_id = owner.id AND s.value = $2`

// RemoveSecret takes back every copy of the secret. One that is not there is no error.
func RemoveSecret(ctx context.Context, db *postgres.DB, user uuid.UUID, secret string) error {
	_, err := postgres.Exec(ctx, db, "remove follow secret", removeSecret, user, secret)
	return err
}
