// Package pgtest runs a real PostgreSQL: for tests, which get databases of their own, and for the emulator. It is in no
// production binary.
package pgtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// Server is a running PostgreSQL. It is safe for concurrent use, but for [Server.Down], [Server.Up] and [Server.Standby].
type Server struct {
	url       url.URL
	folder    folder
	temporary string // removed at the end; empty: nothing is
	process   *os.Process
	lock      *os.File
	exited    chan struct{} // nil: the server is somebody else's
	stop      func() error
}

// startTimeout bounds making a data folder and starting on it, a recovery after a crash included.
const startTimeout = 3 * time.Minute

// stopTimeout is how long a server may take to shut down before it is killed.
const stopTimeout = 20 * time.Second

const superuser = "liftlog"

// Start runs a server that listens on a free port of loopback and keeps its data in the folder dir, which it makes, or,
// if dir is empty, in a temporary one without regard to crashes. Settings are PostgreSQL's (name=value). The server ends with this
// process, however that ends; the caller should still [Server.Stop] it. Everything that can go wrong is one sentence that says how to
// mend it.
func Start(ctx context.Context, dir string, settings ...string) (*Server, error) {
	return startServer(ctx, folder{path: dir, durable: dir != "", settings: settings})
}

// startServer starts a server on the folder, of which the caller fills in the path, the settings and whether it is durable.
func startServer(ctx context.Context, f folder) (_ *Server, err error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if f.binaries, err = Binaries(); err != nil {
		return nil, err
	}
	s := &Server{exited: make(chan struct{})}
	s.stop = sync.OnceValue(s.shutDown)
	if f.path == "" {
		if f.path, err = os.MkdirTemp("", "liftlog-postgres-"); err != nil {
			return nil, fmt.Errorf("make a folder for PostgreSQL: %w", err)
		}
		f.ephemeral = true
	}
	if f.ephemeral {
		s.temporary = f.path
	}
	if err := s.start(ctx, f); err != nil {
		close(s.exited)
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

func (s *Server) start(ctx context.Context, f folder) (err error) {
	if f.path, err = filepath.Abs(f.path); err != nil {
		return fmt.Errorf("find the folder of PostgreSQL: %w", err)
	}
	if err := os.MkdirAll(f.path, 0o700); err != nil {
		return fmt.Errorf("make the folder of PostgreSQL: %w", err)
	}
	if f.as, err = account(f.binaries, f.path); err != nil {
		return err
	}
	if s.lock, err = f.takeLock(ctx); err != nil {
		return err
	}
	password, err := f.initialize(ctx)
	if err != nil {
		return err
	}
	// The server has no certificate: to ask for one costs another connection.
	s.url = url.URL{Scheme: "postgres", User: url.UserPassword(superuser, password), RawQuery: "sslmode=disable"}
	// Another process may take the free port before PostgreSQL does.
	for attempt := 1; ; attempt++ {
		port, err := freePort(ctx)
		if err != nil {
			return err
		}
		f.port = port
		s.folder = f
		s.url.Host = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		err = s.launch(ctx)
		if err == nil || attempt == 3 || ctx.Err() != nil {
			return err
		}
	}
}

// launch starts the server's program and waits until it answers.
func (s *Server) launch(ctx context.Context) error {
	f := s.folder
	log, err := os.Create(f.log())
	if err != nil {
		return fmt.Errorf("make PostgreSQL's log: %w", err)
	}
	defer func() { _ = log.Close() }()
	// Not bound to ctx, which ends with the start.
	cmd := exec.Command(filepath.Join(f.binaries, "postgres"), f.arguments()...) //nolint:gosec,noctx // found by find
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{s.lock} // held until the last process of the server has gone
	cmd.SysProcAttr = f.as.attributes()
	started, exited := make(chan error), make(chan struct{})
	go func() {
		// The signal at the parent's death is tied to the thread that started the child.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // what it says is in the log
		}
		close(exited)
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start PostgreSQL: %w", err)
	}
	for {
		conn, err := pgx.Connect(ctx, s.URL("postgres"))
		if err == nil {
			s.process, s.exited = cmd.Process, exited
			return conn.Close(ctx)
		}
		select {
		case <-exited:
			return fmt.Errorf("start PostgreSQL: %s", f.logTail())
		case <-ctx.Done():
			_ = cmd.Process.Kill()
			<-exited
			return fmt.Errorf("start PostgreSQL: it took too long: %s", f.logTail())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func freePort(ctx context.Context) (int, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	defer func() { _ = listener.Close() }()
	address, _ := listener.Addr().(*net.TCPAddr)
	return address.Port, nil
}

// URL is the address of the database, with a password in it.
func (s *Server) URL(database string) string {
	u := s.url
	u.Path = database
	return u.String()
}

// CreateDatabase makes the database if there is none of this name.
func (s *Server) CreateDatabase(ctx context.Context, name string) error {
	conn, err := pgx.Connect(ctx, s.URL("postgres"))
	if err != nil {
		return fmt.Errorf("create database: %w", err)
	}
	defer func() { _ = conn.Close(ctx) }()
	var there bool
	err = conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)`, name).Scan(&there)
	if err == nil && !there {
		_, err = conn.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{name}.Sanitize())
	}
	if err != nil {
		return fmt.Errorf("create database: %w", err)
	}
	return nil
}

// Stop ends the server and waits for that. Stopping it again does nothing.
func (s *Server) Stop() error { return s.stop() }

func (s *Server) shutDown() (err error) {
	if s.process != nil {
		_ = s.process.Signal(os.Interrupt) // fast shutdown; one that is gone already is fine
		select {
		case <-s.exited:
		case <-time.After(stopTimeout):
			_ = s.process.Signal(syscall.SIGQUIT)
			<-s.exited
			err = errors.New("stop PostgreSQL: it had to be killed")
		}
	}
	if s.lock != nil {
		_ = s.lock.Close()
	}
	if s.temporary != "" {
		err = errors.Join(err, os.RemoveAll(s.temporary))
	}
	return err
}

// folder is where a server keeps its data, log and password.
type folder struct {
	path      string
	binaries  string
	ephemeral bool // the folder goes with the server
	durable   bool // what is committed survives a crash
	settings  []string
	port      int
	as        identity
}

func (f folder) data() string     { return filepath.Join(f.path, "data") }
func (f folder) log() string      { return filepath.Join(f.path, "log") }
func (f folder) password() string { return filepath.Join(f.path, "password") }

// lockTimeout is how long a server that is just shutting down is waited for.
const lockTimeout = 5 * time.Second

// takeLock makes sure that no other server works in the folder, not even one whose parent was killed. A
// postmaster.pid that is there nevertheless is stale.
func (f folder) takeLock(ctx context.Context) (*os.File, error) {
	lock, err := os.OpenFile(filepath.Join(f.path, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the folder of PostgreSQL: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, lockTimeout)
	defer cancel()
	for syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		select {
		case <-ctx.Done():
			_ = lock.Close()
			return nil, fmt.Errorf("the database in %s is in use by another emulator: stop that one, or use --ephemeral", f.path)
		case <-time.After(50 * time.Millisecond):
		}
	}
	if err := os.Remove(filepath.Join(f.data(), "postmaster.pid")); err != nil && !os.IsNotExist(err) {
		return lock, fmt.Errorf("remove a stale postmaster.pid: %w", err)
	}
	return lock, nil
}

// initialize makes the data folder unless there is one of the right version, and returns the superuser's password.
func (f folder) initialize(ctx context.Context) (password string, err error) {
	if _, err := os.Stat(filepath.Join(f.data(), "PG_VERSION")); err == nil {
		if err := f.checkVersion(ctx); err != nil {
			return "", err
		}
		kept, err := os.ReadFile(f.password())
		if err != nil {
			return "", fmt.Errorf("read the database's password: %w; remove %s to begin anew", err, f.path)
		}
		return string(kept), nil
	}
	if err := os.RemoveAll(f.data()); err != nil { // what an interrupted run left
		return "", fmt.Errorf("clear the folder of PostgreSQL: %w", err)
	}
	password = rand.Text()
	if err := os.WriteFile(f.password(), []byte(password), 0o600); err != nil {
		return "", fmt.Errorf("keep the database's password: %w", err)
	}
	if err := f.as.own(f.path); err != nil {
		return "", err
	}
	arguments := []string{
		"--pgdata=" + f.data(), "--username=" + superuser, "--pwfile=" + f.password(), "--auth=scram-sha-256", "--encoding=UTF8", "--no-locale",
	}
	if f.ephemeral {
		arguments = append(arguments, "--no-sync")
	}
	cmd := exec.CommandContext(ctx, filepath.Join(f.binaries, "initdb"), arguments...) //nolint:gosec // found by find
	cmd.SysProcAttr = f.as.attributes()
	if output, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("make a database in %s: %w: %s", f.path, err, tail(string(output)))
	}
	return password, nil
}

func (f folder) checkVersion(ctx context.Context) error {
	made, err := os.ReadFile(filepath.Join(f.data(), "PG_VERSION"))
	if err != nil {
		return fmt.Errorf("read the version of the data: %w", err)
	}
	output, err := exec.CommandContext(ctx, filepath.Join(f.binaries, "postgres"), "--version").Output() //nolint:gosec // found by find
	if err != nil {
		return fmt.Errorf("ask PostgreSQL for its version: %w", err)
	}
	fields := strings.Fields(string(output)) // postgres (PostgreSQL) 15.18 (Debian ...)
	if len(fields) < 3 {
		return errors.New("ask PostgreSQL for its version: it did not say")
	}
	major, _, _ := strings.Cut(fields[2], ".")
	if was := strings.TrimSpace(string(made)); was != major {
		return fmt.Errorf("the data in %s was made by PostgreSQL %s, and this machine has %s: install %[2]s, remove the folder, or use --ephemeral",
			f.path, was, major)
	}
	return nil
}

// leastCommit is how long a commit of a durable server for tests takes at least, however fast the disk is.
const leastCommit = 2 * time.Millisecond

func (f folder) arguments() []string {
	settings := []string{
		"listen_addresses=127.0.0.1", "port=" + strconv.Itoa(f.port), "unix_socket_directories=", "max_connections=200", "shared_buffers=32MB",
	}
	switch {
	case !f.durable:
		settings = append(settings, "fsync=off", "full_page_writes=off", "synchronous_commit=off")
	case f.ephemeral:
		settings = append(settings, "commit_delay="+strconv.FormatInt(leastCommit.Microseconds(), 10), "commit_siblings=0")
	}
	arguments := []string{"-D", f.data()}
	for _, setting := range append(settings, f.settings...) {
		arguments = append(arguments, "-c", setting)
	}
	return arguments
}

func (f folder) logTail() string {
	text, err := os.ReadFile(f.log())
	if err != nil {
		return err.Error()
	}
	return tail(string(text))
}

// tail returns the last lines of a log.
func tail(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], "\n")
}
