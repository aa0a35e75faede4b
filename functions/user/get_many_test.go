package user_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/functions/functionstest"
	"github.com/liftlog/liftlog-api/shared/postgres"
	"github.com/liftlog/liftlog-api/shared/postgres/pgtest"
	"github.com/liftlog/liftlog-api/shared/user"
)

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

func TestGetUsersReadsBodiesAsV1Did(t *testing.T) {
	t.Parallel()
	handler := functionstest.NewHandler(t)
	account := functionstest.NewAccount(t, handler)
	functionstest.PlayBodies(t, handler, "GetUsers", fmt.Sprintf(`{"ids":[%q]}`, account.ID), []functionstest.Refusal{
		{`"ids"`, `"idſ"`, "ids"}, {`]`, `],"ids":[]`, "ids"}, {`]`, `],"ids":null`, "ids"}, {`["`, `[null,"`, "ids[0]"},
		{`]`, strings.Repeat(`,"0e000000-0000-4000-8000-000000000001"`, 1000) + `,7`, "ids"},
	})
}
