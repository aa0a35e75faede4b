package feed_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
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
		Salt: []byte{1}, Tag: auth.Tag{KeyFingerprint: bytes.Repeat([]byte{1}, 16), HashDigest: bytes.Repeat([]byte{2}, 32), Tag: bytes.Repeat([]byte{3}, 32)},
	})
	require.NoError(t, err)
	return id
}

// limit is far from what a test stores.
const limit = 10_000

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
			require.NoError(t, feed.AddSecret(t.Context(), db, owner, secret, limit))
		}
	}
	first, second, expired, ofBo, ofCy := newEvent(ada), newEvent(ada), newEvent(ada), newEvent(bo), newEvent(cy)
	expired.Expiry = time.Now().Add(-time.Second)
	for _, e := range []feed.Event{first, expired, second, ofBo, ofCy} {
		require.NoError(t, feed.Put(t.Context(), db, e, limit))
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

// TestATimeIsLaterThanThoseOfAllEventsThere stores events as a v1 does whose clock is ahead.
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

func TestSecretsAreBounded(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	owner, other := newUser(t, db), newUser(t, db)
	for _, secret := range []string{"1", "2", "3", "3", "1"} {
		require.NoError(t, feed.AddSecret(t.Context(), db, owner, secret, 3))
	}
	assert.Equal(t, apierr.Limited, apierr.KindOf(feed.AddSecret(t.Context(), db, owner, "4", 3)))
	assert.Equal(t, 3, count(t, db, "user_follow_secrets"))
	require.NoError(t, feed.AddSecret(t.Context(), db, owner, "2", 3), "one that is there stays")
	require.NoError(t, feed.AddSecret(t.Context(), db, other, "4", 3))
	require.NoError(t, feed.RemoveSecret(t.Context(), db, owner, "2"))
	require.NoError(t, feed.AddSecret(t.Context(), db, owner, "4", 3))
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

func TestASecretPutManyTimesAtOnceIsStoredOnce(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	owner := newUser(t, db)
	var group errgroup.Group
	for range 64 {
		group.Go(func() error { return feed.AddSecret(t.Context(), db, owner, "s", limit) })
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
	require.NoError(t, feed.AddSecret(t.Context(), db, owner, "s", limit))
	assert.Equal(t, 2, count(t, db, "user_follow_secrets"), "no third copy")
	require.NoError(t, feed.AddSecret(t.Context(), db, other, "s", limit))
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
