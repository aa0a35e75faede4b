package functions

import (
	"context"
	"slices"
	"time"

	"github.com/liftlog/liftlog-api/functions/manifest"
	"github.com/liftlog/liftlog-api/shared/auth"
	"github.com/liftlog/liftlog-api/shared/config"
	"github.com/liftlog/liftlog-api/shared/postgres"
)

// Config is what functions read of the environment. A part that none of them needs is nil.
type Config struct {
	Service     config.Service
	HTTP        config.HTTP
	Database    *config.Database
	Credentials *config.Credentials
	Inbox       *config.Inbox
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
	}
	return &c
}

// statementTimeout bounds a statement that no request waits for any more. A stream's reader may be slow, and its
// statement lives as long.
const statementTimeout = 5 * time.Minute

// Open makes what the configuration describes: pools of at most maxConns connections each, which connect when they are
// first used, and the gate that opens when the databases turn out to be LiftLog's. The caller closes.
func Open(ctx context.Context, c *Config, application string, maxConns int) (deps Deps, gate *postgres.Gate, closeAll func(), err error) {
	closeAll = func() {}
	if c.Credentials != nil {
		deps.Verifier = auth.New(c.Credentials.Keys)
	}
	if c.Inbox != nil {
		deps.MaxInbox = c.Inbox.MaxWaiting
	}
	check := func(context.Context) error { return nil }
	if c.Database != nil {
		deps.DB, err = postgres.Open(ctx, postgres.Options{
			URL: c.Database.URL.Reveal(), CloudSQLInstance: c.Database.CloudSQLInstance,
			Application: application, MaxConns: maxConns, StatementTimeout: statementTimeout,
		})
		if err != nil {
			return Deps{}, nil, closeAll, err
		}
		deps.Streams = postgres.NewStreams(maxConns)
		closeAll = deps.DB.Close
		check = func(ctx context.Context) error { return postgres.CheckTables(ctx, deps.DB, postgres.UserTables) }
	}
	return deps, postgres.NewGate(check), closeAll, nil
}
