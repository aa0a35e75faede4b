package main

import (
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestAGeneratedClientPlaysTheStory makes a client of the API's description, compiles client/story.ts with it, and plays that.
func TestAGeneratedClientPlaysTheStory(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			skip(t, program+" is not installed")
		}
	}
	server := httptest.NewServer(testHandler(t))
	t.Cleanup(server.Close)
	dir := filepath.Join("..", "..", "client")
	command := func(environ []string, name string, args ...string) ([]byte, error) {
		command := exec.CommandContext(t.Context(), name, args...)
		command.Dir, command.Env = dir, append(os.Environ(), environ...)
		return command.CombinedOutput()
	}
	if _, err := os.Stat(filepath.Join(dir, "node_modules", ".package-lock.json")); err != nil {
		if said, err := command(nil, "npm", "ci", "--no-audit", "--no-fund"); err != nil {
			skip(t, "the client cannot be made: "+string(said))
		}
	}
	for _, script := range []string{"generate", "compile"} {
		said, err := command(nil, "npm", "run", script)
		require.NoError(t, err, "%s", said)
	}
	environ := []string{"API_URL=" + server.URL, "WEB_KEY=" + webKey}
	said, err := command(environ, "node", filepath.Join("generated", "compiled", "story.js"))
	require.NoError(t, err, "%s", said)
}

// skip leaves a test out on a machine that lacks something, but never where CI runs.
func skip(t *testing.T, reason string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(reason)
	}
	t.Skip(reason)
}
