// Package cleanup removes expired data, in small batches beside live traffic.
package cleanup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/liftlog/liftlog-api/shared/postgres"
)

// purge removes one kind of rows.
type purge struct {
	name   string
	in     func(postgres.Databases) *postgres.DB
	keep   func(Options) time.Duration // how long rows stay after their time
	remove string                      // deletes at most $2 rows whose time is $1 or earlier
	count  string                      // counts them, $2 at most; all when that is null
}

// Options say what a run removes.
type Options struct {
	Now time.Time
	// EventGrace is how long events are left where they are after they have expired, or were stored when they already had. As long
	// as v1 runs it needs a day: v1 reads all expired events every hour and then deletes each by its key, and one that is gone by
	// then ends v1's process.
	EventGrace time.Duration
	DryRun     bool // delete nothing: count what would be deleted
}

func always(d time.Duration) func(Options) time.Duration {
	return func(Options) time.Duration { return d }
}

func user(d postgres.Databases) *postgres.DB      { return d.User }
func rateLimit(d postgres.Databases) *postgres.DB { return d.RateLimit }

// VerdictsKept is how long a purchase that was found valid is remembered.
const VerdictsKept = 7 * 24 * time.Hour

// limitWindow is how far rate limits look back.
const limitWindow = 24 * time.Hour

// Each statement locks rows before it relies on their time, and skips those that others have locked: so a row whose time is being
// extended is never removed.
var purges = []purge{
	{
		name: "events", in: user, keep: func(o Options) time.Duration { return o.EventGrace },
		remove: `
			WITH old AS MATERIALIZED (
				SELECT user_id, id FROM user_events WHERE expiry <= $1 AND "timestamp" <= $1 ORDER BY expiry LIMIT $2 FOR UPDATE SKIP LOCKED
			)
			DELETE FROM user_events e USING old WHERE e.user_id = old.user_id AND e.id = old.id`,
		count: `SELECT count(*) FROM (SELECT FROM user_events WHERE expiry <= $1 AND "timestamp" <= $1 LIMIT $2) AS old`,
	},
	{
		name: "shared_items", in: user, keep: always(0),
		remove: `
			WITH old AS MATERIALIZED (
				SELECT id FROM shared_items WHERE expiry <= $1 ORDER BY expiry LIMIT $2 FOR UPDATE SKIP LOCKED
			)
			DELETE FROM shared_items s USING old WHERE s.id = old.id`,
		count: `SELECT count(*) FROM (SELECT FROM shared_items WHERE expiry <= $1 LIMIT $2) AS old`,
	},
	{
		name: "purchase_verdicts", in: rateLimit, keep: always(VerdictsKept),
		remove: `
			WITH old AS MATERIALIZED (
				SELECT digest FROM v2_purchase_verdicts WHERE verified_at <= $1 ORDER BY verified_at LIMIT $2 FOR UPDATE SKIP LOCKED
			)
			DELETE FROM v2_purchase_verdicts v USING old WHERE v.digest = old.digest`,
		count: `SELECT count(*) FROM (SELECT FROM v2_purchase_verdicts WHERE verified_at <= $1 LIMIT $2) AS old`,
	},
	{
		name: "rate_limits", in: rateLimit, keep: always(limitWindow),
		remove: `
			WITH old AS MATERIALIZED (
				SELECT key FROM rate_limit_consumptions WHERE NOT $1 < ANY (requests) LIMIT $2 FOR UPDATE SKIP LOCKED
			)
			DELETE FROM rate_limit_consumptions r USING old WHERE r.key = old.key`,
		count: `SELECT count(*) FROM (SELECT FROM rate_limit_consumptions WHERE NOT $1 < ANY (requests) LIMIT $2) AS old`,
	},
}

const (
	// A batch is small because other commits have to wait until what it wrote is on the disk.
	batchSize    = 200
	batchTimeout = 30 * time.Second
	// After each batch the purge rests for this many times as long as the batch took, which leaves the database to others.
	restFactor    = 4
	purgeTimeout  = 14 * time.Minute // all of them together take less than the hour after which the next run begins
	unlockTimeout = 2 * time.Second
	// What is left is counted when the program may have to end within seconds.
	leftTimeout = 2 * time.Second
	maxLeft     = 10_000
)

// lockID is the advisory lock of the one run at a time: "LiftLog" in ASCII.
const lockID = 0x4c6966744c6f67

// errNothingDone is the end of a run whose time did not suffice for one row.
var errNothingDone = errors.New("the time ran out before anything was removed")

// Run does all purges, logs a line for each and one at the end, and returns what failed: the others go on. When another run is
// at work there is nothing to do. When ctx or a purge's own time ends, the batch under way is completed and the rest is left to
// the next run: the last line is a warning then and counts what is left, and it is a failure only if nothing was removed at all.
func Run(ctx context.Context, databases postgres.Databases, o Options, log *slog.Logger) error {
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
	// The lock is released before the connection is closed, because the server notices the end of a connection only some time
	// later.
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unlockTimeout)
		defer cancel()
		_, _ = conn.Exec(ctx, `SELECT pg_advisory_unlock($1)`, lockID) // what fails here ends with the connection
		_ = conn.Hijack().Close(ctx)
	}()

	var all total
	var failures []error
	for _, p := range purges {
		done, err := p.run(ctx, databases, o)
		all.deleted += done.deleted
		all.batches += done.batches
		all.left += done.left
		attrs := []any{"purge", p.name, "deleted", done.deleted, "batches", done.batches, "left", done.left,
			"grace", p.keep(o).String(), "duration", done.took.String(), "dryRun", o.DryRun}
		if err != nil {
			failures = append(failures, fmt.Errorf("purge %s: %w", p.name, err))
			log.ErrorContext(ctx, "purge failed", append(attrs, "error", err.Error())...)
			continue
		}
		log.InfoContext(ctx, "purged", attrs...)
	}
	level := slog.LevelInfo
	if all.left > 0 {
		level = slog.LevelWarn
		if all.deleted == 0 {
			failures = append(failures, errNothingDone)
		}
	}
	log.Log(ctx, level, "clean-up ended", "deleted", all.deleted, "batches", all.batches, "left", all.left,
		"duration", time.Since(begun).Round(time.Millisecond).String(), "failed", len(failures), "dryRun", o.DryRun)
	return errors.Join(failures...)
}

// total is what a purge did, or would do.
type total struct {
	deleted, batches int64
	left             int64 // when its time ran out, [maxLeft] at most
	took             time.Duration
}

func (p purge) run(ctx context.Context, databases postgres.Databases, o Options) (done total, err error) {
	begun := time.Now()
	defer func() { done.took = time.Since(begun).Round(time.Millisecond) }()
	db, before := p.in(databases), o.Now.Add(-p.keep(o))
	if o.DryRun {
		err := db.QueryRow(ctx, p.count, before, nil).Scan(&done.deleted)
		return done, postgres.Wrap("count", err)
	}
	timed, cancel := context.WithTimeout(ctx, purgeTimeout)
	defer cancel()
	for timed.Err() == nil {
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
		case <-timed.Done():
		}
	}
	done.left, err = p.left(context.WithoutCancel(ctx), db, before)
	return done, err
}

// left counts what there is to remove, up to maxLeft.
func (p purge) left(ctx context.Context, db *postgres.DB, before time.Time) (count int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, leftTimeout)
	defer cancel()
	err = db.QueryRow(ctx, p.count, before, maxLeft).Scan(&count)
	return count, postgres.Wrap("count what is left", err)
}

func (p purge) batch(ctx context.Context, db *postgres.DB, before time.Time) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, batchTimeout)
	defer cancel()
	deleted, err := db.Exec(ctx, p.remove, before, batchSize)
	return deleted.RowsAffected(), postgres.Wrap("delete", err)
}
