// Command chat-service serves the chat with the planner: the SignalR hub at /ai-chat.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
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
	"github.com/liftlog/liftlog-api/shared/web"
)

const (
	// drainTimeout is how long all may take to end after SIGTERM, and connections of the chat the first part of it. The
	// platform kills after ten seconds.
	drainTimeout, drainConnections = 8 * time.Second, 7 * time.Second
	// headerTimeout bounds the headers of a request in time, and maxHeader in bytes: a purchase's receipt has to fit,
	// escaped in a URL.
	headerTimeout = 10 * time.Second
	maxHeader     = 160 << 10
	// idleTimeout is how long a connection without a request is kept.
	idleTimeout = 2 * time.Minute
	// statementTimeout bounds a statement that nobody waits for any more.
	statementTimeout = 10 * time.Second
)

// settings are what the service reads of the environment.
type settings struct {
	Service   config.Service
	HTTP      config.HTTP
	Chat      config.Chat
	Database  config.Database
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
	log := logging.New(logs, c.Service.LogLevel)
	slog.SetDefault(log)
	if warning := c.Model.Warning(time.Now()); warning != "" {
		log.WarnContext(ctx, warning)
	}
	db, err := postgres.Open(ctx, postgres.Options{
		URL: c.Database.RateLimitURL.Reveal(), CloudSQLInstance: c.Database.CloudSQLInstance,
		Application: "chat-service", MaxConns: manifest.ProgramOf("chat-service").Pool, StatementTimeout: statementTimeout,
	})
	if err != nil {
		return err
	}
	defer db.Close()
	gate := postgres.NewGate(func(ctx context.Context) error { return postgres.CheckTables(ctx, db, postgres.RateLimitTables) })
	limiter := ratelimit.New(ratelimit.Options{
		DB: db, TokensPerDay: c.Limits.TokensPerDay, Closed: !c.Model.PlannerEnabled, Unlimited: c.Service.TestMode,
	})
	h := hub.New(hub.Options{
		Authorize:       hub.Buyers(purchase.New(c.Purchases, db, log)),
		Take:            hub.Limited(limiter, c.Limits.ChatPerDay),
		NewConversation: hub.Conversations(planner.New(openai.New(c.Model))),
		Keys:            c.Chat.TokenKeys,
		MaxConnections:  c.Chat.MaxConnections,
		Log:             log,
	})
	ready := func(ctx context.Context) error { return errors.Join(h.Ready(), gate.Ready(ctx)) }
	service := web.Service{Log: log, Origins: c.Service.CORSOrigins, Credentials: true, Project: c.Service.Project, Ready: ready}
	return serve(ctx, c.HTTP.Port, service.Probed(h.Canonical(service.All(h.Mounts()))), h, gate, log)
}

func parseFlags(args []string, output io.Writer) error {
	flags := flag.NewFlagSet("chat-service", flag.ContinueOnError)
	flags.SetOutput(output)
	flags.Usage = func() {
		_, _ = fmt.Fprintf(output, "Serves the chat with the planner, the SignalR hub at %s.\n\nEnvironment:\n%s", hub.Path, config.Usage(&settings{}))
	}
	return flags.Parse(args)
}

// serve serves until ctx ends, and then until the connections have.
func serve(ctx context.Context, port int, handler http.Handler, h *hub.Hub, gate *postgres.Gate, log *slog.Logger) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", ":"+strconv.Itoa(port))
	if err != nil {
		return fmt.Errorf("listen on port %d: %w", port, err)
	}
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: headerTimeout, MaxHeaderBytes: maxHeader, IdleTimeout: idleTimeout,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	go func() { _ = gate.Ready(ctx) }() // connects before the first request needs it
	log.InfoContext(ctx, "serving", "function", "chat-service", "address", listener.Addr().String())
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case err := <-gate.Missing():
		return err
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	connections, cancelConnections := context.WithTimeout(drain, drainConnections)
	defer cancelConnections()
	h.Drain(connections) // new requests are still answered meanwhile: that they have to go elsewhere
	if err := server.Shutdown(drain); err != nil {
		return fmt.Errorf("drain: %w", err)
	}
	return nil
}
