package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/scripts/releasefile"
)

// configuration has resources of Terraform's own, which need no provider: one that keeps an image as an ignored one is kept, and
// one that is replaced with its environment's host.
const configuration = `
terraform {
  backend "local" {}
}

variable "images" { type = map(string) }
variable "host" { type = string }

resource "terraform_data" "service" {
  input = var.images["chat"]
}

resource "terraform_data" "address" {
  triggers_replace = var.host
}
`

const variables = `
environment  = "staging"
project      = "p"
region       = "europe-west1"
host         = "HOST"
state_bucket = "b"
registry     = { project = "p", location = "europe-west1" }
`

func TestApply(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("terraform"); err != nil {
		t.Skip("terraform is not installed")
	}
	folder := t.TempDir()
	write := func(name, text string) {
		path := filepath.Join(folder, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	write("main.tf", configuration)
	write("environments/staging.tfvars", strings.Replace(variables, "HOST", "one.example", 1))
	file := filepath.Join(folder, "release.json")
	apply := func(args ...string) (string, error) {
		var output bytes.Buffer
		tool := tool{folder: folder, release: file, backend: []string{"-backend-config=path=" + filepath.Join(folder, "state")}, output: &output}
		err := tool.run(t.Context(), append(args, "staging"))
		return output.String(), err
	}
	state := func() string {
		text, err := os.ReadFile(filepath.Join(folder, "state"))
		if os.IsNotExist(err) {
			return ""
		}
		require.NoError(t, err)
		return string(text)
	}

	_, err := apply()
	require.ErrorContains(t, err, "build the images first")
	release := releasefile.Release{Commit: strings.Repeat("c", 40), Images: map[string]releasefile.Image{}}
	for _, program := range releasefile.Programs {
		release.Images[program] = releasefile.Image{
			Index:     "europe-west1-docker.pkg.dev/p/liftlog/" + program + "@sha256:" + strings.Repeat("1", 64),
			Platforms: map[string]string{releasefile.AMD64: "sha256:" + strings.Repeat("2", 64)},
		}
	}
	require.NoError(t, releasefile.Write(file, release))
	_, err = apply("--dry-run")
	require.NoError(t, err)
	assert.Empty(t, state(), "a dry run has applied something")
	said, err := apply()
	require.NoError(t, err, said)
	assert.Contains(t, state(), release.Images["chat"].Index)

	write("environments/staging.tfvars", strings.Replace(variables, "HOST", "two.example", 1))
	_, err = apply()
	require.ErrorContains(t, err, "destroys or replaces terraform_data.address: nothing has been applied")
	assert.Contains(t, state(), "one.example")
	said, err = apply("--allow-replace")
	require.NoError(t, err, said)
	assert.Contains(t, state(), "two.example")

	write("main.tf", configuration+"resource {")
	_, err = apply()
	require.ErrorContains(t, err, "terraform init")
	_, err = apply("--nonsense")
	require.Error(t, err)
	_, err = apply("production")
	require.ErrorContains(t, err, "one environment")
}
