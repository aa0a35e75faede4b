package inbox_test

import (
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/functions/functionstest"
	"github.com/liftlog/liftlog-api/shared/apierr"
	"github.com/liftlog/liftlog-api/shared/inbox"
	"github.com/liftlog/liftlog-api/shared/postgres/pgtest"
	"github.com/liftlog/liftlog-api/shared/user"
)

func TestAFullInboxAndNobodys(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	to := newUser(t, db)
	three := inbox.Limits{Messages: 3, Bytes: 8 << 20}
	for range 3 {
		require.NoError(t, inbox.Put(t.Context(), db, to, [][]byte{{1}}, three))
	}
	assert.Equal(t, apierr.Limited, apierr.KindOf(inbox.Put(t.Context(), db, to, [][]byte{{1}}, three)))
	_, err := inbox.Take(t.Context(), db, to, 1)
	require.NoError(t, err)
	require.NoError(t, inbox.Put(t.Context(), db, to, [][]byte{{1}}, three), "there is room again")
	assert.Equal(t, apierr.NotFound, apierr.KindOf(inbox.Put(t.Context(), db, uuid.New(), [][]byte{{1}}, three)))
}

func TestAnInboxIsBoundedInBytes(t *testing.T) {
	t.Parallel()
	random := make([]byte, inbox.MaxMessage)
	_, _ = rand.Read(random)
	cut := func(message []byte) [][]byte { return slices.Collect(slices.Chunk(message, 1<<10)) }
	for name, message := range map[string][]byte{"that are stored as they are": random, "that are compressed": make([]byte, inbox.MaxMessage)} {
		t.Run("messages "+name, func(t *testing.T) {
			t.Parallel()
			db := pgtest.New(t)
			to := newUser(t, db)
			limits := inbox.Limits{Messages: 5000, Bytes: 8 << 20}
			stored := 0
			for ; stored < 1000; stored++ {
				err := inbox.Put(t.Context(), db, to, cut(message), limits)
				if apierr.KindOf(err) == apierr.Limited {
					break
				}
				require.NoError(t, err)
			}
			assert.InEpsilon(t, limits.Bytes/len(message), stored, 0.01)
			require.NoError(t, inbox.Put(t.Context(), db, to, cut(message[:100]), limits), "a small one has room")
			for range 3 {
				_, err := inbox.Take(t.Context(), db, to, 1)
				require.NoError(t, err)
			}
			require.NoError(t, inbox.Put(t.Context(), db, to, cut(message), limits), "there is room again")
		})
	}
}

func TestDeletionBesideMessagesLeavesNothing(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	for range 12 {
		to := newUser(t, db)
		_, err := db.Exec(t.Context(), `UPDATE users SET last_accessed = '-infinity' WHERE id = $1`, to) // so that it is touched
		require.NoError(t, err)
		var group sync.WaitGroup
		for range 6 {
			group.Go(func() {
				for range 5 {
					err := inbox.Put(t.Context(), db, to, [][]byte{{1}}, limits)
					assert.True(t, err == nil || apierr.KindOf(err) == apierr.NotFound, "%v", err)
					_, err = inbox.Take(t.Context(), db, to, 2)
					assert.NoError(t, err)
				}
			})
		}
		group.Go(func() { assert.NoError(t, user.Delete(t.Context(), db, to)) })
		group.Wait()
	}
	var left int
	require.NoError(t, db.QueryRow(t.Context(), `SELECT count(*) FROM user_inbox_items`).Scan(&left))
	assert.Zero(t, left)
}

func TestPutInboxMessageReadsBodiesAsV1Did(t *testing.T) {
	t.Parallel()
	handler := functionstest.NewHandler(t)
	account := functionstest.NewAccount(t, handler)
	functionstest.PlayBodies(t, handler, "PutInboxMessage", fmt.Sprintf(`{"toUserId":%q,"encryptedMessage":["QUJDZA==","QUJDZA=="]}`, account.ID), []functionstest.Refusal{
		{`"toUserId"`, `"toUſerId"`, "toUserId"}, {`["QUJDZA=="`, `["QUJDZB=="`, "encryptedMessage[0]"}, {`,"QUJDZA=="]`, `,"QUJDZDF="]`, "encryptedMessage[1]"},
		{`]`, `],"encryptedMessage":[]`, "encryptedMessage"}, {`]`, `,null]`, "encryptedMessage[2]"}, {`]`, strings.Repeat(`,""`, 19) + `,7`, "encryptedMessage"},
		{`]`, strings.Repeat(`,""`, 18) + `]`, ""},
	})
}
