package inbox_test

import (
	"bytes"
	"crypto/rand"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/liftlog/liftlog-api/shared/apierr"
	"github.com/liftlog/liftlog-api/shared/auth"
	"github.com/liftlog/liftlog-api/shared/inbox"
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

var limits = inbox.Limits{Messages: 5000, Bytes: 8 << 20}

func TestMessagesAreHandedOverOnceOldestFirst(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	to, other := newUser(t, db), newUser(t, db)
	for i := range 5 {
		require.NoError(t, inbox.Put(t.Context(), db, to, [][]byte{{byte(i)}, {1, 2}}, limits))
	}
	require.NoError(t, inbox.Put(t.Context(), db, other, [][]byte{{9}}, limits))
	var got []byte
	for _, size := range []int{3, 2, 0} {
		messages, err := inbox.Take(t.Context(), db, to, 3)
		require.NoError(t, err)
		require.Len(t, messages, size)
		for _, m := range messages {
			got = append(got, m.Chunks[0]...)
			assert.Equal(t, []byte{1, 2}, m.Chunks[1], "chunks keep their order")
		}
	}
	assert.Equal(t, []byte{0, 1, 2, 3, 4}, got)
}

func TestAChunkThatV1StoredAsNullIsHandedOver(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	to := newUser(t, db)
	_, err := db.Exec(t.Context(), `INSERT INTO user_inbox_items VALUES ($1, $2, ARRAY[NULL, 'x'::bytea])`, uuid.New(), to)
	require.NoError(t, err)
	messages, err := inbox.Take(t.Context(), db, to, 10)
	require.NoError(t, err)
	assert.Equal(t, [][]byte{nil, []byte("x")}, messages[0].Chunks)
}

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

// TestManyReadersWhileMessagesArrive counts every message that any reader gets.
func TestManyReadersWhileMessagesArrive(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	to := newUser(t, db)
	const senders, each, readers = 4, 25, 6
	var sending errgroup.Group
	for i := range senders {
		sending.Go(func() error {
			for n := range each {
				if err := inbox.Put(t.Context(), db, to, [][]byte{{byte(i), byte(n)}}, limits); err != nil {
					return err
				}
			}
			return nil
		})
	}
	sent := make(chan struct{})
	go func() {
		assert.NoError(t, sending.Wait())
		close(sent)
	}()
	var mu sync.Mutex
	seen := map[string]int{}
	var reading errgroup.Group
	for range readers {
		reading.Go(func() error {
			for last := false; ; {
				messages, err := inbox.Take(t.Context(), db, to, 7)
				if err != nil {
					return err
				}
				mu.Lock()
				for _, m := range messages {
					seen[string(m.Chunks[0])]++
				}
				mu.Unlock()
				if last && len(messages) == 0 {
					return nil
				}
				select {
				case <-sent:
					last = true
				default:
				}
			}
		})
	}
	require.NoError(t, reading.Wait())
	assert.Len(t, seen, senders*each, "none is lost")
	for message, times := range seen {
		assert.Equal(t, 1, times, "%x is handed over once", message)
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
