package feed_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/functions/functionstest"
	"github.com/liftlog/liftlog-api/shared/feed"
	"github.com/liftlog/liftlog-api/shared/postgres"
	"github.com/liftlog/liftlog-api/shared/postgres/pgtest"
)

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

// storeAsV1 stores events with payloads of that many bytes, at times a second apart from the first on; as many as ties share
// each time, as v1 lets them.
func storeAsV1(t *testing.T, db *postgres.DB, owner uuid.UUID, events, ties, size int, first time.Time) {
	t.Helper()
	_, err := db.Exec(t.Context(), `
		INSERT INTO user_events (user_id, id, "timestamp", last_accessed, expiry, encrypted_event)
		SELECT $1, gen_random_uuid(), $5::timestamptz + n / $3::int * interval '1 second', now(), now() + interval '1 day', (
			SELECT string_agg(sha512((n * m)::text::bytea), '') FROM generate_series(1, $4::int / 64) m
		) FROM generate_series(0, $2::int - 1) n`, owner, events, ties, size, first)
	require.NoError(t, err)
}

// stored is what a user's follower has to see: the ids in order.
func stored(t *testing.T, db *postgres.DB, owner uuid.UUID) (ids []uuid.UUID) {
	t.Helper()
	err := db.QueryRow(t.Context(), `SELECT array_agg(id ORDER BY "timestamp", id) FROM user_events WHERE user_id = $1`, owner).Scan(&ids)
	require.NoError(t, err)
	return ids
}

func idsOf(events []feed.Event) (ids []uuid.UUID) {
	for _, e := range events {
		ids = append(ids, e.ID)
	}
	return ids
}

func TestPagesLeaveNothingOutAndRepeatNothing(t *testing.T) {
	t.Parallel()
	first := time.Now().Add(-24 * time.Hour)
	for name, c := range map[string]struct{ events, ties, size int }{
		"many small":             {2500, 1, 64},
		"many at the same times": {2500, 400, 64},
		"few large":              {40, 1, 128 << 10},
		"larger than a page":     {3, 3, 2 * postgres.PageBytes},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := pgtest.New(t)
			var asked []feed.Followed
			want := map[uuid.UUID][]uuid.UUID{}
			for range 3 {
				owner := newUser(t, db)
				require.NoError(t, feed.AddSecret(t.Context(), db, owner, "s", limit))
				storeAsV1(t, db, owner, c.events, c.ties, c.size, first)
				asked = append(asked, feed.Followed{UserID: owner, Secret: "s", Since: first.Add(-time.Second)})
				want[owner] = stored(t, db, owner)
			}
			asked = append(asked, feed.Followed{UserID: asked[0].UserID, Secret: "other", Since: first}, feed.Followed{UserID: newUser(t, db), Secret: "s", Since: first})
			events, invalid := get(t, db, asked...)
			got := map[uuid.UUID][]uuid.UUID{}
			var users []uuid.UUID
			for _, e := range events {
				got[e.UserID] = append(got[e.UserID], e.ID)
				users = append(users, e.UserID)
			}
			assert.Equal(t, want, got)
			assert.Len(t, slices.Compact(users), 3, "user by user")
			assert.Equal(t, []string{"other"}, invalid, "a secret that fits one of two users is none, on whatever page they are")
		})
	}
}

func TestWhileAnEventIsWrittenItsReaderHoldsNoConnection(t *testing.T) {
	t.Parallel()
	db := pgtest.Pool(t, postgres.Options{URL: pgtest.URL(t), MaxConns: 1})
	owner := newUser(t, db)
	require.NoError(t, feed.AddSecret(t.Context(), db, owner, "s", limit))
	storeAsV1(t, db, owner, 20, 1, 128<<10, time.Now())
	calls, enough := 0, errors.New("enough")
	asked := []feed.Followed{{UserID: owner, Secret: "s", Since: postgres.Never}}
	_, err := feed.Each(t.Context(), db, asked, time.Now(), func(feed.Event) error {
		assert.Zero(t, db.Stat().AcquiredConns())
		if calls++; calls == 19 {
			return enough
		}
		return nil
	})
	require.ErrorIs(t, err, enough)
}

// readBetween reads a user's events and lets the caller change something after the first page, of eight events.
func readBetween(t *testing.T, db *postgres.DB, owner uuid.UUID, change func()) (events []feed.Event, invalid []string) {
	t.Helper()
	invalid, err := feed.Each(t.Context(), db, []feed.Followed{{UserID: owner, Secret: "s", Since: postgres.Never}}, time.Now(), func(e feed.Event) error {
		if len(events) == 0 {
			change()
		}
		events = append(events, e)
		return nil
	})
	require.NoError(t, err)
	return events, invalid
}

func TestWhatChangesBetweenPages(t *testing.T) {
	t.Parallel()
	const events, inPage = 20, 8
	setup := func(t *testing.T) (db *postgres.DB, owner uuid.UUID, ids []uuid.UUID) {
		t.Helper()
		db = pgtest.New(t)
		owner = newUser(t, db)
		require.NoError(t, feed.AddSecret(t.Context(), db, owner, "s", limit))
		storeAsV1(t, db, owner, events, 1, postgres.PageBytes/inPage, time.Now().Add(-time.Hour))
		return db, owner, stored(t, db, owner)
	}
	replacement := func(owner, id uuid.UUID) feed.Event {
		e := newEvent(owner)
		e.ID, e.EncryptedPayload = id, []byte("new")
		return e
	}
	t.Run("an event that has been read is replaced", func(t *testing.T) {
		t.Parallel()
		db, owner, ids := setup(t)
		read, _ := readBetween(t, db, owner, func() { assert.NoError(t, feed.Put(t.Context(), db, replacement(owner, ids[2]), limit)) })
		assert.Equal(t, append(slices.Clone(ids), ids[2]), idsOf(read), "it comes again")
		assert.Equal(t, []byte("new"), read[events].EncryptedPayload)
	})
	t.Run("an event that has not been read is replaced", func(t *testing.T) {
		t.Parallel()
		db, owner, ids := setup(t)
		read, _ := readBetween(t, db, owner, func() { assert.NoError(t, feed.Put(t.Context(), db, replacement(owner, ids[12]), limit)) })
		assert.Equal(t, slices.Concat(ids[:12], ids[13:], ids[12:13]), idsOf(read), "it comes once, as the newest")
		assert.Equal(t, []byte("new"), read[events-1].EncryptedPayload)
	})
	t.Run("events are deleted", func(t *testing.T) {
		t.Parallel()
		db, owner, ids := setup(t)
		read, _ := readBetween(t, db, owner, func() {
			_, err := db.Exec(t.Context(), `DELETE FROM user_events WHERE id = ANY($1)`, ids[6:12])
			assert.NoError(t, err)
		})
		assert.Equal(t, slices.Concat(ids[:inPage], ids[12:]), idsOf(read))
	})
	t.Run("the secret is taken back", func(t *testing.T) {
		t.Parallel()
		db, owner, ids := setup(t)
		read, invalid := readBetween(t, db, owner, func() { assert.NoError(t, feed.RemoveSecret(t.Context(), db, owner, "s")) })
		assert.Equal(t, ids[:inPage], idsOf(read))
		assert.Equal(t, []string{"s"}, invalid)
	})
	t.Run("the user is deleted", func(t *testing.T) {
		t.Parallel()
		db, owner, ids := setup(t)
		read, invalid := readBetween(t, db, owner, func() {
			_, err := db.Exec(t.Context(), `DELETE FROM users WHERE id = $1`, owner)
			assert.NoError(t, err)
		})
		assert.Equal(t, ids[:inPage], idsOf(read))
		assert.Equal(t, []string{"s"}, invalid)
	})
}

func TestAPageThatTakesTooLongIsGivenUp(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	owner := newUser(t, db)
	require.NoError(t, feed.AddSecret(t.Context(), db, owner, "s", limit))
	storeAsV1(t, db, owner, 20, 1, postgres.PageBytes/8, time.Now().Add(-time.Hour))
	tx, err := db.Begin(t.Context())
	require.NoError(t, err)
	defer func() { assert.NoError(t, tx.Rollback(t.Context())) }()
	read := 0
	_, err = feed.Each(t.Context(), db, []feed.Followed{{UserID: owner, Secret: "s", Since: postgres.Never}}, time.Now(), func(feed.Event) error {
		if read++; read == 1 {
			_, err := tx.Exec(t.Context(), `LOCK TABLE user_events`)
			require.NoError(t, err)
		}
		return nil
	})
	require.ErrorContains(t, err, "get events: ")
	assert.Equal(t, 8, read)
}

// TestManyUsersOverManyPages asks for so many users that each page ends within another one.
func TestManyUsersOverManyPages(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	const users, events = 120, 9
	var asked []feed.Followed
	want := map[uuid.UUID][]uuid.UUID{}
	var invalid []string
	for i := range users {
		owner := newUser(t, db)
		secret := fmt.Sprint("s", i)
		f := feed.Followed{UserID: owner, Secret: secret, Since: postgres.Never}
		if i%7 == 0 {
			f.Secret = "wrong" + secret
			invalid = append(invalid, f.Secret)
		} else {
			storeAsV1(t, db, owner, events, 2, 640, time.Now())
			want[owner] = stored(t, db, owner)
		}
		require.NoError(t, feed.AddSecret(t.Context(), db, owner, secret, limit))
		asked = append(asked, f)
	}
	got, gotInvalid := get(t, db, asked...)
	assert.Equal(t, invalid, gotInvalid)
	assert.Len(t, got, len(want)*events)
	assert.True(t, slices.IsSortedFunc(got, func(a, b feed.Event) int { return bytes.Compare(a.UserID[:], b.UserID[:]) }))
	byUser := map[uuid.UUID][]uuid.UUID{}
	for _, e := range got {
		byUser[e.UserID] = append(byUser[e.UserID], e.ID)
	}
	assert.Equal(t, want, byUser)
}

func TestGetEventsReadsBodiesAsV1Did(t *testing.T) {
	t.Parallel()
	handler := functionstest.NewHandler(t)
	account := functionstest.NewAccount(t, handler)
	functionstest.PlayBodies(t, handler, "GetEvents", fmt.Sprintf(`{"users":[{"userId":%q,"followSecret":"s","since":"2024-02-03T04:05:06.789Z"}]}`, account.ID), []functionstest.Refusal{
		{`"users"`, `"uſers"`, "users"}, {`]`, `],"users":[]`, "users"}, {`]`, `],"users":[{}]`, "users[0].since"}, {`]`, `,null]`, "users[1].userId"},
		{`"followSecret":"s",`, ``, "users[0].followSecret"}, {`"followSecret":"s"`, `"followSecret":null`, "users[0].followSecret"},
		{`"followSecret":"s"`, `"followSecret":"s","followSecret":null`, "users[0].followSecret"}, {`"followSecret":"s"`, `"followSecret":""`, ""},
		{`"since"`, `"ſince"`, "users[0].since"}, {`6.789Z`, `6.789-14:30`, "users[0].since"}, {`6.789Z`, `6.789+00`, ""}, {`6.789Z`, `6.789+0:00`, "users[0].since"},
		{`]`, strings.Repeat(`,{}`, 1000) + `,7`, "users"},
	})
}

func TestARefusalNamesFewFaults(t *testing.T) {
	t.Parallel()
	handler := functionstest.Handler(functionstest.NewDeps(t, postgres.Options{URL: pgtest.URL(t), MaxConns: 1}))
	w := functionstest.Call(t, handler, http.MethodPost, "/v2/events", `{"users":[{}`+strings.Repeat(`,{}`, 999)+`]}`)
	assert.Equal(t, http.StatusBadRequest, w.Code)
	assert.Less(t, w.Body.Len(), 4<<10)
	assert.Contains(t, w.Body.String(), "users[0].since")
}

// TestASecretThatIsTooLongIsInvalid lets one friend's nonsense cost nobody the others' events.
func TestASecretThatIsTooLongIsInvalid(t *testing.T) {
	t.Parallel()
	handler := functionstest.Handler(functionstest.NewDeps(t, postgres.Options{URL: pgtest.URL(t), MaxConns: 2}))
	user, long := functionstest.NewAccount(t, handler), strings.Repeat("x", 10_000)
	require.Equal(t, http.StatusOK, functionstest.Call(t, handler, "PUT", "/v2/follow-secret", user.Login("userId")+`,"followSecret":"s"}`).Code)
	require.Equal(t, http.StatusOK, functionstest.Call(t, handler, "PUT", "/v2/event", user.Login("userId")+fmt.Sprintf(
		`,"eventId":%q,"encryptedEventPayload":"QQ==","encryptedEventIV":"QQ==","expiry":"2099-01-01"}`, user.ID)).Code)
	w := functionstest.Call(t, handler, "POST", "/v2/events", fmt.Sprintf(
		`{"users":[{"userId":%[1]q,"followSecret":"s","since":"2000-01-01"},{"userId":%[1]q,"followSecret":%[2]q,"since":"2000-01-01"}]}`, user.ID, long))
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	assert.Contains(t, w.Body.String(), user.ID.String())
	assert.Contains(t, w.Body.String(), fmt.Sprintf(`"invalidFollowSecrets":[%q]`, long))
}
