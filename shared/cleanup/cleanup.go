// Package cleanup removes what has had its time, in small batches beside live traffic.
package cleanup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/liftlog/liftlog-api/shared/postgres"
)

// purge removes one kind of rows.
type purge struct {
	name   string
	in     func(Databases) *pgxpool.Pool
	keep   time.Duration // rows are removed when this has passed since their time
	remove string        // deletes at most $2 rows whose time is at $1 or before
	count  string        // counts all of them
}

// Databases are the pools that purges work on, which may be on the same database.
type Databases struct{ User, RateLimit *pgxpool.Pool }

func user(d Databases) *pgxpool.Pool      { return d.User }
func rateLimit(d Databases) *pgxpool.Pool { return d.RateLimit }

// VerdictsKept is how long a purchase that was found valid is remembered.
const VerdictsKept = 7 * 24 * time.Hour

// limitWindow is what rate limits look back on.
const limitWindow = 24 * time.Hour

// Rows are locked before their time is read for good, and locked ones are passed by: one whose time is just being
// extended is never removed.
var purges = []purge{
	{
		name: "events", in: user,
		remove: `
			WITH old AS MATERIALIZED (
				SELECT user_id, id FROM user_events WHERE expiry <= $1 ORDER BY expiry LIMIT $2 FOR UPDATE SKIP LOCKED
			)
			DELETE FROM user_events e USING old WHERE e.user_id = old.user_id AND e.id = old.id`,
		count: `SELECT count(*) FROM user_events WHERE expiry <= $1`,
	},
	{
		name: "shared_items", in: user,
		remove: `
			WITH old AS MATERIALIZED (
				SELECT id FROM shared_items WHERE expiry <= $1 ORDER BY expiry LIMIT $2 FOR UPDATE SKIP LOCKED
			)
			DELETE FROM shared_items s USING old WHERE s.id = old.id`,
		count: `SELECT count(*) FROM shared_items WHERE expiry <= $1`,
	},
	{
		name: "purchase_verdicts", in: rateLimit, keep: VerdictsKept,
		remove: `
			WITH old AS MATERIALIZED (
				SELECT digest FROM v2_purchase_verdicts WHERE verified_at <= $1 ORDER BY verified_at LIMIT $2 FOR UPDATE SKIP LOCKED
			)
			DELETE FROM v2_purchase_verdicts v USING old WHERE v.digest = old.digest`,
		count: `SELECT count(*) FROM v2_purchase_verdicts WHERE verified_at <= $1`,
	},
	{
		name: "rate_limits", in: rateLimit, keep: limitWindow,
		remove: `
			WITH old AS MATERIALIZED (
				SELECT key FROM rate_limit_consumptions WHERE NOT $1 < ANY (requests) LIMIT $2 FOR UPDATE SKIP LOCKED
			)
			DELETE FROM rate_limit_consumptions r USING old WHERE r.key = old.key`,
		count: `SELECT count(*) FROM rate_limit_consumptions WHERE NOT $1 < ANY (requests)`,
	},
}

const (
	// A batch is small because a commit of somebody else's has to wait until what it wrote is on the disk.
	batchSize    = 200
	batchTimeout = 30 * time.Second
	// After each batch the purge rests so many times as long as the batch took, which leaves the database to others.
	restFactor    = 4
	purgeTimeout  = 15 * time.Minute // what is left then is for the next hour
	unlockTimeout = 5 * time.Second
)

// lockID is the advisory lock of the one run at a time: "LiftLog" in ASCII.
const lockID = 0x4c6966744c6f67

// Run does all purges as of now, logs a line for each and one at the end, and returns what failed: the others go on. When
// another run is at work there is nothing to do. When ctx ends, the batch under way is completed and the rest is left. With
// dryRun it only counts.
func Run(ctx context.Context, databases Databases, now time.Time, dryRun bool, log *slog.Logger) error {
	begun := time.Now()
	conn, err := databases.User.Acquire(ctx)
	if err != nil {
		return postgres.Wrap("lock clean-up", err)
	}
	var mine bool
	if err := conn.QueryRow(ctx, `SELECT pg_try_advisory_lock($1)`, lockID).Scan(&mine); err != nil {
		conn.Release()
		return postgres.Wrap("lock clean-up", err)
	}
	if !mine {
		conn.Release()
		log.InfoContext(ctx, "another clean-up is at work")
		return nil
	}
	// The lock is given back before the connection ends, because the server notices the end some time later only.
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unlockTimeout)
		defer cancel()
		_, _ = conn.Exec(ctx, `SELECT pg_advisory_unlock($1)`, lockID) // what fails here ends with the connection
		_ = conn.Hijack().Close(ctx)
	}()

	var all total
	var failures []error
	for _, p := range purges {
		done, err := p.run(ctx, databases, now, dryRun)
		all.deleted += done.deleted
		all.batches += done.batches
		attrs := []any{"purge", p.name, "deleted", done.deleted, "batches", done.batches, "duration", done.took.String(), "dryRun", dryRun}
		if err != nil {
			failures = append(failures, fmt.Errorf("purge %s: %w", p.name, err))
			log.ErrorContext(ctx, "purge failed", append(attrs, "error", err.Error())...)
			continue
		}
		log.InfoContext(ctx, "purged", attrs...)
	}
	log.InfoContext(ctx, "clean-up ended", "deleted", all.deleted, "batches", all.batches,
		"duration", time.Since(begun).Round(time.Millisecond).String(), "failed", len(failures), "dryRun", dryRun)
	return errors.Join(failures...)
}

// total is what a purge did, or would do.
type total struct {
	deleted, batches int64
	took             time.Duration
}

func (p purge) run(ctx context.Context, databases Databases, now time.Time, dryRun bool) (done total, err error) {
	begun := time.Now()
	defer func() { done.took = time.Since(begun).Round(time.Millisecond) }()
	db, before := p.in(databases), now.Add(-p.keep)
	ctx, cancel := context.WithTimeout(ctx, purgeTimeout)
	defer cancel()
	if dryRun {
		err := db.QueryRow(ctx, p.count, before).Scan(&done.deleted)
		return done, postgres.Wrap("count", err)
	}
	for {
		if ctx.Err() != nil {
			return done, ctx.Err()
		}
		began := time.Now()
		deleted, err := p.batch(context.WithoutCancel(ctx), db, before)
		if err != nil {
			return done, err
		}
		done.deleted += deleted
		done.batches++
		if deleted < batchSize {
			return done, nil
		}
		select {
		case <-time.After(restFactor * time.Since(began)):
		case <-ctx.Done():
		}
	}
}

func (p purge) batch(ctx context.Context, db *pgxpool.Pool, before time.Time) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, batchTimeout)
	defer cancel()
	deleted, err := db.Exec(ctx, p.remove, before, batchSize)
	return deleted.RowsAffected(), postgres.Wrap("delete", err)
}
