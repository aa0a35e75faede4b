// Command restoration copies databases into empty ones and makes sure that they are whole.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/liftlog/liftlog-api/shared/postgres/migrations"
	"github.com/liftlog/liftlog-api/shared/postgres/pgtest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Getenv, os.Stdout)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "restore:", err)
		os.Exit(1)
	}
}

// closeTime bounds the end of a connection.
const closeTime = 5 * time.Second

// restoration is that of one database.
type restoration struct {
	what     string
	from, to string // URLs
	file     string // a dump that is there; empty: one is made of from
}

func run(ctx context.Context, args []string, getenv func(string) string, output io.Writer) error {
	flags := flag.NewFlagSet("restore", flag.ContinueOnError)
	flags.SetOutput(output)
	file := flags.String("file", "", "a file of pg_dump's custom format, of the users' database, instead of FROM_DATABASE_URL")
	dry := flags.Bool("dry-run", false, "only look whether it could be done")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return errors.New("it takes no arguments: URLs hold passwords and are given as environment variables (scripts/restore --help)")
	}
	all := []restoration{{"the users' database", getenv("FROM_DATABASE_URL"), getenv("DATABASE_URL"), *file}}
	if limits := getenv("RATE_LIMIT_DATABASE_URL"); limits != "" {
		all = append(all, restoration{"the rate limits' database", getenv("FROM_RATE_LIMIT_DATABASE_URL"), limits, ""})
	}
	for _, r := range all {
		if err := r.check(ctx); err != nil {
			return fmt.Errorf("%s: %w", r.what, err)
		}
	}
	if *dry {
		_, _ = fmt.Fprintf(output, "%d databases would be restored into empty ones\n", len(all))
		return nil
	}
	copied := make([]map[string]int64, len(all))
	for i, r := range all {
		var err error
		if copied[i], err = r.copy(ctx); err != nil {
			return fmt.Errorf("%s: %w", r.what, err)
		}
	}
	if err := begin(ctx, all[0].to, all[len(all)-1].to, output); err != nil {
		return err
	}
	for i, r := range all {
		if err := r.compare(ctx, copied[i], output); err != nil {
			return fmt.Errorf("%s: %w", r.what, err)
		}
	}
	_, _ = fmt.Fprintln(output, "the copies are whole, and have identities of their own")
	return nil
}

// begin makes the copies databases of their own, before anything else, and has the migrations checked.
func begin(ctx context.Context, users, limits string, output io.Writer) error {
	databases, err := migrations.Open(ctx, users, limits, "")
	if err != nil {
		return err
	}
	defer databases.Close()
	if err := migrations.NewIdentity(ctx, databases); err != nil {
		return err
	}
	report, err := migrations.Check(ctx, databases)
	if err != nil {
		return err
	}
	if len(report.Obstacles) > 0 {
		return &migrations.ObstaclesError{Obstacles: report.Obstacles}
	}
	if len(report.Pending) > 0 {
		_, _ = fmt.Fprintf(output, "the copies are of an older release: run jobs/migrate for %s\n", strings.Join(report.Pending, ", "))
	}
	return nil
}

// check makes sure that there is something to restore, and nothing where it shall go.
func (r restoration) check(ctx context.Context) error {
	switch {
	case r.to == "":
		return errors.New("DATABASE_URL does not say where to restore to")
	case (r.from == "") == (r.file == ""):
		return errors.New("either its FROM_ variable or --file says what is restored")
	case r.from == r.to:
		return errors.New("it would be restored into itself")
	}
	if r.file != "" {
		if _, err := os.Stat(r.file); err != nil {
			return err
		}
	}
	conn, err := connect(ctx, r.to)
	if err != nil {
		return err
	}
	defer closeConn(ctx, conn)
	var relations int
	if err := conn.QueryRow(ctx, `
		SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\_%'`).Scan(&relations); err != nil {
		return fmt.Errorf("look at the target: %w", err)
	}
	if relations > 0 {
		return fmt.Errorf("the target is not empty, it has %d tables and indexes: make a fresh database", relations)
	}
	return nil
}

// copy dumps and restores, and returns how many rows each table had when it was dumped; nil if that is not known.
func (r restoration) copy(ctx context.Context) (rows map[string]int64, err error) {
	programs, err := pgtest.Binaries()
	if err != nil {
		return nil, err
	}
	dump := r.file
	if dump == "" {
		folder, err := os.MkdirTemp("", "liftlog-restore-")
		if err != nil {
			return nil, err
		}
		defer func() { _ = os.RemoveAll(folder) }()
		dump = filepath.Join(folder, "dump")
		if rows, err = r.dump(ctx, programs, dump); err != nil {
			return nil, err
		}
	}
	// In one transaction, so that a copy is never there by halves.
	return rows, tool(ctx, filepath.Join(programs, "pg_restore"), r.to, "--no-owner", "--no-privileges", "--exit-on-error", "--single-transaction", dump)
}

// dump writes the source into the file, and counts its rows in the same snapshot, while others write on.
func (r restoration) dump(ctx context.Context, programs, file string) (rows map[string]int64, err error) {
	conn, err := connect(ctx, r.from)
	if err != nil {
		return nil, err
	}
	defer closeConn(ctx, conn)
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return nil, err
	}
	var snapshot string
	if err := tx.QueryRow(ctx, `SELECT pg_export_snapshot()`).Scan(&snapshot); err != nil {
		return nil, fmt.Errorf("take a snapshot: %w", err)
	}
	if rows, err = count(ctx, tx); err != nil {
		return nil, err
	}
	return rows, tool(ctx, filepath.Join(programs, "pg_dump"), r.from,
		"--format=custom", "--no-owner", "--no-privileges", "--snapshot="+snapshot, "--file="+file)
}

// compare counts the copy's rows.
func (r restoration) compare(ctx context.Context, want map[string]int64, output io.Writer) error {
	conn, err := connect(ctx, r.to)
	if err != nil {
		return err
	}
	defer closeConn(ctx, conn)
	got, err := count(ctx, conn)
	if err != nil {
		return err
	}
	var different []string
	for _, table := range slices.Sorted(maps.Keys(got)) {
		_, _ = fmt.Fprintf(output, "%10d rows in %s\n", got[table], table)
		if want != nil && got[table] != want[table] {
			different = append(different, fmt.Sprintf("%s has %d rows and not %d", table, got[table], want[table]))
		}
	}
	if want != nil && len(got) != len(want) {
		different = append(different, fmt.Sprintf("there are %d tables and not %d", len(got), len(want)))
	}
	if len(different) > 0 {
		return fmt.Errorf("the copy is not whole: %s", strings.Join(different, ", "))
	}
	return nil
}

type querier interface {
	Query(ctx context.Context, query string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, query string, args ...any) pgx.Row
}

// count counts the rows of all tables.
func count(ctx context.Context, db querier) (map[string]int64, error) {
	rows, _ := db.Query(ctx, `
		SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind IN ('r', 'p') AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\_%'`) // a failed Query is reported by the next line
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("list the tables: %w", err)
	}
	all := map[string]int64{}
	for _, table := range tables {
		var n int64
		if err := db.QueryRow(ctx, `SELECT count(*) FROM `+table).Scan(&n); err != nil { // regclass has quoted it
			return nil, fmt.Errorf("count %s: %w", table, err)
		}
		all[table] = n
	}
	return all, nil
}

func connect(ctx context.Context, address string) (*pgx.Conn, error) {
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		return nil, errors.New("it cannot be connected to") // what pgx says may hold the URL
	}
	return conn, nil
}

// closeConn ends a connection, though the context may have ended.
func closeConn(ctx context.Context, conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTime)
	defer cancel()
	_ = conn.Close(ctx)
}

// tool runs one of PostgreSQL's programs on a database, whose password is not among the arguments that others can see.
func tool(ctx context.Context, program, address string, args ...string) error {
	parsed, err := url.Parse(address)
	if err != nil {
		return errors.New("its address is no URL")
	}
	password, _ := parsed.User.Password()
	parsed.User = url.User(parsed.User.Username())
	command := exec.CommandContext(ctx, program, append([]string{"--dbname=" + parsed.String()}, args...)...) //nolint:gosec // PostgreSQL's
	command.Env = append(os.Environ(), "PGPASSWORD="+password)
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	command.WaitDelay = closeTime
	var complained bytes.Buffer
	command.Stderr = &complained
	if err := command.Run(); err != nil {
		return fmt.Errorf("%s: %w: %s", filepath.Base(program), err, strings.TrimSpace(complained.String()))
	}
	return nil
}
