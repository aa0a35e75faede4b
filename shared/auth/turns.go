package auth

import (
	"context"
	"errors"
	"sync"

	"github.com/google/uuid"

	"github.com/liftlog/liftlog-api/shared/apierr"
	"github.com/liftlog/liftlog-api/shared/clientaddr"
	"github.com/liftlog/liftlog-api/shared/fairqueue"
)

// inTurn runs work when it is the turn of ctx's client. A full queue is [apierr.Unavailable]; a caller that goes while
// waiting leaves the queue.
func inTurn(ctx context.Context, q *fairqueue.Queue, work func() error) error {
	leave, err := q.Enter(ctx, clientaddr.From(ctx), false)
	if errors.Is(err, fairqueue.ErrFull) {
		return apierr.Busy("Too many passwords are being checked.", nil)
	}
	if err != nil {
		return err
	}
	defer leave()
	return work()
}

// turns lets one caller at a time work for a user, and a few more wait: those who guess at somebody's password neither fill
// the queue of all nor keep the user out.
type turns struct {
	mu    sync.Mutex
	users map[uuid.UUID]*turn
}

type turn struct {
	queue   *fairqueue.Queue
	callers int
}

// maxWaitingForUser is how many may wait for one user.
const maxWaitingForUser = 15

// do runs work when it is the caller's turn for the user; alone says that nobody else was at work for that user when the caller
// came.
func (t *turns) do(ctx context.Context, user uuid.UUID, work func(alone bool) error) error {
	t.mu.Lock()
	if t.users == nil {
		t.users = map[uuid.UUID]*turn{}
	}
	mine := t.users[user]
	if mine == nil {
		mine = &turn{queue: fairqueue.New(1, maxWaitingForUser)}
		t.users[user] = mine
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
	return inTurn(ctx, mine.queue, func() error { return work(alone) })
}
