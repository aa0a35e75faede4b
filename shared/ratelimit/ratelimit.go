// Package ratelimit bounds how often the model is called: by one buyer in any 24 hours, exactly, however parallel and
// from however many instances, and by tokens for the whole service on one day. It keeps digests, never who somebody is.
package ratelimit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/liftlog/liftlog-api/shared/apierr"
	"github.com/liftlog/liftlog-api/shared/postgres"
)

// Options say what is allowed.
type Options struct {
	DB           *postgres.DB // the rate limits' database
	TokensPerDay int          // of the whole service on one day (UTC)
	Closed       bool         // the planner is switched off
	Unlimited    bool         // nothing is counted
}

// Limiter lets calls of the model pass or not. It is safe for concurrent use.
type Limiter struct {
	o       Options
	clients clients
}

// New returns a Limiter.
func New(o Options) *Limiter { return &Limiter{o: o} }

// Key names whose calls are counted, and in which scope: it is a digest of both.
type Key string

// PlanKey is v1's key of a buyer: the SHA-256 of the subject in upper-case hex.
func PlanKey(subject string) Key { return digest(subject) }

// ChatKey counts a buyer's chat messages apart, so that the chat cannot lock the planner.
func ChatKey(subject string) Key { return digest("chat\x00" + subject) }

func digest(text string) Key {
	sum := sha256.Sum256([]byte(text))
	return Key(strings.ToUpper(hex.EncodeToString(sum[:])))
}

// Use is what became of a call that was allowed.
type Use struct {
	Answered bool // the model did answer, or somebody stopped it: the call stays counted
	Tokens   int  // what the model has taken, also when it did not answer; 0: not known
}

// Settle says once, after the call, what became of it. Only the first time counts. It takes some seconds at most, whether
// or not ctx has ended; where it fails, the call stays counted with the tokens that are set aside for one.
type Settle func(ctx context.Context, use Use)

// setAside is how many tokens a call counts for until it is settled, and for good if its cost is never known. It is about what a
// plan and its prompt take.
const setAside = 5000

// Bounds of the two round trips. Settling happens after a failure and whether or not the caller is still there.
const (
	takeTimeout   = 4 * time.Second
	settleTimeout = 4 * time.Second
)

// taken is what the database says about one call.
type taken struct {
	At      pgtype.Timestamptz // when the call was counted; null: it was not
	Day     pgtype.Date        // on which day its tokens are
	Spent   bool               // the whole service has had its tokens of the day
	RetryAt pgtype.Timestamptz // when the next call of this key may pass; null: unknown
}

// Rows are locked in one order everywhere, a key's and then the day's, and a refusal locks none: it is decided by what the
// statement sees at its beginning. A call that is to pass locks the key's row by the upsert, which counts and decides on the
// row's newest version, and then the day's row in the same way. A day that filled up in between divides by zero, which undoes all
// of it. Each time is later than the one before it, so that it identifies the call when it is given back.
const take = `
	WITH seen AS MATERIALIZED (
		SELECT
			(
				SELECT count(*) FROM rate_limit_consumptions AS c, unnest(c.requests) AS r
				WHERE c.key = $1 AND r > now() - interval '24 hours'
			) >= $2 AS used_up,
			coalesce((SELECT tokens FROM v2_model_tokens WHERE day = (now() AT TIME ZONE 'UTC')::date), 0) >= $3 AS spent
	), taken AS (
		INSERT INTO rate_limit_consumptions AS c (key, requests)
		SELECT $1, ARRAY[clock_timestamp()] FROM seen WHERE NOT used_up AND NOT spent
		ON CONFLICT (key) DO UPDATE
		SET requests = ARRAY(
			SELECT r FROM unnest(c.requests) AS r WHERE r > clock_timestamp() - interval '24 hours' ORDER BY r
		) || greatest(clock_timestamp(), c.requests[cardinality(c.requests)] + interval '1 microsecond')
		WHERE (SELECT count(*) FROM unnest(c.requests) AS r WHERE r > clock_timestamp() - interval '24 hours') < $2
		RETURNING requests[cardinality(requests)] AS at
	), counted AS (
		INSERT INTO v2_model_tokens AS m (day, tokens)
		SELECT (now() AT TIME ZONE 'UTC')::date, $4 FROM taken
		ON CONFLICT (day) DO UPDATE SET tokens = m.tokens + excluded.tokens WHERE m.tokens < $3
		RETURNING day
	)
	SELECT (SELECT at FROM taken), (SELECT day FROM counted), spent, (
		SELECT r + interval '24 hours'
		FROM rate_limit_consumptions AS c, unnest(c.requests) AS r
		WHERE c.key = $1 ORDER BY r DESC OFFSET $2 - 1 LIMIT 1
	)
	FROM seen
	WHERE 1 / CASE WHEN EXISTS (SELECT FROM taken) THEN (SELECT count(*) FROM counted) ELSE 1 END = 1`

// Take counts a call of the key's, of which limit pass in any 24 hours, and sets tokens of the day aside for it. It is one
// round trip of some seconds at most. A call over the limit is [apierr.Limited] with the time when the next one may pass;
// when the planner is switched off, has had its tokens of the day, or cannot count, it is [apierr.Unavailable]. A call that
// passes has to be settled.
func (l *Limiter) Take(ctx context.Context, key Key, limit int) (Settle, error) {
	if l.o.Closed {
		return nil, &apierr.Error{Kind: apierr.Unavailable, Detail: "The planner is switched off for now."}
	}
	if l.o.Unlimited {
		return func(context.Context, Use) {}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, takeTimeout)
	defer cancel()
	t, err := postgres.One(ctx, l.o.DB, "count model call", pgx.RowToStructByPos[taken], nil, take, string(key), limit, l.o.TokensPerDay, setAside)
	switch {
	case t.Spent || postgres.HasCode(err, postgres.DivisionByZero):
		return nil, &apierr.Error{
			Kind: apierr.Unavailable, Detail: "The planner has answered as much as it can today.", RetryAt: time.Now().UTC().Truncate(day).Add(day),
		}
	case err != nil:
		return nil, err
	case t.At.Valid:
		var once sync.Once
		return func(ctx context.Context, use Use) { once.Do(func() { l.settle(ctx, key, t, use) }) }, nil
	case !t.RetryAt.Valid: // the calls that filled the limit have come since the statement began
		t.RetryAt.Time = time.Now().Add(day)
	}
	return nil, limited(t.RetryAt.Time)
}

func limited(retryAt time.Time) error {
	return &apierr.Error{Kind: apierr.Limited, Detail: "You have asked the planner as often as you can for now.", RetryAt: retryAt}
}

const day = 24 * time.Hour

// charge adds to the day's tokens what a call took beside those that were set aside.
const charge = `UPDATE v2_model_tokens SET tokens = greatest(tokens + $2, 0) WHERE day = $1`

// giveBack does the same, and uncounts the key's call. The key's row comes first, as with take.
const giveBack = `
	WITH given AS (
		UPDATE rate_limit_consumptions SET requests = array_remove(requests, $4) WHERE key = $3 AND $4 = ANY (requests) RETURNING key
	)
	UPDATE v2_model_tokens SET tokens = greatest(tokens + $2, 0) FROM given WHERE day = $1`

func (l *Limiter) settle(ctx context.Context, key Key, t taken, use Use) {
	if use.Answered && use.Tokens == 0 {
		return // what was set aside stays counted
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	statement, args := charge, []any{t.Day, use.Tokens - setAside}
	if !use.Answered {
		statement, args = giveBack, append(args, string(key), t.At)
	}
	_, _ = postgres.Exec(ctx, l.o.DB, "settle a model call", statement, args...) // nobody is left to be told
}
