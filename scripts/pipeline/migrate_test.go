package pipeline

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/scripts/environment"
	"github.com/liftlog/liftlog-api/scripts/gcloudtest"
	"github.com/liftlog/liftlog-api/scripts/releasefile"
)

func TestMigrate(t *testing.T) {
	staging, err := environment.Read(filepath.Join(root, "terraform"), "staging")
	require.NoError(t, err)
	image := func(program, digit string) string {
		return staging.Registry + "/" + program + "@sha256:" + strings.Repeat(digit, 64)
	}
	state := gcloudtest.State{
		Project: staging.Project, Region: staging.Region, Services: map[string]*gcloudtest.Service{}, Tags: map[string]string{},
		Jobs: map[string]*gcloudtest.Job{"migrate": {Image: image("migrate", "1")}, "cleanup": {Image: image("cleanup", "1")}},
	}
	release := releasefile.Release{Commit: strings.Repeat("c", 40), Images: map[string]releasefile.Image{}}
	for _, program := range releasefile.Programs {
		state.Images = append(state.Images, image(program, "1"), image(program, "2"))
		release.Images[program] = releasefile.Image{
			Index: image(program, "2"), Platforms: map[string]string{releasefile.AMD64: "sha256:" + strings.Repeat("3", 64)},
		}
	}
	file := filepath.Join(t.TempDir(), "release.json")
	require.NoError(t, releasefile.Write(file, release))
	cloud := gcloudtest.New(t, state)
	migrate := func(args ...string) (string, error) {
		command := exec.CommandContext(t.Context(), filepath.Join(root, "scripts/migrate"), append(args, "staging", "--release="+file)...)
		said, err := command.CombinedOutput()
		return string(said), err
	}

	said, err := migrate("--dry-run")
	require.NoError(t, err, said)
	assert.Empty(t, cloud.State().Jobs["migrate"].Executions)
	assert.Equal(t, image("migrate", "1"), cloud.State().Jobs["migrate"].Image)

	said, err = migrate("--check")
	require.NoError(t, err, said)
	said, err = migrate()
	require.NoError(t, err, said)
	var args [][]string
	for _, execution := range cloud.State().Jobs["migrate"].Executions {
		assert.Equal(t, image("migrate", "2"), execution.Image)
		args = append(args, execution.Args)
	}
	assert.Equal(t, [][]string{{"--check"}, {"--check"}, {}}, args)
	assert.Equal(t, image("cleanup", "1"), cloud.State().Jobs["cleanup"].Image, "the release has not come yet")

	cloud.Change(func(s *gcloudtest.State) { s.Jobs["migrate"].Fails = true })
	said, err = migrate()
	require.Error(t, err)
	assert.Contains(t, said, "Nothing has been migrated")
	assert.Len(t, cloud.State().Jobs["migrate"].Executions, 4, "it has not been tried in spite of the check")
	cloud.Lint()
}

func TestAReleaseThatStagingHasNotPassedIsNotFetched(t *testing.T) {
	gcloudtest.New(t, gcloudtest.State{Project: "p", Region: "r"})
	copied := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(copied, "scripts"), 0o700))
	script, err := os.ReadFile(filepath.Join(root, "scripts/fetch-release"))
	require.NoError(t, err)
	program := filepath.Join(copied, "scripts/fetch-release")
	require.NoError(t, os.WriteFile(program, script, 0o700))
	require.NoError(t, os.Mkdir(filepath.Join(copied, "build"), 0o700))
	old := filepath.Join(copied, releasefile.Path)
	require.NoError(t, os.WriteFile(old, []byte("{}"), 0o600))
	said, err := exec.CommandContext(t.Context(), program, "bucket", "commit").CombinedOutput()
	require.Error(t, err)
	assert.Contains(t, string(said), "staging has not passed commit")
	assert.NoFileExists(t, old, "another commit's release is left")
	require.Error(t, exec.CommandContext(t.Context(), program, "bucket", "").Run())
}
