// Package migrations brings databases forward: it makes v1's tables where there are none, and adds what is v2's own
// beside them. Nothing of v1's is ever changed.
package migrations

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/liftlog/liftlog-api/shared/postgres"
)

//go:embed user/*.sql ratelimit/*.sql
var files embed.FS

// set is the migrations of one database.
type set struct {
	folder       string   // in files
	versionTable string   // where goose keeps what was applied; two, because the two databases may be one
	root         string   // the table whose presence says that v1 made the database
	referenced   []string // tables of v1's that foreign keys are made on
	indexed      []string // tables of v1's that indexes are made on
}

var (
	userSet = set{
		folder: "user", versionTable: "v2_user_migrations", root: "users",
		referenced: []string{"users"}, indexed: []string{"user_events", "shared_items", "user_follow_secrets", "user_inbox_items"},
	}
	rateLimitSet = set{folder: "ratelimit", versionTable: "v2_rate_limit_migrations", root: "rate_limit_consumptions"}
)

func (s set) other() set {
	if s.folder == userSet.folder {
		return rateLimitSet
	}
	return userSet
}

// lockTimeout is how long a migration may wait for a lock, with the table's users queueing behind it. Making and dropping an
// index concurrently waits for older transactions without blocking anybody: the files that do so switch the timeout off.
const lockTimeout = 3 * time.Second

// MaxTime bounds a whole run, and each of its statements as well, in case the program is killed while the server is at work. An
// index on a large live table is the longest of them.
const MaxTime = time.Hour

// lockAttempts is how often a migration is tried that does not get its lock.
const lockAttempts = 5

// MaxConns is how many connections to each database migrations use.
const MaxConns = 2

// Open opens the pools of both databases. They give up on a lock rather than let a live table's users queue behind them.
func Open(ctx context.Context, userURL, rateLimitURL, cloudSQLInstance string) (postgres.Databases, error) {
	return postgres.OpenDatabases(ctx, userURL, rateLimitURL, postgres.Options{
		CloudSQLInstance: cloudSQLInstance, Application: "migrate", MaxConns: MaxConns, LockTimeout: lockTimeout, StatementTimeout: MaxTime,
	})
}

func each(databases postgres.Databases, fn func(set, *postgres.DB) error) error {
	if err := fn(userSet, databases.User); err != nil {
		return fmt.Errorf("users' database: %w", err)
	}
	if err := fn(rateLimitSet, databases.RateLimit); err != nil {
		return fmt.Errorf("rate limits' database: %w", err)
	}
	return nil
}

// Up applies what is pending, after it has made sure by [Check] that nothing stands in the way. Several may run at once: they
// take turns by a lock of the database, and the later ones find nothing to do. An index that is unfinished when ctx or [MaxTime]
// ends is made anew by the next run.
func Up(ctx context.Context, databases postgres.Databases, log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, MaxTime)
	defer cancel()
	report, err := Check(ctx, databases)
	if err != nil {
		return err
	}
	if len(report.Obstacles) > 0 {
		return &ObstaclesError{report.Obstacles}
	}
	return each(databases, func(s set, pool *postgres.DB) error { return s.up(ctx, pool, log) })
}

func (s set) up(ctx context.Context, pool *postgres.DB, log *slog.Logger) error {
	db := stdlib.OpenDBFromPool(pool.Pool)
	defer func() { _ = db.Close() }()
	provider, err := s.provider(db)
	if err != nil {
		return err
	}
	if err := s.forget(ctx, pool); err != nil {
		return err
	}
	for attempt := 1; ; attempt++ {
		applied, err := provider.Up(ctx)
		partial, isPartial := errors.AsType[*goose.PartialError](err)
		if isPartial {
			applied = partial.Applied
		}
		for _, done := range applied {
			log.InfoContext(ctx, "migrated", "database", s.folder, "migration", done.Source.Path, "took", done.Duration.Round(time.Millisecond).String())
		}
		if !postgres.HasCode(err, lockNotAvailable) || attempt == lockAttempts {
			if isPartial {
				return fmt.Errorf("migrate %s: %w", partial.Failed.Source.Path, partial.Err)
			}
			return err
		}
		log.WarnContext(ctx, "a table is in use: trying again", "database", s.folder, "attempt", attempt)
		select {
		case <-time.After(lockTimeout/3 + rand.N(lockTimeout/3)): //nolint:gosec // jitter is no secret
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// lockNotAvailable is PostgreSQL's SQLSTATE for a lock that could not be had within lock_timeout.
const lockNotAvailable = "55P03"

func (s set) provider(db *sql.DB) (*goose.Provider, error) {
	// The lock is tried once a second, for as long as another run may take.
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, uint64(MaxTime/time.Second)))
	if err != nil {
		return nil, fmt.Errorf("prepare migrations: %w", err)
	}
	folder, err := fs.Sub(files, s.folder)
	if err != nil {
		return nil, fmt.Errorf("prepare migrations: %w", err)
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, folder,
		goose.WithTableName(s.versionTable), goose.WithSessionLocker(locker), goose.WithDisableGlobalRegistry(true),
		goose.WithAllowOutofOrder(true)) // an index that was lost is made anew after later migrations
	if err != nil {
		return nil, fmt.Errorf("prepare migrations: %w", err)
	}
	return provider, nil
}
