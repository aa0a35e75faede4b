// Package gcloudtest stands in for Google Cloud in tests of what drives it: a program named gcloud that keeps its state in a file,
// refuses what the real one refuses, fails on demand, and notes how it was called; and a server for Cloud Monitoring. Tests
// compare the state that is left, and not the calls.
package gcloudtest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Cloud is a stand-in for gcloud that comes first in PATH.
type Cloud struct {
	tb   testing.TB
	path string // of the state
}

var (
	built    sync.Once
	program  string
	buildErr error
)

// build builds the program, once in a process and from Go's cache if possible.
func build() {
	root, err := exec.CommandContext(context.Background(), "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		buildErr = err
		return
	}
	program = filepath.Join(strings.TrimSpace(string(root)), "..", ".local", "gcloudtest", "gcloud")
	const path = "github.com/liftlog/liftlog-api/scripts/gcloudtest/gcloud"
	command := exec.CommandContext(context.Background(), "go", "build", "-o", program, path) //nolint:gosec // our own
	command.Stderr = os.Stderr
	buildErr = command.Run()
}

// New puts a stand-in with the state first in the path, until the test ends. Such a test cannot be parallel.
func New(tb testing.TB, s State) *Cloud {
	tb.Helper()
	built.Do(build)
	require.NoError(tb, buildErr, "build the stand-in for gcloud")
	c := &Cloud{tb, filepath.Join(tb.TempDir(), "state.json")}
	c.Reset(s)
	tb.Setenv("PATH", filepath.Dir(program)+string(os.PathListSeparator)+os.Getenv("PATH"))
	tb.Setenv(StateVariable, c.path)
	return c
}

// Exec does what the program does without starting one: for tests of very many calls.
func (c *Cloud) Exec(ctx context.Context, input string, args []string) (said, complained string, err error) {
	var output, complaints bytes.Buffer
	status := make(chan int, 1)
	go func() { status <- Run(c.path, args, strings.NewReader(input), &output, &complaints) }()
	select {
	case <-ctx.Done():
		return "", "", ctx.Err()
	case failed := <-status:
		if failed > 0 {
			err = fmt.Errorf("exit status %d", failed)
		}
		return output.String(), complaints.String(), err
	}
}

// Reset replaces the state.
func (c *Cloud) Reset(s State) {
	c.tb.Helper()
	content, err := json.Marshal(s, json.Deterministic(true))
	require.NoError(c.tb, err)
	require.NoError(c.tb, os.WriteFile(c.path, content, 0o600))
}

// State returns what is kept.
func (c *Cloud) State() State {
	c.tb.Helper()
	var seen State
	c.Change(func(s *State) { seen = *s })
	return seen
}

// Change changes what is kept, between two calls.
func (c *Cloud) Change(change func(*State)) {
	c.tb.Helper()
	require.NoError(c.tb, update(c.path, func(s *State) error {
		change(s)
		return nil
	}))
}

// Lint fails the test unless the real tool's own parser takes every command line that the stand-in has seen.
func (c *Cloud) Lint() {
	c.tb.Helper()
	var lines []string
	for _, call := range c.State().Calls {
		quoted := make([]string, len(call))
		for i, arg := range call {
			quoted[i] = "'" + strings.ReplaceAll(arg, "'", `'"'"'`) + "'"
		}
		lines = append(lines, "gcloud "+strings.Join(quoted, " "))
	}
	Lint(c.tb, lines)
}

// Lint fails the test unless the real tool's own parser, which needs no network, takes every command line. Where the tool is not
// installed it says so.
func Lint(tb testing.TB, lines []string) {
	tb.Helper()
	tool := installed()
	if tool == "" {
		tb.Log("gcloud is not installed: whether it takes these command lines is not known")
		return
	}
	lines = slices.Compact(slices.Sorted(slices.Values(lines)))
	require.NotEmpty(tb, lines)
	type line struct {
		Command string `json:"command_string"`
	}
	commands := make([]line, len(lines))
	for i := range lines {
		commands[i].Command = lines[i]
	}
	content, err := json.Marshal(commands)
	require.NoError(tb, err)
	folder := tb.TempDir()
	file := filepath.Join(folder, "commands.json")
	require.NoError(tb, os.WriteFile(file, content, 0o600))
	command := exec.CommandContext(tb.Context(), tool, "meta", "lint-gcloud-commands", "--commands-file="+file) //nolint:gosec // as installed
	command.Env = append(os.Environ(), "CLOUDSDK_CONFIG="+folder)                                               // nobody's account
	said, err := command.Output()
	require.NoError(tb, err, "%s", said)
	var verdicts []struct {
		Command string `json:"command_string"`
		Success bool   `json:"success"`
		Message string `json:"error_message"`
	}
	require.NoError(tb, json.Unmarshal(said, &verdicts))
	require.Len(tb, verdicts, len(lines))
	for _, v := range verdicts {
		assert.True(tb, v.Success, "%s: %s", v.Command, v.Message)
	}
}

// installed is where the real tool is, if it is.
func installed() string {
	for _, folder := range filepath.SplitList(os.Getenv("PATH")) {
		if program != "" && folder == filepath.Dir(program) {
			continue
		}
		if tool, err := exec.LookPath(filepath.Join(folder, "gcloud")); err == nil {
			return tool
		}
	}
	return ""
}
