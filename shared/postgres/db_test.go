package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/liftlog/liftlog-api/shared/apierr"
	"github.com/liftlog/liftlog-api/shared/postgres"
	"github.com/liftlog/liftlog-api/shared/postgres/pgtest"
)

func exec(t *testing.T, db *postgres.DB, sql string) {
	t.Helper()
	_, err := db.Exec(t.Context(), sql)
	require.NoError(t, err)
}

// failing makes a function that fails with the code the first times that it is called; a sequence counts without regard to
// rollbacks.
func failing(t *testing.T, db *postgres.DB, code string, times int) {
	t.Helper()
	exec(t, db, fmt.Sprintf(`
		CREATE SEQUENCE calls;
		CREATE FUNCTION attempt() RETURNS bigint LANGUAGE plpgsql AS $$
		DECLARE n bigint := nextval('calls');
		BEGIN
			IF n <= %d THEN RAISE EXCEPTION USING ERRCODE = '%s'; END IF;
			RETURN n;
		END $$`, times, code))
}

func TestWhatTheDatabaseDidNotLetPassIsDoneAgain(t *testing.T) {
	t.Parallel()
	for code, c := range map[string]struct{ failures, want int }{"40P01": {2, 3}, "40001": {1, 2}} {
		db := pgtest.New(t)
		failing(t, db, code, c.failures)
		n, err := postgres.One(t.Context(), db, "try", pgx.RowTo[int], nil, `SELECT attempt()`)
		require.NoError(t, err)
		assert.Equal(t, c.want, n)
	}
	db := pgtest.New(t)
	failing(t, db, "40001", 100)
	_, err := postgres.Exec(t.Context(), db, "try", `SELECT attempt()`)
	assert.Equal(t, apierr.Unavailable, apierr.KindOf(err), "%v", err)
	var calls int
	require.NoError(t, db.QueryRow(t.Context(), `SELECT last_value FROM calls`).Scan(&calls))
	assert.Equal(t, 3, calls, "not for ever")

	db = pgtest.New(t)
	failing(t, db, "23505", 1)
	_, err = postgres.Exec(t.Context(), db, "try", `SELECT attempt()`)
	assert.Equal(t, apierr.Internal, apierr.KindOf(err), "anything else is not: %v", err)
}

func TestADeadlocksVictimIsDoneAgain(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	exec(t, db, `CREATE TABLE numbers (id int PRIMARY KEY, n int); INSERT INTO numbers VALUES (1, 0), (2, 0)`)
	var both sync.WaitGroup
	both.Add(2)
	add := func(first, second int) error {
		meet := sync.OnceFunc(func() { both.Done(); both.Wait() })
		return postgres.InTx(t.Context(), db, "add", func(tx pgx.Tx) error {
			for _, id := range []int{first, second} {
				if _, err := tx.Exec(t.Context(), `UPDATE numbers SET n = n + 1 WHERE id = $1`, id); err != nil {
					return err
				}
				meet() // both hold their first row
			}
			return nil
		})
	}
	var group errgroup.Group
	group.Go(func() error { return add(1, 2) })
	group.Go(func() error { return add(2, 1) })
	require.NoError(t, group.Wait())
	sums, err := postgres.All(t.Context(), db, "read", pgx.RowTo[int], `SELECT n FROM numbers`)
	require.NoError(t, err)
	assert.Equal(t, []int{2, 2}, sums)
}

func TestAStatementOfATableThatChangedIsPreparedAgain(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	exec(t, db, `CREATE TABLE numbers (n int); INSERT INTO numbers VALUES (1)`)
	read := func() ([]string, error) {
		return postgres.All(t.Context(), db, "read", func(row pgx.CollectableRow) (string, error) {
			values, err := row.Values()
			return fmt.Sprint(values), err
		}, `SELECT * FROM numbers`)
	}
	rows, err := read()
	require.NoError(t, err)
	assert.Equal(t, []string{"[1]"}, rows)
	exec(t, db, `ALTER TABLE numbers ALTER n TYPE text, ADD more int DEFAULT 2`)
	rows, err = read()
	require.NoError(t, err)
	assert.Equal(t, []string{"[1 2]"}, rows)

	transaction := func() error {
		return postgres.InTx(t.Context(), db, "read", func(tx pgx.Tx) error {
			for n := range 4 {
				if _, err := tx.Exec(t.Context(), fmt.Sprintf(`SELECT *, %d AS n FROM numbers WHERE more > $1`, n), 0); err != nil {
					return err
				}
			}
			return nil
		})
	}
	require.NoError(t, transaction())
	exec(t, db, `ALTER TABLE numbers ADD third int`)
	require.NoError(t, transaction(), "one statement after another turns out to be stale")
}

func TestASessionThatBecameReadOnlyIsReplaced(t *testing.T) {
	t.Parallel()
	db := pgtest.Pool(t, postgres.Options{URL: pgtest.URL(t), MaxConns: 1})
	exec(t, db, `CREATE TABLE numbers (n int)`)
	exec(t, db, `SET default_transaction_read_only = on`)
	stored, err := postgres.Exec(t.Context(), db, "write", `INSERT INTO numbers VALUES (1)`)
	require.NoError(t, err)
	assert.EqualValues(t, 1, stored)
	require.NoError(t, postgres.InTx(t.Context(), db, "write", func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), `INSERT INTO numbers VALUES (2)`)
		return err
	}))
}

func TestACallerThatLeavesIsNoFailureOfTheDatabase(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := postgres.Exec(ctx, db, "try", `SELECT 1`)
	require.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, apierr.Internal, apierr.KindOf(err))
}

func TestALockThatIsHeldIsGivenUp(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	exec(t, db, `CREATE TABLE numbers (n int)`)
	holder, err := db.Begin(t.Context())
	require.NoError(t, err)
	defer func() { _ = holder.Rollback(context.Background()) }()
	_, err = holder.Exec(t.Context(), `LOCK numbers`)
	require.NoError(t, err)
	_, err = postgres.Exec(t.Context(), db.Patient(50*time.Millisecond), "write", `INSERT INTO numbers VALUES (1)`)
	assert.Equal(t, apierr.Unavailable, apierr.KindOf(err), "%v", err)
	require.Eventually(t, func() bool {
		var waiting bool
		require.NoError(t, holder.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'numbers'::regclass)`).Scan(&waiting))
		return !waiting
	}, 10*time.Second, time.Millisecond, "the server is told to give it up as well")
	require.NoError(t, holder.Rollback(t.Context()))
	_, err = postgres.Exec(t.Context(), db, "write", `INSERT INTO numbers VALUES (1)`)
	require.NoError(t, err)
	numbers, err := postgres.All(t.Context(), db, "read", pgx.RowTo[int], `SELECT n FROM numbers`)
	require.NoError(t, err)
	assert.Equal(t, []int{1}, numbers, "what was given up has not been done")
}

func TestClosingEndsStatementsThatWait(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	holding := pgtest.Pool(t, postgres.Options{URL: url, MaxConns: 2})
	exec(t, holding, `CREATE TABLE numbers (n int)`)
	holder, err := holding.Begin(t.Context())
	require.NoError(t, err)
	defer func() { _ = holder.Rollback(context.Background()) }()
	_, err = holder.Exec(t.Context(), `LOCK numbers`)
	require.NoError(t, err)

	db, err := postgres.Open(t.Context(), postgres.Options{URL: url, MaxConns: 2, Application: "closing"})
	require.NoError(t, err)
	failed := make(chan error, 1)
	go func() {
		_, err := postgres.Exec(t.Context(), db.Patient(time.Hour), "write", `INSERT INTO numbers VALUES (1)`)
		failed <- err
	}()
	waiting := func(n int) func() bool {
		return func() bool {
			var waiting int
			err := holding.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity
				WHERE application_name = 'closing' AND wait_event_type = 'Lock' AND datname = current_database()`).Scan(&waiting)
			return err == nil && waiting == n
		}
	}
	require.Eventually(t, waiting(1), 30*time.Second, 5*time.Millisecond)
	db.Close()
	err = <-failed
	assert.Equal(t, apierr.Unavailable, apierr.KindOf(err), "%v", err)
	require.Eventually(t, waiting(0), 30*time.Second, 5*time.Millisecond, "the server has stopped, too")
	_, err = postgres.Exec(t.Context(), db, "write", `SELECT 1`)
	assert.Equal(t, apierr.Unavailable, apierr.KindOf(err), "%v", err)
}

// guarded opens a pool behind a gate.
func guarded(t *testing.T, url string) (*postgres.DB, *postgres.Gate) {
	t.Helper()
	gate := postgres.NewGate()
	return pgtest.Pool(t, postgres.Options{URL: url, MaxConns: 2, Tables: postgres.UserTables, Gate: gate}), gate
}

// requireShutFor checks that nothing passes any more, and that the program is told to end.
func requireShutFor(t *testing.T, db *postgres.DB, gate *postgres.Gate, reason string) {
	t.Helper()
	select {
	case err := <-gate.Missing():
		require.ErrorContains(t, err, reason)
	case <-time.After(10 * time.Second):
		require.Fail(t, "nobody is told")
	}
	for range 2 {
		err := gate.Ready(t.Context())
		assert.Equal(t, apierr.Unavailable, apierr.KindOf(err))
		assert.True(t, apierr.IsBroken(err))
		require.ErrorContains(t, err, reason)
	}
	db.Reset()
	_, err := postgres.Exec(t.Context(), db, "try", `SELECT 1`)
	assert.Equal(t, apierr.Unavailable, apierr.KindOf(err), "no connection to it is used: %v", err)
}

func TestAnotherDatabaseIsNotUsed(t *testing.T) {
	t.Parallel()
	db, gate := guarded(t, pgtest.EmptyURL(t))
	require.Error(t, gate.Ready(t.Context()))
	requireShutFor(t, db, gate, "lacks the tables __EFMigrationsHistory, users,")
}

var errNobody = &apierr.Error{Kind: apierr.NotFound, Detail: "There is no such user."}

func TestNothingIsMissingFromADatabaseWithAnotherIdentity(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	db, gate := guarded(t, url)
	require.NoError(t, gate.Ready(t.Context()))
	find := func() error {
		_, err := postgres.One(t.Context(), db, "find", pgx.RowTo[string], errNobody, `SELECT user_lookup FROM users WHERE user_lookup = 'x'`)
		return err
	}
	require.ErrorIs(t, find(), errNobody)
	require.NoError(t, gate.Ready(t.Context()))

	restored := pgtest.Pool(t, postgres.Options{URL: url, MaxConns: 1})
	exec(t, restored, `UPDATE v2_identity SET id = gen_random_uuid()`)
	_, err := postgres.Exec(t.Context(), db, "try", `SELECT 1`)
	require.NoError(t, err, "which asks for nothing")
	err = find()
	require.NotErrorIs(t, err, errNobody)
	assert.Equal(t, apierr.Unavailable, apierr.KindOf(err))
	requireShutFor(t, db, gate, "its identity has changed")
}

func TestAConnectionToAnotherIdentityIsNotUsed(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	db, gate := guarded(t, url)
	require.NoError(t, gate.Ready(t.Context()))
	exec(t, pgtest.Pool(t, postgres.Options{URL: url, MaxConns: 1}), `DELETE FROM v2_identity`)
	db.Reset()
	_, err := postgres.Exec(t.Context(), db, "try", `SELECT 1`)
	assert.Equal(t, apierr.Unavailable, apierr.KindOf(err))
	requireShutFor(t, db, gate, "its identity has changed")
}

func TestAMissingRightClosesTheGateUntilItIsGiven(t *testing.T) {
	t.Parallel()
	address := pgtest.URL(t)
	owner := pgtest.Pool(t, postgres.Options{URL: address, MaxConns: 1})
	parsed, err := url.Parse(address)
	require.NoError(t, err)
	role := "visitor_" + parsed.Path[1:]
	exec(t, owner, fmt.Sprintf(`CREATE ROLE %s LOGIN PASSWORD 'visitor'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO %[1]s`, role))
	t.Cleanup(func() {
		_, err := owner.Exec(context.Background(), fmt.Sprintf(`DROP OWNED BY %s; DROP ROLE %[1]s`, role))
		assert.NoError(t, err)
	})
	parsed.User = url.UserPassword(role, "visitor")
	db, gate := guarded(t, parsed.String())
	require.NoError(t, gate.Ready(t.Context()))
	write := func() error {
		_, err := postgres.Exec(t.Context(), db, "write", `
			INSERT INTO user_follow_secrets SELECT $1::uuid, $2::uuid, 's' WHERE false`, "00000000-0000-4000-8000-000000000000", "00000000-0000-4000-8000-000000000000")
		return err
	}
	for range 2 {
		err = write()
		assert.Equal(t, apierr.Unavailable, apierr.KindOf(err), "%v", err)
		assert.True(t, apierr.IsBroken(err))
		err = gate.Ready(t.Context())
		assert.Equal(t, apierr.Unavailable, apierr.KindOf(err))
		assert.True(t, apierr.IsBroken(err))
	}
	exec(t, owner, `GRANT INSERT ON user_follow_secrets TO `+role)
	require.NoError(t, gate.Ready(t.Context()))
	require.NoError(t, write())
	assert.Empty(t, gate.Missing())
}

func TestTheGateWaitsForTheDatabase(t *testing.T) {
	t.Parallel()
	_, gate := guarded(t, "postgres://nobody@127.0.0.1:1/nothing")
	var group errgroup.Group
	for range 8 {
		group.Go(func() error {
			if err := gate.Ready(t.Context()); apierr.KindOf(err) != apierr.Unavailable || apierr.IsBroken(err) {
				return fmt.Errorf("%w: %w", errors.New("not unavailable"), err)
			}
			return nil
		})
	}
	require.NoError(t, group.Wait())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	assert.Equal(t, apierr.Unavailable, apierr.KindOf(gate.Ready(ctx)), "a caller does not wait longer than it wants")
	assert.Empty(t, gate.Missing())
	require.NoError(t, postgres.NewGate().Ready(t.Context()), "a program without a database waits for none")
}

// ask asks a trivial question, again as long as the machine is too slow to make a connection.
func ask(t *testing.T, db *postgres.DB) error {
	t.Helper()
	for attempt := 1; ; attempt++ {
		_, err := postgres.Exec(t.Context(), db, "ask", `SELECT 1`)
		if _, slow := errors.AsType[*pgconn.ConnectError](err); !slow || attempt == 10 {
			return err
		}
	}
}

func TestAFrozenConnectionIsGivenUp(t *testing.T) {
	t.Parallel()
	proxy, through := pgtest.NewProxy(t, pgtest.URL(t))
	db := pgtest.Pool(t, postgres.Options{URL: through, MaxConns: 1}).Patient(time.Minute)
	require.NoError(t, ask(t, db))
	proxy.Freeze()
	err := ask(t, db.Patient(300*time.Millisecond))
	assert.Equal(t, apierr.Unavailable, apierr.KindOf(err), "%v", err)
	require.Eventually(t, func() bool { return db.Stat().TotalConns() == 0 }, 10*time.Second, 10*time.Millisecond, "its place in the pool is free soon")
	require.NoError(t, ask(t, db))
}

func TestConnectionsThatFrozeWhileTheyWereIdleAreReplaced(t *testing.T) {
	t.Parallel()
	proxy, through := pgtest.NewProxy(t, pgtest.URL(t))
	db := pgtest.Pool(t, postgres.Options{URL: through, MaxConns: 3}).Patient(time.Minute)
	require.Eventually(t, func() bool {
		var group errgroup.Group
		for range 3 {
			group.Go(func() error { return ask(t, db) })
		}
		return group.Wait() == nil && db.Stat().IdleConns() == 3
	}, time.Minute, time.Millisecond)
	proxy.Freeze()
	time.Sleep(1100 * time.Millisecond) // as long as makes a connection suspicious
	require.NoError(t, ask(t, db))
	require.Eventually(t, func() bool { return db.Stat().TotalConns() == 1 }, 10*time.Second, 10*time.Millisecond, "one that is found dead is reason enough to let all of them go")
}

func TestABrokenConnectionIsNoFaultOfOurs(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	proxy, through := pgtest.NewProxy(t, url)
	db := pgtest.Pool(t, postgres.Options{URL: through, MaxConns: 4})
	var group errgroup.Group
	for range 4 {
		group.Go(func() error {
			for range 20 {
				_, err := postgres.Exec(t.Context(), db, "ask", `SELECT pg_sleep(0.01)`)
				if err != nil && apierr.KindOf(err) != apierr.Unavailable {
					return err
				}
			}
			return nil
		})
	}
	done := make(chan error, 1)
	go func() { done <- group.Wait() }()
	for {
		select {
		case err := <-done:
			require.NoError(t, err)
			return
		case <-time.After(50 * time.Millisecond):
			proxy.Cut()
		}
	}
}

func TestARefusedLoginIsNoFaultOfOurs(t *testing.T) {
	t.Parallel()
	parsed, err := url.Parse(pgtest.URL(t))
	require.NoError(t, err)
	for _, user := range []*url.Userinfo{url.UserPassword("nobody", "x"), url.UserPassword(parsed.User.Username(), "wrong")} {
		parsed.User = user
		_, err = postgres.Exec(t.Context(), pgtest.Pool(t, postgres.Options{URL: parsed.String(), MaxConns: 1}), "ask", `SELECT 1`)
		assert.Equal(t, apierr.Unavailable, apierr.KindOf(err), "%v", err)
	}
	parsed, err = url.Parse(pgtest.URL(t))
	require.NoError(t, err)
	parsed.Path = "/gone"
	_, err = postgres.Exec(t.Context(), pgtest.Pool(t, postgres.Options{URL: parsed.String(), MaxConns: 1}), "ask", `SELECT 1`)
	assert.Equal(t, apierr.Unavailable, apierr.KindOf(err), "%v", err)
}
