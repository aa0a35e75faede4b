package inbox_test

import (
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/liftlog/liftlog-api/functions/functionstest"
	"github.com/liftlog/liftlog-api/shared/inbox"
	"github.com/liftlog/liftlog-api/shared/postgres/pgtest"
)

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

// TestAnEmptyInboxIsReadWithoutWriting looks at the user's row, which names the transaction that has locked or changed it.
func TestAnEmptyInboxIsReadWithoutWriting(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	to := newUser(t, db)
	lastWriter := func() (id string) {
		require.NoError(t, db.QueryRow(t.Context(), `SELECT xmin || '/' || xmax FROM users WHERE id = $1`, to).Scan(&id))
		return id
	}
	take := func(want int) {
		messages, err := inbox.Take(t.Context(), db, to, 10)
		require.NoError(t, err)
		require.Len(t, messages, want)
	}
	take(0) // the day's first visit is noted
	before := lastWriter()
	take(0)
	assert.Equal(t, before, lastWriter())
	require.NoError(t, inbox.Put(t.Context(), db, to, [][]byte{{1}}, limits))
	take(1)
	assert.NotEqual(t, before, lastWriter(), "a row that is locked is told from one that is not")
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

func TestGetInboxMessagesReadsBodiesAsV1Did(t *testing.T) {
	t.Parallel()
	handler := functionstest.NewHandler(t)
	account := functionstest.NewAccount(t, handler)
	functionstest.PlayBodies(t, handler, "GetInboxMessages", account.Login("userId")+`}`, []functionstest.Refusal{{`"password"`, `"paſſword"`, "password"}, {`}`, `,"userId":null}`, "userId"}, {`}`, `,"password":null}`, "password"}})
}
