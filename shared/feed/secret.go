package feed

import (
	"context"
	"crypto/sha256"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liftlog/liftlog-api/shared/apierr"
	"github.com/liftlog/liftlog-api/shared/postgres"
)

// v1 may have stored the secret under a random id. Of v2's own there is one, however many are put at once, because
// its id follows from user and secret. Locks are taken in v1's order, as in put.
const addSecret = `
	WITH owner AS MATERIALIZED (
		SELECT id FROM users WHERE id = $2 FOR KEY SHARE
	), there AS MATERIALIZED (
		SELECT EXISTS (SELECT FROM user_follow_secrets WHERE user_id = $2 AND value = $3::text LIMIT 1) AS already
	), admitted AS MATERIALIZED (
		SELECT id, already FROM owner, there
		WHERE already OR (SELECT count(*) FROM (SELECT FROM user_follow_secrets WHERE user_id = $2 LIMIT (SELECT $4::bigint)) counted) < $4
	), added AS (
		INSERT INTO user_follow_secrets (id, user_id, value)
		SELECT $1, id, $3::text FROM admitted WHERE NOT already
		ON CONFLICT (id) DO NOTHING
		RETURNING id
	), touched AS (
		UPDATE users SET last_accessed = now() FROM admitted
		WHERE users.id = admitted.id AND last_accessed < now() - interval '1 day' AND (SELECT count(*) FROM added) >= 0 -- afterwards
	)
	SELECT EXISTS (SELECT FROM owner), EXISTS (SELECT FROM admitted)`

// AddSecret lets whoever holds the secret read the user's events. A secret that is there already stays one secret. When the
// user has as many secrets as limit, a new one is [apierr.Limited]. Secrets put at the same moment may exceed the limit by as
// many.
func AddSecret(ctx context.Context, db *postgres.DB, user uuid.UUID, secret string, limit int) error {
	done, err := postgres.One(ctx, db, "add follow secret", pgx.RowToStructByPos[outcome], nil,
		addSecret, secretID(user, secret), user, secret, limit)
	switch {
	case err != nil:
		return err
	case !done.Known:
		return db.Missing(ctx, errNoUser) // deleted at this moment
	case !done.Admitted:
		return apierr.Full("The user has too many follow secrets.")
	default:
		return nil
	}
}

// ownVersion is the version of UUIDs whose bits are their maker's own business (RFC 9562).
const ownVersion = 8

func secretID(user uuid.UUID, secret string) uuid.UUID {
	return uuid.NewHash(sha256.New(), user, []byte(secret), ownVersion)
}

// Locks are taken in v1's order, as in put.
const removeSecret = `
	WITH owner AS MATERIALIZED (
		SELECT id FROM users WHERE id = $1 FOR KEY SHARE
	), removed AS (
		DELETE FROM user_follow_secrets s USING owner WHERE s.user_id = owner.id AND s.value = $2
		RETURNING s.id
	)
	UPDATE users SET last_accessed = now() FROM owner
	WHERE users.id = owner.id AND last_accessed < now() - interval '1 day' AND (SELECT count(*) FROM removed) >= 0 -- afterwards`

// RemoveSecret takes back every copy of the secret. One that is not there is no error.
func RemoveSecret(ctx context.Context, db *postgres.DB, user uuid.UUID, secret string) error {
	_, err := postgres.Exec(ctx, db, "remove follow secret", removeSecret, user, secret)
	return err
}
