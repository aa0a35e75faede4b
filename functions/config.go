package functions

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/liftlog/liftlog-api/functions/manifest"
	"github.com/liftlog/liftlog-api/shared/auth"
	"github.com/liftlog/liftlog-api/shared/config"
	"github.com/liftlog/liftlog-api/shared/planner"
	"github.com/liftlog/liftlog-api/shared/planner/openai"
	"github.com/liftlog/liftlog-api/shared/postgres"
	"github.com/liftlog/liftlog-api/shared/purchase"
	"github.com/liftlog/liftlog-api/shared/ratelimit"
)

// Config is what functions read of the environment. A part that none of them needs is nil.
type Config struct {
	Service     config.Service
	HTTP        config.HTTP
	Database    *config.Database
	Credentials *config.Credentials
	Inbox       *config.Inbox
	Purchases   *config.Purchases
	Limits      *config.Limits
	Model       *config.Model
}

// ConfigFor returns an empty configuration with the parts that the routes need, for [config.Load] to fill.
func ConfigFor(routes ...manifest.Route) *Config {
	var c Config
	for _, route := range routes {
		if len(route.Databases) > 0 {
			c.Database = &config.Database{}
		}
		if slices.Contains(route.Secrets, "CREDENTIAL_KEY") {
			c.Credentials = &config.Credentials{}
		}
		if route.Function == "PutInboxMessage" {
			c.Inbox = &config.Inbox{}
		}
		if route.Auth == manifest.AuthPurchase {
			c.Purchases, c.Limits, c.Model = &config.Purchases{}, &config.Limits{}, &config.Model{}
		}
	}
	return &c
}

// statementTimeout bounds a statement that no request waits for any more. A stream's reader may be slow, and its
// statement lives as long.
const statementTimeout = 5 * time.Minute

// Open makes what the configuration describes for the routes: pools of at most maxConns connections each, which connect
// when they are first used, and the gate that opens when the databases turn out to be LiftLog's. The caller closes.
func Open(
	ctx context.Context, c *Config, routes manifest.Manifest, application string, maxConns int, log *slog.Logger,
) (deps Deps, gate *postgres.Gate, closeAll func(), err error) {
	var pools []*pgxpool.Pool
	closeAll = func() {
		for _, pool := range pools {
			pool.Close()
		}
	}
	var checks []func(context.Context) error
	open := func(database string, url config.Secret, tables []string) (*pgxpool.Pool, error) {
		if !slices.ContainsFunc(routes, func(r manifest.Route) bool { return r.Needs(database) }) {
			return nil, nil //nolint:nilnil // nobody needs it
		}
		pool, err := postgres.Open(ctx, postgres.Options{
			URL: url.Reveal(), CloudSQLInstance: c.Database.CloudSQLInstance,
			Application: application, MaxConns: maxConns, StatementTimeout: statementTimeout,
		})
		if err == nil {
			pools = append(pools, pool)
			checks = append(checks, func(ctx context.Context) error { return postgres.CheckTables(ctx, pool, tables) })
		}
		return pool, err
	}
	if c.Database != nil {
		deps.DB, err = open(manifest.DatabaseUser, c.Database.URL, postgres.UserTables)
		if err == nil {
			deps.RateLimitDB, err = open(manifest.DatabaseRateLimit, c.Database.RateLimitURL, postgres.RateLimitTables)
		}
		if err != nil {
			closeAll()
			return Deps{}, nil, func() {}, err
		}
		deps.Streams = postgres.NewStreams(maxConns)
	}
	if c.Credentials != nil {
		deps.Verifier = auth.New(c.Credentials.Keys)
	}
	if c.Inbox != nil {
		deps.MaxInbox = c.Inbox.MaxWaiting
	}
	if c.Model != nil {
		if warning := c.Model.Warning(time.Now()); warning != "" {
			log.WarnContext(ctx, warning)
		}
		deps.Purchases = purchase.New(*c.Purchases, deps.RateLimitDB, log)
		deps.Planner = planner.New(openai.New(*c.Model))
		deps.Limits = *c.Limits
		deps.Limiter = ratelimit.New(ratelimit.Options{
			DB: deps.RateLimitDB, TokensPerDay: c.Limits.TokensPerDay, Closed: !c.Model.PlannerEnabled, Unlimited: c.Service.TestMode,
		})
	}
	return deps, postgres.NewGate(func(ctx context.Context) error {
		for _, check := range checks {
			if err := check(ctx); err != nil {
				return err
			}
		}
		return nil
	}), closeAll, nil
}
