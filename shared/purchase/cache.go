package purchase

import (
	"crypto/sha256"
	"sync"
	"time"
)

// digest stands for a store and a token.
type digest [sha256.Size]byte

// cache keeps subjects of tokens for a while, and no more of them than most: the oldest give way. It is safe for concurrent use.
type cache struct {
	mu      sync.Mutex
	entries map[digest]entry
	ring    []digest // the keys of the entries, in the order they came
	next    int      // where the ring is written next: where its oldest key is, when it is full
	most    int
}

type entry struct {
	subject string
	until   time.Time
}

func newCache(most int) *cache { return &cache{entries: map[digest]entry{}, most: most} }

func (c *cache) get(key digest, now time.Time) (subject string, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries[key]
	if !ok || !now.Before(e.until) {
		return "", false
	}
	return e.subject, true
}

// put keeps the subject, which replaces one that is there. The key keeps its place in the ring then.
func (c *cache) put(key digest, subject string, until time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, there := c.entries[key]
	c.entries[key] = entry{subject, until}
	switch {
	case there:
	case len(c.ring) < c.most:
		c.ring = append(c.ring, key)
	default:
		delete(c.entries, c.ring[c.next])
		c.ring[c.next] = key
		c.next = (c.next + 1) % c.most
	}
}
