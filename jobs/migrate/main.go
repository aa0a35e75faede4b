// Command migrate brings the databases forward: v1's tables where there are none, and v2's own beside them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/google/uuid"

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
	check := flags.Bool("check", false, "change nothing: report what would be done and how the databases are, and fail if something is in the way")
	asJSON := flags.Bool("json", false, "with --check: write the report as JSON")
	strict := flags.Bool("strict", false, "with --check: fail on warnings, too, as before v2 takes over")
	v1 := flags.String("v1", "", "with --check: v1's own `base URL`, to prove by reading one profile through v1 that it serves this database")
	v1Users := flags.String("v1-users", "", "with --check: `ids` of users just made through v1, separated by commas, which have to be there")
	accounts := flags.String("accounts", "", "with --check: a `file` with an account's id and password a line, whose hashes have to fit")
	instances := flags.Int("max-instances", math.MaxInt, "with --check: Terraform's max_instances of the environment")
	v1Conns := flags.Int("v1-connections", -1, "with --check: how many connections v1 may take (100 where V1_DATABASE_LOGIN is set)")
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
	p := preflight{databases: databases, logins: c.Logins, v1: *v1, accounts: *accounts, instances: *instances, v1Conns: *v1Conns}
	if p.users, err = parseIDs(*v1Users); err != nil {
		return err
	}
	if p.v1Conns < 0 {
		p.v1Conns = 0
		if c.Logins.V1 != "" {
			p.v1Conns = usualV1Connections
		}
	}
	found := p.look(ctx)
	write := found.write
	if *asJSON {
		write = found.writeJSON
	}
	return errors.Join(write(output), found.err(*strict))
}

// usualV1Connections is the size of Npgsql's pool.
const usualV1Connections = 100

func parseIDs(list string) (ids []uuid.UUID, err error) {
	for text := range strings.SplitSeq(list, ",") {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		id, err := uuid.Parse(text)
		if err != nil {
			return nil, errors.New("--v1-users: holds something that is no id")
		}
		ids = append(ids, id)
	}
	return ids, nil
}
