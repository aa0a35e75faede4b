package user_test

import (
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/functions/functionstest"
	"github.com/liftlog/liftlog-api/shared/apierr"
	"github.com/liftlog/liftlog-api/shared/postgres/pgtest"
	"github.com/liftlog/liftlog-api/shared/user"
)

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

func TestCreateUserReadsBodiesAsV1Did(t *testing.T) {
	t.Parallel()
	handler := functionstest.NewHandler(t)
	functionstest.PlayBodies(t, handler, "CreateUser", `{}`, []functionstest.Refusal{})
}
