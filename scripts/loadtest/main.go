// Command loadtest measures the programs that its arguments name, on a PostgreSQL of its own, and prints ratios taken side
// by side.
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
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/liftlog/liftlog-api/shared/postgres/migrations"
	"github.com/liftlog/liftlog-api/shared/postgres/pgtest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "loadtest:", err)
		os.Exit(1)
	}
}

// credentialKey is the key of the tags that tell passwords.
const credentialKey = "1:dGhpcnR5LXR3byBieXRlcyBvZiBhIGtleSBmb3IgdGVzdHM="

// bench is what is measured, and on what.
type bench struct {
	server, cleanup, chatService string // the programs

	database *pgtest.Server
	url      string
	conn     *pgx.Conn
}

func run(ctx context.Context, args []string) error {
	if len(args) < 4 {
		return errors.New("usage: loadtest SERVER CLEANUP CHAT-SERVICE users|feed|plans|planner|chat [flags]")
	}
	b := &bench{server: args[0], cleanup: args[1], chatService: args[2]}
	switch what := args[3]; what {
	case "users":
		return runUsers(ctx, b, args[4:])
	case "feed":
		return runFeed(ctx, b, args[4:])
	case "plans":
		return runPlans(ctx, b, args[4:])
	case "planner":
		return b.on(ctx, "", b.planner)
	case "chat":
		return b.on(ctx, "", b.chat)
	default:
		return fmt.Errorf("nothing is called %s: there are users, feed, plans, planner and chat", what)
	}
}

// on measures on a PostgreSQL in the folder dir, or, if dir is empty, on one that does not wait for its disk.
func (b *bench) on(ctx context.Context, dir string, measures ...func(context.Context) error) (err error) {
	if b.database, err = pgtest.Start(ctx, dir); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.database.Stop()) }()
	if err := b.database.CreateDatabase(ctx, "liftlog"); err != nil {
		return err
	}
	b.url = b.database.URL("liftlog")
	databases, err := migrations.Open(ctx, b.url, b.url, "")
	if err != nil {
		return err
	}
	err = migrations.Up(ctx, databases, slog.New(slog.DiscardHandler))
	databases.Close()
	if err != nil {
		return err
	}
	if b.conn, err = pgx.Connect(ctx, b.url); err != nil {
		return err
	}
	defer func() { _ = b.conn.Close(context.WithoutCancel(ctx)) }()
	for _, measure := range measures {
		if err := measure(ctx); err != nil {
			return err
		}
	}
	return nil
}

// durably is on with a folder that is removed afterwards.
func (b *bench) durably(ctx context.Context, measures ...func(context.Context) error) (err error) {
	dir, err := os.MkdirTemp("", "liftlog-load-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	return b.on(ctx, dir, measures...)
}

// process is a running function.
type process struct {
	cmd   *exec.Cmd
	base  string
	ready time.Duration
}

// serve starts the function with more of an environment than every one needs, and waits until it is ready.
func (b *bench) serve(ctx context.Context, target string, environ ...string) (*process, error) {
	return b.launch(ctx, b.server, append(environ, "FUNCTION_TARGET="+target)...)
}

// launch starts the program and waits until it is ready.
func (b *bench) launch(ctx context.Context, program string, environ ...string) (*process, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	address := listener.Addr().String()
	_ = listener.Close()
	_, port, _ := net.SplitHostPort(address)
	p := &process{cmd: exec.CommandContext(ctx, program), base: "http://" + address} //nolint:gosec // the program to measure
	p.cmd.Env = append(environ,
		"PORT="+port, "DATABASE_URL="+b.url, "CREDENTIAL_KEY="+credentialKey)
	began := time.Now()
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	for time.Since(began) < 20*time.Second {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.base+"/health/ready", nil)
		if err != nil {
			return nil, err
		}
		response, err := http.DefaultClient.Do(r)
		if err == nil {
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				p.ready = time.Since(began)
				return p, nil
			}
		}
		time.Sleep(time.Millisecond)
	}
	p.stop()
	return nil, errors.New("the server does not become ready")
}

func (p *process) stop() {
	_ = p.cmd.Process.Signal(os.Interrupt)
	_ = p.cmd.Wait()
}

// memory reads a number of the process's from the kernel, in bytes.
func (p *process) memory(name string) (int64, error) {
	file, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.cmd.Process.Pid), "status"))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(file), name+":")
	var kilobytes int64
	_, err = fmt.Sscan(rest, &kilobytes)
	return kilobytes << 10, err
}

// stream asks for a large answer, reads slowly at first, and prints the memory that it takes.
func (b *bench) stream(ctx context.Context, target, path, body, what string) error {
	p, err := b.serve(ctx, target)
	if err != nil {
		return err
	}
	defer p.stop()
	idle, err := p.memory("VmRSS")
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.base+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("POST %s: %s", path, response.Status)
	}
	for range 50 {
		if _, err := io.CopyN(io.Discard, response.Body, 1<<20); err != nil {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
	size, err := io.Copy(io.Discard, response.Body)
	if err != nil {
		return err
	}
	peak, err := p.memory("VmHWM")
	fmt.Printf("POST %s, %s: %d MiB answered, memory %d MiB over idle\n", path, what, size>>20+50, (peak-idle)>>20)
	return err
}

func output(ctx context.Context, program string, arguments ...string) (string, error) {
	said, err := exec.CommandContext(ctx, program, arguments...).CombinedOutput() //nolint:gosec // wrk and pgbench
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", program, err, said)
	}
	return string(said), nil
}

func number(text, pattern string) (float64, error) {
	found := regexp.MustCompile(pattern).FindStringSubmatch(text)
	if found == nil {
		return 0, fmt.Errorf("no number in %q", text)
	}
	return strconv.ParseFloat(found[1], 64)
}
