// Command migrate brings the databases forward: v1's tables where there are none, and v2's own beside them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/liftlog/liftlog-api/functions"
	"github.com/liftlog/liftlog-api/shared/config"
	"github.com/liftlog/liftlog-api/shared/logging"
	"github.com/liftlog/liftlog-api/shared/postgres/grants"
	"github.com/liftlog/liftlog-api/shared/postgres/migrations"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Environ(), os.Stdout)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "migrate:", err)
		os.Exit(1)
	}
}

type configuration struct {
	Service   config.Service
	Database  config.Database
	RateLimit config.RateLimitDatabase
	Logins    config.Logins
}

func run(ctx context.Context, args, environ []string, output io.Writer) error {
	var c configuration
	flags := flag.NewFlagSet("migrate", flag.ContinueOnError)
	flags.SetOutput(output)
	check := flags.Bool("check", false, "change nothing: say what would be done, and fail if something stands in the way")
	rights := flags.Bool("grants", false, "migrate nothing: make the roles of the programs' logins, and give them their rights")
	newIdentity := flags.Bool("new-identity", false, "migrate nothing: make the databases others than those that they are copies of, "+
		"which begins a restoration. Programs that began with the originals end rather than take what a copy lacks for deleted")
	printed := flags.Bool("print", false, "with --grants: only print the statements")
	flags.Usage = func() {
		_, _ = fmt.Fprintf(output, "Applies pending migrations to both databases. Several may run at once.\n\n")
		flags.PrintDefaults()
		_, _ = fmt.Fprintf(output, "\nEnvironment:\n%s", config.Usage(&c))
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	if err := config.Load(ctx, environ, &c); err != nil {
		return err
	}
	logins := functions.Logins(c.Logins)
	if *rights && c.Logins.Pattern == "" {
		return errors.New("DATABASE_LOGINS: is required for --grants")
	}
	if *rights && *printed {
		_, err := io.WriteString(output, grants.SQL(logins))
		return err
	}
	log := logging.New(output, c.Service.LogLevel)
	databases, err := migrations.Open(ctx, c.Database.URL.Reveal(), c.RateLimit.URL.Reveal(), c.Database.CloudSQLInstance)
	if err != nil {
		return err
	}
	defer databases.Close()

	if *rights {
		return grants.Apply(ctx, databases, logins, log)
	}
	if *newIdentity {
		if err := migrations.NewIdentity(ctx, databases); err != nil {
			return err
		}
		log.InfoContext(ctx, "the databases have new identities")
		return nil
	}
	if !*check {
		if err := migrations.Up(ctx, databases, log); err != nil {
			return err
		}
		if err := grants.Renew(ctx, databases, log); err != nil {
			return err
		}
		log.InfoContext(ctx, "the databases are up to date")
		return nil
	}
	report, err := migrations.Check(ctx, databases)
	if err != nil {
		return err
	}
	for _, migration := range report.Pending {
		log.InfoContext(ctx, "pending", "migration", migration)
	}
	for _, obstacle := range report.Obstacles {
		log.ErrorContext(ctx, "in the way", "obstacle", obstacle)
	}
	if len(report.Obstacles) > 0 {
		return fmt.Errorf("%d obstacles are in the way", len(report.Obstacles))
	}
	log.InfoContext(ctx, "nothing is in the way", "pending", len(report.Pending))
	return nil
}
