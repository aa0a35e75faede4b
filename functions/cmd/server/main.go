// Command server runs in the cloud: it serves the one function that FUNCTION_TARGET names.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/GoogleCloudPlatform/functions-framework-go/funcframework"
	framework "github.com/GoogleCloudPlatform/functions-framework-go/functions"

	"github.com/liftlog/liftlog-api/functions"
	"github.com/liftlog/liftlog-api/functions/manifest"
	"github.com/liftlog/liftlog-api/shared/config"
	"github.com/liftlog/liftlog-api/shared/logging"
	"github.com/liftlog/liftlog-api/shared/web"
)

// drainTimeout is how long running requests may take after SIGTERM; the platform kills after ten seconds.
const drainTimeout = 8 * time.Second

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
	if err := parseFlags(args, logs); err != nil {
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
	log := logging.New(logs, c.Service.LogLevel)
	slog.SetDefault(log)
	// A function's heap is small beside its program. To collect it twice as often costs little, and the collector works harder
	// before the platform ends the instance for its memory.
	debug.SetGCPercent(50)
	debug.SetMemoryLimit(route.MemoryBytes() / 10 * 8)
	deps, gate, closeAll, err := functions.Open(ctx, c, manifest.Manifest{route}, route.Function, route.Pool, log)
	if err != nil {
		return err
	}
	defer closeAll()
	service := web.Service{Log: log, Origins: c.Service.CORSOrigins, Project: c.Service.Project, Ready: gate.Ready}
	var running drainable
	framework.HTTP(target, running.watch(service.Single(functions.Mount(route, deps))))

	failed := make(chan error, 1)
	go func() { failed <- funcframework.StartHostPort("", strconv.Itoa(c.HTTP.Port)) }()
	go func() { _ = gate.Ready(ctx) }() // connects before the first request needs it
	log.InfoContext(ctx, "serving", "function", target, "port", c.HTTP.Port)
	select {
	case err := <-failed:
		return fmt.Errorf("listen on port %d: %w", c.HTTP.Port, err)
	case err := <-gate.Missing():
		return err
	case <-ctx.Done():
		return running.drain(context.WithoutCancel(ctx))
	}
}

func parseFlags(args []string, output io.Writer) error {
	flags := flag.NewFlagSet("server", flag.ContinueOnError)
	flags.SetOutput(output)
	flags.Usage = func() {
		routes := functions.Manifest()
		_, _ = fmt.Fprintf(output, "Serves the function that FUNCTION_TARGET names: %s.\n\nEnvironment, as far as the function needs it:\n%s",
			strings.Join(routes.Functions(), ", "), config.Usage(functions.ConfigFor(routes...)))
	}
	return flags.Parse(args)
}

// drainable finds out which server serves, because the framework does not tell, and shuts it down.
type drainable struct {
	mu     sync.Mutex
	server *http.Server
}

func (d *drainable) watch(next http.Handler) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, r *http.Request) {
		if server, ok := r.Context().Value(http.ServerContextKey).(*http.Server); ok {
			d.mu.Lock()
			d.server = server
			d.mu.Unlock()
		}
		next.ServeHTTP(w, r)
	}
}

// drain lets running requests end. Where there has been none, nothing is to be waited for.
func (d *drainable) drain(ctx context.Context) error {
	d.mu.Lock()
	server := d.server
	d.mu.Unlock()
	if server == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		return fmt.Errorf("drain: %w", err)
	}
	return nil
}
