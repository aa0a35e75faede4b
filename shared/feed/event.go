// Package feed holds what people publish to their followers, and the secrets that let followers read it. The server
// sees ciphertext only.
package feed

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

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

// The user's row is locked first, as deleting the user does, so that the two never wait for each other; and for as long
// as the transaction lasts, so that the user's events get their times in the order in which they become visible.
const put = `
	WITH owner AS MATERIALIZED (
		SELECT id FROM users WHERE id = $1 FOR NO KEY UPDATE
	), touched AS (
		UPDATE users SET last_accessed = now() WHERE id = $1 AND last_accessed < now() - interval '1 day'
	), clock AS (
		INSERT INTO v2_feed_clocks (user_id, last_timestamp)
		SELECT id, clock_timestamp() FROM owner
		ON CONFLICT (user_id) DO UPDATE
		SET last_timestamp = greatest(clock_timestamp(), v2_feed_clocks.last_timestamp + interval '1 microsecond')
		RETURNING user_id, last_timestamp
	)
	INSERT INTO user_events (user_id, id, "timestamp", last_accessed, expiry, encrypted_event, encryption_iv)
	SELECT user_id, $2, last_timestamp, last_timestamp, $3, $4, $5 FROM clock
	ON CONFLICT (user_id, id) DO UPDATE
	SET "timestamp" = excluded."timestamp", last_accessed = excluded.last_accessed, expiry = excluded.expiry,
		encrypted_event = excluded.encrypted_event, encryption_iv = excluded.encryption_iv`

var errNoUser = &apierr.Error{Kind: apierr.NotFound, Detail: "There is no such user."}

// Put stores the event, or replaces the one with its ids, under a new timestamp.
func Put(ctx context.Context, db *postgres.DB, e Event) error {
	stored, err := postgres.Exec(ctx, db, "put event", put, e.UserID, e.ID, postgres.ToTimestamp(e.Expiry), e.EncryptedPayload, e.EncryptionIV)
	if postgres.HasCode(err, postgres.ForeignKeyViolation) || err == nil && stored == 0 {
		return db.Missing(ctx, errNoUser) // deleted at this moment
	}
	return err
}

// Followed is a user whose events somebody asks for.
type Followed struct {
	UserID uuid.UUID
	Secret string // holds no NUL
	Since  time.Time
}

// A user's events come by an index in the order of their timestamps, user by user: nothing is sorted before the first.
const get = `
	WITH asked AS MATERIALIZED (
		SELECT n, user_id, secret, since, EXISTS (
			SELECT FROM user_follow_secrets s WHERE s.user_id = a.user_id AND s.value = a.secret
		) AS fits
		FROM unnest($1::uuid[], $2::text[], $3::timestamptz[]) WITH ORDINALITY AS a (user_id, secret, since, n)
	), followed AS MATERIALIZED (
		SELECT user_id, min(since) AS since FROM asked WHERE fits GROUP BY user_id
	)
	(SELECT secret, NULL::uuid, NULL::uuid, NULL::timestamptz, NULL::timestamptz, NULL::bytea, NULL::bytea
	FROM asked GROUP BY secret HAVING NOT bool_or(fits) ORDER BY min(n))
	UNION ALL
	SELECT NULL, e.user_id, e.id, e."timestamp", e.expiry, e.encrypted_event, e.encryption_iv
	FROM followed f CROSS JOIN LATERAL (
		SELECT * FROM user_events
		WHERE user_id = f.user_id AND "timestamp" > f.since AND expiry > $4
		ORDER BY "timestamp"
	) e`

// row is one of the two kinds that the statement returns: a secret that fits nobody, or an event.
type row struct {
	Secret           *string
	UserID           *uuid.UUID
	ID               *uuid.UUID
	Timestamp        pgtype.Timestamptz
	Expiry           pgtype.Timestamptz
	EncryptedPayload []byte
	EncryptionIV     []byte
}

// Each calls fn for every event that the secrets let its reader see and that is newer than its since and not yet
// expired at now: user by user, the oldest first. A user asked for twice comes once, with the earlier since. It returns
// the secrets that fit none of the users they were sent with, in the order sent, once it is sure that the database is the right one. One event is in memory at a time, and
// the connection is held until fn has seen the last one.
func Each(ctx context.Context, db *postgres.DB, asked []Followed, now time.Time, fn func(Event) error) (invalid []string, err error) {
	users, secrets, sinces := make([]uuid.UUID, len(asked)), make([]string, len(asked)), make([]pgtype.Timestamptz, len(asked))
	for i, a := range asked {
		users[i], secrets[i], sinces[i] = a.UserID, a.Secret, postgres.ToTimestamp(a.Since)
	}
	rows, err := db.Query(ctx, get, users, secrets, sinces, now)
	if err != nil {
		return nil, postgres.Wrap("get events", err)
	}
	defer rows.Close()
	invalid = []string{}
	for rows.Next() {
		r, err := pgx.RowToStructByPos[row](rows)
		if err != nil {
			return nil, postgres.Wrap("get events", err)
		}
		if r.Secret != nil {
			invalid = append(invalid, *r.Secret)
			continue
		}
		err = fn(Event{
			UserID: *r.UserID, ID: *r.ID, Timestamp: postgres.FromTimestamp(r.Timestamp), Expiry: postgres.FromTimestamp(r.Expiry),
			EncryptedPayload: r.EncryptedPayload, EncryptionIV: r.EncryptionIV,
		})
		if err != nil {
			return nil, err
		}
	}
	if err := rows.Err(); err != nil {
		return nil, postgres.Wrap("get events", err)
	}
	if len(invalid) > 0 {
		return invalid, db.Missing(ctx, nil)
	}
	return invalid, nil
}
