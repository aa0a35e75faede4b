package pipeline

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/scripts/environment"
	"github.com/liftlog/liftlog-api/scripts/gcloudtest"
	"github.com/liftlog/liftlog-api/scripts/releasefile"
	"github.com/liftlog/liftlog-api/shared/programtest"
)

// slow is a Terraform that works until it is interrupted, and then ends in its own time.
const slow = `#!/bin/sh
trap 'echo interrupted >>"$STATE"; exit 1' INT
echo "$1" >>"$STATE"
while :; do sleep 0.1; done
`

func TestApplyingThatIsEndedGivesTheLockBack(t *testing.T) {
	staging, err := environment.Read(filepath.Join(root, "terraform"), "staging")
	require.NoError(t, err)
	cloud := gcloudtest.New(t, gcloudtest.State{Project: staging.Project, Region: staging.Region, Objects: map[string]*gcloudtest.Object{}})
	bin, state, file := t.TempDir(), filepath.Join(t.TempDir(), "state"), filepath.Join(t.TempDir(), "release.json")
	require.NoError(t, os.WriteFile(filepath.Join(bin, "terraform"), []byte(slow), 0o700))
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	t.Setenv("STATE", state)
	release := releasefile.Release{Commit: strings.Repeat("c", 40), Images: map[string]releasefile.Image{}}
	for _, program := range releasefile.Programs {
		release.Images[program] = releasefile.Image{
			Index:     staging.Registry + "/" + program + "@sha256:" + strings.Repeat("1", 64),
			Platforms: map[string]string{releasefile.AMD64: "sha256:" + strings.Repeat("2", 64)},
		}
	}
	require.NoError(t, releasefile.Write(file, release))
	apply := exec.CommandContext(t.Context(), filepath.Join(root, "scripts/apply"), "staging", "--release="+file)
	var said programtest.Log
	apply.Stdout, apply.Stderr = &said, &said
	require.NoError(t, apply.Start())
	ended := make(chan error, 1)
	go func() { ended <- apply.Wait() }()
	require.Eventually(t, func() bool {
		_, err := os.Stat(state)
		return err == nil
	}, 2*time.Minute, 20*time.Millisecond, "%s", &said)
	assert.Len(t, cloud.State().Objects, 1, "the lock is not held")

	require.NoError(t, apply.Process.Signal(syscall.SIGTERM))
	require.Error(t, <-ended)
	assert.Empty(t, cloud.State().Objects, "the lock is left: %s", &said)
	text, err := os.ReadFile(state)
	require.NoError(t, err)
	assert.Equal(t, "init\ninterrupted\n", string(text), "Terraform was not told, or was not waited for")
}
