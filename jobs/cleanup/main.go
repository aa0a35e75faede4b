// Command cleanup removes expired data. Cloud Scheduler starts it every hour.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/liftlog/liftlog-api/functions/manifest"
	"github.com/liftlog/liftlog-api/shared/cleanup"
	"github.com/liftlog/liftlog-api/shared/config"
	"github.com/liftlog/liftlog-api/shared/logging"
	"github.com/liftlog/liftlog-api/shared/postgres"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Environ(), os.Stdout)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "cleanup:", err)
		os.Exit(1)
	}
}

type configuration struct {
	Service   config.Service
	Database  config.Database
	RateLimit config.RateLimitDatabase
	Cleanup   config.Cleanup
}

func run(ctx context.Context, args, environ []string, output io.Writer) error {
	var c configuration
	flags := flag.NewFlagSet("cleanup", flag.ContinueOnError)
	flags.SetOutput(output)
	dryRun := flags.Bool("dry-run", false, "delete nothing: count what would be deleted")
	flags.Usage = func() {
		_, _ = fmt.Fprintf(output, "Removes expired data from both databases, one run at a time.\n\n")
		flags.PrintDefaults()
		_, _ = fmt.Fprintf(output, "\nEnvironment:\n%s", config.Usage(&c))
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	if err := config.Load(ctx, environ, &c); err != nil {
		return err
	}
	size := manifest.ProgramOf("cleanup")
	debug.SetMemoryLimit(size.MemoryLimit())
	databases, err := postgres.OpenDatabases(ctx, c.Database.URL.Reveal(), c.RateLimit.URL.Reveal(), postgres.Options{
		CloudSQLInstance: c.Database.CloudSQLInstance, Application: "cleanup", MaxConns: size.Pool,
	})
	if err != nil {
		return err
	}
	defer databases.Close()
	return cleanup.Run(ctx, databases,
		cleanup.Options{Now: time.Now(), EventGrace: c.Cleanup.EventGrace, DryRun: *dryRun}, logging.New(output, c.Service.LogLevel))
}
