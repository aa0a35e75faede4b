package ratelimit_test

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

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

// budget is more tokens than a test takes.
const budget = 1_000_000_000

// setAside is how many tokens a call counts for while it is under way.
const setAside = 5000

// neverAnswered is what becomes of a call that is given back.
var neverAnswered = ratelimit.Use{}

func setup(t *testing.T, o ratelimit.Options) (*ratelimit.Limiter, *postgres.DB) {
	t.Helper()
	db := pgtest.New(t)
	o.DB = db
	if o.TokensPerDay == 0 {
		o.TokensPerDay = budget
	}
	return ratelimit.New(o), db
}

// instances are limiters of four processes on one database.
type instances struct {
	limiters [4]*ratelimit.Limiter
	pools    [4]*postgres.DB
}

// atOnce is how many calls are under way at once, so that none waits for a connection.
const atOnce = 16

// start makes them on a server that waits for its disk.
func start(tb testing.TB, tokensPerDay int) (i instances) {
	tb.Helper()
	url := pgtest.DurableURL(tb)
	for n := range i.limiters {
		i.pools[n] = pgtest.Pool(tb, postgres.Options{URL: url, MaxConns: atOnce / len(i.limiters)})
		i.limiters[n] = ratelimit.New(ratelimit.Options{DB: i.pools[n], TokensPerDay: tokensPerDay})
	}
	return i
}

// take takes from one of them.
func (i instances) take(ctx context.Context, caller int, key ratelimit.Key, limit int) (ratelimit.Settle, error) {
	return i.limiters[caller%len(i.limiters)].Take(ctx, key, limit)
}

func (i instances) db() *postgres.DB { return i.pools[0] }

// requireNoDeadlock fails when the server had to end a statement because it and another waited for each other.
func (i instances) requireNoDeadlock(t *testing.T) {
	t.Helper()
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		for _, pool := range i.pools {
			pool.Reset() // a session that ends reports what it has counted
		}
		var others int
		require.NoError(c, i.db().QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity
			WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'`).Scan(&others))
		assert.Zero(c, others)
	}, time.Minute, 10*time.Millisecond)
	var deadlocks int
	require.NoError(t, i.db().QueryRow(t.Context(), `SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()`).Scan(&deadlocks))
	require.Zero(t, deadlocks)
}

// counted reads how many requests the key's row holds, and the tokens of all days.
func counted(t *testing.T, db *postgres.DB) (requests, tokens int) {
	t.Helper()
	require.NoError(t, db.QueryRow(t.Context(), `SELECT coalesce((SELECT cardinality(requests) FROM rate_limit_consumptions WHERE key = $1), 0),
		coalesce((SELECT sum(tokens) FROM v2_model_tokens), 0)`, string(key)).Scan(&requests, &tokens))
	return requests, tokens
}

func TestKeys(t *testing.T) {
	t.Parallel()
	assert.Equal(t, ratelimit.Key("BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD"), ratelimit.PlanKey("abc"), "v1's")
	assert.NotEqual(t, ratelimit.PlanKey("abc"), ratelimit.ChatKey("abc"))
}

// TestExactlyTheLimitPasses sends 200 calls, many at once, from four instances.
func TestExactlyTheLimitPasses(t *testing.T) {
	t.Parallel()
	service := start(t, budget)
	const limit = 20
	var passed, limited atomic.Int32
	var group errgroup.Group
	group.SetLimit(atOnce)
	for i := range 200 {
		group.Go(func() error {
			_, err := service.take(t.Context(), i, key, limit)
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
	requests, tokens := counted(t, service.db())
	assert.Equal(t, limit, requests, "the row never grows past the limit")
	assert.Equal(t, limit*setAside, tokens)
}

// TestTakingAndGivingBackOneKey has a dozen callers of one key ask a model that is away.
func TestTakingAndGivingBackOneKey(t *testing.T) {
	t.Parallel()
	service := start(t, budget)
	const callers, calls = 12, 20
	var group errgroup.Group
	for i := range callers {
		group.Go(func() error {
			for range calls {
				settle, err := service.take(t.Context(), i, key, callers)
				if err != nil {
					return err
				}
				settle(t.Context(), neverAnswered)
			}
			return nil
		})
	}
	require.NoError(t, group.Wait(), "as many as may be under way never are too many")
	requests, tokens := counted(t, service.db())
	assert.Zero(t, requests)
	assert.Zero(t, tokens)
	service.requireNoDeadlock(t)
}

// TestMidnight lets days begin again and again, with no row of theirs, while some call and others give back.
func TestMidnight(t *testing.T) {
	t.Parallel()
	service := start(t, budget)
	const midnights, callers = 15, 12
	for range midnights {
		_, err := service.db().Exec(t.Context(), `DELETE FROM v2_model_tokens`)
		require.NoError(t, err)
		var group errgroup.Group
		for i := range callers {
			group.Go(func() error {
				settle, err := service.take(t.Context(), i, ratelimit.Key(fmt.Sprint("KEY", i%3)), callers)
				if err != nil {
					return err
				}
				settle(t.Context(), neverAnswered)
				return nil
			})
		}
		require.NoError(t, group.Wait())
	}
	_, tokens := counted(t, service.db())
	assert.Zero(t, tokens)
	service.requireNoDeadlock(t)
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
		settle, err := limiter.Take(t.Context(), key, 1)
		require.NoError(t, err)
		settle(t.Context(), neverAnswered)
		settle(t.Context(), neverAnswered)
		requests, tokens := counted(t, db)
		assert.Zero(t, requests)
		assert.Zero(t, tokens)
	}
	settle, err := limiter.Take(t.Context(), key, 1)
	require.NoError(t, err)
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	settle(canceled, ratelimit.Use{Tokens: 70})
	requests, tokens := counted(t, db)
	assert.Zero(t, requests)
	assert.Equal(t, 70, tokens, "a first attempt may have taken some")
}

func TestACallCountsForWhatItTook(t *testing.T) {
	t.Parallel()
	limiter, db := setup(t, ratelimit.Options{})
	for _, c := range []struct{ took, total int }{{1200, 1200}, {20_000, 21_200}, {0, 21_200 + setAside}} {
		settle, err := limiter.Take(t.Context(), key, 3)
		require.NoError(t, err)
		_, before := counted(t, db)
		settle(t.Context(), ratelimit.Use{Answered: true, Tokens: c.took})
		settle(t.Context(), neverAnswered)
		_, tokens := counted(t, db)
		assert.Equal(t, c.total, tokens, "after %d", before)
	}
	requests, _ := counted(t, db)
	assert.Equal(t, 3, requests)
}

// TestTheCeilingOfTheDay has room for five calls, and keys that are far from their limits.
func TestTheCeilingOfTheDay(t *testing.T) {
	t.Parallel()
	service := start(t, 4*setAside+1)
	var passed, refused atomic.Int32
	var group errgroup.Group
	group.SetLimit(atOnce)
	for i := range 60 {
		group.Go(func() error {
			_, err := service.take(t.Context(), i, ratelimit.Key(fmt.Sprint("KEY", i%5)), 100)
			switch {
			case err == nil:
				passed.Add(1)
			case apierr.KindOf(err) == apierr.Unavailable:
				refused.Add(1)
			default:
				return err
			}
			return nil
		})
	}
	require.NoError(t, group.Wait())
	assert.EqualValues(t, 5, passed.Load())
	assert.EqualValues(t, 55, refused.Load())
	_, tokens := counted(t, service.db())
	assert.Equal(t, 5*setAside, tokens)
	var requests int
	require.NoError(t, service.db().QueryRow(t.Context(), `SELECT sum(cardinality(requests)) FROM rate_limit_consumptions`).Scan(&requests))
	assert.Equal(t, 5, requests, "who is refused keeps the call")
	service.requireNoDeadlock(t)
}

func TestRefusalsWaitForNobody(t *testing.T) {
	t.Parallel()
	limiter, db := setup(t, ratelimit.Options{TokensPerDay: 2 * setAside})
	_, err := limiter.Take(t.Context(), key, 1)
	require.NoError(t, err)
	locking, err := db.Begin(t.Context())
	require.NoError(t, err)
	defer func() { require.NoError(t, locking.Rollback(t.Context())) }()
	_, err = locking.Exec(t.Context(), `SELECT FROM rate_limit_consumptions, v2_model_tokens FOR UPDATE`)
	require.NoError(t, err)
	_, err = limiter.Take(t.Context(), key, 1)
	assert.Equal(t, apierr.Limited, apierr.KindOf(err), "%v", err)

	_, err = limiter.Take(t.Context(), "OTHER", 1)
	assert.Equal(t, apierr.Unavailable, apierr.KindOf(err), "who would pass waits for the day's row, and not for ever: %v", err)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestADayThatIsSpentRefusesWithoutALock(t *testing.T) {
	t.Parallel()
	limiter, db := setup(t, ratelimit.Options{TokensPerDay: 1})
	_, err := limiter.Take(t.Context(), key, 10)
	require.NoError(t, err)
	locking, err := db.Begin(t.Context())
	require.NoError(t, err)
	defer func() { require.NoError(t, locking.Rollback(t.Context())) }()
	_, err = locking.Exec(t.Context(), `SELECT FROM rate_limit_consumptions, v2_model_tokens FOR UPDATE`)
	require.NoError(t, err)
	_, err = limiter.Take(t.Context(), key, 10)
	assert.ErrorContains(t, err, "as much as it can today")
	assert.Equal(t, apierr.Unavailable, apierr.KindOf(err))
}

func TestSwitches(t *testing.T) {
	t.Parallel()
	closed, _ := setup(t, ratelimit.Options{Closed: true, Unlimited: true})
	_, err := closed.Take(t.Context(), key, 1)
	assert.Equal(t, apierr.Unavailable, apierr.KindOf(err))
	assert.ErrorContains(t, err, "switched off")

	unlimited, db := setup(t, ratelimit.Options{Unlimited: true})
	for range 3 {
		settle, err := unlimited.Take(t.Context(), key, 1)
		require.NoError(t, err)
		settle(t.Context(), neverAnswered)
	}
	_, tokens := counted(t, db)
	assert.Zero(t, tokens)
}

func TestADatabaseThatIsAwayLetsNothingPass(t *testing.T) {
	t.Parallel()
	away := pgtest.Pool(t, postgres.Options{URL: "postgres://nobody@127.0.0.1:1/none", MaxConns: 1})
	_, err := ratelimit.New(ratelimit.Options{DB: away, TokensPerDay: budget}).Take(t.Context(), key, 1)
	assert.Equal(t, apierr.Unavailable, apierr.KindOf(err))
}
