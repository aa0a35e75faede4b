package ratelimit

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/liftlog/liftlog-api/shared/clientaddr"
)

// TakeFor is like [Limiter.Take] for a key that many people share: within its limit each client has one of its own, of perClient
// calls in any 24 hours, which is counted in the memory of this process.
func (l *Limiter) TakeFor(ctx context.Context, client clientaddr.Client, perClient int, key Key, limit int) (Settle, error) {
	if l.o.Closed || l.o.Unlimited {
		return l.Take(ctx, key, limit)
	}
	call := clientCall{client, time.Now()}
	if retryAt, ok := l.clients.take(call, perClient); !ok {
		return nil, limited(retryAt)
	}
	settle, err := l.Take(ctx, key, limit)
	if err != nil {
		l.clients.giveBack(call)
		return nil, err
	}
	return func(ctx context.Context, use Use) {
		if !use.Answered {
			l.clients.giveBack(call)
		}
		settle(ctx, use)
	}, nil
}

type clientCall struct {
	client clientaddr.Client
	at     time.Time
}

// clients counts calls of the last 24 hours. It holds no more calls than the limit that the clients share lets pass, and those
// under way. The zero value is ready to use.
type clients struct {
	mu    sync.Mutex
	calls []clientCall // by time
	count map[clientaddr.Client]int
}

// take counts the call, or says when the client's next one may pass.
func (c *clients) take(call clientCall, perClient int) (retryAt time.Time, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.calls) > 0 && call.at.Sub(c.calls[0].at) >= day {
		c.forget(0)
	}
	if c.count[call.client] >= perClient {
		oldest := slices.IndexFunc(c.calls, func(other clientCall) bool { return other.client == call.client })
		return c.calls[oldest].at.Add(day), false
	}
	if c.count == nil {
		c.count = map[clientaddr.Client]int{}
	}
	c.calls = append(c.calls, call)
	c.count[call.client]++
	return time.Time{}, true
}

func (c *clients) giveBack(call clientCall) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := slices.Index(c.calls, call); i >= 0 {
		c.forget(i)
	}
}

func (c *clients) forget(i int) {
	client := c.calls[i].client
	if c.count[client]--; c.count[client] == 0 {
		delete(c.count, client)
	}
	c.calls = slices.Delete(c.calls, i, i+1)
}
