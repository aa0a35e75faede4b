// Package programtest lets a program's tests run the program itself, as a process that they can ask, watch and kill.
package programtest

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"
)

// asProgram tells the test binary to be the program.
const asProgram = "TEST_AS_PROGRAM"

// Run is for TestMain of a package main: it runs the tests, or the program in a process that [Launch] started.
//
//	func TestMain(m *testing.M) { programtest.Run(m, main, pgtest.Run) }
func Run(m *testing.M, main func(), tests func(*testing.M) int) {
	if os.Getenv(asProgram) != "" {
		main()
		os.Exit(0)
	}
	os.Exit(tests(m))
}

// Program is a running process.
type Program struct {
	Cmd     *exec.Cmd
	Address string // host:port, which is the process's to listen on
	Log     *Log   // all that it writes
}

// Launch starts the program with nothing but this environment and a free PORT, and kills it when the test ends.
func Launch(tb testing.TB, environ ...string) *Program {
	tb.Helper()
	return LaunchWith(tb, nil, environ...)
}

// LaunchWith is [Launch] with arguments.
func LaunchWith(tb testing.TB, args []string, environ ...string) *Program {
	tb.Helper()
	listener, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	address := listener.Addr().String()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		tb.Fatal(err)
	}
	if err := listener.Close(); err != nil {
		tb.Fatal(err)
	}
	program, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	p := &Program{Cmd: exec.CommandContext(tb.Context(), program, args...), Address: address, Log: &Log{}} //nolint:gosec // it is this one
	// A binary that measures coverage complains in the log unless it has a place for its figures.
	p.Cmd.Env = append([]string{asProgram + "=1", "PORT=" + port, "GOCOVERDIR=" + tb.TempDir()}, environ...)
	p.Cmd.Stdout, p.Cmd.Stderr = p.Log, p.Log
	if err := p.Cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = p.Cmd.Process.Kill()
		_ = p.Cmd.Wait()
	})
	return p
}

// endTime is longer than a program may take to end, even on a machine under load.
const endTime = 40 * time.Second

// WaitToEnd waits for the process to end by itself, which it was told to or has reason to, and returns what [exec.Cmd.Wait]
// does. It fails the test when that takes so long that it will not happen.
func (p *Program) WaitToEnd(tb testing.TB) error {
	tb.Helper()
	late := time.AfterFunc(endTime, func() {
		tb.Errorf("it has not ended after %v", endTime)
		_ = p.Cmd.Process.Kill()
	})
	defer late.Stop()
	return p.Cmd.Wait()
}

// Log keeps what is written to it. It is safe for concurrent use.
type Log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// String returns all that was written.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Take returns what was written since the last time.
func (l *Log) Take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.text.Reset()
	return l.text.String()
}
