package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/liftlog/liftlog-api/shared/apierr"
)

// The tables that a function has to see before it believes that it is connected to LiftLog's database. v1's are
// looked for because an empty or half-restored database would answer 404 for every user.
var (
	UserTables = []string{
		"__EFMigrationsHistory", "users", "user_events", "user_follow_secrets", "user_inbox_items", "shared_items",
		"v2_password_tags", "v2_feed_clocks",
	}
	RateLimitTables = []string{"__EFMigrationsHistory", "rate_limit_consumptions", "v2_purchase_verdicts", "v2_model_tokens"}
)

// MissingTablesError says that a database was reached and is not the one it has to be.
type MissingTablesError struct{ Tables []string }

func (e *MissingTablesError) Error() string {
	return fmt.Sprintf("the database lacks the tables %s: is it LiftLog's, and has jobs/migrate run?", strings.Join(e.Tables, ", "))
}

const missingTables = `
	SELECT name
	FROM unnest($1::text[]) AS name
	WHERE to_regclass(quote_ident(name)) IS NULL`

// CheckTables returns a [MissingTablesError] unless the database has all the tables.
func CheckTables(ctx context.Context, db Querier, tables []string) error {
	rows, _ := db.Query(ctx, missingTables, tables) // a failed Query is reported by the next line
	missing, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return Wrap("look for tables", err)
	}
	if len(missing) > 0 {
		return &MissingTablesError{missing}
	}
	return nil
}

// checkTimeout bounds one look at the tables, first connections included.
const checkTimeout = 10 * time.Second

// Gate keeps requests out until a check has succeeded once. It is safe for concurrent use.
type Gate struct {
	check   func(context.Context) error
	open    atomic.Bool
	mu      sync.Mutex
	running chan struct{} // closed at the end of the check under way
	missing chan error
}

// NewGate makes a gate that opens when check succeeds.
func NewGate(check func(context.Context) error) *Gate {
	return &Gate{check: check, missing: make(chan error, 1)}
}

// Ready returns nil once the check has succeeded. Until then a caller waits, within its ctx, for the check under way,
// which it starts if there is none, and gets an [apierr.Unavailable] error when that fails.
func (g *Gate) Ready(ctx context.Context) error {
	if g.open.Load() {
		return nil
	}
	g.mu.Lock()
	if g.running == nil {
		g.running = make(chan struct{})
		go g.run(context.WithoutCancel(ctx), g.running)
	}
	running := g.running
	g.mu.Unlock()
	select {
	case <-running:
	case <-ctx.Done():
	}
	if g.open.Load() {
		return nil
	}
	return apierr.Busy("The service is starting.", ctx.Err())
}

// Missing receives the error of a check that reached the database and found it to be another one. A program that sees
// it has to end.
func (g *Gate) Missing() <-chan error { return g.missing }

func (g *Gate) run(ctx context.Context, done chan struct{}) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	err := g.check(ctx)
	g.open.Store(err == nil)
	if _, missing := errors.AsType[*MissingTablesError](err); missing {
		select {
		case g.missing <- err:
		default:
		}
	}
	g.mu.Lock()
	g.running = nil
	g.mu.Unlock()
	close(done)
}
