// Package ratelimit bounds how often the model is called: by one buyer in any 24 hours, exactly, however parallel and
// from however many instances, and by the whole service on one day. It keeps digests, never who somebody is.
package ratelimit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/liftlog/liftlog-api/shared/apierr"
	"github.com/liftlog/liftlog-api/shared/postgres"
)

// Options say what is allowed.
type Options struct {
	DB          postgres.Querier // the rate limits' database
	CallsPerDay int              // of the whole service on one day (UTC)
	Closed      bool             // the planner is switched off
	Unlimited   bool             // nothing is counted
}

// Limiter lets calls of the model pass or not. It is safe for concurrent use.
type Limiter struct{ o Options }

// New returns a Limiter.
func New(o Options) *Limiter { return &Limiter{o} }

// Key names what is counted: a scope's own callers by the digest of who they are.
type Key string

// PlanKey is v1's key of a buyer: the SHA-256 of the subject in upper-case hex.
func PlanKey(subject string) Key { return digest(subject) }

// ChatKey counts a buyer's chat messages apart, so that the chat cannot lock the planner.
func ChatKey(subject string) Key { return digest("chat\x00" + subject) }

func digest(text string) Key {
	sum := sha256.Sum256([]byte(text))
	return Key(strings.ToUpper(hex.EncodeToString(sum[:])))
}

// decision is what the database says about one call.
type decision struct {
	at      pgtype.Timestamptz // when the call was counted; null: it was not
	full    bool               // the whole service has had its calls of the day
	retryAt pgtype.Timestamptz // when the next call of this key may pass; null: unknown
}

// All calls of a day go through that day's row, one statement at a time, so that the ceiling holds. A key's own row is
// locked by the upsert, which counts and decides on its newest version. A time is later than the one before it, which
// makes it a name for giving it back.
const take = `
	WITH today AS MATERIALIZED (
		SELECT day, calls FROM v2_model_calls WHERE day = (now() AT TIME ZONE 'UTC')::date FOR UPDATE
	), taken AS (
		INSERT INTO rate_limit_consumptions AS c (key, requests)
		SELECT $1, ARRAY[clock_timestamp()] WHERE coalesce((SELECT calls FROM today), 0) < $3
		ON CONFLICT (key) DO UPDATE
		SET requests = ARRAY(
			SELECT r FROM unnest(c.requests) AS r WHERE r > clock_timestamp() - interval '24 hours' ORDER BY r
		) || greatest(clock_timestamp(), c.requests[cardinality(c.requests)] + interval '1 microsecond')
		WHERE (SELECT count(*) FROM unnest(c.requests) AS r WHERE r > clock_timestamp() - interval '24 hours') < $2
		RETURNING requests[cardinality(requests)] AS at
	), counted AS (
		INSERT INTO v2_model_calls AS m (day, calls)
		SELECT (now() AT TIME ZONE 'UTC')::date, 1 FROM taken
		ON CONFLICT (day) DO UPDATE SET calls = m.calls + 1
	)
	SELECT (SELECT at FROM taken), coalesce((SELECT calls FROM today), 0) >= $3, (
		SELECT r + interval '24 hours'
		FROM rate_limit_consumptions AS c, unnest(c.requests) AS r
		WHERE c.key = $1 ORDER BY r DESC OFFSET $2 - 1 LIMIT 1
	)`

// Take counts a call of the key's, of which limit pass in any 24 hours. It is one round trip. giveBack is for a call that the
// model never answered. A call over the limit is [apierr.Limited] with the time when the next one may pass; when the
// planner is switched off, has had its calls of the day, or cannot count, it is [apierr.Unavailable].
func (l *Limiter) Take(ctx context.Context, key Key, limit int) (giveBack func(context.Context), err error) {
	if l.o.Closed {
		return nil, &apierr.Error{Kind: apierr.Unavailable, Detail: "The planner is switched off for now."}
	}
	if l.o.Unlimited {
		return func(context.Context) {}, nil
	}
	var d decision
	if err := l.o.DB.QueryRow(ctx, take, string(key), limit, l.o.CallsPerDay).Scan(&d.at, &d.full, &d.retryAt); err != nil {
		return nil, postgres.Wrap("count model call", err)
	}
	switch {
	case d.at.Valid:
		return func(ctx context.Context) { l.giveBack(ctx, key, d.at) }, nil
	case d.full:
		return nil, &apierr.Error{
			Kind: apierr.Unavailable, Detail: "The planner has answered as much as it can today.", RetryAt: time.Now().UTC().Truncate(day).Add(day),
		}
	case !d.retryAt.Valid: // the calls that filled the limit have come since the statement began
		d.retryAt.Time = time.Now().Add(day)
	}
	return nil, &apierr.Error{Kind: apierr.Limited, Detail: "You have asked the planner as often as you can for now.", RetryAt: d.retryAt.Time}
}

const day = 24 * time.Hour

const giveBack = `
	WITH given AS (
		UPDATE rate_limit_consumptions SET requests = array_remove(requests, $2) WHERE key = $1 AND $2 = ANY (requests) RETURNING key
	)
	UPDATE v2_model_calls SET calls = calls - 1 FROM given WHERE day = ($2 AT TIME ZONE 'UTC')::date AND calls > 0`

// giveBackTimeout bounds giving a call back, which happens after a failure and whether or not the caller is still there.
const giveBackTimeout = 5 * time.Second

func (l *Limiter) giveBack(ctx context.Context, key Key, at pgtype.Timestamptz) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), giveBackTimeout)
	defer cancel()
	_, _ = l.o.DB.Exec(ctx, giveBack, string(key), at) // the caller already has a failure to tell of
}
