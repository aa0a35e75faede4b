// Package postgres opens small, lazy pools of connections to v1's database, runs statements on them, and says what their
// failures mean to a caller.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"strconv"
	"time"

	"cloud.google.com/go/cloudsqlconn"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	pgxuuid "github.com/vgarvardt/pgx-google-uuid/v5"
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
	Tables           []string        // what tells LiftLog's database from another; nil: any database will do
	Gate             *Gate           // is told when the database is the wrong one; may be nil
	Tracer           pgx.QueryTracer // for tests that count round trips
}

const (
	// connectTimeout bounds making a connection, fetching a certificate for the login included.
	connectTimeout  = 5 * time.Second
	maxConnIdle     = 5 * time.Minute
	maxConnLifetime = 30 * time.Minute
)

// Open prepares a pool that makes its first connection when it is first used. The caller closes it. With Tables, every
// connection has to lead to the primary that the first one led to, or it is not used.
func Open(ctx context.Context, o Options) (*DB, error) {
	config, err := pgxpool.ParseConfig(o.URL)
	if err != nil {
		return nil, errors.New("open database: the URL is not a PostgreSQL URL") // pgx's own text repeats parts of it
	}
	config.MaxConns = int32(o.MaxConns) //nolint:gosec // the manifest bounds pools
	config.MinConns = 0
	config.MaxConnIdleTime = maxConnIdle
	config.MaxConnLifetime = maxConnLifetime
	config.MaxConnLifetimeJitter = maxConnLifetime / 6
	config.PingTimeout = pingTimeout
	config.ShouldPing = shouldPing
	config.ConnConfig.ConnectTimeout = connectTimeout
	config.ConnConfig.DialFunc = dialer.DialContext
	config.ConnConfig.Tracer = o.Tracer
	config.ConnConfig.OnPgError = keepSession
	maps.Copy(config.ConnConfig.RuntimeParams, settings(o))
	db := &DB{patience: patience}
	if o.Tables != nil {
		db.primary = &primary{tables: o.Tables, gate: o.Gate}
	}
	config.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		pgxuuid.Register(conn.TypeMap()) // pgx by itself sends a UUID by way of text, at ten times the cost: see BenchmarkUUID
		if db.primary == nil {
			return nil
		}
		ctx, cancel := context.WithTimeout(ctx, connectTimeout)
		defer cancel()
		return db.primary.confirm(ctx, conn)
	}
	if o.CloudSQLInstance != "" {
		if err := dialCloudSQL(ctx, config, o.CloudSQLInstance); err != nil {
			return nil, err
		}
	}
	if db.Pool, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	db.closing, db.cut = context.WithCancel(context.WithoutCancel(ctx))
	if o.Gate != nil {
		o.Gate.guard(db.check)
	}
	return db, nil
}

// Databases are the pools on the users' and the rate limits' database, which may be the same one.
type Databases struct{ User, RateLimit *DB }

// OpenDatabases is [Open] for both, by their URLs.
func OpenDatabases(ctx context.Context, userURL, rateLimitURL string, o Options) (d Databases, err error) {
	o.URL = userURL
	if d.User, err = Open(ctx, o); err != nil {
		return Databases{}, err
	}
	o.URL = rateLimitURL
	if d.RateLimit, err = Open(ctx, o); err != nil {
		d.User.Close()
		return Databases{}, err
	}
	return d, nil
}

// Close closes both.
func (d Databases) Close() {
	d.User.Close()
	d.RateLimit.Close()
}

// settings are those of a session.
func settings(o Options) map[string]string {
	milliseconds := func(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
	return map[string]string{
		// An operator sees in pg_stat_activity whose connection it is.
		"application_name": o.Application,
		// Whoever stops waiting for a statement tells the server to cancel it. This ends a statement for which nobody could.
		"statement_timeout": milliseconds(o.StatementTimeout),
		// A migration had rather fail than let a live table's users queue behind it.
		"lock_timeout": milliseconds(o.LockTimeout),
		// Compiling a plan takes longer than any of these statements, and a large estimate is all it takes to have it compiled.
		"jit": "off",
	}
}

// dialCloudSQL makes the pool dial the instance over its private address, with the service account's own login. The
// refresh is lazy because Cloud Run stops the CPU between requests.
func dialCloudSQL(ctx context.Context, config *pgxpool.Config, instance string) error {
	connector, err := cloudsqlconn.NewDialer(ctx,
		cloudsqlconn.WithIAMAuthN(),
		cloudsqlconn.WithLazyRefresh(),
		cloudsqlconn.WithDialFunc(dialer.DialContext),
		cloudsqlconn.WithDefaultDialOptions(cloudsqlconn.WithPrivateIP(), cloudsqlconn.WithTCPKeepAlive(keepAliveIdle)),
	)
	if err != nil {
		return fmt.Errorf("open database: make a Cloud SQL dialer: %w", err)
	}
	config.ConnConfig.TLSConfig = nil // the connector's connection is TLS 1.3 already
	config.ConnConfig.Fallbacks = nil
	config.ConnConfig.LookupFunc = func(_ context.Context, host string) ([]string, error) { return []string{host}, nil }
	config.ConnConfig.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return connector.Dial(ctx, instance)
	}
	return nil
}
