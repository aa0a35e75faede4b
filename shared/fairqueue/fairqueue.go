// Package fairqueue lets strangers share scarce work, such as a processor's or another service's time: a fixed number are at work
// at once, a few more wait, and no client's address takes the others' places.
package fairqueue

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/liftlog/liftlog-api/shared/clientaddr"
)

// part bounds one client's share of a queue: one place in this many.
const part = 4

// ErrFull says that there is no place left for the caller.
var ErrFull = errors.New("the queue is full")

// Queue has places, some of them at work and the others waiting. A client holds at most a quarter of either, but at least one;
// only those whose address is not known may hold more together. Clients take turns, however many places they hold, and callers
// who are to go first are served, and counted, apart from the others of their address. When the queue is full, whoever holds most
// gives way to whoever holds less. It is safe for concurrent use.
type Queue struct {
	slots, places int

	mu      sync.Mutex
	working int
	turns   int // taken so far
	holders map[holder]*holding
	waiting []*waiter // in the order they came
}

// holder is who is served in turns with others.
type holder struct {
	client clientaddr.Client
	first  bool
}

// share is how many of the places, or of those at work, the holder may have.
func (h holder) share(of int) int {
	if h.client == (clientaddr.Client{}) {
		return of
	}
	return max(1, of/part)
}

// holding is what one holder has of the queue.
type holding struct {
	places, working int
	turn            int // the last one that it took
}

type waiter struct {
	holder
	outcome chan error // gets nil, or what became of the place
}

// New returns a queue with places for slots at work at once and for waiting more.
func New(slots, waiting int) *Queue {
	return &Queue{slots: slots, places: slots + waiting, holders: map[holder]*holding{}}
}

// TryEnter takes a place at work if that needs no waiting. The caller has to call leave afterwards.
func (q *Queue) TryEnter(client clientaddr.Client) (leave func(), ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	w := &waiter{holder{client, false}, make(chan error, 1)}
	if q.working >= q.slots || !q.admit(w.holder) {
		return nil, false
	}
	q.add(w)
	if len(w.outcome) == 0 { // the client has its part of those at work
		q.withdraw(w)
		return nil, false
	}
	return q.leave(w.holder), true
}

// Enter takes a place and waits for its turn to work. The caller has to call leave afterwards. It fails with [ErrFull], at once
// or while it waits, and with ctx's error when that ends. Those who are first go before the others.
func (q *Queue) Enter(ctx context.Context, client clientaddr.Client, first bool) (leave func(), err error) {
	w := &waiter{holder{client, first}, make(chan error, 1)}
	q.mu.Lock()
	admitted := q.admit(w.holder)
	if admitted {
		q.add(w)
	}
	q.mu.Unlock()
	if !admitted {
		return nil, ErrFull
	}
	select {
	case err := <-w.outcome:
		if err != nil {
			return nil, err
		}
		return q.leave(w.holder), nil
	case <-ctx.Done():
	}
	q.mu.Lock()
	q.withdraw(w)
	q.mu.Unlock()
	select {
	case err := <-w.outcome: // the outcome came at the same moment
		if err == nil {
			q.leave(w.holder)()
		}
	default:
	}
	return nil, ctx.Err()
}

// Waiting is how many wait.
func (q *Queue) Waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting)
}

// admit reports whether the holder may have one more place, and makes room if another has to give way for it.
func (q *Queue) admit(h holder) bool {
	held := 0
	if has := q.holders[h]; has != nil {
		held = has.places
	}
	if held >= h.share(q.places) {
		return false
	}
	if q.working+len(q.waiting) < q.places {
		return true
	}
	// The newest waiter of whoever holds most has to go. One who is to go first gives way only to another such, and only when
	// nobody else waits.
	var last *waiter
	for _, w := range slices.Backward(q.waiting) {
		switch {
		case w.first && !h.first:
		case last == nil, last.first && !w.first, last.first == w.first && q.holders[w.holder].places > q.holders[last.holder].places:
			last = w
		}
	}
	if last == nil || last.first == h.first && q.holders[last.holder].places <= held+1 {
		return false
	}
	q.withdraw(last)
	last.outcome <- ErrFull
	return true
}

// add lets the waiter wait, and work if it is its turn.
func (q *Queue) add(w *waiter) {
	has := q.holders[w.holder]
	if has == nil {
		has = &holding{}
		q.holders[w.holder] = has
	}
	has.places++
	q.waiting = append(q.waiting, w)
	q.serve()
}

// withdraw takes the waiter's place, if it still waits.
func (q *Queue) withdraw(w *waiter) {
	if i := slices.Index(q.waiting, w); i >= 0 {
		q.waiting = slices.Delete(q.waiting, i, i+1)
		q.giveUp(w.holder)
	}
}

func (q *Queue) giveUp(h holder) {
	has := q.holders[h]
	if has.places--; has.places == 0 {
		delete(q.holders, h)
	}
}

// serve gives free slots to those whose turn it is: to those who are to go first, if any wait, and among equals to the one whose
// last turn is longest ago.
func (q *Queue) serve() {
	for q.working < q.slots {
		var next *waiter
		for _, w := range q.waiting {
			switch has := q.holders[w.holder]; {
			case has.working >= w.share(q.slots):
			case next == nil, w.first && !next.first, w.first == next.first && has.turn < q.holders[next.holder].turn:
				next = w
			}
		}
		if next == nil {
			return
		}
		q.waiting = slices.DeleteFunc(q.waiting, func(w *waiter) bool { return w == next })
		q.working++
		q.turns++
		has := q.holders[next.holder]
		has.working++
		has.turn = q.turns
		next.outcome <- nil
	}
}

// leave returns the function that gives a place at work back.
func (q *Queue) leave(h holder) func() {
	return func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.working--
		q.holders[h].working--
		q.giveUp(h)
		q.serve()
	}
}
