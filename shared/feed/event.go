// Package feed holds what people publish to their followers, and the secrets that let followers read it. The server
// sees ciphertext only.
package feed

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liftlog/liftlog-api/shared/apierr"
	"github.com/liftlog/liftlog-api/shared/postgres"
)

// Event is one thing that a user published.
type Event struct {
	UserID           uuid.UUID
	ID               uuid.UUID // unique among its user's
	Timestamp        time.Time // of storing; grows with every event of the user in the order of commit
	Expiry           time.Time
	EncryptedPayload []byte
	EncryptionIV     []byte
}

// Locks are taken in v1's order: the event's row before the user's, which is locked at first for its key only, as storing what
// refers to it does. So neither waits for the other in a circle, nor for a deletion of the user. v2's writers of one user meet
// at the clock's row, so that events get their times in the order in which they become visible.
//
// An event's time is later than those of all events that were there when the statement began, and than that of the event it
// replaces. Times near the end of time do not count, because there are no later ones. Counting stops at the limit and needs no
// more than an index as long as there are fewer events, expired ones among them.
const put = `
	WITH owner AS MATERIALIZED (
		SELECT id FROM users WHERE id = $1 FOR KEY SHARE
	), admitted AS MATERIALIZED (
		SELECT id FROM owner
		WHERE EXISTS (SELECT FROM user_events WHERE user_id = $1 AND id = $2)
			OR (SELECT count(*) FROM (SELECT FROM user_events WHERE user_id = $1 LIMIT (SELECT $6::bigint)) counted) < $6
			OR (SELECT count(*) FILTER (WHERE expiry > now()) < $6 AND count(*) < 2 * $6
				FROM (SELECT expiry FROM user_events WHERE user_id = $1 LIMIT (SELECT 2 * $6)) counted)
	), newest AS (
		SELECT max("timestamp") AS at FROM user_events WHERE user_id = $1 AND "timestamp" < '9999-01-01Z'
	), clock AS (
		INSERT INTO v2_feed_clocks (user_id, last_timestamp)
		SELECT id, greatest(clock_timestamp(), newest.at + interval '1 microsecond') FROM admitted, newest
		ON CONFLICT (user_id) DO UPDATE
		SET last_timestamp = greatest(clock_timestamp(), excluded.last_timestamp, v2_feed_clocks.last_timestamp + interval '1 microsecond')
		RETURNING user_id, last_timestamp
	), stored AS (
		INSERT INTO user_events (user_id, id, "timestamp", last_accessed, expiry, encrypted_event, encryption_iv)
		SELECT user_id, $2, last_timestamp, last_timestamp, $3, $4, $5 FROM clock
		ON CONFLICT (user_id, id) DO UPDATE
		SET "timestamp" = greatest(clock_timestamp(), excluded."timestamp",
				CASE WHEN user_events."timestamp" < '9999-01-01Z' THEN user_events."timestamp" + interval '1 microsecond' END),
			last_accessed = excluded.last_accessed, expiry = excluded.expiry,
			encrypted_event = excluded.encrypted_event, encryption_iv = excluded.encryption_iv
		RETURNING user_id
	), touched AS (
		UPDATE users SET last_accessed = now() FROM stored
		WHERE users.id = stored.user_id AND users.last_accessed < now() - interval '1 day'
	)
	SELECT EXISTS (SELECT FROM owner), EXISTS (SELECT FROM stored)`

var errNoUser = &apierr.Error{Kind: apierr.NotFound, Detail: "There is no such user."}

// outcome says whether the user is there, and whether there was room.
type outcome struct{ Known, Admitted bool }

// Put stores the event, or replaces the one with its ids, under a new timestamp. When the user has as many events as limit that
// are not expired, or twice as many in all, a new one is [apierr.Limited]. Events put at the same moment may exceed the limit
// by as many.
func Put(ctx context.Context, db *postgres.DB, e Event, limit int) error {
	done, err := postgres.One(ctx, db, "put event", pgx.RowToStructByPos[outcome], nil,
		put, e.UserID, e.ID, postgres.ToTimestamp(e.Expiry), e.EncryptedPayload, e.EncryptionIV, limit)
	switch {
	case err != nil:
		return err
	case !done.Known:
		return db.Missing(ctx, errNoUser) // deleted at this moment
	case !done.Admitted:
		return apierr.Full("The user has too many events.")
	default:
		return nil
	}
}
