package postgres

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/liftlog/liftlog-api/shared/apierr"
)

// identityTable holds one row, which says which database this is. A copy has the same one until it is given its own.
const identityTable = "v2_identity"

// The tables that a function has to see before it believes that it is connected to LiftLog's database. v1's are
// looked for because an empty or half-restored database would answer 404 for every user. A program ends when one of them is
// gone: a migration drops none before the programs are gone that list it.
var (
	UserTables = []string{
		"__EFMigrationsHistory", "users", "user_events", "user_follow_secrets", "user_inbox_items", "shared_items",
		"v2_password_tags", "v2_password_proofs", "v2_feed_clocks", identityTable,
	}
	RateLimitTables = []string{
		"__EFMigrationsHistory", "rate_limit_consumptions", "v2_purchase_verdicts", "v2_model_tokens", identityTable,
	}
)

// WrongDatabaseError says that a database was reached and is not the one it has to be. What it answers must not be believed: that
// a user is missing there means nothing.
type WrongDatabaseError struct {
	Tables []string // that are missing; empty: the database is a replica, or another one than before
	Reason string
}

func (e *WrongDatabaseError) Error() string {
	if len(e.Tables) > 0 {
		return fmt.Sprintf("the database lacks the tables %s: is it LiftLog's, and has jobs/migrate run?", strings.Join(e.Tables, ", "))
	}
	return e.Reason
}

func (e *WrongDatabaseError) unavailable() error {
	return apierr.Broken("The database has been replaced.", e)
}

var (
	errReplica = &WrongDatabaseError{Reason: "the database is a replica, or is being recovered: it may lack what the primary has"}
	errAnother = &WrongDatabaseError{Reason: "the database is not the one that this process began with: its identity has changed"}
)

// primary makes sure that a pool's database is the primary that the process began with.
type primary struct {
	tables []string
	gate   *Gate // nil: nobody is told

	mu       sync.Mutex
	identity uuid.UUID      // the first one seen; zero: none yet
	probes   map[probe]bool // statements that were refused for a missing right or table
}

// probe is a statement with its number of arguments.
type probe struct {
	sql       string
	arguments int
}

const missingTables = `
	SELECT name
	FROM unnest($1::text[]) AS name
	WHERE to_regclass(quote_ident(name)) IS NULL`

// seen is what a database says of itself.
type seen struct {
	Recovering bool
	Missing    []string
	Identity   *uuid.UUID // nil: there is none
}

const look = `
	SELECT pg_is_in_recovery(), ARRAY(` + missingTables + `), (SELECT id FROM ` + identityTable + `)`

// confirm returns a [WrongDatabaseError] unless the connection leads to the primary that the process began with. It is one
// round trip.
func (p *primary) confirm(ctx context.Context, conn Querier) error {
	// It is not prepared, which would be another round trip.
	rows, _ := conn.Query(ctx, look, pgx.QueryExecModeExec, p.tables) // a failed Query is reported by the next line
	now, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[seen])
	if HasCode(err, undefinedTable) { // which of them are missing?
		rows, _ := conn.Query(ctx, missingTables, pgx.QueryExecModeExec, p.tables)
		now.Missing, err = pgx.CollectRows(rows, pgx.RowTo[string])
	}
	if err != nil {
		return Wrap("look which database this is", err)
	}
	if wrong := p.judge(now); wrong != nil {
		if p.gate != nil {
			p.gate.fail(wrong)
		}
		return wrong.unavailable()
	}
	return nil
}

func (p *primary) judge(now seen) *WrongDatabaseError {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case len(now.Missing) > 0:
		return &WrongDatabaseError{Tables: now.Missing}
	case now.Recovering:
		return errReplica
	case now.Identity == nil || p.identity != uuid.Nil && p.identity != *now.Identity:
		return errAnother
	}
	p.identity = *now.Identity
	return nil
}

// doubt remembers a statement that was refused, until it would be let through again.
func (p *primary) doubt(refused probe) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.probes == nil {
		p.probes = map[probe]bool{}
	}
	p.probes[refused] = true
	if p.gate != nil {
		p.gate.doubt()
	}
}

// check is what the gate calls: it looks which database this is, and whether the statements that were refused still are.
func (db *DB) check(ctx context.Context) error {
	return db.with(ctx, func(conn *pgxpool.Conn) error {
		if err := db.primary.confirm(ctx, conn); err != nil {
			return err
		}
		return db.primary.tryAgain(ctx, conn)
	})
}

// tryAgain has the server explain the statements that were refused, which it does only for a role that may run them.
func (p *primary) tryAgain(ctx context.Context, conn Querier) error {
	p.mu.Lock()
	probes := slices.Collect(maps.Keys(p.probes))
	p.mu.Unlock()
	for _, refused := range probes {
		if _, err := conn.Exec(ctx, "EXPLAIN "+refused.sql, make([]any, refused.arguments)...); err != nil {
			return Wrap("try again what was refused", err)
		}
		p.mu.Lock()
		delete(p.probes, refused)
		p.mu.Unlock()
	}
	return nil
}

// Missing returns the error, after it has made sure that this is still the primary that the process began with: else what is
// missing may well be there, and it returns an [apierr.Unavailable] error. It costs a round trip. A nil error stays nil.
func (db *DB) Missing(ctx context.Context, missing error) error {
	if db.primary == nil {
		return missing
	}
	err := db.statement(ctx, "make sure that a row is missing", look, []any{db.primary.tables}, func(ctx context.Context, conn Querier) error {
		return db.primary.confirm(ctx, conn)
	})
	if err != nil {
		return err
	}
	return missing
}
