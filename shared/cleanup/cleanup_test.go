package cleanup

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/shared/postgres"
	"github.com/liftlog/liftlog-api/shared/postgres/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }

// setup stores n rows of each kind whose time is up, and one of each whose time is not.
func setup(t *testing.T, n int) (*postgres.DB, postgres.Databases) {
	t.Helper()
	db := pgtest.New(t)
	owner := uuid.New()
	for _, statement := range []string{
		`INSERT INTO users (id, user_lookup, hashed_password, salt) VALUES ($2, 'x', '', '')`,
		`INSERT INTO user_events (id, user_id, "timestamp", last_accessed, expiry, encrypted_event)
			SELECT gen_random_uuid(), $2, now(), now(), CASE WHEN i = 0 THEN 'infinity' ELSE now() - interval '1 second' END, 'x'
			FROM generate_series(0, $1::int) i`,
		`INSERT INTO shared_items (id, user_id, "timestamp", expiry, encrypted_payload, encryption_iv)
			SELECT 'item' || i, $2, now(), CASE WHEN i = 0 THEN now() + interval '1 hour' ELSE '-infinity' END, '', ''
			FROM generate_series(0, $1::int) i`,
		`INSERT INTO v2_purchase_verdicts (digest, subject, verified_at)
			SELECT sha256(i::text::bytea), '', CASE WHEN i = 0 THEN now() - interval '6 days' ELSE now() - interval '8 days' END
			FROM generate_series(0, $1::int) i`,
		`INSERT INTO rate_limit_consumptions (key, requests)
			SELECT 'key' || i, CASE i WHEN 0 THEN ARRAY[now() - interval '2 days', now()] WHEN 1 THEN '{}' ELSE ARRAY[now() - interval '25 hours'] END
			FROM generate_series(0, $1::int) i`,
	} {
		// Each statement is made to use both values.
		_, err := db.Exec(t.Context(), `WITH used AS (SELECT $1::int, $2::uuid) `+statement, n, owner)
		require.NoError(t, err, statement)
	}
	return db, postgres.Databases{User: db, RateLimit: db}
}

func left(t *testing.T, db *postgres.DB) (counts [4]int) {
	t.Helper()
	require.NoError(t, db.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM user_events), (SELECT count(*) FROM shared_items),
		(SELECT count(*) FROM v2_purchase_verdicts), (SELECT count(*) FROM rate_limit_consumptions)`).Scan(&counts[0], &counts[1], &counts[2], &counts[3]))
	return counts
}

// run returns the lines that a run logs.
func run(t *testing.T, databases postgres.Databases, dryRun bool) (lines []map[string]any, err error) {
	t.Helper()
	return runWith(t.Context(), t, databases, Options{Now: time.Now(), DryRun: dryRun})
}

func runWith(ctx context.Context, t *testing.T, databases postgres.Databases, o Options) (lines []map[string]any, err error) {
	t.Helper()
	var output bytes.Buffer
	err = Run(ctx, databases, o, slog.New(slog.NewJSONHandler(&output, nil)))
	return linesOf(t, output.String()), err
}

func linesOf(t *testing.T, output string) (lines []map[string]any) {
	t.Helper()
	for line := range strings.Lines(output) {
		var fields map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &fields))
		lines = append(lines, fields)
	}
	return lines
}

func TestWhatHasHadItsTimeGoesInBatches(t *testing.T) {
	t.Parallel()
	db, databases := setup(t, batchSize+5)
	lines, err := run(t, databases, true)
	require.NoError(t, err)
	assert.InDelta(t, 4*(batchSize+5), lines[4]["deleted"], 0)
	assert.Equal(t, [4]int{batchSize + 6, batchSize + 6, batchSize + 6, batchSize + 6}, left(t, db), "a dry run only counts")

	lines, err = run(t, databases, false)
	require.NoError(t, err)
	assert.Equal(t, [4]int{1, 1, 1, 1}, left(t, db))
	require.Len(t, lines, 5)
	for i, name := range []string{"events", "shared_items", "purchase_verdicts", "rate_limits"} {
		assert.Equal(t, name, lines[i]["purge"])
		assert.InDelta(t, batchSize+5, lines[i]["deleted"], 0)
		assert.InDelta(t, 2, lines[i]["batches"], 0)
	}
	assert.Equal(t, "clean-up ended", lines[4]["msg"])
	assert.InDelta(t, 4*(batchSize+5), lines[4]["deleted"], 0)
}

func TestARowThatIsBeingExtendedStays(t *testing.T) {
	t.Parallel()
	db, databases := setup(t, 3)
	tx, err := db.Begin(t.Context())
	require.NoError(t, err)
	extended, err := tx.Exec(t.Context(), `UPDATE user_events SET expiry = now() + interval '1 day'
		WHERE id = (SELECT id FROM user_events WHERE expiry < now() LIMIT 1)`)
	require.NoError(t, err)
	require.EqualValues(t, 1, extended.RowsAffected())
	_, err = run(t, databases, false) // while the change is not yet committed
	require.NoError(t, err)
	require.NoError(t, tx.Commit(t.Context()))
	assert.Equal(t, 2, left(t, db)[0])
}

func TestOneRunAtATime(t *testing.T) {
	t.Parallel()
	db, databases := setup(t, 1)
	conn, err := db.Acquire(t.Context())
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), `SELECT pg_advisory_lock($1)`, lockID)
	require.NoError(t, err)
	lines, err := run(t, databases, false)
	require.NoError(t, err, "finding the lock taken is success")
	require.Len(t, lines, 1)
	assert.Equal(t, "another clean-up is at work", lines[0]["msg"])
	assert.Equal(t, [4]int{2, 2, 2, 2}, left(t, db))
	_, err = conn.Exec(t.Context(), `SELECT pg_advisory_unlock($1)`, lockID)
	require.NoError(t, err)
	conn.Release()
	_, err = run(t, databases, false)
	require.NoError(t, err)
	_, err = run(t, databases, false)
	require.NoError(t, err, "the lock is free again")
	assert.Equal(t, [4]int{1, 1, 1, 1}, left(t, db))
}

func TestOneFailureDoesNotStopTheOthers(t *testing.T) {
	t.Parallel()
	db, databases := setup(t, 1)
	_, err := db.Exec(t.Context(), `ALTER TABLE shared_items RENAME expiry TO lost`)
	require.NoError(t, err)
	lines, err := run(t, databases, false)
	require.ErrorContains(t, err, "purge shared_items: delete")
	require.Len(t, lines, 5)
	assert.Equal(t, "ERROR", lines[1]["level"])
	assert.InDelta(t, 3, lines[4]["deleted"], 0)
	assert.InDelta(t, 1, lines[4]["failed"], 0)
}

// hold makes a trigger that keeps deletions of events from ending until release is called.
func hold(t *testing.T, db *postgres.DB) (isHeld func() bool, release func()) {
	t.Helper()
	_, err := db.Exec(t.Context(), `
		CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock(7); RETURN NULL; END $$;
		CREATE TRIGGER hold AFTER DELETE ON user_events FOR EACH STATEMENT EXECUTE FUNCTION hold()`)
	require.NoError(t, err)
	holder, err := db.Acquire(t.Context())
	require.NoError(t, err)
	_, err = holder.Exec(t.Context(), `SELECT pg_advisory_lock(7)`)
	require.NoError(t, err)
	return func() bool {
			var waiting int
			err := db.QueryRow(t.Context(), `SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 7 AND NOT granted`).Scan(&waiting)
			return err == nil && waiting == 1
		}, func() {
			require.NoError(t, holder.Hijack().Close(t.Context()))
		}
}

// runAndStop runs with the end of its time coming while events are being deleted.
func runAndStop(t *testing.T, db *postgres.DB, databases postgres.Databases) (last map[string]any, err error) {
	t.Helper()
	isHeld, release := hold(t, db)
	ctx, stop := context.WithCancel(t.Context())
	var output bytes.Buffer
	ended := make(chan error, 1)
	go func() {
		ended <- Run(ctx, databases, Options{Now: time.Now()}, slog.New(slog.NewJSONHandler(&output, nil)))
	}()
	require.Eventually(t, isHeld, time.Minute, 5*time.Millisecond)
	stop()
	release()
	err = <-ended
	lines := linesOf(t, output.String())
	require.Len(t, lines, 5)
	return lines[4], err
}

func TestARunWhoseTimeEndsHasDoneItsWork(t *testing.T) {
	t.Parallel()
	db, databases := setup(t, 2*batchSize)
	last, err := runAndStop(t, db, databases)
	require.NoError(t, err)
	assert.Equal(t, "WARN", last["level"])
	assert.InDelta(t, batchSize, last["deleted"], 0, "the batch under way is completed")
	assert.InDelta(t, batchSize+3*2*batchSize, last["left"], 0)
	assert.Equal(t, batchSize+1, left(t, db)[0])
}

func TestARunWhoseTimeEndsAtOnceHasFailed(t *testing.T) {
	t.Parallel()
	db, databases := setup(t, 2)
	_, err := db.Exec(t.Context(), `DELETE FROM user_events`)
	require.NoError(t, err)
	last, err := runAndStop(t, db, databases)
	require.ErrorIs(t, err, errNothingDone)
	assert.InDelta(t, 0, last["deleted"], 0)
	assert.InDelta(t, 3*2, last["left"], 0)
}

// The statements are those with which v1 removes expired events, every hour and when it starts.
func TestV1FindsTheEventsThatItIsAboutToRemove(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		grace time.Duration
		gone  int64 // of the rows that v1 has read, which end its process
	}{
		"beside v1":  {24 * time.Hour, 0},
		"without v1": {0, 5},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, databases := setup(t, 5)
			rows, _ := db.Query(t.Context(), `SELECT user_id, id FROM user_events WHERE expiry < now()`)
			read, err := pgx.CollectRows(rows, pgx.RowToStructByPos[struct{ User, ID uuid.UUID }])
			require.NoError(t, err)
			require.Len(t, read, 5)

			counted, err := runWith(t.Context(), t, databases, Options{Now: time.Now(), EventGrace: c.grace, DryRun: true})
			require.NoError(t, err)
			assert.InDelta(t, c.gone, counted[0]["deleted"], 0)
			assert.Equal(t, c.grace.String(), counted[0]["grace"])
			_, err = runWith(t.Context(), t, databases, Options{Now: time.Now(), EventGrace: c.grace})
			require.NoError(t, err)

			tx, err := db.Begin(t.Context())
			require.NoError(t, err)
			var gone int64
			for _, event := range read {
				deleted, err := tx.Exec(t.Context(), `DELETE FROM user_events WHERE user_id = $1 AND id = $2`, event.User, event.ID)
				require.NoError(t, err)
				gone += 1 - deleted.RowsAffected()
			}
			require.NoError(t, tx.Commit(t.Context()))
			assert.Equal(t, c.gone, gone)
			assert.Equal(t, 1, left(t, db)[0])
		})
	}
}
