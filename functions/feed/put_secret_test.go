package feed_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/liftlog/liftlog-api/functions/functionstest"
	"github.com/liftlog/liftlog-api/shared/apierr"
	"github.com/liftlog/liftlog-api/shared/feed"
	"github.com/liftlog/liftlog-api/shared/postgres/pgtest"
)

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

func TestPutFollowSecretReadsBodiesAsV1Did(t *testing.T) {
	t.Parallel()
	handler := functionstest.NewHandler(t)
	account := functionstest.NewAccount(t, handler)
	functionstest.PlayBodies(t, handler, "PutFollowSecret", account.Login("userId")+`,"followSecret":"s"}`, []functionstest.Refusal{
		{`"followSecret":"s"`, `"followSecret":null`, "followSecret"}, {`,"followSecret":"s"`, ``, "followSecret"},
		{`"followSecret":"s"`, `"followSecret":"s","followSecret":""`, "followSecret"}, {`"followSecret"`, `"followſecret"`, "followSecret"},
	})
}
