package pgtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/liftlog/liftlog-api/shared/postgres"
	"github.com/liftlog/liftlog-api/shared/postgres/migrations"
)

// environmentURL names a database on a server that tests may use instead of starting one. Others are made beside it.
const environmentURL = "PGTEST_URL"

// Run runs a package's tests and then stops the server that they started, if they did:
//
//	func TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }
func Run(m *testing.M) int {
	code := m.Run()
	if err := stop(); err != nil {
		fmt.Fprintln(os.Stderr, "pgtest:", err)
		return 1
	}
	return code
}

var (
	mu      sync.Mutex
	running = map[bool]*testServer{} // by whether they are durable
)

// testServer is a server of all tests in this process, and the migrated database that theirs are cloned from.
type testServer struct {
	*Server
	prefix   string // of the names of databases
	template string
}

// stop drops the templates and ends the servers.
func stop() (err error) {
	mu.Lock()
	defer mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	for _, s := range running {
		err = errors.Join(err, s.drop(ctx, s.template), s.Stop())
	}
	clear(running)
	return err
}

func server(ctx context.Context, durable bool) (_ *testServer, err error) {
	mu.Lock()
	defer mu.Unlock()
	if there := running[durable]; there != nil {
		return there, nil
	}
	started := &testServer{prefix: "test"}
	if given := os.Getenv(environmentURL); given != "" {
		if started.Server, started.prefix, err = attach(given); err != nil {
			return nil, err
		}
	} else if started.Server, err = startServer(ctx, folder{durable: durable}); err != nil {
		return nil, err
	}
	started.template = started.name()
	err = started.create(ctx, started.template, "template1")
	if err == nil {
		err = migrate(ctx, started.URL(started.template))
	}
	if err != nil {
		return nil, errors.Join(err, started.Stop())
	}
	running[durable] = started
	return started, nil
}

func migrate(ctx context.Context, url string) error {
	databases, err := migrations.Open(ctx, url, url, "")
	if err != nil {
		return err
	}
	defer databases.Close()
	return migrations.Up(ctx, databases, slog.New(slog.DiscardHandler))
}

var disposable = regexp.MustCompile(`(?i)test|disposable`)

// attach uses a server that runs already, if the database it was given is named as one that may be lost.
func attach(given string) (_ *Server, prefix string, err error) {
	parsed, err := url.Parse(given)
	if err != nil {
		return nil, "", fmt.Errorf("%s is not a URL", environmentURL)
	}
	name := strings.Trim(parsed.Path, "/")
	if !disposable.MatchString(name) {
		return nil, "", fmt.Errorf("%s names the database %q: tests use one only if its name says test or disposable", environmentURL, name)
	}
	return &Server{url: *parsed, stop: func() error { return nil }}, name, nil
}

// name makes a name for a database.
func (s *testServer) name() string { return s.prefix + "_" + strings.ToLower(rand.Text()[:12]) }

func (s *testServer) create(ctx context.Context, name, template string) error {
	return s.admin(ctx, "CREATE DATABASE "+pgx.Identifier{name}.Sanitize()+" TEMPLATE "+pgx.Identifier{template}.Sanitize())
}

func (s *testServer) drop(ctx context.Context, name string) error {
	return s.admin(ctx, "DROP DATABASE IF EXISTS "+pgx.Identifier{name}.Sanitize()+" WITH (FORCE)")
}

func (s *testServer) admin(ctx context.Context, statement string) error {
	conn, err := pgx.Connect(ctx, s.URL("postgres"))
	if err != nil {
		return fmt.Errorf("manage test databases: %w", err)
	}
	defer func() { _ = conn.Close(ctx) }()
	if _, err = conn.Exec(ctx, statement); err != nil {
		return fmt.Errorf("manage test databases: %w", err)
	}
	return nil
}

// URL gives the test a migrated database of its own, which both kinds of data share, until the test ends.
func URL(tb testing.TB) string {
	tb.Helper()
	return database(tb, false, func(s *testServer) string { return s.template })
}

// DurableURL is like [URL] on a server that waits for its disk with every commit, as a live one does, so that a lock is
// held for a while: at least two milliseconds, unless the server is one that runs already.
func DurableURL(tb testing.TB) string {
	tb.Helper()
	return database(tb, true, func(s *testServer) string { return s.template })
}

// EmptyURL gives the test an empty database of its own until it ends.
func EmptyURL(tb testing.TB) string {
	tb.Helper()
	return database(tb, false, func(*testServer) string { return "template1" })
}

// New is a pool on a [URL], closed when the test ends.
func New(tb testing.TB) *postgres.DB {
	tb.Helper()
	return Pool(tb, postgres.Options{URL: URL(tb), MaxConns: 8, Tables: slices.Concat(postgres.UserTables, postgres.RateLimitTables)})
}

// Pool opens a pool and closes it when the test ends.
func Pool(tb testing.TB, options postgres.Options) *postgres.DB {
	tb.Helper()
	pool, err := postgres.Open(tb.Context(), options)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(pool.Close)
	return pool
}

// unavailable ends a test that has no server: it is skipped on a machine without PostgreSQL.
func unavailable(tb testing.TB, err error) {
	tb.Helper()
	if os.Getenv("CI") == "" && os.Getenv(environmentURL) == "" {
		tb.Skipf("no PostgreSQL: %v", err)
	}
	tb.Fatal(err)
}

func database(tb testing.TB, durable bool, template func(*testServer) string) string {
	tb.Helper()
	s, err := server(tb.Context(), durable)
	if err != nil {
		unavailable(tb, err)
	}
	name := s.name()
	if err := s.create(tb.Context(), name, template(s)); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		// It waits for a checkpoint, which takes its time on a machine under load.
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := s.drop(ctx, name); err != nil {
			tb.Error(err)
		}
	})
	return s.URL(name)
}
