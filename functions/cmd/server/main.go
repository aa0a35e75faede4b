// Command server runs in the cloud: it serves the one function that FUNCTION_TARGET names.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/GoogleCloudPlatform/functions-framework-go/funcframework"
	framework "github.com/GoogleCloudPlatform/functions-framework-go/functions"

	"github.com/liftlog/liftlog-api/functions"
	"github.com/liftlog/liftlog-api/functions/manifest"
	"github.com/liftlog/liftlog-api/shared/config"
	"github.com/liftlog/liftlog-api/shared/logging"
	"github.com/liftlog/liftlog-api/shared/postgres"
	"github.com/liftlog/liftlog-api/shared/serve"
	"github.com/liftlog/liftlog-api/shared/web"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Environ(), os.Stderr)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "server:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args, environ []string, logs io.Writer) error {
	byFramework, err := parseFlags(args, logs)
	if err != nil {
		return err
	}
	routes := functions.Manifest()
	target := os.Getenv("FUNCTION_TARGET") // which the framework reads there as well
	route, ok := routes.Find(target)
	if !ok {
		return fmt.Errorf("FUNCTION_TARGET is %q: it has to be one of %s", target, strings.Join(routes.Functions(), ", "))
	}
	c := functions.ConfigFor(route)
	if err := config.Load(ctx, environ, c); err != nil {
		return err
	}
	listener, err := serve.Listen(ctx, c.HTTP.Port)
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close() }()
	log := logging.New(logs, c.Service.LogLevel)
	slog.SetDefault(log)
	debug.SetMemoryLimit(route.MemoryLimit())
	deps, gate, closeAll, err := functions.Open(ctx, c, route.Function, route.Pool, log)
	if err != nil {
		return err
	}
	defer closeAll()
	service := web.Service{
		Log: log, Origins: c.Service.CORSOrigins, Project: c.Service.Project, Ready: gate.Ready, Pools: postgres.NewUse(deps.DB, deps.RateLimitDB),
	}
	handler := service.Handler(functions.Mount(manifest.Manifest{route}, deps))
	framework.HTTP(target, handler.ServeHTTP)
	go func() { _ = gate.Ready(ctx) }() // connects before the first request needs it
	log.InfoContext(ctx, "serving", "function", target, "port", c.HTTP.Port)
	if byFramework {
		return serveByFramework(ctx, listener, gate.Missing())
	}
	return serve.Run(ctx, listener, serve.Options{Handler: handler, Log: log, Fatal: gate.Missing()})
}

// serveByFramework serves the target by the framework's own loop on the listener's port, until ctx ends. That loop has no bounds
// on connections, and ends without waiting for requests.
func serveByFramework(ctx context.Context, listener net.Listener, fatal <-chan error) error {
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err == nil {
		err = listener.Close()
	}
	if err != nil {
		return fmt.Errorf("hand over the port: %w", err)
	}
	failed := make(chan error, 1)
	go func() { failed <- funcframework.Start(port) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve by the framework: %w", err)
	case err := <-fatal:
		return err
	case <-ctx.Done():
		return nil
	}
}

func parseFlags(args []string, output io.Writer) (byFramework bool, err error) {
	flags := flag.NewFlagSet("server", flag.ContinueOnError)
	flags.SetOutput(output)
	flags.BoolVar(&byFramework, "framework", false, "serve by functions-framework's own loop, to try the function on a laptop as that does")
	flags.Usage = func() {
		routes := functions.Manifest()
		_, _ = fmt.Fprintf(output, "Serves the function that FUNCTION_TARGET names: %s.\n\n", strings.Join(routes.Functions(), ", "))
		flags.PrintDefaults()
		_, _ = fmt.Fprintf(output, "\nEnvironment, as far as the function needs it:\n%s", config.Usage(functions.ConfigFor(routes...)))
	}
	return byFramework, flags.Parse(args)
}
