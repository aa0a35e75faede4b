// Command chat-service serves the chat with the planner: SignalR hubs for the apps of two generations.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/liftlog/liftlog-api/chat-service/hub"
	"github.com/liftlog/liftlog-api/functions/manifest"
	"github.com/liftlog/liftlog-api/shared/config"
	"github.com/liftlog/liftlog-api/shared/logging"
	"github.com/liftlog/liftlog-api/shared/planner"
	"github.com/liftlog/liftlog-api/shared/planner/openai"
	"github.com/liftlog/liftlog-api/shared/postgres"
	"github.com/liftlog/liftlog-api/shared/purchase"
	"github.com/liftlog/liftlog-api/shared/ratelimit"
	"github.com/liftlog/liftlog-api/shared/serve"
	"github.com/liftlog/liftlog-api/shared/web"
)

// statementTimeout ends a statement that nobody waits for any more.
const statementTimeout = 10 * time.Second

// settings are what the service reads of the environment.
type settings struct {
	Service   config.Service
	HTTP      config.HTTP
	Chat      config.Chat
	RateLimit config.RateLimitDatabase
	Purchases config.Purchases
	Limits    config.Limits
	Model     config.Model
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Environ(), os.Stderr)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "chat-service:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args, environ []string, logs io.Writer) error {
	if err := parseFlags(args, logs); err != nil {
		return err
	}
	var c settings
	if err := config.Load(ctx, environ, &c); err != nil {
		return err
	}
	listener, err := serve.Listen(ctx, c.HTTP.Port)
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close() }()
	log := logging.New(logs, c.Service.LogLevel)
	slog.SetDefault(log)
	// Opening a connection takes much memory that is free again at once, and an open one holds little. Collecting twice as often
	// costs little.
	debug.SetGCPercent(50)
	size := manifest.ProgramOf("chat-service")
	debug.SetMemoryLimit(size.MemoryLimit())
	if warning := c.Model.Warning(time.Now()); warning != "" {
		log.WarnContext(ctx, warning)
	}
	endpoints, err := hub.Endpoints(planner.New(openai.New(c.Model)), c.Chat.PlanSchema)
	if err != nil {
		return err
	}
	gate := postgres.NewGate()
	db, err := postgres.Open(ctx, postgres.Options{
		URL: c.RateLimit.URL.Reveal(), CloudSQLInstance: c.RateLimit.CloudSQLInstance,
		Application: "chat-service", MaxConns: size.Pool, StatementTimeout: statementTimeout,
		Tables: postgres.RateLimitTables, Gate: gate,
	})
	if err != nil {
		return err
	}
	defer db.Close()
	limiter := ratelimit.New(ratelimit.Options{
		DB: db, TokensPerDay: c.Limits.TokensPerDay, Closed: !c.Model.PlannerEnabled, Unlimited: c.Service.TestMode,
	})
	h := hub.New(hub.Options{
		Authorize:      hub.Buyers(purchase.New(c.Purchases, db, log)),
		Take:           hub.Limited(limiter, c.Limits),
		Endpoints:      endpoints,
		Keys:           c.Chat.TokenKeys,
		MaxConnections: c.Chat.MaxConnections,
		Log:            log,
	})
	ready := func(ctx context.Context) error { return errors.Join(h.Ready(), gate.Ready(ctx)) }
	service := web.Service{
		Log: log, Origins: c.Service.CORSOrigins, Credentials: true, Project: c.Service.Project, Ready: ready, Pools: postgres.NewUse(db),
	}
	go func() { _ = gate.Ready(ctx) }() // connects before the first request needs it
	log.InfoContext(ctx, "serving", "function", "chat-service", "address", listener.Addr().String())
	handler := h.Canonical(service.Handler(h.Mounts()))
	return serve.Run(ctx, listener, serve.Options{Handler: handler, Log: log, Fatal: gate.Missing(), Drain: h.Drain})
}

func parseFlags(args []string, output io.Writer) error {
	flags := flag.NewFlagSet("chat-service", flag.ContinueOnError)
	flags.SetOutput(output)
	flags.Usage = func() {
		const what = "Serves the chat with the planner, SignalR hubs at /ai-chat and /ai-chat-v2."
		_, _ = fmt.Fprintf(output, "%s\n\nEnvironment:\n%s", what, config.Usage(&settings{}))
	}
	return flags.Parse(args)
}
