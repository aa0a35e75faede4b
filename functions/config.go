package functions

import (
	"context"
	"log/slog"
	"slices"
	"time"

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
	RateLimit   *config.RateLimitDatabase
	Credentials *config.Credentials
	Feed        *config.Feed
	Share       *config.Share
	Inbox       *config.Inbox
	Purchases   *config.Purchases
	Limits      *config.Limits
	Model       *config.Model
}

// ConfigFor returns an empty configuration with the parts that the routes need, for [config.Load] to fill: their databases,
// and what holds a variable that one of them names.
func ConfigFor(routes ...manifest.Route) *Config {
	var c Config
	for _, route := range routes {
		if route.Needs(manifest.DatabaseUser) {
			c.Database = &config.Database{}
		}
		if route.Needs(manifest.DatabaseRateLimit) {
			c.RateLimit = &config.RateLimitDatabase{}
		}
		config.Require(&c, slices.Concat(route.Secrets, route.Settings))
	}
	return &c
}

// statementTimeout ends a statement that no request waits for any more: no request waits this long for one.
const statementTimeout = 30 * time.Second

// Open makes what the configuration describes: pools of at most maxConns connections each, which connect when they are first
// used, and the gate that opens when the databases turn out to be LiftLog's. The caller closes.
func Open(ctx context.Context, c *Config, application string, maxConns int, log *slog.Logger) (
	deps Deps, gate *postgres.Gate, closeAll func(), err error,
) {
	gate = postgres.NewGate()
	var pools []*postgres.DB
	closeAll = func() {
		for _, pool := range pools {
			pool.Close()
		}
	}
	open := func(url config.Secret, instance string, tables []string) (*postgres.DB, error) {
		pool, err := postgres.Open(ctx, postgres.Options{
			URL: url.Reveal(), CloudSQLInstance: instance, Application: application, MaxConns: maxConns, StatementTimeout: statementTimeout,
			Tables: tables, Gate: gate,
		})
		if err == nil {
			pools = append(pools, pool)
		}
		return pool, err
	}
	deps.Environment = c.Service.Environment
	if c.Database != nil {
		deps.DB, err = open(c.Database.URL, c.Database.CloudSQLInstance, postgres.UserTables)
	}
	if c.RateLimit != nil && err == nil {
		deps.RateLimitDB, err = open(c.RateLimit.URL, c.RateLimit.CloudSQLInstance, postgres.RateLimitTables)
	}
	if err != nil {
		closeAll()
		return Deps{}, nil, func() {}, err
	}
	if c.Credentials != nil {
		deps.Verifier = auth.New(c.Credentials.Keys.All())
	}
	if c.Feed != nil {
		deps.Feed = *c.Feed
	}
	if c.Share != nil {
		deps.Share = *c.Share
	}
	if c.Inbox != nil {
		deps.Inbox = *c.Inbox
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
	return deps, gate, closeAll, nil
}
