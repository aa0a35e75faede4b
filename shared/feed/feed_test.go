package feed_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/liftlog/liftlog-api/shared/apierr"
	"github.com/liftlog/liftlog-api/shared/auth"
	"github.com/liftlog/liftlog-api/shared/feed"
	"github.com/liftlog/liftlog-api/shared/postgres"
	"github.com/liftlog/liftlog-api/shared/postgres/pgtest"
	"github.com/liftlog/liftlog-api/shared/user"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }

func newUser(t *testing.T, db *postgres.DB) uuid.UUID {
	t.Helper()
	id := uuid.New()
	_, err := user.Create(t.Context(), db, id, auth.Credential{
		Salt: []byte{1}, Tag: auth.Tag{KeyVersion: 1, HashDigest: bytes.Repeat([]byte{2}, 32), Tag: bytes.Repeat([]byte{3}, 32)},
	})
	require.NoError(t, err)
	return id
}

func newEvent(owner uuid.UUID) feed.Event {
	return feed.Event{
		UserID: owner, ID: uuid.New(), Expiry: time.Now().Add(time.Hour).UTC().Truncate(time.Microsecond),
		EncryptedPayload: []byte("payload"), EncryptionIV: []byte("iv"),
	}
}

// get returns what a follower sees.
func get(t *testing.T, db *postgres.DB, asked ...feed.Followed) (events []feed.Event, invalid []string) {
	t.Helper()
	invalid, err := feed.Each(t.Context(), db, asked, time.Now(), func(e feed.Event) error {
		events = append(events, e)
		return nil
	})
	require.NoError(t, err)
	return events, invalid
}

func count(t *testing.T, db *postgres.DB, table string) (n int) {
	t.Helper()
	require.NoError(t, db.QueryRow(t.Context(), `SELECT count(*) FROM `+pgx.Identifier{table}.Sanitize()).Scan(&n))
	return n
}

func TestAFollowerSeesWhatTheSecretsLetThem(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	ada, bo, cy := newUser(t, db), newUser(t, db), newUser(t, db)
	for owner, secrets := range map[uuid.UUID][]string{ada: {"shared", "of ada"}, bo: {"shared"}, cy: {"of cy"}} {
		for _, secret := range secrets {
			require.NoError(t, feed.AddSecret(t.Context(), db, owner, secret))
		}
	}
	first, second, expired, ofBo, ofCy := newEvent(ada), newEvent(ada), newEvent(ada), newEvent(bo), newEvent(cy)
	expired.Expiry = time.Now().Add(-time.Second)
	for _, e := range []feed.Event{first, expired, second, ofBo, ofCy} {
		require.NoError(t, feed.Put(t.Context(), db, e))
	}
	ids := func(events []feed.Event) (list []uuid.UUID) {
		for _, e := range events {
			list = append(list, e.ID)
		}
		return list
	}
	long := time.Now().Add(-time.Hour)

	events, invalid := get(t, db, feed.Followed{UserID: ada, Secret: "of ada", Since: long})
	assert.Equal(t, []uuid.UUID{first.ID, second.ID}, ids(events), "oldest first, without the expired one")
	assert.Empty(t, invalid)
	assert.NotNil(t, invalid)
	assert.Equal(t, first.Expiry, events[0].Expiry.UTC())

	events, invalid = get(t, db, feed.Followed{UserID: ada, Secret: "of ada", Since: events[0].Timestamp})
	assert.Equal(t, []uuid.UUID{second.ID}, ids(events), "since is exclusive, and exact")
	assert.Empty(t, invalid)

	events, invalid = get(t, db, feed.Followed{UserID: ada, Secret: "shared", Since: long}, feed.Followed{UserID: bo, Secret: "shared", Since: long})
	assert.ElementsMatch(t, []uuid.UUID{first.ID, second.ID, ofBo.ID}, ids(events), "several users may have the same secret")
	assert.Empty(t, invalid)

	events, invalid = get(t, db, feed.Followed{UserID: cy, Secret: "shared", Since: long}, feed.Followed{UserID: uuid.New(), Secret: "zz", Since: long},
		feed.Followed{UserID: cy, Secret: "shared", Since: long}, feed.Followed{UserID: bo, Secret: "", Since: long})
	assert.Empty(t, events, "a secret counts for its own user only")
	assert.Equal(t, []string{"shared", "zz", ""}, invalid, "once each, in the order sent")

	events, invalid = get(t, db, feed.Followed{UserID: ada, Secret: "of ada", Since: time.Now().Add(time.Hour)},
		feed.Followed{UserID: ada, Secret: "shared", Since: long}, feed.Followed{UserID: ada, Secret: "wrong", Since: long})
	assert.Equal(t, []uuid.UUID{first.ID, second.ID}, ids(events), "a user asked for twice comes once, with the earlier since")
	assert.Equal(t, []string{"wrong"}, invalid)
}

func TestTheEndsOfTimeAreStoredAndReadAsV1Does(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	owner := newUser(t, db)
	require.NoError(t, feed.AddSecret(t.Context(), db, owner, "s"))
	endless, late := newEvent(owner), newEvent(owner)
	endless.Expiry = postgres.Forever
	late.Expiry = postgres.Forever.Add(-100) // v1 would write the year 10000 if this were rounded
	require.NoError(t, feed.Put(t.Context(), db, endless))
	require.NoError(t, feed.Put(t.Context(), db, late))
	var stored []string
	rows, _ := db.Query(t.Context(), `SELECT (expiry AT TIME ZONE 'UTC')::text FROM user_events ORDER BY "timestamp"`)
	stored, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	assert.Equal(t, []string{"infinity", "9999-12-31 23:59:59.999999"}, stored)

	_, err = db.Exec(t.Context(), `UPDATE user_events SET "timestamp" = 'infinity' WHERE id = $1`, endless.ID)
	require.NoError(t, err)
	events, _ := get(t, db, feed.Followed{UserID: owner, Secret: "s", Since: postgres.Never})
	require.Len(t, events, 2)
	assert.Equal(t, postgres.Forever, events[1].Timestamp)
	assert.Equal(t, postgres.Forever, events[1].Expiry)
	_, err = db.Exec(t.Context(), `UPDATE user_events SET "timestamp" = '-infinity'`)
	require.NoError(t, err)
	events, _ = get(t, db, feed.Followed{UserID: owner, Secret: "s", Since: postgres.Never})
	assert.Empty(t, events, "nothing is before the beginning")
}

func TestConcurrentPutsOfOneEventLeaveOne(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	e := newEvent(newUser(t, db))
	var group errgroup.Group
	for range 32 {
		group.Go(func() error { return feed.Put(t.Context(), db, e) })
	}
	require.NoError(t, group.Wait())
	assert.Equal(t, 1, count(t, db, "user_events"))
}

// TestWhoHasSeenOneEventMissesNoEarlierOne reads while events are being put, each time from the newest seen.
func TestWhoHasSeenOneEventMissesNoEarlierOne(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	owner := newUser(t, db)
	require.NoError(t, feed.AddSecret(t.Context(), db, owner, "s"))
	const writers, each = 6, 20
	var putting errgroup.Group
	for range writers {
		putting.Go(func() error {
			for range each {
				if err := feed.Put(t.Context(), db, newEvent(owner)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	done := make(chan struct{})
	go func() {
		assert.NoError(t, putting.Wait())
		close(done)
	}()
	since, seen := postgres.Never, map[uuid.UUID]bool{}
	read := func() {
		events, _ := get(t, db, feed.Followed{UserID: owner, Secret: "s", Since: since})
		for _, e := range events {
			require.True(t, e.Timestamp.After(since), "times of one user only grow")
			since = e.Timestamp
			seen[e.ID] = true
		}
	}
	for {
		select {
		case <-done:
			read()
			assert.Len(t, seen, writers*each)
			return
		default:
			read()
		}
	}
}

func TestATimeThatGoesBackIsOutrun(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	owner := newUser(t, db)
	require.NoError(t, feed.AddSecret(t.Context(), db, owner, "s"))
	ahead := time.Now().Add(time.Minute).UTC().Truncate(time.Microsecond)
	_, err := db.Exec(t.Context(), `INSERT INTO v2_feed_clocks VALUES ($1, $2)`, owner, ahead)
	require.NoError(t, err)
	require.NoError(t, feed.Put(t.Context(), db, newEvent(owner)))
	require.NoError(t, feed.Put(t.Context(), db, newEvent(owner)))
	events, _ := get(t, db, feed.Followed{UserID: owner, Secret: "s", Since: postgres.Never})
	assert.Equal(t, ahead.Add(time.Microsecond), events[0].Timestamp.UTC())
	assert.Equal(t, ahead.Add(2*time.Microsecond), events[1].Timestamp.UTC())
}

func TestASecretPutManyTimesAtOnceIsStoredOnce(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	owner := newUser(t, db)
	var group errgroup.Group
	for range 64 {
		group.Go(func() error { return feed.AddSecret(t.Context(), db, owner, "s") })
	}
	require.NoError(t, group.Wait())
	assert.Equal(t, 1, count(t, db, "user_follow_secrets"))
}

func TestEveryCopyOfASecretIsRemoved(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	owner, other := newUser(t, db), newUser(t, db)
	for range 2 { // as v1 stored it
		_, err := db.Exec(t.Context(), `INSERT INTO user_follow_secrets VALUES ($1, $2, 's')`, uuid.New(), owner)
		require.NoError(t, err)
	}
	require.NoError(t, feed.AddSecret(t.Context(), db, owner, "s"))
	assert.Equal(t, 2, count(t, db, "user_follow_secrets"), "no third copy")
	require.NoError(t, feed.AddSecret(t.Context(), db, other, "s"))
	require.NoError(t, feed.RemoveSecret(t.Context(), db, owner, "s"))
	assert.Equal(t, 1, count(t, db, "user_follow_secrets"))
	require.NoError(t, feed.RemoveSecret(t.Context(), db, owner, "s"), "a second time")
}

func TestDeletionBesideWritesLeavesNothing(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	for range 12 {
		owner := newUser(t, db)
		_, err := db.Exec(t.Context(), `UPDATE users SET last_accessed = '-infinity' WHERE id = $1`, owner) // so that it is touched
		require.NoError(t, err)
		again := newEvent(owner)
		require.NoError(t, feed.Put(t.Context(), db, again))
		var group sync.WaitGroup
		for i := range 8 {
			group.Go(func() {
				for range 4 {
					for name, err := range map[string]error{
						"put":    feed.Put(t.Context(), db, newEvent(owner)),
						"again":  feed.Put(t.Context(), db, again),
						"add":    feed.AddSecret(t.Context(), db, owner, fmt.Sprint("s", i)),
						"remove": feed.RemoveSecret(t.Context(), db, owner, fmt.Sprint("s", i)),
					} {
						assert.True(t, err == nil || apierr.KindOf(err) == apierr.NotFound, "%s: %v", name, err)
					}
				}
			})
		}
		group.Go(func() { assert.NoError(t, user.Delete(t.Context(), db, owner)) })
		group.Wait()
	}
	for _, table := range []string{"user_events", "user_follow_secrets", "v2_feed_clocks"} {
		assert.Zero(t, count(t, db, table), table)
	}
}

func TestEachUsersEventsComeByAnIndex(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	fill(t, db, 2000, 30)
	plan := explain(t, db, 1000)
	assert.NotContains(t, plan, "Seq Scan on user_events")
	assert.Contains(t, plan, "v2_ix_user_events_user_id_timestamp")
	_, events, found := strings.Cut(plan, "Nested Loop")
	require.True(t, found, plan)
	assert.NotContains(t, events, "Sort", "nothing is sorted before the first row: %s", plan)
}

// fill stores many users with a secret and events, spread over the table as time would.
func fill(t *testing.T, db *postgres.DB, users, events int) {
	t.Helper()
	_, err := db.Exec(t.Context(), fmt.Sprintf(`
		INSERT INTO users (id, user_lookup, hashed_password, salt)
			SELECT ('00000000-0000-4000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 'u' || n, '', '' FROM generate_series(1, %d) n;
		INSERT INTO user_follow_secrets SELECT gen_random_uuid(), id, 's' FROM users;
		INSERT INTO user_events (id, user_id, "timestamp", last_accessed, expiry, encrypted_event)
			SELECT gen_random_uuid(), id, now() - n * interval '1 hour', now(), now() + interval '30 days', repeat('x', 500)::bytea
			FROM generate_series(1, %d) n, users;
		ANALYZE`, users, events))
	require.NoError(t, err)
}

// recorder notes the statement that Each sends.
type recorder struct {
	query string
	args  []any
}

func (r *recorder) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	r.query, r.args = data.SQL, data.Args
	return ctx
}
func (r *recorder) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// explain returns the plan for reading that many users' events.
func explain(t *testing.T, db *postgres.DB, users int) string {
	t.Helper()
	asked := make([]feed.Followed, users)
	for i := range asked {
		asked[i] = feed.Followed{UserID: uuid.MustParse(fmt.Sprintf("00000000-0000-4000-8000-%012x", i+1)), Secret: "s", Since: postgres.Never}
	}
	r := &recorder{}
	recorded := pgtest.Pool(t, postgres.Options{URL: db.Config().ConnString(), MaxConns: 1, Tracer: r})
	_, err := feed.Each(t.Context(), recorded, asked, time.Now(), func(feed.Event) error { return nil })
	require.NoError(t, err)
	rows, _ := db.Query(t.Context(), `EXPLAIN `+r.query, r.args...)
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	require.True(t, slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, "user_events") }))
	return strings.Join(lines, "\n")
}
