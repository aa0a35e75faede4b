// Package postgres opens small, lazy pools of connections to v1's database, and says what the failures of a query
// mean to a caller.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"cloud.google.com/go/cloudsqlconn"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	pgxuuid "github.com/vgarvardt/pgx-google-uuid/v5"

	"github.com/liftlog/liftlog-api/shared/apierr"
)

// Querier is what a statement runs on: a pool, a connection or a transaction.
type Querier interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// Options describe a pool.
type Options struct {
	URL              string          // user, password, host and database; may hold a password, so it is never logged
	CloudSQLInstance string          // connection name: the host of URL is ignored then, and the login is by IAM
	MaxConns         int             // per process
	Application      string          // shown in pg_stat_activity
	StatementTimeout time.Duration   // what the server gives a statement; zero means no limit
	LockTimeout      time.Duration   // what the server gives a statement to get a lock; zero means no limit
	Tracer           pgx.QueryTracer // for tests that count round trips
}

const (
	connectTimeout  = 5 * time.Second
	maxConnIdle     = 5 * time.Minute
	maxConnLifetime = 30 * time.Minute
)

// Open prepares a pool that makes its first connection when it is first used. The caller closes it.
func Open(ctx context.Context, o Options) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(o.URL)
	if err != nil {
		return nil, errors.New("open database: the URL is not a PostgreSQL URL") // pgx's own text repeats parts of it
	}
	config.MaxConns = int32(o.MaxConns) //nolint:gosec // the manifest bounds pools
	config.MinConns = 0
	config.MaxConnIdleTime = maxConnIdle
	config.MaxConnLifetime = maxConnLifetime
	config.MaxConnLifetimeJitter = maxConnLifetime / 6
	config.PingTimeout = 2 * time.Second
	config.ConnConfig.ConnectTimeout = connectTimeout
	config.ConnConfig.Tracer = o.Tracer
	config.ConnConfig.RuntimeParams["application_name"] = o.Application
	config.ConnConfig.RuntimeParams["statement_timeout"] = strconv.FormatInt(o.StatementTimeout.Milliseconds(), 10)
	config.ConnConfig.RuntimeParams["lock_timeout"] = strconv.FormatInt(o.LockTimeout.Milliseconds(), 10)
	// Statements here read by an index and in its order; from a bitmap rows would have to be sorted before the first one.
	config.ConnConfig.RuntimeParams["enable_bitmapscan"] = "off"
	config.AfterConnect = func(_ context.Context, conn *pgx.Conn) error {
		pgxuuid.Register(conn.TypeMap())
		return nil
	}
	if o.CloudSQLInstance != "" {
		if err := dialCloudSQL(ctx, config, o.CloudSQLInstance); err != nil {
			return nil, err
		}
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	return pool, nil
}

// dialCloudSQL makes the pool dial the instance over its private address, with the service account's own login. The
// refresh is lazy because Cloud Run stops the CPU between requests.
func dialCloudSQL(ctx context.Context, config *pgxpool.Config, instance string) error {
	dialer, err := cloudsqlconn.NewDialer(ctx,
		cloudsqlconn.WithIAMAuthN(),
		cloudsqlconn.WithLazyRefresh(),
		cloudsqlconn.WithDefaultDialOptions(cloudsqlconn.WithPrivateIP()),
	)
	if err != nil {
		return fmt.Errorf("open database: make a Cloud SQL dialer: %w", err)
	}
	config.ConnConfig.TLSConfig = nil // the dialer's connection is TLS 1.3 already
	config.ConnConfig.Fallbacks = nil
	config.ConnConfig.LookupFunc = func(_ context.Context, host string) ([]string, error) { return []string{host}, nil }
	config.ConnConfig.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return dialer.Dial(ctx, instance)
	}
	return nil
}

// rollbackTimeout bounds a rollback whose caller may have gone.
const rollbackTimeout = 5 * time.Second

// Beginner is what a transaction starts on.
type Beginner interface {
	Begin(ctx context.Context) (pgx.Tx, error)
}

// InTx runs fn in a transaction and commits it, or rolls it back when fn fails or panics, even if the caller has gone.
// fn makes no call over the network but to the database.
func InTx(ctx context.Context, db Beginner, fn func(pgx.Tx) error) error {
	tx, err := db.Begin(ctx)
	if err != nil {
		return fmt.Errorf("begin transaction: %w", err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTimeout)
		defer cancel()
		_ = tx.Rollback(ctx) // after a commit there is nothing to roll back
	}()
	if err := fn(tx); err != nil {
		return err
	}
	if err := tx.Commit(ctx); err != nil {
		return fmt.Errorf("commit transaction: %w", err)
	}
	return nil
}

// passing are the SQLSTATEs, and classes of them, that may be gone when the same statement runs again: connection
// failures, transactions rolled back, too few resources, interventions of an operator, a standby that was promoted
// away, and time-outs. https://www.postgresql.org/docs/current/errcodes-appendix.html
var passing = []string{"08", "40", "53", "57", "25006", "55P03"}

// Wrap says what was attempted, and makes an [apierr.Unavailable] of a failure that is likely to pass. A nil err stays nil.
func Wrap(attempt string, err error) error {
	if err == nil {
		return nil
	}
	wrapped := fmt.Errorf("%s: %w", attempt, err)
	if errors.Is(err, context.Canceled) || errors.Is(err, pgx.ErrNoRows) {
		return wrapped
	}
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		for _, code := range passing {
			if strings.HasPrefix(pgErr.Code, code) {
				return apierr.Busy("The database is busy.", wrapped)
			}
		}
		return wrapped
	}
	// Whatever did not come from the server is a broken or missing connection, or the time that ran out for one.
	_, isNet := errors.AsType[net.Error](err)
	_, isConnect := errors.AsType[*pgconn.ConnectError](err)
	if isNet || isConnect || pgconn.SafeToRetry(err) || errors.Is(err, context.DeadlineExceeded) {
		return apierr.Busy("The database cannot be reached.", wrapped)
	}
	return wrapped
}

// SQLSTATEs that statements here count on.
const (
	ForeignKeyViolation = "23503" // a row's parent is gone
	DivisionByZero      = "22012"
)

// HasCode reports whether err is the server's with this SQLSTATE.
func HasCode(err error, code string) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pgErr.Code == code
}
