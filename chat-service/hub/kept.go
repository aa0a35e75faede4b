package hub

import (
	"slices"
	"sync"
	"time"

	"github.com/liftlog/liftlog-api/chat-service/session"
)

// What an instance keeps of lost connections, all of them together.
const (
	keepFor      = 10 * time.Minute
	maxKept      = 1000
	maxKeptBytes = 16 << 20
)

// owner is whose a conversation is: a buyer's, at one of the hubs.
type owner struct{ caller, path string }

// keptConversation is one whose connection was lost.
type keptConversation struct {
	owner
	conversation session.Conversation[any]
	size         int // in bytes
	until        time.Time
}

// kept holds the conversations whose connections were lost. It hands them over and then has them no longer. It is safe for
// concurrent use.
type kept struct {
	mu   sync.Mutex
	all  []keptConversation // oldest first
	size int                // of all
}

// put keeps the conversation, in place of an older one of the owner's and of the oldest ones that there is no room for.
func (k *kept) put(o owner, c session.Conversation[any], now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.remove(k.find(o))
	k.all = append(k.all, keptConversation{o, c, c.Size(), now.Add(keepFor)})
	k.size += c.Size()
	for len(k.all) > maxKept || k.size > maxKeptBytes {
		k.remove(0)
	}
}

// take hands the owner's conversation over, or nil.
func (k *kept) take(o owner, now time.Time) session.Conversation[any] {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.expire(now)
	return k.remove(k.find(o))
}

// left drops conversations whose time is over, and returns how many are left.
func (k *kept) left(now time.Time) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.expire(now)
	return len(k.all)
}

func (k *kept) expire(now time.Time) {
	for len(k.all) > 0 && !now.Before(k.all[0].until) {
		k.remove(0)
	}
}

func (k *kept) find(o owner) int {
	return slices.IndexFunc(k.all, func(c keptConversation) bool { return c.owner == o })
}

// remove takes the one at i, if there is one.
func (k *kept) remove(i int) session.Conversation[any] {
	if i < 0 {
		return nil
	}
	c := k.all[i]
	k.all = slices.Delete(k.all, i, i+1)
	k.size -= c.size
	return c.conversation
}
