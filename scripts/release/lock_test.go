package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/scripts/gcloudtest"
)

const lock = "gs://liftlog-terraform/staging/deploy.lock"

func TestOneAtATime(t *testing.T) {
	w := newWorld(t, "staging")
	require.NoError(t, w.run("build 17", "lock", "staging"))
	assert.Contains(t, w.said.String(), `LOCK_HOLDER="build 17"`)
	w.clock = w.clock.Add(12 * time.Minute)
	for _, args := range [][]string{{"deploy", "staging", "--release=" + w.file(2)}, {"rollback", "staging"}, {"lock", "staging"}, {"lock", "staging", "--", "true"}} {
		for _, holder := range []string{"", "build 18"} {
			err := w.run(holder, args...)
			require.ErrorContains(t, err, "staging is locked by build 17 (taken by hand) for 12m0s")
			require.ErrorContains(t, err, "`scripts/lock staging --break`")
		}
	}
	w.runs(1)
	require.ErrorContains(t, w.run("build 18", "lock", "staging", "--release"), "and not by build 18")

	require.NoError(t, w.run("build 17", "lock", "staging"), "what is there is success")
	require.NoError(t, w.run("build 17", "deploy", "staging", "--release="+w.file(2)), "under its own lock")
	w.runs(2)
	require.NoError(t, w.run("build 17", "rollback", "staging"))
	assert.Contains(t, w.cloud.State().Objects, lock, "which whoever took it gives back")
	require.NoError(t, w.run("build 17", "lock", "staging", "--release"))
	w.unlocked()
	require.NoError(t, w.run("build 17", "lock", "staging", "--release"), "what is gone is success")
}

func TestOfManyWhoDeployAtOnceOneDoes(t *testing.T) {
	w := newWorld(t, "staging")
	var (
		group  sync.WaitGroup
		errs   = make([]error, 6)
		output [6]bytes.Buffer
	)
	for i := range errs {
		group.Go(func() {
			run := w.tool()
			run.output = &output[i]
			errs[i] = run.run(t.Context(), []string{"lock", "staging", "--holder=" + string(rune('a'+i))}, w.folder, os.Getenv)
		})
	}
	group.Wait()
	taken := 0
	for _, err := range errs {
		if err == nil {
			taken++
			continue
		}
		require.ErrorContains(t, err, "staging is locked by")
	}
	assert.Equal(t, 1, taken)
}

func TestALockIsBrokenByHand(t *testing.T) {
	w := newWorld(t, "staging")
	require.NoError(t, w.run("", "lock", "staging", "--break"))
	assert.Contains(t, w.said.String(), "staging is not locked")
	require.NoError(t, w.run("build 17", "lock", "staging"))
	require.NoError(t, w.run("", "lock", "staging", "--break", "--dry-run"))
	assert.Contains(t, w.said.String(), "would run: gcloud storage rm")
	require.NoError(t, w.run("", "lock", "staging", "--break"))
	assert.Contains(t, w.said.String(), "staging was locked by build 17")
	w.unlocked()
	// What another program or half a write has left there keeps everybody out as well, until it is broken.
	w.cloud.Change(func(s *gcloudtest.State) {
		s.Objects = map[string]*gcloudtest.Object{lock: {Content: `{"holder": "bui`, Generation: 9}}
	})
	require.ErrorContains(t, w.deploy(2), "locked by somebody who has not said who")
	require.NoError(t, w.run("", "lock", "staging", "--break"))
	require.NoError(t, w.deploy(2))

	for _, c := range []struct {
		want string
		args []string
	}{
		{"exclude each other", []string{"--break", "--release"}},
		{"exclude each other", []string{"--break", "--", "true"}},
		{"which command", []string{"--"}},
		{"now is not understood", []string{"now"}},
	} {
		require.ErrorContains(t, w.run("", append([]string{"lock", "staging"}, c.args...)...), c.want)
	}
	w.unlocked()
}

// Whoever breaks the lock of a deployment that is alive takes over: it does not interfere any more.
func TestADeploymentWhoseLockIsBrokenStops(t *testing.T) {
	w := newWorld(t, "production")
	w.monitoring.Set(gcloudtest.Answering, map[string]gcloudtest.Counts{"get-user-00002": {Requests: 1000}})
	w.onSleep = func() {
		w.cloud.Change(func(s *gcloudtest.State) {
			s.Objects["gs://liftlog-terraform/production/deploy.lock"] = &gcloudtest.Object{
				Content: `{"holder": "another", "doing": "deploys", "since": "2026-11-01T12:00:00Z", "token": "another's"}`, Generation: 99,
			}
		})
	}
	require.ErrorContains(t, w.deploy(2, "--canary=10,100"), "the lock of production was broken and is held by another (deploys)")
	assert.Equal(t, map[string]int{"get-user-00001": 90, "get-user-00002": 10}, w.cloud.State().Services["get-user"].Serving())
	assert.Equal(t, "another's", func() string {
		c, err := (&tool{exec: w.cloud.Exec, Environment: w.environment("production"), limit: time.Minute}).claimed(t.Context())
		require.NoError(t, err)
		return c.Token
	}(), "nor does it give back a lock that is another's")
}

func TestACommandRunsUnderTheLock(t *testing.T) {
	w := newWorld(t, "staging")
	folder := t.TempDir()
	seen := filepath.Join(folder, "seen")
	require.NoError(t, w.run("build 17", "lock", "staging", "--", "sh", "-c", `echo "$LOCK_HOLDER" >`+seen))
	content, err := os.ReadFile(seen)
	require.NoError(t, err)
	assert.Equal(t, "build 17\n", string(content))
	w.unlocked()
	require.ErrorContains(t, w.run("", "lock", "staging", "--", "false"), "exit status 1")
	w.unlocked()
	require.NoError(t, w.run("", "lock", "staging", "--dry-run", "--", "false"), "nothing is run")
}

// The program itself, told to end as a build's step is, by one signal.
func TestAProgramThatIsEndedDuringACanaryGoesBack(t *testing.T) {
	w := newWorld(t, "production")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var said bytes.Buffer
	program := exec.CommandContext(ctx, os.Args[0], "deploy", "production", "--release="+w.file(2), "--monitoring="+w.monitoring.URL, "--canary=10,100") //nolint:gosec // this one
	program.Dir, program.Env = filepath.Dir(w.folder), append(os.Environ(), asProgram+"=yes")
	program.Stdout, program.Stderr = &said, &said
	require.NoError(t, program.Start())
	for w.cloud.State().Services["health"].Serving()["health-00002"] != 10 {
		require.NoError(t, ctx.Err(), "it never came to the canary: %s", &said)
		time.Sleep(10 * time.Millisecond) // the next look
	}
	require.NoError(t, program.Process.Signal(syscall.SIGTERM))
	require.Error(t, program.Wait())
	assert.Contains(t, said.String(), "deploy: the deployment was ended; every service and job is back on what it ran before")
	w.runs(1)
	w.unlocked()
}

func TestALockWhoseAnswerIsLostIsHeld(t *testing.T) {
	w := newWorld(t, "staging")
	w.cloud.Change(func(s *gcloudtest.State) {
		s.Faults = []gcloudtest.Fault{{Matching: "storage cp - " + lock, Times: 1, Kind: gcloudtest.Lost}}
	})
	require.NoError(t, w.deploy(2))
	w.runs(2)
	w.unlocked()
}
