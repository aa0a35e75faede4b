package postgres

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/liftlog/liftlog-api/shared/apierr"
)

// DB is a pool of connections to one of LiftLog's databases. Statements are run by [Exec], [One] and [All], and
// transactions by [InTx], which do again what the database asks to have done again, close what must not be used again, and
// say what a failure means to a caller. The pool itself is for what none of them can do. It is safe for concurrent use.
type DB struct {
	*pgxpool.Pool

	patience time.Duration
	primary  *primary        // nil: any database will do
	closing  context.Context //nolint:containedctx // ends with the pool, and with it every statement
	cut      context.CancelFunc
}

const (
	// patience is how long one statement may take, getting a connection for it included. Ordinarily it takes milliseconds: what
	// takes longer waits for somebody's lock, or for a server or a network that has stopped answering.
	patience = 5 * time.Second
	// attempts is how often work is tried at most when it fails for a reason that may pass.
	attempts = 3
	// pause is the least time before work is tried again, and jitter the most that is added to it, times the number of the
	// attempt.
	pause, jitter = 5 * time.Millisecond, 50 * time.Millisecond
	// pingAfter is how long a connection may have been idle and still be used without a ping.
	pingAfter = time.Second
	// pingTimeout is how long the answer to a ping may take.
	pingTimeout = time.Second
	// closeTimeout is how long the end of a pool may take.
	closeTimeout = time.Second
	// cleanUpTimeout is how long a dead connection keeps its place in the pool, while the server is told to stop its statement.
	cleanUpTimeout = time.Second
)

// Patient returns the same pool with another limit on how long a statement may take.
func (db *DB) Patient(patience time.Duration) *DB {
	patient := *db
	patient.patience = patience
	return &patient
}

// Close cancels the statements under way and closes the pool. It takes a second at most: a connection that answers no more
// ends with the process.
func (db *DB) Close() {
	db.cut()
	closed := make(chan struct{})
	go func() {
		db.Pool.Close()
		close(closed)
	}()
	select {
	case <-closed:
	case <-time.After(closeTimeout):
	}
}

// Exec runs a statement and returns how many rows it concerned. attempt says in an error what was attempted. The statement
// is done again, a few times within ctx, if it was a deadlock's victim, could not be serialized, met a connection that could
// not run it, or was prepared for tables that have changed: in all of these cases it has had no effect.
func Exec(ctx context.Context, db *DB, attempt, sql string, args ...any) (rows int64, err error) {
	err = db.statement(ctx, attempt, sql, args, func(ctx context.Context, conn Querier) error {
		done, err := conn.Exec(ctx, sql, args...)
		rows = done.RowsAffected()
		return err
	})
	return rows, err
}

// One is [Exec] for a statement that returns a row. Without one it returns the error missing, after it has made sure that the
// row was looked for in the right place; see [DB.Missing]. With a nil missing there is always a row.
func One[T any](
	ctx context.Context, db *DB, attempt string, scan pgx.RowToFunc[T], missing error, sql string, args ...any,
) (row T, err error) {
	err = db.statement(ctx, attempt, sql, args, func(ctx context.Context, conn Querier) (err error) {
		rows, _ := conn.Query(ctx, sql, args...) // a failed Query is reported by the next line
		row, err = pgx.CollectExactlyOneRow(rows, scan)
		return err
	})
	if missing != nil && errors.Is(err, pgx.ErrNoRows) {
		return row, db.Missing(ctx, missing)
	}
	return row, err
}

// All is [Exec] for a statement that returns any number of rows, which it holds in memory.
func All[T any](ctx context.Context, db *DB, attempt string, scan pgx.RowToFunc[T], sql string, args ...any) (all []T, err error) {
	err = db.statement(ctx, attempt, sql, args, func(ctx context.Context, conn Querier) (err error) {
		rows, _ := conn.Query(ctx, sql, args...) // a failed Query is reported by the next line
		all, err = pgx.CollectRows(rows, scan)
		return err
	})
	return all, err
}

// InTx runs fn in a transaction and commits it, or rolls it back when fn fails or panics, even if the caller has gone. fn
// makes no call over the network but to the database, and may be run again like a statement of [Exec]'s: what it did outside of
// the transaction has to bear that. The time for all of it is ctx's.
func InTx(ctx context.Context, db *DB, attempt string, fn func(pgx.Tx) error) error {
	return db.again(ctx, attempt, func() error {
		return db.with(ctx, func(conn *pgxpool.Conn) error {
			tx, err := conn.Begin(ctx)
			if err != nil {
				return err
			}
			defer func() {
				ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTimeout)
				defer cancel()
				_ = tx.Rollback(ctx) // after a commit there is nothing to roll back
			}()
			if err := fn(tx); err != nil {
				return err
			}
			return tx.Commit(ctx)
		})
	})
}

// rollbackTimeout bounds a rollback whose caller may have gone.
const rollbackTimeout = 5 * time.Second

// statement runs fn, which sends the statement to its connection, within the pool's patience.
func (db *DB) statement(ctx context.Context, attempt, sql string, args []any, fn func(context.Context, Querier) error) error {
	err := db.again(ctx, attempt, func() error {
		ctx, cancel := context.WithTimeout(ctx, db.patience)
		defer cancel()
		defer context.AfterFunc(db.closing, cancel)() //nolint:contextcheck // the end of the pool ends statements, too
		return db.with(ctx, func(conn *pgxpool.Conn) error { return fn(ctx, conn) })
	})
	if db.primary != nil && refused(err) {
		db.primary.doubt(probe{sql, len(args)})
	}
	return err
}

// again does the work, and repeats it once or twice if it may be repeated and ctx leaves the time.
func (db *DB) again(ctx context.Context, attempt string, work func() error) error {
	for n := 1; ; n++ {
		err := work()
		if db.closing.Err() != nil && err != nil {
			return apierr.Busy("The service is stopping.", Wrap(attempt, err))
		}
		if n == attempts || !repeatable(err) {
			return Wrap(attempt, err)
		}
		wait := pause + rand.N(time.Duration(n)*jitter) //nolint:gosec // jitter is no secret
		if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < wait {
			return Wrap(attempt, err)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return Wrap(attempt, err)
		}
	}
}

// with lends fn a live connection. fn may be run again on it.
func (db *DB) with(ctx context.Context, fn func(*pgxpool.Conn) error) error {
	conn, err := db.acquire(ctx)
	if err != nil {
		return err
	}
	defer release(conn)
	// Each connection has statements of its own that are stale when a table has changed, and prepares one anew after it has
	// failed: another connection would have to learn it, too.
	for range attempts {
		if err = fn(conn); !stale(err) {
			break
		}
	}
	if _, answered := errors.AsType[*pgconn.PgError](err); err != nil && !answered && conn.Conn().IsClosed() && ctx.Err() == nil {
		return apierr.Busy("The database cannot be reached.", err)
	}
	return err
}

// idle carries from the pool to acquire for how long a connection has been idle: acquire does the pinging.
type idle struct{ duration time.Duration }

type idleKey struct{}

// shouldPing tells the pool whether to ping a connection before it hands it out.
func shouldPing(ctx context.Context, params pgxpool.ShouldPingParams) bool {
	if since, ok := ctx.Value(idleKey{}).(*idle); ok {
		since.duration = params.IdleDuration
		return false
	}
	return params.IdleDuration > pingAfter
}

// acquire gets a live connection. One that died while it was idle is rarely alone: the others are replaced as well, lest each of
// them has to be waited for.
func (db *DB) acquire(ctx context.Context) (*pgxpool.Conn, error) {
	for {
		var since idle
		conn, err := db.Acquire(context.WithValue(ctx, idleKey{}, &since))
		if err != nil || since.duration <= pingAfter {
			return conn, err
		}
		ping, cancel := context.WithTimeout(ctx, pingTimeout)
		err = conn.Ping(ping)
		cancel()
		if err == nil {
			return conn, nil
		}
		release(conn)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		db.Reset()
	}
}

// release gives a connection back. A dead one leaves the pool as soon as the server has been told, and in any case soon: its
// place is not kept for as long as a network that answers no more takes to say so.
func release(conn *pgxpool.Conn) {
	if !conn.Conn().IsClosed() {
		conn.Release()
		return
	}
	go func() {
		select {
		case <-conn.Conn().PgConn().CleanupDone():
		case <-time.After(cleanUpTimeout):
		}
		conn.Hijack()
	}()
}
