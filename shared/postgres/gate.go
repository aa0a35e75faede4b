package postgres

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/liftlog/liftlog-api/shared/apierr"
)

// checkTimeout bounds one look at the databases, first connections included.
const checkTimeout = 10 * time.Second

// Gate keeps requests out until every database of the process has turned out to be LiftLog's, while a right or a table is
// missing, and for good once a database is another one than the process began with. It is safe for concurrent use. The zero
// value guards no database.
type Gate struct {
	open    atomic.Bool
	mu      sync.Mutex
	checks  []func(context.Context) error // one for each database
	running chan struct{}                 // closed at the end of the checks under way
	err     error                         // why it is closed
	wrong   *WrongDatabaseError
	missing chan error
}

// NewGate makes a gate for the pools that are opened with it.
func NewGate() *Gate { return &Gate{missing: make(chan error, 1)} }

// guard adds a check, before the gate is used.
func (g *Gate) guard(check func(context.Context) error) { g.checks = append(g.checks, check) }

// Ready returns nil while the gate is open. While it is closed a caller waits, within its ctx, for the checks under way, which it
// starts if there are none, and gets an [apierr.Unavailable] error when they fail.
func (g *Gate) Ready(ctx context.Context) error {
	if g.open.Load() {
		return nil
	}
	g.mu.Lock()
	if g.wrong == nil && g.running == nil {
		g.running = make(chan struct{})
		go g.run(context.WithoutCancel(ctx), g.running)
	}
	running, wrong := g.running, g.wrong
	g.mu.Unlock()
	if wrong != nil {
		return wrong.unavailable()
	}
	select {
	case <-running:
	case <-ctx.Done():
		return apierr.Busy("The service is starting.", ctx.Err())
	}
	if g.open.Load() {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if apierr.IsBroken(g.err) {
		return apierr.Broken("The service is not set up.", g.err)
	}
	return apierr.Busy("The service is starting.", g.err)
}

// Missing receives a [WrongDatabaseError] when a database was reached and is not, or no longer, the right one. A program that
// sees it has to end.
func (g *Gate) Missing() <-chan error { return g.missing }

func (g *Gate) run(ctx context.Context, done chan struct{}) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	var err error
	for _, check := range g.checks {
		if err = check(ctx); err != nil {
			break
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.err = err
	g.open.Store(err == nil && g.wrong == nil)
	g.running = nil
	close(done)
}

// doubt closes the gate until the checks have passed again.
func (g *Gate) doubt() { g.open.Store(false) }

// fail closes the gate for good.
func (g *Gate) fail(err *WrongDatabaseError) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open.Store(false)
	if g.wrong == nil {
		g.wrong = err
		g.missing <- err
	}
}
