package user_test

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/shared/apierr"
	"github.com/liftlog/liftlog-api/shared/auth"
	"github.com/liftlog/liftlog-api/shared/postgres"
	"github.com/liftlog/liftlog-api/shared/postgres/pgtest"
	"github.com/liftlog/liftlog-api/shared/user"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }

var credential = auth.Credential{
	HashedPassword: "AB", Salt: []byte{1},
	Tag: auth.Tag{KeyFingerprint: bytes.Repeat([]byte{1}, 16), HashDigest: bytes.Repeat([]byte{2}, 32), Tag: bytes.Repeat([]byte{3}, 32)},
}

func create(t *testing.T, db *postgres.DB) user.Profile {
	t.Helper()
	id := uuid.New()
	lookup, err := user.Create(t.Context(), db, id, credential)
	require.NoError(t, err)
	return user.Profile{ID: id, Lookup: lookup, Content: user.Content{EncryptionIV: []byte{}, RSAPublicKey: []byte{}}}
}

func TestCreateAndFind(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	want := create(t, db)
	got, err := user.Find(t.Context(), db, want.ID)
	require.NoError(t, err)
	assert.Equal(t, want, got)
	got, err = user.FindByLookup(t.Context(), db, want.Lookup)
	require.NoError(t, err)
	assert.Equal(t, want, got)

	_, err = user.Find(t.Context(), db, uuid.New())
	assert.Equal(t, apierr.NotFound, apierr.KindOf(err))
	_, err = user.FindByLookup(t.Context(), db, "nobody")
	assert.Equal(t, apierr.NotFound, apierr.KindOf(err))
	_, err = user.Create(t.Context(), db, want.ID, credential)
	assert.Error(t, err, "an id is given once")
}

func TestReplaceWritesEveryPart(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	profile := create(t, db)
	profile.Content = user.Content{
		EncryptedCurrentPlan: []byte{1}, EncryptedProfilePicture: []byte{2}, EncryptedName: []byte{3},
		EncryptionIV: []byte{4}, RSAPublicKey: []byte{5},
	}
	for _, content := range []user.Content{profile.Content, {EncryptionIV: []byte{6}, RSAPublicKey: []byte{}}} {
		profile.Content = content
		require.NoError(t, user.Replace(t.Context(), db, profile.ID, content))
		got, err := user.Find(t.Context(), db, profile.ID)
		require.NoError(t, err)
		assert.Equal(t, profile, got)
	}
	assert.Equal(t, apierr.NotFound, apierr.KindOf(user.Replace(t.Context(), db, uuid.New(), profile.Content)))
}

func TestLastAccessIsNotedOnceADay(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	id := create(t, db).ID
	lastAccess := func() (at time.Time) {
		require.NoError(t, db.QueryRow(t.Context(), `SELECT last_accessed FROM users WHERE id = $1`, id).Scan(&at))
		return at
	}
	content := user.Content{EncryptionIV: []byte{}, RSAPublicKey: []byte{}}
	before := lastAccess()
	require.NoError(t, user.Replace(t.Context(), db, id, content))
	assert.Equal(t, before, lastAccess())
	_, err := db.Exec(t.Context(), `UPDATE users SET last_accessed = '-infinity' WHERE id = $1`, id)
	require.NoError(t, err)
	require.NoError(t, user.Replace(t.Context(), db, id, content))
	assert.WithinDuration(t, before, lastAccess(), time.Minute)
}

func TestEachPassesOverNobody(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	one, two := create(t, db), create(t, db)
	create(t, db)
	var got []user.Profile
	collect := func(p user.Profile) error {
		got = append(got, p)
		return nil
	}
	require.NoError(t, user.Each(t.Context(), db, []uuid.UUID{one.ID, uuid.New(), two.ID, one.ID}, collect))
	assert.ElementsMatch(t, []user.Profile{one, two}, got)

	enough := errors.New("enough")
	require.ErrorIs(t, user.Each(t.Context(), db, []uuid.UUID{one.ID, two.ID}, func(user.Profile) error { return enough }), enough)
	_, err := user.Find(t.Context(), db, one.ID)
	require.NoError(t, err, "the connection is free again")
}

func TestEachReadsPages(t *testing.T) {
	t.Parallel()
	db := pgtest.Pool(t, postgres.Options{URL: pgtest.URL(t), MaxConns: 1})
	for name, c := range map[string]struct{ users, size int }{ //nolint:paralleltest // they share one connection
		"many small": {600, 10}, "some in a page": {20, 300 << 10}, "larger than a page": {5, postgres.PageBytes + 1},
	} {
		t.Run(name, func(t *testing.T) {
			var want []uuid.UUID
			rows, err := db.Query(t.Context(), `
				INSERT INTO users (id, user_lookup, hashed_password, salt, encrypted_profile_picture)
				SELECT gen_random_uuid(), gen_random_uuid(), '', '', decode(repeat('ab', $2::int), 'hex') FROM generate_series(1, $1::int)
				RETURNING id`, c.users, c.size)
			require.NoError(t, err)
			want, err = pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
			require.NoError(t, err)
			ids := slices.Clone(want)
			for range c.users / 2 {
				ids = append(ids, uuid.New(), want[0])
			}
			asked := slices.Clone(ids)
			var got []uuid.UUID
			require.NoError(t, user.Each(t.Context(), db, ids, func(p user.Profile) error {
				assert.Zero(t, db.Stat().AcquiredConns(), "no connection is held")
				assert.Len(t, p.EncryptedProfilePicture, c.size)
				got = append(got, p.ID)
				return nil
			}))
			assert.ElementsMatch(t, want, got)
			assert.Equal(t, asked, ids, "what was asked is not touched")
		})
	}
}

func TestDeleteTakesEverythingAlong(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	id := create(t, db).ID
	_, err := db.Exec(t.Context(), `
		WITH e AS (INSERT INTO user_events (id, user_id, "timestamp", last_accessed, expiry, encrypted_event) VALUES ($1, $1, now(), now(), now(), '')),
			s AS (INSERT INTO user_follow_secrets VALUES ($1, $1, 'secret')),
			i AS (INSERT INTO user_inbox_items VALUES ($1, $1, '{}'))
		INSERT INTO shared_items (user_id, "timestamp", expiry, encrypted_payload, encryption_iv, id) VALUES ($1, now(), now(), '', '', 'item')`, id)
	require.NoError(t, err)
	require.NoError(t, user.Delete(t.Context(), db, id))
	var left int
	require.NoError(t, db.QueryRow(t.Context(), `
		SELECT (SELECT count(*) FROM users) + (SELECT count(*) FROM user_events) + (SELECT count(*) FROM user_follow_secrets)
			+ (SELECT count(*) FROM user_inbox_items) + (SELECT count(*) FROM shared_items) + (SELECT count(*) FROM v2_password_proofs)`).Scan(&left))
	assert.Zero(t, left)
	require.NoError(t, user.Delete(t.Context(), db, id), "a second time")
}

func TestLookupsHaveTheirForm(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 1000 {
		lookup := user.NewLookup()
		require.Regexp(t, `^[a-z][a-z0-9]{11}$`, lookup)
		seen[lookup] = true
	}
	assert.Len(t, seen, 1000)
}
