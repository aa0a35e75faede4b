package feed_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/liftlog/liftlog-api/functions/functionstest"
	"github.com/liftlog/liftlog-api/shared/apierr"
	"github.com/liftlog/liftlog-api/shared/feed"
	"github.com/liftlog/liftlog-api/shared/postgres"
	"github.com/liftlog/liftlog-api/shared/postgres/pgtest"
	"github.com/liftlog/liftlog-api/shared/user"
)

func TestTheEndsOfTimeAreStoredAndReadAsV1Does(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	owner := newUser(t, db)
	require.NoError(t, feed.AddSecret(t.Context(), db, owner, "s", limit))
	endless, late := newEvent(owner), newEvent(owner)
	endless.Expiry = postgres.Forever
	late.Expiry = postgres.Forever.Add(-100) // v1 would write the year 10000 if this were rounded
	require.NoError(t, feed.Put(t.Context(), db, endless, limit))
	require.NoError(t, feed.Put(t.Context(), db, late, limit))
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
		group.Go(func() error { return feed.Put(t.Context(), db, e, limit) })
	}
	require.NoError(t, group.Wait())
	assert.Equal(t, 1, count(t, db, "user_events"))
}

// TestWhoHasSeenOneEventMissesNoEarlierOne reads while events are being put, each time from the newest seen.
func TestWhoHasSeenOneEventMissesNoEarlierOne(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	owner := newUser(t, db)
	require.NoError(t, feed.AddSecret(t.Context(), db, owner, "s", limit))
	const writers, each = 6, 20
	var putting errgroup.Group
	for range writers {
		putting.Go(func() error {
			for range each {
				if err := feed.Put(t.Context(), db, newEvent(owner), limit); err != nil {
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
	require.NoError(t, feed.AddSecret(t.Context(), db, owner, "s", limit))
	ahead := time.Now().Add(time.Minute).UTC().Truncate(time.Microsecond)
	_, err := db.Exec(t.Context(), `INSERT INTO v2_feed_clocks VALUES ($1, $2)`, owner, ahead)
	require.NoError(t, err)
	require.NoError(t, feed.Put(t.Context(), db, newEvent(owner), limit))
	require.NoError(t, feed.Put(t.Context(), db, newEvent(owner), limit))
	events, _ := get(t, db, feed.Followed{UserID: owner, Secret: "s", Since: postgres.Never})
	assert.Equal(t, ahead.Add(time.Microsecond), events[0].Timestamp.UTC())
	assert.Equal(t, ahead.Add(2*time.Microsecond), events[1].Timestamp.UTC())
}

// TestATimeIsLaterThanThoseOfAllEventsThere stores events like a v1 whose clock is ahead.
func TestATimeIsLaterThanThoseOfAllEventsThere(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	owner := newUser(t, db)
	require.NoError(t, feed.AddSecret(t.Context(), db, owner, "s", limit))
	put := func(e feed.Event) time.Time {
		require.NoError(t, feed.Put(t.Context(), db, e, limit))
		events, _ := get(t, db, feed.Followed{UserID: owner, Secret: "s", Since: postgres.Never})
		i := slices.IndexFunc(events, func(got feed.Event) bool { return got.ID == e.ID })
		require.GreaterOrEqual(t, i, 0)
		return events[i].Timestamp.UTC()
	}
	ofV1 := func(id uuid.UUID, at any) {
		_, err := db.Exec(t.Context(), `
			INSERT INTO user_events (user_id, id, "timestamp", last_accessed, expiry, encrypted_event)
			VALUES ($1, $2, $3, now(), now() + interval '1 day', '')
			ON CONFLICT (user_id, id) DO UPDATE SET "timestamp" = excluded."timestamp"`, owner, id, at)
		require.NoError(t, err)
	}
	ahead := time.Now().Add(time.Hour).UTC().Truncate(time.Microsecond)
	ofV1(uuid.New(), ahead)
	assert.Equal(t, ahead.Add(time.Microsecond), put(newEvent(owner)), "a user's first of v2's")
	ofV1(uuid.New(), ahead.Add(time.Minute))
	next := put(newEvent(owner))
	assert.Equal(t, ahead.Add(time.Minute+time.Microsecond), next)
	replaced := newEvent(owner)
	ofV1(replaced.ID, ahead.Add(time.Hour))
	assert.Equal(t, ahead.Add(time.Hour+time.Microsecond), put(replaced), "the very event")

	for _, end := range []pgtype.Timestamptz{postgres.ToTimestamp(postgres.Forever), postgres.ToTimestamp(postgres.Never), {Time: postgres.Forever.Add(-time.Microsecond), Valid: true}} {
		again := newEvent(owner)
		ofV1(again.ID, end)
		ofV1(uuid.New(), end)
		got := put(again)
		assert.True(t, got.After(next) && got.Before(ahead.Add(2*time.Hour)), "the end of time leaves no room for later ones: %v", got)
		next = got
	}
}

func TestEventsAreBounded(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	owner := newUser(t, db)
	const few = 3
	expired := func() feed.Event {
		e := newEvent(owner)
		e.Expiry = time.Now().Add(-time.Minute)
		return e
	}
	var kept feed.Event
	for range few {
		kept = newEvent(owner)
		require.NoError(t, feed.Put(t.Context(), db, kept, few))
	}
	refuse := func(e feed.Event) {
		t.Helper()
		err := feed.Put(t.Context(), db, e, few)
		require.Equal(t, apierr.Limited, apierr.KindOf(err), "%v", err)
		refusal, _ := errors.AsType[*apierr.Error](err)
		assert.False(t, refusal.RetryAt.IsZero())
	}
	refuse(newEvent(owner))
	require.NoError(t, feed.Put(t.Context(), db, kept, few), "a replacement always passes")
	other := newUser(t, db)
	require.NoError(t, feed.Put(t.Context(), db, newEvent(other), few), "another's do not count")

	kept.Expiry = time.Now().Add(-time.Minute)
	require.NoError(t, feed.Put(t.Context(), db, kept, few))
	require.NoError(t, feed.Put(t.Context(), db, newEvent(owner), few), "an expired one does not count")
	refuse(newEvent(owner))
	for _, e := range []feed.Event{expired(), expired()} { // as v1 stores them, who knows no bounds
		require.NoError(t, feed.Put(t.Context(), db, e, 2*few))
	}
	_, err := db.Exec(t.Context(), `UPDATE user_events SET expiry = now() - interval '1 minute' WHERE user_id = $1`, owner)
	require.NoError(t, err)
	refuse(newEvent(owner))
	require.NoError(t, feed.Put(t.Context(), db, kept, few), "a replacement always passes")
	_, err = db.Exec(t.Context(), `DELETE FROM user_events WHERE user_id = $1 AND id <> $2`, owner, kept.ID)
	require.NoError(t, err)
	require.NoError(t, feed.Put(t.Context(), db, newEvent(owner), few))
}

func TestTheAccountsOwnWritesAreNotedOnceADay(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	owner := newUser(t, db)
	e := newEvent(owner)
	for name, write := range map[string]func() error{
		"put event":     func() error { return feed.Put(t.Context(), db, e, limit) },
		"add secret":    func() error { return feed.AddSecret(t.Context(), db, owner, "s", limit) },
		"remove secret": func() error { return feed.RemoveSecret(t.Context(), db, owner, "s") },
	} {
		for range 2 { // something is there the second time
			var fresh, stale time.Time
			_, err := db.Exec(t.Context(), `UPDATE users SET last_accessed = '-infinity' WHERE id = $1`, owner)
			require.NoError(t, err)
			require.NoError(t, write())
			require.NoError(t, db.QueryRow(t.Context(), `SELECT last_accessed FROM users WHERE id = $1`, owner).Scan(&stale), name)
			assert.WithinDuration(t, time.Now(), stale, time.Hour, name)
			require.NoError(t, write())
			require.NoError(t, db.QueryRow(t.Context(), `SELECT last_accessed FROM users WHERE id = $1`, owner).Scan(&fresh), name)
			assert.Equal(t, stale, fresh, name)
		}
	}
}

func TestDeletionBesideWritesLeavesNothing(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	for range 12 {
		owner := newUser(t, db)
		_, err := db.Exec(t.Context(), `UPDATE users SET last_accessed = '-infinity' WHERE id = $1`, owner) // so that it is touched
		require.NoError(t, err)
		again := newEvent(owner)
		require.NoError(t, feed.Put(t.Context(), db, again, limit))
		var group sync.WaitGroup
		for i := range 8 {
			group.Go(func() {
				for range 4 {
					for name, err := range map[string]error{
						"put":    feed.Put(t.Context(), db, newEvent(owner), limit),
						"again":  feed.Put(t.Context(), db, again, limit),
						"add":    feed.AddSecret(t.Context(), db, owner, fmt.Sprint("s", i), limit),
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

func TestPutEventReadsBodiesAsV1Did(t *testing.T) {
	t.Parallel()
	handler := functionstest.NewHandler(t)
	account := functionstest.NewAccount(t, handler)
	const expiry = `"expiry":"2099-01-02T03:04:05.678Z"`
	functionstest.PlayBodies(t, handler, "PutEvent", account.Login("userId")+`,"eventId":"0e000000-0000-4000-8000-000000000001","encryptedEventPayload":"QUJDZA==","encryptedEventIV":"QUJDZA==",`+expiry+`}`, []functionstest.Refusal{
		{`"userId"`, `"uſerId"`, "userId"}, {`"eventId":`, `"eventID":`, ""}, {`"QUJDZA=="`, `"QUJDZB=="`, "encryptedEventPayload"},
		{`IV":"QUJDZA=="`, `IV":"QUJDZB=="`, "encryptedEventIV"}, {`5.678Z`, `5.678+14:01`, "expiry"}, {`5.678Z`, `5.678-01:60`, "expiry"}, {`5.678Z`, `5.678+02`, ""},
		{expiry, expiry + `,"expiry":null`, "expiry"},
		{`d":"QUJDZA=="`, `d":"` + strings.Repeat("A", 4*(128<<10)/3+4) + `"`, "encryptedEventPayload"},
	})
}
