package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestTheAppsClient drives the service with SignalR's own client, as client/client.test.mjs says.
func TestTheAppsClient(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			skip(t, program+" is not installed")
		}
	}
	if _, err := os.Stat(filepath.Join("client", "node_modules", ".package-lock.json")); err != nil {
		install := exec.CommandContext(t.Context(), "npm", "ci", "--no-audit", "--no-fund")
		install.Dir = "client"
		if said, err := install.CombinedOutput(); err != nil {
			skip(t, "the client cannot be installed: "+string(said))
		}
	}
	s, _ := start(t)
	play := exec.CommandContext(t.Context(), "node", "--test", "client.test.mjs")
	play.Dir = "client"
	play.Env = append(os.Environ(), "CHAT_URL=http://"+s.Address+"/ai-chat", "CHAT_KEY="+webKey)
	said, err := play.CombinedOutput()
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
