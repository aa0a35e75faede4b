package feed_test

import (
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/functions/functionstest"
	"github.com/liftlog/liftlog-api/shared/feed"
	"github.com/liftlog/liftlog-api/shared/postgres/pgtest"
)

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

func TestDeleteFollowSecretReadsBodiesAsV1Did(t *testing.T) {
	t.Parallel()
	handler := functionstest.NewHandler(t)
	account := functionstest.NewAccount(t, handler)
	functionstest.PlayBodies(t, handler, "DeleteFollowSecret", account.Login("userId")+`,"followSecret":"s"}`, []functionstest.Refusal{
		{`"followSecret":"s"`, `"followSecret":null`, "followSecret"}, {`,"followSecret":"s"`, ``, "followSecret"},
	})
}
