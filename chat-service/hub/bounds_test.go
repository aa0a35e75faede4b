package hub

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
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
