package fairqueue

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/shared/clientaddr"
)

func client(name byte) clientaddr.Client { return clientaddr.Client{name} }

// scene is a queue within a bubble, and who worked in it.
type scene struct {
	*Queue
	mu     sync.Mutex
	worked string // by name, in the order they began
	full   string // who was sent away
}

// enter has the named clients enter and work for a second each.
func (s *scene) enter(ctx context.Context, names string, first bool) {
	for _, name := range []byte(names) {
		go func() {
			leave, err := s.Enter(ctx, client(name), first)
			s.mu.Lock()
			if err == nil {
				s.worked += string(name)
			} else {
				s.full += string(name)
			}
			s.mu.Unlock()
			if err == nil {
				time.Sleep(time.Second)
				leave()
			}
		}()
		synctest.Wait()
	}
}

// end waits until nobody is left, and checks that the queue is empty.
func (s *scene) end(t *testing.T) {
	t.Helper()
	time.Sleep(time.Hour)
	synctest.Wait()
	assert.Zero(t, s.working)
	assert.Empty(t, s.waiting)
	assert.Empty(t, s.holders)
}

func TestClientsTakeTurns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := scene{Queue: New(1, 31)}
		s.enter(t.Context(), "aaaaabbc", false)
		s.end(t)
		assert.Equal(t, "abcabaaa", s.worked)
		assert.Empty(t, s.full)
	})
}

func TestNobodyHoldsMoreThanAQuarter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := scene{Queue: New(8, 8)}
		s.enter(t.Context(), "aaaaaaaaaa", false)
		assert.Equal(t, "aa", s.worked, "two of eight at work")
		assert.Equal(t, "aaaaaa", s.full, "four of sixteen places")
		_, ok := s.TryEnter(client('a'))
		assert.False(t, ok)
		leave, ok := s.TryEnter(client('b'))
		assert.True(t, ok, "slots are free, and only for others")
		leave()
		s.end(t)
		assert.Equal(t, "aaaa", s.worked)
	})
}

func TestThoseWhoseAddressIsNotKnownAreNotOne(t *testing.T) {
	t.Parallel()
	q := New(8, 0)
	for range 8 {
		_, ok := q.TryEnter(clientaddr.Client{})
		assert.True(t, ok)
	}
}

func TestAFullQueueHasRoomForWhoHoldsLess(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := scene{Queue: New(1, 7)}
		s.enter(t.Context(), "aabbccdd", false)
		s.enter(t.Context(), "e", false)
		assert.Equal(t, "d", s.full, "the last one of those who hold most")
		s.enter(t.Context(), "d", false)
		assert.Equal(t, "dd", s.full, "nobody holds more than it would")
		s.enter(t.Context(), "fgh", false)
		assert.Equal(t, "ddcba", s.full)
		s.enter(t.Context(), "i", false)
		assert.Equal(t, "ddcbai", s.full, "eight clients with a place each")
		s.end(t)
		assert.Equal(t, "abcdefgh", s.worked)
	})
}

func TestThoseWhoAreFirstGoFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := scene{Queue: New(1, 7)}
		s.enter(t.Context(), "aabbccdd", false)
		s.enter(t.Context(), "ab", true)
		assert.Equal(t, "dc", s.full, "they take the others' places, whatever their own address holds")
		s.enter(t.Context(), "e", false)
		assert.Equal(t, "dcb", s.full)
		s.end(t)
		assert.Equal(t, "aabbcdea", s.worked)
	})
}

func TestWhoLeavesGivesThePlaceBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := scene{Queue: New(1, 3)}
		s.enter(t.Context(), "a", false)
		ctx, cancel := context.WithCancel(t.Context())
		s.enter(ctx, "b", false)
		cancel()
		synctest.Wait()
		assert.Equal(t, "b", s.full)
		s.enter(t.Context(), "bcd", false)
		s.end(t)
		assert.Equal(t, "abcd", s.worked)
	})
}

func TestOneAtATimeLetsEverybodyHoldOne(t *testing.T) {
	t.Parallel()
	q := New(1, 0)
	leave, err := q.Enter(t.Context(), client('a'), false)
	require.NoError(t, err)
	_, err = q.Enter(t.Context(), client('b'), false)
	require.ErrorIs(t, err, ErrFull)
	leave()
	leave, ok := q.TryEnter(client('b'))
	require.True(t, ok)
	leave()
}

// TestManyAtOnce has a crowd come, wait, give up and work.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	q := New(4, 28)
	var group sync.WaitGroup
	var mu sync.Mutex
	working, most, done := map[clientaddr.Client]int{}, 0, 0
	for i := range 64 {
		group.Go(func() {
			random := rand.New(rand.NewPCG(uint64(i), 1)) //nolint:gosec // a test
			for range 200 {
				who := client(byte(random.IntN(6)))
				ctx, cancel := context.WithCancel(t.Context())
				if random.IntN(3) == 0 {
					go cancel()
				}
				if leave, err := q.Enter(ctx, who, random.IntN(8) == 0); err == nil {
					mu.Lock()
					working[who]++
					done++
					most = max(most, working[who])
					mu.Unlock()
					mu.Lock()
					working[who]--
					mu.Unlock()
					leave()
				}
				cancel()
			}
		})
	}
	group.Wait()
	assert.Positive(t, done)
	assert.LessOrEqual(t, most, 2, "one slot of each kind")
	assert.Zero(t, q.working)
	assert.Empty(t, q.waiting)
	assert.Empty(t, q.holders)
}
