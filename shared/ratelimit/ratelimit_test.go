package ratelimit_test

import (
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/liftlog/liftlog-api/shared/apierr"
	"github.com/liftlog/liftlog-api/shared/postgres"
	"github.com/liftlog/liftlog-api/shared/postgres/pgtest"
	"github.com/liftlog/liftlog-api/shared/ratelimit"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }

const key = ratelimit.Key("KEY")

func setup(t *testing.T, o ratelimit.Options) (*ratelimit.Limiter, *pgxpool.Pool) {
	t.Helper()
	db := pgtest.New(t)
	o.DB = db
	if o.CallsPerDay == 0 {
		o.CallsPerDay = 1000
	}
	return ratelimit.New(o), db
}

// counted reads how many requests the key's row holds, and how many the day's.
func counted(t *testing.T, db *pgxpool.Pool) (requests, calls int) {
	t.Helper()
	require.NoError(t, db.QueryRow(t.Context(), `SELECT coalesce((SELECT cardinality(requests) FROM rate_limit_consumptions WHERE key = $1), 0),
		coalesce((SELECT sum(calls) FROM v2_model_calls), 0)`, string(key)).Scan(&requests, &calls))
	return requests, calls
}

func TestKeys(t *testing.T) {
	t.Parallel()
	assert.Equal(t, ratelimit.Key("BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD"), ratelimit.PlanKey("abc"), "v1's")
	assert.NotEqual(t, ratelimit.PlanKey("abc"), ratelimit.ChatKey("abc"))
}

// TestExactlyTheLimitPasses sends 200 calls at once over four pools, as from four instances.
func TestExactlyTheLimitPasses(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	var limiters []*ratelimit.Limiter
	var db *pgxpool.Pool
	for range 4 {
		db = pgtest.Pool(t, postgres.Options{URL: url, MaxConns: 8})
		limiters = append(limiters, ratelimit.New(ratelimit.Options{DB: db, CallsPerDay: 1000}))
	}
	const limit = 20
	var passed, limited atomic.Int32
	var group errgroup.Group
	for i := range 200 {
		group.Go(func() error {
			_, err := limiters[i%4].Take(t.Context(), key, limit)
			switch {
			case err == nil:
				passed.Add(1)
			case apierr.KindOf(err) == apierr.Limited:
				limited.Add(1)
			default:
				return err
			}
			return nil
		})
	}
	require.NoError(t, group.Wait())
	assert.EqualValues(t, limit, passed.Load())
	assert.EqualValues(t, 200-limit, limited.Load())
	requests, calls := counted(t, db)
	assert.Equal(t, limit, requests, "the row never grows past the limit")
	assert.Equal(t, limit, calls)
}

func TestOnlyTheLast24HoursCount(t *testing.T) {
	t.Parallel()
	limiter, db := setup(t, ratelimit.Options{})
	_, err := db.Exec(t.Context(), `INSERT INTO rate_limit_consumptions VALUES
		($1, ARRAY[now() - interval '25 hours', now() - interval '23 hours', now() - interval '1 hour'])`, string(key))
	require.NoError(t, err)
	_, err = limiter.Take(t.Context(), key, 3)
	require.NoError(t, err, "one of v1's three is too old to count")
	requests, _ := counted(t, db)
	assert.Equal(t, 3, requests, "what is too old goes")

	_, err = limiter.Take(t.Context(), key, 3)
	refused, ok := err.(*apierr.Error) //nolint:errorlint // it is not wrapped
	require.True(t, ok, "%v", err)
	assert.Equal(t, apierr.Limited, refused.Kind)
	assert.WithinDuration(t, time.Now().Add(time.Hour), refused.RetryAt, time.Minute, "the oldest that counts, and a day")
	requests, _ = counted(t, db)
	assert.Equal(t, 3, requests, "a refusal is not counted")

	_, err = limiter.Take(t.Context(), key, 2)
	require.ErrorAs(t, err, &refused)
	assert.WithinDuration(t, time.Now().Add(23*time.Hour), refused.RetryAt, time.Minute, "of a limit that is smaller now, the second but last")
	_, err = limiter.Take(t.Context(), ratelimit.Key("OTHER"), 1)
	assert.NoError(t, err, "keys are apart")
}

func TestACallGivenBackWasNotMade(t *testing.T) {
	t.Parallel()
	limiter, db := setup(t, ratelimit.Options{})
	for range 3 {
		giveBack, err := limiter.Take(t.Context(), key, 1)
		require.NoError(t, err)
		giveBack(t.Context())
		giveBack(t.Context())
		requests, calls := counted(t, db)
		assert.Zero(t, requests)
		assert.Zero(t, calls)
	}
}

func TestTheCeilingOfTheDay(t *testing.T) {
	t.Parallel()
	limiter, db := setup(t, ratelimit.Options{CallsPerDay: 5})
	_, err := limiter.Take(t.Context(), key, 100)
	require.NoError(t, err)
	var passed atomic.Int32
	var group errgroup.Group
	for range 30 {
		group.Go(func() error {
			if _, err := limiter.Take(t.Context(), key, 100); err == nil {
				passed.Add(1)
			} else if apierr.KindOf(err) != apierr.Unavailable {
				return err
			}
			return nil
		})
	}
	require.NoError(t, group.Wait())
	assert.EqualValues(t, 4, passed.Load())
	requests, calls := counted(t, db)
	assert.Equal(t, 5, requests)
	assert.Equal(t, 5, calls)
}

func TestSwitches(t *testing.T) {
	t.Parallel()
	closed, _ := setup(t, ratelimit.Options{Closed: true, Unlimited: true})
	_, err := closed.Take(t.Context(), key, 1)
	assert.Equal(t, apierr.Unavailable, apierr.KindOf(err))
	assert.ErrorContains(t, err, "switched off")

	unlimited, db := setup(t, ratelimit.Options{Unlimited: true})
	for range 3 {
		giveBack, err := unlimited.Take(t.Context(), key, 1)
		require.NoError(t, err)
		giveBack(t.Context())
	}
	_, calls := counted(t, db)
	assert.Zero(t, calls)
}

func TestADatabaseThatIsAwayLetsNothingPass(t *testing.T) {
	t.Parallel()
	away := pgtest.Pool(t, postgres.Options{URL: "postgres://nobody@127.0.0.1:1/none", MaxConns: 1})
	_, err := ratelimit.New(ratelimit.Options{DB: away, CallsPerDay: 1}).Take(t.Context(), key, 1)
	assert.Equal(t, apierr.Unavailable, apierr.KindOf(err))
}
