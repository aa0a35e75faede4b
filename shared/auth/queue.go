package auth

import (
	"context"
	"sync"

	"github.com/google/uuid"

	"github.com/liftlog/liftlog-api/shared/apierr"
)

// queue bounds work that costs CPU: so many at a time, so many more waiting, and no more than that.
type queue struct {
	slots chan struct{} // those at work
	rooms chan struct{} // those at work and waiting
}

func newQueue(slots, waiting int) *queue {
	return &queue{make(chan struct{}, slots), make(chan struct{}, slots+waiting)}
}

// do runs work when its turn comes. A full queue is [apierr.Unavailable] at once; a caller that goes while waiting
// leaves the queue.
func (q *queue) do(ctx context.Context, work func() error) error {
	select {
	case q.rooms <- struct{}{}:
		defer func() { <-q.rooms }()
	default:
		return apierr.Busy("Too many passwords are being checked.", nil)
	}
	select {
	case q.slots <- struct{}{}:
		defer func() { <-q.slots }()
	case <-ctx.Done():
		return ctx.Err()
	}
	return work()
}

// turns lets one caller at a time work for a user, and a few more wait.
type turns struct {
	mu    sync.Mutex
	users map[uuid.UUID]*turn
}

type turn struct {
	taken   chan struct{}
	callers int
}

// maxCallers is how many may work and wait for one user, so that a stranger who knows an id cannot fill the queue.
const maxCallers = 4

// do runs work when it is the caller's turn for the user; alone tells it that nobody was at work before it.
func (t *turns) do(ctx context.Context, user uuid.UUID, work func(alone bool) error) error {
	t.mu.Lock()
	if t.users == nil {
		t.users = map[uuid.UUID]*turn{}
	}
	mine := t.users[user]
	if mine == nil {
		mine = &turn{taken: make(chan struct{}, 1)}
		t.users[user] = mine
	}
	if mine.callers >= maxCallers {
		t.mu.Unlock()
		return apierr.Busy("Too many passwords are being checked for this user.", nil)
	}
	mine.callers++
	alone := mine.callers == 1
	t.mu.Unlock()

	defer func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if mine.callers--; mine.callers == 0 {
			delete(t.users, user)
		}
	}()
	select {
	case mine.taken <- struct{}{}:
		defer func() { <-mine.taken }()
	case <-ctx.Done():
		return ctx.Err()
	}
	return work(alone)
}
