package hub

import (
	"context"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/chat-service/session"
)

func TestNothingIsRememberedForLongerThanItIsOfUse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := New(Options{MaxConnections: 10})
		open := func(id string) *connection {
			c, err := h.reserve(Caller{ID: "somebody"}, id, time.Now().Add(15*time.Second))
			require.NoError(t, err)
			return c
		}
		h.release(open("short"))
		_, err := h.reserve(Caller{ID: "somebody"}, "short", time.Now().Add(15*time.Second))
		require.ErrorIs(t, err, errUsed)
		long := open("long")
		time.Sleep(16 * time.Second)
		h.release(open(""))
		assert.Len(t, h.ids, 1, "that of the connection there is")
		h.release(long)
		assert.Empty(t, h.ids)
		assert.Empty(t, h.usedIDs)
		assert.Empty(t, h.callers)
		assert.Empty(t, h.live)
		time.Sleep(2 * tickEvery)
		synctest.Wait()
		h.mu.Lock()
		assert.False(t, h.ticking, "nobody is told the time")
		h.mu.Unlock()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		h.Drain(ctx)
		h.Drain(ctx)
		_, err = h.reserve(Caller{ID: "somebody"}, "", time.Time{})
		require.Error(t, err)
	})
}

// said is a conversation of a size.
type said struct {
	session.Conversation[any]
	bytes int
}

func (s said) Size() int { return s.bytes }

func TestWhatIsKeptOfLostConnectionsIsBounded(t *testing.T) {
	t.Parallel()
	now := time.Now()
	var k kept
	for i := range maxKept + 10 {
		k.put(owner{strconv.Itoa(i), "/ai-chat"}, said{bytes: 1}, now)
	}
	assert.Len(t, k.all, maxKept)
	assert.Equal(t, maxKept, k.size)
	assert.Nil(t, k.take(owner{"9", "/ai-chat"}, now), "the oldest go")
	assert.NotNil(t, k.take(owner{"10", "/ai-chat"}, now))
	assert.Nil(t, k.take(owner{"10", "/ai-chat"}, now), "it is handed over")
	k.put(owner{"11", "/ai-chat"}, said{bytes: 5}, now.Add(time.Minute))
	assert.Equal(t, maxKept-1+4, k.size, "one for each owner")
	k.put(owner{"large", "/ai-chat"}, said{bytes: maxKeptBytes}, now.Add(time.Minute))
	assert.Len(t, k.all, 1)
	assert.Equal(t, 1, k.left(now.Add(keepFor)))
	assert.Zero(t, k.left(now.Add(keepFor+time.Minute)))
	assert.Zero(t, k.size)
}
