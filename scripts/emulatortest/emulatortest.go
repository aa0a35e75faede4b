// Package emulatortest runs the emulator for tests of the scripts, on a database of their own.
package emulatortest

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/liftlog/liftlog-api/shared/programtest"
)

// emulatorPath is below the checkout.
const emulatorPath = "./functions/cmd/emulator"

// startTime is longer than the emulator takes to answer, even on a machine under load.
const startTime = time.Minute

// Emulator is a running one.
type Emulator struct {
	Base  string           // its URL
	Log   *programtest.Log // all that it writes
	Ended <-chan struct{}  // closed when it has ended
}

// Start builds and starts the emulator with the users' and the rate limits' data in the database at the URL, waits until it
// answers, and stops it when the test ends. environ adds to its environment. The test's package has to be a folder of scripts.
func Start(tb testing.TB, databaseURL string, environ ...string) *Emulator {
	tb.Helper()
	program := filepath.Join(tb.TempDir(), "emulator")
	build := exec.CommandContext(tb.Context(), "go", "-C", "../..", "build", "-o", program, emulatorPath) //nolint:gosec // a temporary file
	if said, err := build.CombinedOutput(); err != nil {
		tb.Fatalf("build the emulator: %v\n%s", err, said)
	}
	listener, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	_ = listener.Close()
	log := &programtest.Log{}
	emulator := exec.Command(program) //nolint:gosec,noctx // built above; it is told to stop, and not killed
	emulator.Env = append([]string{"DATABASE_URL=" + databaseURL, "PORT=" + port}, environ...)
	emulator.Stdout, emulator.Stderr = log, log
	if err := emulator.Start(); err != nil {
		tb.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = emulator.Wait() // what it says is in the log
		close(ended)
	}()
	tb.Cleanup(func() {
		_ = emulator.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(startTime):
			_ = emulator.Process.Kill()
		}
	})
	base := "http://127.0.0.1:" + port
	for deadline := time.Now().Add(startTime); ; time.Sleep(20 * time.Millisecond) {
		if answers(tb, base) {
			return &Emulator{base, log, ended}
		}
		select {
		case <-ended:
			tb.Fatalf("the emulator has ended\n%s", log.String())
		default:
		}
		if time.Now().After(deadline) {
			tb.Fatalf("the emulator does not answer\n%s", log.String())
		}
	}
}

func answers(tb testing.TB, base string) bool {
	tb.Helper()
	r, err := http.NewRequestWithContext(tb.Context(), http.MethodGet, base+"/health", http.NoBody)
	if err != nil {
		tb.Fatal(err)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// Behind serves what is at base, until the test ends. instead reports whether it has answered a request itself, in place of base.
func Behind(tb testing.TB, base string, instead func(http.ResponseWriter, *http.Request) bool) string {
	tb.Helper()
	target, err := url.Parse(base)
	if err != nil {
		tb.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !instead(w, r) {
			proxy.ServeHTTP(w, r)
		}
	}))
	tb.Cleanup(server.Close)
	return server.URL
}
