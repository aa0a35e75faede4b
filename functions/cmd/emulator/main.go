// Command emulator runs the whole system on a laptop: every route on one port, under v2's paths and under v1's own, with
// a database of its own.
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
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"

	"github.com/jackc/pgx/v5"

	"github.com/liftlog/liftlog-api/chat-service/hub"
	"github.com/liftlog/liftlog-api/functions"
	"github.com/liftlog/liftlog-api/functions/manifest"
	"github.com/liftlog/liftlog-api/shared/config"
	"github.com/liftlog/liftlog-api/shared/logging"
	"github.com/liftlog/liftlog-api/shared/planner/plannertest"
	"github.com/liftlog/liftlog-api/shared/postgres"
	"github.com/liftlog/liftlog-api/shared/postgres/migrations"
	"github.com/liftlog/liftlog-api/shared/postgres/pgtest"
	"github.com/liftlog/liftlog-api/shared/serve"
	"github.com/liftlog/liftlog-api/shared/web"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends at once
	err := run(ctx, os.Args[1:], os.Environ(), os.Stdout)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "emulator:", err)
		os.Exit(1)
	}
}

// defaults let everything work together on a laptop. The keys protect nothing there.
var defaults = []string{
	"CREDENTIAL_KEY=1:bGlmdGxvZy1lbXVsYXRvci1jcmVkZW50aWFsLWtleS0=",
	"CHAT_TOKEN_KEY=1:bGlmdGxvZy1lbXVsYXRvci1jaGF0LXRva2VuLWtleS0=",
	"WEB_AUTH_API_KEY=" + webKey,
}

// webKey is what development builds of the app send.
const webKey = "test-web-auth-key-12345"

const (
	database = "liftlog"
	maxConns = 20
)

type options struct{ ephemeral, migrate bool }

func parseFlags(args []string, output io.Writer) (o options, err error) {
	flags := flag.NewFlagSet("emulator", flag.ContinueOnError)
	flags.SetOutput(output)
	flags.BoolVar(&o.ephemeral, "ephemeral", false, "keep no data")
	flags.BoolVar(&o.migrate, "migrate", false, "migrate the database of DATABASE_URL though it is not on this machine")
	flags.Usage = func() {
		_, _ = fmt.Fprintf(output, "Serves every route on one port, with a PostgreSQL of its own unless DATABASE_URL names one.\n\n")
		flags.PrintDefaults()
		_, _ = fmt.Fprintf(output, "\nEnvironment, all of which has defaults here:\n%s%s",
			config.Usage(functions.ConfigFor(functions.Manifest()...)), config.Usage(&chatSettings{}))
	}
	return o, flags.Parse(args)
}

func run(ctx context.Context, args, environ []string, output io.Writer) (err error) {
	o, err := parseFlags(args, output)
	if err != nil {
		return err
	}
	environ = append(defaults[:len(defaults):len(defaults)], environ...)

	// The port comes first: it is the quickest to be found missing.
	var early struct {
		HTTP config.HTTP
	}
	if err := config.Load(ctx, environ, &early); err != nil {
		return err
	}
	listener, err := serve.Listen(ctx, early.HTTP.Port)
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close() }()

	ownURL, stopDatabase, err := startDatabase(ctx, o, environ)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stopDatabase()) }()
	if ownURL != "" {
		environ = append(environ, "DATABASE_URL="+ownURL)
	}
	environ, stopModel, err := startModel(environ, output) //nolint:contextcheck // it lives until it is stopped
	if err != nil {
		return err
	}
	defer stopModel()
	routes := functions.Manifest()
	c := functions.ConfigFor(routes...)
	var chat chatSettings
	if err := errors.Join(config.Load(ctx, environ, c), config.Load(ctx, environ, &chat)); err != nil {
		return err
	}
	log := logging.ForPeople(output, c.Service.LogLevel)
	local := ownURL != "" || isLocal(c)
	if local || o.migrate {
		if err := migrate(ctx, c, log); err != nil {
			return err
		}
	}
	deps, gate, closeAll, err := functions.Open(ctx, c, "emulator", maxConns, log)
	if err != nil {
		return err
	}
	defer closeAll()
	service := web.Service{Log: log, Origins: c.Service.CORSOrigins, Credentials: true, Project: c.Service.Project, Ready: gate.Ready}
	chats, err := newHub(deps, chat.Chat, log)
	if err != nil {
		return err
	}
	var jobs []web.Mount
	if local {
		cleaner := cleaner{postgres.Databases{User: deps.DB, RateLimit: deps.RateLimitDB}, log}
		jobs = append(jobs, cleaner.mount())
		go cleaner.everyHour(ctx)
	}
	go func() { _ = gate.Ready(ctx) }() // notices another database before the first request does
	printRoutes(output, routes, listener.Addr(), local)
	handler := newHandler(&service, deps, chats, jobs...)
	err = serve.Run(ctx, listener, serve.Options{Handler: handler, Log: log, Fatal: gate.Missing(), Drain: chats.Drain})
	if wrong, ok := errors.AsType[*postgres.WrongDatabaseError](err); ok && len(wrong.Tables) > 0 {
		return fmt.Errorf("%w; --migrate makes them", err)
	}
	return err
}

// newHandler serves all functions, the chat, the API's description and the jobs.
func newHandler(service *web.Service, deps functions.Deps, chats *hub.Hub, jobs ...web.Mount) http.Handler {
	return chats.Canonical(service.Handler(slices.Concat(functions.Mount(functions.Manifest(), deps), chats.Mounts(), docs(), jobs)))
}

// chatSettings are what the chat reads of the environment beside what functions do.
type chatSettings struct{ Chat config.Chat }

// newHub makes the chat of what the functions have.
func newHub(deps functions.Deps, c config.Chat, log *slog.Logger) (*hub.Hub, error) {
	endpoints, err := hub.Endpoints(deps.Planner, c.PlanSchema)
	if err != nil {
		return nil, err
	}
	return hub.New(hub.Options{
		Authorize:      hub.Buyers(deps.Purchases),
		Take:           hub.Limited(deps.Limiter, deps.Limits),
		Endpoints:      endpoints,
		Keys:           c.TokenKeys,
		MaxConnections: c.MaxConnections,
		Log:            log,
	}), nil
}

// startModel starts a stand-in for the model's service unless the environment has a key for one or names another, and
// returns the environment with its address.
func startModel(environ []string, output io.Writer) (with []string, stop func(), err error) {
	if isSet(environ, "OPENAI_API_KEY") || isSet(environ, "OPENAI_BASE_URL") {
		return environ, func() {}, nil
	}
	server, err := plannertest.Start(plannertest.WithNote("A sample: no model has made this plan, because OPENAI_API_KEY is not set."))
	if err != nil {
		return nil, nil, err
	}
	_, _ = fmt.Fprintln(output, "OPENAI_API_KEY is not set: the planner answers with samples.")
	return append(environ, "OPENAI_BASE_URL="+server.URL()), server.Close, nil
}

// isSet reports whether the environment gives the variable a value.
func isSet(environ []string, variable string) bool {
	return slices.ContainsFunc(environ, func(entry string) bool {
		name, value, _ := strings.Cut(entry, "=")
		return name == variable && value != ""
	})
}

// startDatabase starts a PostgreSQL of the emulator's own unless the environment names one, and returns its URL.
func startDatabase(ctx context.Context, o options, environ []string) (url string, stop func() error, err error) {
	if isSet(environ, "DATABASE_URL") {
		return "", func() error { return nil }, nil
	}
	dir := ""
	if !o.ephemeral {
		if dir, err = dataFolder(); err != nil {
			return "", nil, err
		}
	}
	server, err := pgtest.Start(ctx, dir)
	if err != nil {
		return "", nil, err
	}
	if err := server.CreateDatabase(ctx, database); err != nil {
		return "", nil, errors.Join(err, server.Stop())
	}
	return server.URL(database), server.Stop, nil
}

// dataFolder is an ignored folder of the checkout that this program is run in.
func dataFolder() (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the checkout: %w", err)
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, ".local", "postgres"), nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("%s is not in a checkout, where the data would be kept: use --ephemeral, or go there", start)
		}
	}
}

// isLocal reports whether the databases are on this machine, where migrating them surprises nobody.
func isLocal(c *functions.Config) bool {
	if c.Database.CloudSQLInstance != "" {
		return false
	}
	for _, secret := range []config.Secret{c.Database.URL, c.RateLimit.URL} {
		parsed, err := pgx.ParseConfig(secret.Reveal())
		if err != nil || !isLoopback(parsed.Host) {
			return false
		}
		for _, fallback := range parsed.Fallbacks {
			if !isLoopback(fallback.Host) {
				return false
			}
		}
	}
	return true
}

// isLoopback holds for this machine's own addresses and for the folder of a socket.
func isLoopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || strings.HasPrefix(host, "/") || err == nil && address.IsLoopback()
}

func migrate(ctx context.Context, c *functions.Config, log *slog.Logger) error {
	databases, err := migrations.Open(ctx, c.Database.URL.Reveal(), c.RateLimit.URL.Reveal(), c.Database.CloudSQLInstance)
	if err != nil {
		return err
	}
	defer databases.Close()
	return migrations.Up(ctx, databases, log)
}

// printRoutes shows what is served, and how to try it.
func printRoutes(output io.Writer, routes manifest.Manifest, address net.Addr, local bool) {
	_, port, _ := net.SplitHostPort(address.String())
	table := tabwriter.NewWriter(output, 0, 0, 2, ' ', 0)
	for _, r := range routes {
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", r.Method, r.Path, r.Function, r.Summary)
	}
	for _, path := range []string{"/ai-chat", "/ai-chat-v2"} {
		_, _ = fmt.Fprintf(table, "GET\t%s\tchat-service\tTalk with the planner, by SignalR over a WebSocket: scripts/chat does.\n", path)
	}
	if local {
		_, _ = fmt.Fprintf(table, "POST\t%s\tjobs/cleanup\tRemove expired data, as happens every hour.\n", cleanupPath)
	}
	_ = table.Flush()
	_, _ = fmt.Fprintf(output, "To read about and to try: http://localhost:%s%s\n", port, docsPath)
	_, _ = fmt.Fprintf(output, "Each is served without /v2 as well. Try:\n\n"+
		"  curl -X POST -H 'Content-Type: application/json' -d '{}' http://localhost:%s/v2/user/create\n\n", port)
}
