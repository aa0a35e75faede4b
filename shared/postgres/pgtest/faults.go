package pgtest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
)

// ownDatabase is the one of a server that belongs to a test.
const ownDatabase = "liftlog"

// Own gives the test a server of its own until it ends, which it may stop, start and double, with these settings (name=value).
// What is committed there survives a crash. The URL is that of a migrated database, which both kinds of data share.
func Own(tb testing.TB, settings ...string) (s *Server, url string) {
	tb.Helper()
	s, err := startServer(tb.Context(), folder{durable: true, settings: settings})
	if err != nil {
		unavailable(tb, err)
	}
	stopAfter(tb, s)
	url = s.URL(ownDatabase)
	if err := s.CreateDatabase(tb.Context(), ownDatabase); err != nil {
		tb.Fatal(err)
	}
	if err := migrate(tb.Context(), url); err != nil {
		tb.Fatal(err)
	}
	return s, url
}

func stopAfter(tb testing.TB, s *Server) {
	tb.Helper()
	tb.Cleanup(func() {
		if err := s.Stop(); err != nil {
			tb.Error(err)
		}
	})
}

// Down stops the server, so that [Server.Up] can start it again. With crash it ends without telling its clients.
func (s *Server) Down(crash bool) error {
	signal := os.Signal(syscall.SIGINT)
	if crash {
		signal = syscall.SIGQUIT
	}
	if err := s.process.Signal(signal); err != nil {
		return fmt.Errorf("stop PostgreSQL: %w", err)
	}
	<-s.exited
	return nil
}

// Up starts a server that is down again, at the same address, and waits until it answers.
func (s *Server) Up(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	return s.launch(ctx)
}

// Standby gives the test a replica that follows the server, until it ends. The server is restarted for it.
func (s *Server) Standby(tb testing.TB) *Server {
	tb.Helper()
	path, err := os.MkdirTemp("", "liftlog-postgres-") //nolint:usetesting // it is the server's to remove, after its end
	if err == nil {
		err = s.Down(false)
	}
	if err == nil {
		err = errors.Join(s.copyTo(path), s.Up(tb.Context()))
	}
	if err != nil {
		tb.Fatal(err)
	}
	standby, err := startServer(tb.Context(), folder{path: path, ephemeral: true, durable: true, settings: s.folder.settings})
	if err != nil {
		tb.Fatal(err)
	}
	stopAfter(tb, standby)
	return standby
}

// copyTo makes the folder of a standby out of that of the server, which is down.
func (s *Server) copyTo(path string) error {
	copied := folder{path: path}
	password, err := os.ReadFile(s.folder.password())
	if err == nil {
		err = os.WriteFile(copied.password(), password, 0o600) //nolint:gosec // a folder of the test's own
	}
	if err == nil {
		err = os.CopyFS(copied.data(), os.DirFS(s.folder.data()))
	}
	if err == nil {
		err = os.Chmod(copied.data(), 0o700) //nolint:gosec // a folder
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(copied.data(), "standby.signal"), nil, 0o600)
	}
	if err != nil {
		return fmt.Errorf("copy a database: %w", err)
	}
	settings, err := os.OpenFile(filepath.Join(copied.data(), "postgresql.auto.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("copy a database: %w", err)
	}
	primary := url.URL{Scheme: s.url.Scheme, User: s.url.User, Host: s.url.Host, Path: "postgres"}
	_, err = fmt.Fprintf(settings, "\nprimary_conninfo = '%s'\n", primary.String())
	return errors.Join(err, settings.Close())
}

// FillDisk leaves no room for rows of the table, which is empty, to connections that are made from now on: the server takes
// its file for a device that is always full. VACUUM FULL gives it another file, and thereby room. It works on Linux alone.
func (s *Server) FillDisk(ctx context.Context, table string) error {
	conn, err := pgx.Connect(ctx, s.URL(ownDatabase))
	if err != nil {
		return fmt.Errorf("fill the disk: %w", err)
	}
	defer func() { _ = conn.Close(ctx) }()
	var file string
	if err := conn.QueryRow(ctx, `SELECT pg_relation_filepath($1::regclass)`, table).Scan(&file); err != nil {
		return fmt.Errorf("fill the disk: %w", err)
	}
	path := filepath.Join(s.folder.data(), file)
	if err := errors.Join(os.Rename(path, path+".aside"), os.Symlink("/dev/full", path)); err != nil {
		return fmt.Errorf("fill the disk: %w", err)
	}
	return nil
}
