package environment_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/scripts/environment"
)

const terraform = "../../terraform"

func TestEveryEnvironmentIsRead(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"dev", "staging", "production"} {
		e, err := environment.Read(terraform, name)
		require.NoError(t, err)
		assert.Equal(t, "liftlog-"+name, e.Project)
		assert.Equal(t, "europe-west1-docker.pkg.dev/liftlog-images/liftlog", e.Registry)
		assert.Equal(t, "liftlog-terraform", e.StateBucket)
	}
	_, err := environment.Read(terraform, "prod")
	require.ErrorContains(t, err, `"prod" is no environment: it has to be one of dev, production, staging`)
	_, err = environment.Read(terraform, "../environments/dev")
	require.ErrorContains(t, err, "is no environment")
}

func TestWhatIsMissingIsNamed(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(folder, "environments"), 0o700))
	content, err := os.ReadFile(filepath.Join(terraform, "environments", "dev.tfvars"))
	require.NoError(t, err)
	for _, variable := range []string{"environment", "project", "region", "host", "state_bucket"} {
		without := strings.Replace("\n"+string(content), "\n"+variable, "\nother_"+variable, 1)
		require.NoError(t, os.WriteFile(filepath.Join(folder, "environments", "dev.tfvars"), []byte(without), 0o600))
		_, err := environment.Read(folder, "dev")
		require.ErrorContains(t, err, "gives no "+variable)
	}
}
