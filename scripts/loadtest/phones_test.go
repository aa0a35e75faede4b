package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/scripts/emulatortest"
	"github.com/liftlog/liftlog-api/shared/postgres/pgtest"
	"github.com/liftlog/liftlog-api/shared/programtest"
	"github.com/liftlog/liftlog-api/shared/web"
)

func TestMain(m *testing.M) { programtest.Run(m, main, pgtest.Run) }

// needServer passes a test over where there is no PostgreSQL.
func needServer(t *testing.T) {
	t.Helper()
	if _, err := pgtest.Binaries(); err != nil && os.Getenv("CI") == "" {
		t.Skip(err)
	}
}

// TestPhonesMeasureThePrograms ends a run by an interrupt, and looks at what it has told and left.
func TestPhonesMeasureThePrograms(t *testing.T) {
	t.Parallel()
	needServer(t)
	programs, temporary, results := t.TempDir(), t.TempDir(), t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "-C", "../..", "build", "-ldflags=-s -w", "-o", programs+"/", "./functions/cmd/server", "./chat-service")
	if said, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the programs: %v\n%s", err, said)
	}
	in := func(folder, name string) string { return filepath.Join(folder, name) }
	figures, picture := in(results, "figures.json"), in(results, "picture.svg")
	p := programtest.LaunchWith(t, []string{
		in(programs, "server"), in(programs, "cleanup"), in(programs, "chat-service"), "phones", "--phones", "6", "--ramp", "0s", "--hold", "1h",
		"--think", "50ms", "--signups", "2", "--pgbench", "0s", "--json", figures, "--svg", picture,
	}, "TMPDIR="+temporary, "PATH="+os.Getenv("PATH"), "HOME="+os.Getenv("HOME"))
	require.Eventually(t, func() bool { return someMeasured.MatchString(p.Log.String()) }, 3*time.Minute, 10*time.Millisecond, "%s", p.Log)
	require.NoError(t, p.Cmd.Process.Signal(syscall.SIGINT))
	require.Error(t, p.WaitToEnd(t))
	said := p.Log.String()
	for _, want := range []string{"sign-ups: 2,", "hold: ", "PUT /v2/event ", "chat-service ", "loadtest: it was interrupted"} {
		assert.Contains(t, said, want)
	}

	text, err := os.ReadFile(figures)
	require.NoError(t, err)
	var r report
	require.NoError(t, json.Unmarshal(text, &r))
	assert.Empty(t, r.Faults)
	assert.Equal(t, 6, r.Phones)
	assert.Equal(t, 2, r.SignUps.Requests)
	assert.Positive(t, r.SignUps.CPUSecondsEach)
	measured := r.stage(stageHold)
	require.NotNil(t, measured)
	sum := 0
	for _, route := range measured.Routes {
		sum += route.Requests
		assert.LessOrEqual(t, route.Answered.P50, route.Answered.P99, route.Route)
	}
	assert.Equal(t, sum, measured.All.Requests)
	assert.Len(t, r.Programs, len(used)+1)
	for _, program := range r.Programs {
		assert.Positive(t, program.MemoryMiB, program.Program)
		assert.Less(t, program.MemoryMiB, program.MemoryLimitMiB, program.Program)
		assert.LessOrEqual(t, program.Connections, program.Pool, program.Program)
	}
	drawn, err := os.ReadFile(picture)
	require.NoError(t, err)
	assert.Contains(t, string(drawn), "<svg")
	assert.Contains(t, string(drawn), "PUT /v2/event")

	files, err := os.ReadDir(temporary)
	require.NoError(t, err)
	assert.Empty(t, files, "files are left")
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	for _, path := range commands {
		line, _ := os.ReadFile(path) // it may have ended meanwhile
		assert.NotContains(t, string(line), programs, "a program is left")
		assert.NotContains(t, string(line), temporary, "PostgreSQL is left")
	}

	taken, err := new(net.ListenConfig).Listen(t.Context(), "tcp", ":0")
	require.NoError(t, err)
	defer func() { _ = taken.Close() }()
	_, port, err := net.SplitHostPort(taken.Addr().String())
	require.NoError(t, err)
	_, err = (&bench{}).launchAt(t.Context(), "127.0.0.1:"+port, in(programs, "server"), "FUNCTION_TARGET=Health")
	assert.ErrorContains(t, err, "server has ended at its start: server: port "+port+" is in use: ")
}

var someMeasured = regexp.MustCompile(`hold: [1-9]\d* requests so far`)

func TestWhatPhonesCannotDoIsSaid(t *testing.T) {
	t.Parallel()
	need := ownConnections
	for _, s := range (&phones{}).sizes() {
		need += s.pool
	}
	tooFew := fmt.Sprintf("the database is too small: it takes 3 connections (max_connections), and %d are needed: "+
		"2 for the load test, and for CreateUser ", need)
	for args, want := range map[string]string{
		"--phones 0":                     "--phones has to be from 1 to 20000",
		"--phones -1":                    "--phones has to be from 1 to 20000",
		"--hold 0s":                      "--hold has to be some time",
		"--svg /nowhere/x.svg":           "--svg: there is no folder for /nowhere/x.svg",
		"--think -1s":                    "cannot be less than nothing",
		"--overload 5 --url http://x":    "--overload is for the programs of this machine",
		"--url http://x --accounts 1":    "--accounts has to be from 2",
		"--url http://x --accounts 1000": "--accounts has to be from 2",
		"--url x":                        "--url has to be https:// or http:// and a host",
		"--url http://127.0.0.1:1":       "the environment does not say which it is",
		"--connections 3 --pgbench 0s":   tooFew,
	} {
		err := runPhones(t.Context(), &bench{}, strings.Fields(args))
		assert.ErrorContains(t, err, want, args)
	}
}

// TestPhonesAreSentToStagingOnly has an emulator for the environment, behind a front that breaks it.
func TestPhonesAreSentToStagingOnly(t *testing.T) {
	t.Parallel()
	database := pgtest.URL(t)
	emulator := emulatortest.Start(t, database, "ENVIRONMENT=staging")
	users := func() (n int) {
		conn, err := pgx.Connect(t.Context(), database)
		require.NoError(t, err)
		defer func() { _ = conn.Close(t.Context()) }()
		require.NoError(t, conn.QueryRow(t.Context(), `SELECT count(*) FROM users`).Scan(&n))
		return n
	}
	for name, want := range map[string]string{"production": "is production", "development": "is development", "": "does not say which environment it is"} {
		base := emulatortest.Behind(t, emulator.Base, func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != "/health" {
				t.Errorf("%s was asked for %s", name, r.URL.Path)
			}
			w.Header().Set(web.EnvironmentHeader, name)
			return true
		})
		assert.ErrorContains(t, runPhones(t.Context(), &bench{}, []string{"--url", base}), want)
	}

	begin := func(ctx context.Context, base string, flags ...string) (p *phones, ended <-chan error) {
		p = &phones{seen: newRecord()}
		require.NoError(t, p.parse(append([]string{"--phones", "4", "--accounts", "3", "--ramp", "0s", "--think", "50ms", "--url", base}, flags...)))
		end := make(chan error, 1)
		p.overload = 3 // which nobody may ask for there
		go func() { end <- p.remotely(ctx) }()
		return p, end
	}
	p, ended := begin(t.Context(), emulator.Base, "--hold", "1s")
	well := <-ended
	var stages []string
	for _, s := range p.report.Stages {
		stages = append(stages, s.Stage)
		assert.Zero(t, s.All.Failed, "%v", s.All.Errors)
	}
	assert.Equal(t, []string{stageRamp, stageHold, stageOverload, stageCalm}, stages)
	// Whether all is as fast as before is for a machine to show that has nothing else to do.
	if !slices.ContainsFunc(p.report.Faults, func(fault string) bool { return strings.HasPrefix(fault, slower) }) {
		assert.NoError(t, well)
	}
	assert.Zero(t, users(), "no account is left")

	broken := emulatortest.Behind(t, emulator.Base, func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/v2/event" {
			return false
		}
		w.WriteHeader(http.StatusInternalServerError)
		return true
	})
	_, ended = begin(t.Context(), broken, "--hold", "1s")
	assert.ErrorContains(t, <-ended, " × 500", "a 500 fails the run")
	assert.Zero(t, users())

	ctx, interrupt := context.WithCancel(t.Context())
	p, ended = begin(ctx, emulator.Base, "--hold", "1h")
	require.Eventually(t, func() bool {
		p.seen.mu.Lock()
		defer p.seen.mu.Unlock()
		return len(p.seen.samples) > 20 && len(p.seen.stages) > 1
	}, time.Minute, 5*time.Millisecond)
	interrupt()
	assert.ErrorIs(t, <-ended, context.Canceled)
	assert.Zero(t, users(), "an interrupt leaves no account")
}

// TestAPersonPausesAfterAFailedChat lets the chat's answer fail, and then its platform refuse.
func TestAPersonPausesAfterAFailedChat(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/negotiate") {
			_, _ = w.Write([]byte(`{"connectionToken":"x"}`))
			return
		}
		if socket, err := new(websocket.Upgrader).Upgrade(w, r, nil); err == nil {
			defer func() { _ = socket.Close() }()
			_ = socket.WriteMessage(websocket.TextMessage, []byte(`{"type":7}`+separator))
			for err == nil { // until the phone goes
				_, _, err = socket.ReadMessage()
			}
		}
	}))
	defer server.Close()
	s := &service{base: server.URL, client: server.Client()}
	p := &phones{seen: newRecord(), services: map[string]*service{chatService: s}}
	ph := &phone{phones: p, token: "Web x"}
	ph.chat(t.Context())
	assert.True(t, ph.troubled.Swap(false))
	require.Len(t, p.seen.samples, 3)
	assert.Equal(t, "closed by the hub", p.seen.samples[2].what)

	s.places = make(chan struct{}) // nobody gets one
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	ph.chat(ctx)
	assert.True(t, ph.troubled.Load())
	require.Len(t, p.seen.samples, 4)
	assert.Equal(t, platformRefusal, p.seen.samples[3].outcome)
}

func TestWhatAnAnswerMeans(t *testing.T) {
	t.Parallel()
	ours, armors := []string{"application/problem+json; charset=utf-8"}, []string{"text/html; charset=UTF-8"}
	for _, c := range []struct {
		status int
		header http.Header
		want   outcome
	}{
		{http.StatusOK, nil, outcome{}},
		{http.StatusTooManyRequests, http.Header{"Content-Type": ours, "Retry-After": {"1"}}, outcome{refused, "429", http.StatusTooManyRequests}},
		{http.StatusTooManyRequests, http.Header{"Content-Type": ours}, outcome{failed, "429 without Retry-After", http.StatusTooManyRequests}},
		{http.StatusTooManyRequests, http.Header{"Content-Type": armors}, platformRefusal},
		{http.StatusServiceUnavailable, http.Header{"Retry-After": {"1"}}, outcome{refused, "503", http.StatusServiceUnavailable}},
		{http.StatusServiceUnavailable, http.Header{"Content-Type": armors}, outcome{failed, "503 without Retry-After", http.StatusServiceUnavailable}},
		{http.StatusInternalServerError, nil, outcome{failed, "500", http.StatusInternalServerError}},
	} {
		assert.Equal(t, c.want, outcomeOfStatus(c.status, c.header), "%d %v", c.status, c.header)
	}
}

func TestMeasuresTakeFlagsOnly(t *testing.T) {
	t.Parallel()
	for _, what := range []string{"users", "phones", "feed", "plans", "planner", "chat"} {
		assert.ErrorContains(t, run(t.Context(), []string{"server", "cleanup", "chat-service", what, "some"}), what+" takes flags only")
	}
}

func TestFaultsOfARun(t *testing.T) {
	t.Parallel()
	stageOf := func(name string, p95 float64, refusals, failures map[string]int) stageReport {
		s := stageReport{Stage: name, All: routeReport{Requests: 100, Answered: latencies{P95: p95}, Errors: map[string]int{}}}
		for what, n := range refusals {
			s.All.Errors[what] = n
			s.All.Refused = &latencies{}
		}
		for what, n := range failures {
			s.All.Errors[what] = n
			s.All.Failed += n
		}
		return s
	}
	refused, broken := map[string]int{"503": 2, "429 of the platform": 1}, map[string]int{"503 without Retry-After": 1}
	for name, c := range map[string]struct {
		stages []stageReport
		want   []string
	}{
		"well":                 {[]stageReport{stageOf(stageHold, 10, nil, nil)}, []string{}},
		"refusals in overload": {[]stageReport{stageOf(stageHold, 10, nil, nil), stageOf(stageOverload, 9000, refused, nil), stageOf(stageCalm, 60, nil, nil)}, []string{}},
		"a 503 before": {
			[]stageReport{stageOf(stageHold, 10, map[string]int{"503": 2}, nil)},
			[]string{"2 of 100 requests were answered by 503 without an overload (hold)"},
		},
		"a 429 before":            {[]stageReport{stageOf(stageHold, 10, map[string]int{"429": 2}, nil)}, []string{}},
		"no word when to be back": {[]stageReport{stageOf(stageOverload, 10, nil, broken)}, []string{"1 of 100 requests failed (overload): 1 × 503 without Retry-After"}},
		"not as before": {
			[]stageReport{stageOf(stageHold, 10, nil, nil), stageOf(stageCalm, 100, map[string]int{"429": 1}, nil)},
			[]string{"requests are still refused after the overload: 1 × 429", "after the overload requests take 100 ms (p95), and took 10 before"},
		},
	} {
		r := report{Stages: c.stages}
		r.judge()
		assert.Equal(t, c.want, r.Faults, name)
	}
}

func TestLatencies(t *testing.T) {
	t.Parallel()
	var took []time.Duration
	for ms := 1000; ms >= 1; ms-- {
		took = append(took, time.Duration(ms)*time.Millisecond)
	}
	assert.Equal(t, latencies{500, 950, 990, 1000}, latenciesOf(took))
	assert.Equal(t, latencies{7, 7, 7, 7}, latenciesOf([]time.Duration{7 * time.Millisecond}))
	assert.Zero(t, latenciesOf(nil))
}
