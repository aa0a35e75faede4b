// Command loadtest measures the programs that its arguments name, on a PostgreSQL of its own, and prints what it finds: README.md
// says what each measure does.
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
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/liftlog/liftlog-api/shared/postgres/migrations"
	"github.com/liftlog/liftlog-api/shared/postgres/pgtest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:])
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
		return
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "loadtest: it was interrupted:", err)
	default:
		fmt.Fprintln(os.Stderr, "loadtest:", err)
	}
	os.Exit(1)
}

// credentialKey is the key of the tags that tell passwords.
const credentialKey = "1:dGhpcnR5LXR3byBieXRlcyBvZiBhIGtleSBmb3IgdGVzdHM="

// bench is what is measured, and on what.
type bench struct {
	server, cleanup, chatService string // the programs

	settings []string // PostgreSQL's, beside those that it has anyway

	database *pgtest.Server
	url      string
	conn     *pgx.Conn

	mu      sync.Mutex
	running []*process
}

func run(ctx context.Context, args []string) error {
	if len(args) < 4 {
		return errors.New("usage: loadtest SERVER CLEANUP CHAT-SERVICE users|phones|feed|plans|planner|chat [flags]")
	}
	b := &bench{server: args[0], cleanup: args[1], chatService: args[2]}
	switch what := args[3]; what {
	case "users":
		return runUsers(ctx, b, args[4:])
	case "phones":
		return runPhones(ctx, b, args[4:])
	case "feed":
		return runFeed(ctx, b, args[4:])
	case "plans":
		return runPlans(ctx, b, args[4:])
	case "planner":
		return runPlain(ctx, b, what, b.planner, args[4:])
	case "chat":
		return runPlain(ctx, b, what, b.chat, args[4:])
	default:
		return fmt.Errorf("nothing is called %s: there are users, phones, feed, plans, planner and chat", what)
	}
}

// runPlain runs a measure that has no flags.
func runPlain(ctx context.Context, b *bench, what string, measure func(context.Context) error, args []string) error {
	if err := parse(flag.NewFlagSet(what, flag.ContinueOnError), args); err != nil {
		return err
	}
	return b.on(ctx, "", measure)
}

// parse reads a measure's flags, and refuses everything else.
func parse(flags *flag.FlagSet, args []string) error {
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("%s takes flags only: --help lists them", flags.Name())
	}
	return nil
}

// durably is [bench.on] on a PostgreSQL that waits for its disk with every commit, in a temporary folder.
func (b *bench) durably(ctx context.Context, measures ...func(context.Context) error) (err error) {
	dir, err := os.MkdirTemp("", "liftlog-load-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	return b.on(ctx, dir, measures...)
}

// on measures on a PostgreSQL in the folder dir, or, if dir is empty, on one that does not wait for its disk. In the end nothing
// runs that was started.
func (b *bench) on(ctx context.Context, dir string, measures ...func(context.Context) error) (err error) {
	if b.database, err = pgtest.Start(ctx, dir, b.settings...); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.database.Stop()) }()
	defer b.stopAll()
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

// process is a running program.
type process struct {
	cmd   *exec.Cmd
	base  string
	ready time.Duration
	said  tail
	ended chan struct{}
}

// serve starts the function with more of an environment than every one needs, and waits until it is ready.
func (b *bench) serve(ctx context.Context, target string, environ ...string) (*process, error) {
	return b.launch(ctx, b.server, append(environ, "FUNCTION_TARGET="+target)...)
}

// readyTime is longer than a program takes to be ready, even on a machine under load.
const readyTime = time.Minute

// launch starts the program on a free port and waits until it is ready.
func (b *bench) launch(ctx context.Context, program string, environ ...string) (*process, error) {
	// Another process may take the free port before the program does.
	for attempt := 1; ; attempt++ {
		listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		address := listener.Addr().String()
		_ = listener.Close()
		p, err := b.launchAt(ctx, address, program, environ...)
		if ended, ok := errors.AsType[*endedError](err); !ok || !strings.Contains(ended.said, " is in use: ") || attempt == 3 {
			return p, err
		}
	}
}

// endedError is the end of a program before it was ready.
type endedError struct{ program, said string }

func (e *endedError) Error() string {
	return filepath.Base(e.program) + " has ended at its start: " + e.said
}

// launchAt is [bench.launch] at an address of this machine's.
func (b *bench) launchAt(ctx context.Context, address, program string, environ ...string) (*process, error) {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	p := &process{base: "http://" + address, ended: make(chan struct{})}
	p.cmd = exec.Command(program) //nolint:noctx // the program to measure, which is told to stop and not killed
	p.cmd.Env = slices.Concat(environ, []string{"PORT=" + port, "DATABASE_URL=" + b.url, "CREDENTIAL_KEY=" + credentialKey})
	p.cmd.Stderr = &p.said
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt in the terminal is this process's to pass on
	began := time.Now()
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	b.mu.Lock()
	b.running = append(b.running, p)
	b.mu.Unlock()
	probing, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	go func() {
		_ = p.cmd.Wait() // what it says is kept
		close(p.ended)
		cancel() // whoever has the port instead may never answer
	}()
	for probing.Err() == nil {
		r, err := http.NewRequestWithContext(probing, http.MethodGet, p.base+"/health/ready", http.NoBody)
		if err != nil {
			return nil, err
		}
		response, err := http.DefaultClient.Do(r)
		if err == nil {
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK && !p.hasEnded() {
				p.ready = time.Since(began)
				return p, nil
			}
		}
		pause(probing, nil, time.Millisecond)
	}
	if p.hasEnded() {
		return nil, &endedError{program, p.said.last()}
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	p.stop()
	return nil, fmt.Errorf("%s is not ready after %v: %s", filepath.Base(program), readyTime, p.said.last())
}

func (p *process) hasEnded() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// stopTime is longer than a program takes to end.
const stopTime = 30 * time.Second

// stop tells the process to end, and makes it if it does not.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(os.Interrupt) // one that has ended is fine
	select {
	case <-p.ended:
	case <-time.After(stopTime):
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
}

// stopAll stops the programs that still run.
func (b *bench) stopAll() {
	var all sync.WaitGroup
	for _, p := range b.running {
		all.Go(p.stop)
	}
	all.Wait()
	b.running = nil
}

// tail keeps the end of what is written to it. It is safe for concurrent use.
type tail struct {
	mu   sync.Mutex
	text []byte
}

// tailSize is how many bytes are kept.
const tailSize = 8 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if over := len(t.text) - tailSize; over > tailSize { // not with every line
		t.text = append(t.text[:0], t.text[over:]...)
	}
	return len(p), nil
}

// last is the last line.
func (t *tail) last() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := strings.Split(strings.TrimSpace(string(t.text)), "\n")
	return lines[len(lines)-1]
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

// cpu is how long the process has computed. The kernel counts hundredths of seconds for everybody.
func (p *process) cpu() (time.Duration, error) {
	file, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.cmd.Process.Pid), "stat"))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(file), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, errors.New("the kernel does not tell the time of a process")
	}
	user, err := strconv.Atoi(fields[11])
	if err != nil {
		return 0, err
	}
	system, err := strconv.Atoi(fields[12])
	return time.Duration(user+system) * time.Second / 100, err
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
