package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/scripts/gcloudtest"
)

// terraformProgram shows the outputs that were applied.
const terraformProgram = `#!/bin/sh
case $1 in
init) ;;
output) cat "$APPLIED" ;;
*) exit 1 ;;
esac
`

// applyProgram applies an environment's weights as Terraform does: all at once, or not at all, or it says that it failed and has.
const applyProgram = `#!/bin/sh
[ ! -e "$APPLIED.refuses" ] || { rm "$APPLIED.refuses"; exit 1; }
value() { sed -n "s/.*$1 *= *\([a-z0-9]*\).*/\1/p" "$FOLDER/environments/production.tfvars" | head -1; }
chat=$(value chat_on_v2)
printf '{"traffic": {"value": {"reads": %s, "writes": %s, "chat": %s}}}' "$(value reads)" "$(value writes)" "${chat:-false}" >"$APPLIED"
[ ! -e "$APPLIED.breaks" ] || { rm "$APPLIED.breaks"; exit 1; }
`

// world is an environment, and what stands in for what it is made of: the weights that are applied decide where requests go.
type world struct {
	t        *testing.T
	folder   string
	applied  string // the file of Terraform's state
	tool     tool
	output   bytes.Buffer
	requests atomic.Int64 // in each range that is asked for
	bad      atomic.Int64 // of a hundred requests of v2's
	slow     atomic.Int64 // v2's 95th percentile in ms
	down     atomic.Bool
	onSleep  func()
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, folder: t.TempDir()}
	w.requests.Store(10_000)
	w.slow.Store(80)
	w.applied = filepath.Join(w.folder, "applied")
	gcloudtest.New(t, gcloudtest.State{Project: "liftlog-production", Region: "europe-west1"})
	original, err := os.ReadFile("../../terraform/environments/production.tfvars")
	require.NoError(t, err)
	require.NoError(t, os.Mkdir(filepath.Join(w.folder, "environments"), 0o700))
	for path, text := range map[string]string{
		"environments/production.tfvars": string(original), "terraform": terraformProgram, "apply": applyProgram, "applied": "{}",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(w.folder, path), []byte(text), 0o700))
	}
	t.Setenv("PATH", w.folder+string(os.PathListSeparator)+os.Getenv("PATH"))
	t.Setenv("APPLIED", w.applied)
	t.Setenv("FOLDER", w.folder)
	monitoring := httptest.NewServer(http.HandlerFunc(w.answer))
	t.Cleanup(monitoring.Close)
	clock := time.Now()
	w.tool = tool{
		folder: w.folder, apply: filepath.Join(w.folder, "apply"), output: &w.output,
		now: func() time.Time { return clock },
		sleep: func(ctx context.Context, d time.Duration) error {
			clock = clock.Add(d)
			if w.onSleep != nil {
				w.onSleep()
			}
			return ctx.Err()
		},
	}
	w.tool.rules.monitoring = monitoring.URL
	return w
}

// answer is Cloud Monitoring's.
func (w *world) answer(out http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "Bearer "+gcloudtest.Token {
		out.WriteHeader(http.StatusUnauthorized)
		return
	}
	if w.down.Load() {
		out.WriteHeader(http.StatusInternalServerError)
		return
	}
	share := int64(w.state().Reads)
	ours := w.requests.Load() * share / 100
	faults := ours * w.bad.Load() / 100
	sample := func(n float64, labels ...string) map[string]any {
		metric := map[string]string{}
		for i := 0; i < len(labels); i += 2 {
			metric[labels[i]] = labels[i+1]
		}
		return map[string]any{"metric": metric, "value": []any{1, fmt.Sprint(n)}}
	}
	const backend, class, rule = "backend_target_name", "response_code_class", "matched_url_path_rule"
	var result []any
	switch query := r.FormValue("query"); {
	case strings.Contains(query, class):
		result = []any{sample(float64(w.requests.Load()-ours), backend, "v1", class, "200"), sample(float64(ours-faults), backend, "get-user", class, "200"),
			sample(float64(faults), backend, "put-event", class, "500")}
	case strings.Contains(query, rule):
		result = []any{sample(float64(w.requests.Load()-ours), backend, "v1", rule, "/users"), sample(float64(ours), backend, "get-users", rule, "/users"),
			sample(7, backend, "get-users", rule, "/v2/users")}
	case strings.Contains(query, `="v1"`):
		result = []any{sample(120)}
	case strings.Contains(query, "histogram_quantile"):
		result = []any{sample(float64(w.slow.Load()))}
	default:
		out.WriteHeader(http.StatusBadRequest)
		return
	}
	out.Header().Set("Content-Type", "application/json")
	assert.NoError(w.t, json.NewEncoder(out).Encode(map[string]any{"status": "success", "data": map[string]any{"resultType": "vector", "result": result}}))
}

// state is what is applied.
func (w *world) state() shares {
	text, err := os.ReadFile(w.applied)
	if !assert.NoError(w.t, err) {
		return shares{}
	}
	var outputs struct {
		Traffic struct{ Value shares } `json:"traffic"`
	}
	assert.NoError(w.t, json.Unmarshal(text, &outputs))
	return outputs.Traffic.Value
}

// file is what the environment's file says.
func (w *world) file() string {
	text, err := os.ReadFile(filepath.Join(w.folder, "environments", "production.tfvars"))
	require.NoError(w.t, err)
	return string(text)
}

func (w *world) rollout(args ...string) (string, error) {
	w.output.Reset()
	t := w.tool
	err := t.run(w.t.Context(), append([]string{"--monitoring", w.tool.rules.monitoring, "--poll", "5m", "production"}, args...))
	return w.output.String(), err
}

func (w *world) require(want shares) {
	w.t.Helper()
	require.Equal(w.t, want, w.state())
	require.Contains(w.t, strings.Join(strings.Fields(w.file()), " "), fmt.Sprintf("v2_weight = { reads = %d, writes = %d }", want.Reads, want.Writes))
}

func TestTrafficMovesStepByStep(t *testing.T) {
	w := newWorld(t)
	said, err := w.rollout("status")
	require.NoError(t, err)
	assert.Contains(t, said, "Terraform has not applied any weights yet")
	before := w.file()
	said, err = w.rollout("10", "--dry-run")
	require.NoError(t, err)
	assert.Contains(t, said, "reads 10, writes 10, the chat v1's instead of reads 0, writes 0")
	assert.Equal(t, before, w.file())

	said, err = w.rollout("reads", "10")
	require.NoError(t, err, said)
	w.require(shares{Reads: 10})
	assert.Contains(t, said, "v2 1000 requests, 0.00 % with 5xx, p95 80ms")
	assert.Equal(t, strings.Replace(before, "reads = 0,", "reads = 10,", 1), w.file(), "nothing else is changed")
	for _, step := range []string{"10", "25", "50", "75", "100"} {
		_, err = w.rollout(step)
		require.NoError(t, err)
	}
	w.require(shares{Reads: 100, Writes: 100})
	_, err = w.rollout("chat", "on")
	require.NoError(t, err)
	w.require(shares{Reads: 100, Writes: 100, Chat: true})
	said, err = w.rollout("status")
	require.NoError(t, err)
	assert.Contains(t, said, "production: reads 100, writes 100, the chat v2's")
	assert.Regexp(t, `v1's paths +/users +0 +10000 +100`, said)
	assert.Regexp(t, `v2's paths +/v2/users +0 +7 +100`, said)
	said, err = w.rollout("100")
	require.NoError(t, err)
	assert.Contains(t, said, "already")
	_, err = w.rollout("0")
	require.NoError(t, err, "down at once")
	w.require(shares{Chat: true})
}

func TestTrafficGoesBackByItself(t *testing.T) {
	w := newWorld(t)
	_, err := w.rollout("10")
	require.NoError(t, err)
	ten := shares{Reads: 10, Writes: 10}
	for name, c := range map[string]struct {
		happen func()
		want   string
	}{
		"errors": {func() { w.bad.Store(3) }, "3.00 % of v2's requests are answered with 5xx, and 1 % is the limit: it went back"},
		"slow":   {func() { w.slow.Store(2500) }, "the 95th percentile of v2's latency is 2.5s"},
		"quiet":  {func() { w.requests.Store(100) }, "only 25 requests came to v2 within 1h0m0s"},
		"unseen": {func() { w.down.Store(true) }, "how both sides are is not known"},
	} {
		w.onSleep = c.happen
		said, err := w.rollout("25")
		require.ErrorContains(t, err, c.want, name)
		require.ErrorContains(t, err, "it went back, and production is at reads 10, writes 10", name)
		assert.Contains(t, said, "going back to reads 10")
		w.require(ten)
		w.onSleep = nil
		w.bad.Store(0)
		w.slow.Store(80)
		w.requests.Store(10_000)
		w.down.Store(false)
	}
	w.bad.Store(3)
	_, err = w.rollout("25")
	require.ErrorContains(t, err, "nothing has been changed, since not all is well before")
	w.down.Store(true)
	_, err = w.rollout("25")
	require.ErrorContains(t, err, "nothing has been changed, since how both sides are is not known")
	w.require(ten)
}

func TestARolloutThatIsBrokenOff(t *testing.T) {
	w := newWorld(t)
	_, err := w.rollout("10")
	require.NoError(t, err)
	ten := shares{Reads: 10, Writes: 10}
	for _, how := range []string{".refuses", ".breaks"} { // before Terraform did anything, and after it did all
		require.NoError(t, os.WriteFile(w.applied+how, nil, 0o600))
		_, err = w.rollout("25")
		require.ErrorContains(t, err, "it has been taken back, and production is at reads 10, writes 10")
		w.require(ten)
	}

	// Interrupted while it watches.
	ctx, cancel := context.WithCancel(t.Context())
	w.onSleep = cancel
	interrupted := w.tool
	err = interrupted.run(ctx, []string{"--monitoring", w.tool.rules.monitoring, "production", "25"})
	require.ErrorContains(t, err, "it was interrupted: it went back")
	w.require(ten)
	w.onSleep = nil

	// Killed between the file and Terraform.
	before := w.file()
	path := filepath.Join(w.folder, "environments", "production.tfvars")
	require.NoError(t, os.WriteFile(path, []byte(strings.Replace(before, "reads = 10, writes = 10", "reads = 25, writes = 10", 1)), 0o600))
	said, err := w.rollout("status")
	require.NoError(t, err)
	assert.Contains(t, said, "applied is reads 10, writes 10, the chat v1's. A rollout was broken off")
	_, err = w.rollout("writes", "25")
	require.ErrorContains(t, err, "a rollout was broken off")
	require.ErrorContains(t, err, "Finish it by asking for the first, or go back by asking for the second")
	_, err = w.rollout("10")
	require.NoError(t, err)
	w.require(ten)
	require.NoError(t, os.WriteFile(path, []byte(strings.Replace(before, "reads = 10, writes = 10", "reads = 25, writes = 10", 1)), 0o600))
	_, err = w.rollout("reads", "25")
	require.NoError(t, err)
	w.require(shares{Reads: 25, Writes: 10})
}

func TestWeightsThatAreNone(t *testing.T) {
	w := newWorld(t)
	before := w.file()
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "which environment, and which weight?"},
		{[]string{"11"}, "11 is no step: weights are 0, 10, 25, 50, 75 and 100"},
		{[]string{"-5"}, "--help says more"},
		{[]string{"101"}, "101 is no step"},
		{[]string{"ten"}, "ten is not understood"},
		{[]string{"50"}, "reads are at 0, from which the next step is 10, and not 50"},
		{[]string{"writes", "100"}, "writes are at 0, from which the next step is 10, and not 100"},
		{[]string{"chat", "10"}, "there is no share of it"},
		{[]string{"10", "--limit", "0"}, "--limit has to be more than 0"},
		{[]string{"10", "--wait", "1m"}, "--watch has to be a time"},
	} {
		_, err := w.rollout(c.args...)
		require.ErrorContains(t, err, c.want)
	}
	assert.Equal(t, before, w.file())
	assert.Equal(t, shares{}, w.state())
	require.NoError(t, os.WriteFile(filepath.Join(w.folder, "environments", "production.tfvars"),
		[]byte(strings.Replace(before, "v1        =", "v0 =", 1)), 0o600))
	_, err := w.rollout("10")
	require.ErrorContains(t, err, "names no v1")
}

func TestNeverBesideADeployment(t *testing.T) {
	gcloudtest.New(t, gcloudtest.State{
		Project: "liftlog-production", Region: "europe-west1",
		Objects: map[string]*gcloudtest.Object{"gs://liftlog-terraform/production/deploy.lock": {
			Content: `{"holder": "the pipeline", "doing": "deploy", "since": "2026-01-01T00:00:00Z", "token": "x"}`, Generation: 1,
		}},
	})
	command := exec.CommandContext(t.Context(), "../rollout", "production", "10")
	command.Env = append(os.Environ(), "LOCK_HOLDER=")
	said, err := command.CombinedOutput()
	require.Error(t, err)
	assert.Contains(t, string(said), "production is locked by the pipeline (deploy)")
}
