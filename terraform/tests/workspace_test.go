// Package tests holds what is checked of Terraform's configuration without Google Cloud: files for `terraform test`, and
// tests that read the states these end in. scripts/check-cloud runs them.
package tests

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/shared/postgres/pgtest"
)

const root = "../.."

// workspace is a copy of what Terraform reads, ready to be planned.
type workspace struct{ dir string }

// prepared is the workspace that others are copied from, because preparing one takes some seconds.
var prepared = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "liftlog-terraform-")
	if err != nil {
		return "", err
	}
	preparedIn = dir
	w := workspace{filepath.Join(dir, "configuration")}
	providers := filepath.Join(dir, "providers") // large, and linked to from each copy
	if err := errors.Join(os.Mkdir(providers, 0o700), copyConfiguration(w.dir)); err != nil {
		return "", err
	}
	initialize := w.terraform(context.Background(), "init", "-no-color")
	initialize.Env = append(initialize.Env, "TF_PLUGIN_CACHE_DIR="+providers)
	if said, err := initialize.CombinedOutput(); err != nil {
		return "", fmt.Errorf("terraform init: %w\n%s", err, said)
	}
	return w.dir, nil
})

// preparedIn is the folder of the prepared workspace, if there is one.
var preparedIn string

func TestMain(m *testing.M) {
	code := pgtest.Run(m)
	if preparedIn != "" {
		_ = os.RemoveAll(preparedIn)
	}
	os.Exit(code)
}

func TestTheConfigurationIsFormattedAndValid(t *testing.T) {
	t.Parallel()
	w := newWorkspace(t)
	for _, args := range [][]string{{"fmt", "-check", "-diff", "-recursive"}, {"validate", "-no-color"}} {
		said, err := w.terraform(t.Context(), args...).CombinedOutput()
		require.NoError(t, err, "terraform %s: %s", args[0], said)
	}
}

// cliConfiguration names the file that tells Terraform where its providers are: scripts/check-cloud has one with the offline
// provider, or none, by which it fetches the provider from its registry. Nothing that the tests look at is the provider's own: they
// take its schema, and Terraform makes up the rest.
func cliConfiguration() string { return os.Getenv("TERRAFORM_CLI_CONFIG") }

// newWorkspace copies the configuration for a test, which may change its copy.
func newWorkspace(t *testing.T) workspace {
	t.Helper()
	if cliConfiguration() == "" {
		t.Skip("scripts/check-cloud runs this")
	}
	from, err := prepared()
	require.NoError(t, err)
	w := workspace{t.TempDir()}
	require.NoError(t, os.CopyFS(w.dir, os.DirFS(from)))
	return w
}

// copyConfiguration copies what Terraform reads, and gives the copy a state of its own.
func copyConfiguration(to string) error {
	if err := os.CopyFS(filepath.Join(to, "terraform"), os.DirFS(root+"/terraform")); err != nil {
		return err
	}
	// What somebody's own `terraform init` has left is of another provider.
	_ = os.RemoveAll(filepath.Join(to, "terraform/.terraform"))
	_ = os.Remove(filepath.Join(to, "terraform/.terraform.lock.hcl"))
	if err := os.CopyFS(filepath.Join(to, "functions/manifest"), os.DirFS(root+"/functions/manifest")); err != nil {
		return err
	}
	routes, err := os.ReadFile(root + "/functions/routes.json")
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(to, "functions/routes.json"), routes, 0o600),
		os.WriteFile(filepath.Join(to, "terraform/backend_override.tf"), []byte("terraform {\n  backend \"local\" {}\n}\n"), 0o600),
	)
}

// terraform is a command in the copy.
func (w workspace) terraform(ctx context.Context, args ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, "terraform", args...)
	command.Dir = filepath.Join(w.dir, "terraform")
	for _, entry := range os.Environ() {
		if !strings.HasPrefix(entry, "TF_") {
			command.Env = append(command.Env, entry)
		}
	}
	command.Env = append(command.Env, "TF_CLI_CONFIG_FILE="+cliConfiguration(), "CHECKPOINT_DISABLE=1", "TF_IN_AUTOMATION=1")
	return command
}

// resource is one of a state or of a plan.
type resource struct {
	Address string          `json:"address"`
	Type    string          `json:"type"`
	Index   any             `json:"index"`
	Values  json.RawMessage `json:"values"`
}

// module is a part of a state.
type module struct {
	Resources    []resource `json:"resources"`
	ChildModules []module   `json:"child_modules"`
}

func (m module) all() []resource {
	all := m.Resources
	for _, child := range m.ChildModules {
		all = append(all, child.all()...)
	}
	return all
}

// state is what a run of a test file, or a plan, ended in.
type state []resource

// errFailed says that Terraform's own part of a test file has failed.
var errFailed = errors.New("terraform test failed")

// test runs one of the files beside this one.
func (w workspace) test(ctx context.Context, name string) (map[string]state, error) {
	return w.run(ctx, "tests/"+name)
}

// run runs one file of terraform test, and returns what each of its runs planned, or applied.
func (w workspace) run(ctx context.Context, name string, args ...string) (map[string]state, error) {
	output, err := w.terraform(ctx, append([]string{"test", "-json", "-verbose", "-filter=" + name + ".tftest.hcl"}, args...)...).Output()
	states := map[string]state{}
	var said strings.Builder
	for line := range bytes.Lines(output) {
		var message struct {
			Message string `json:"@message"`
			Run     string `json:"@testrun"`
			State   *struct {
				Root module `json:"root_module"`
			} `json:"test_state"`
			Plan *struct {
				Changes []struct {
					resource

					Change struct{ After json.RawMessage } `json:"change"`
				} `json:"resource_changes"`
			} `json:"test_plan"`
			Diagnostic *struct {
				Summary, Detail string
			} `json:"diagnostic"`
		}
		if err := json.Unmarshal(line, &message); err != nil {
			return nil, fmt.Errorf("read terraform test: %w", err)
		}
		if message.State != nil {
			states[message.Run] = message.State.Root.all()
		}
		if message.Plan != nil {
			var planned state
			for _, change := range message.Plan.Changes {
				change.Values = change.Change.After
				planned = append(planned, change.resource)
			}
			states[message.Run] = planned
		}
		if message.Diagnostic != nil {
			fmt.Fprintf(&said, "\n%s: %s: %s", message.Run, message.Diagnostic.Summary, message.Diagnostic.Detail)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w%s", errFailed, name, err, said.String())
	}
	return states, nil
}

// plan is what an environment's variables lead to.
func (w workspace) plan(ctx context.Context, environment string) (state, error) {
	runs, err := w.run(ctx, "environments/plan", "-test-directory=environments",
		"-var-file=environments/"+environment+".tfvars", "-var-file=tests/images.auto.tfvars")
	return runs["plan"], err
}

// one decodes the resource with the address.
func one[T any](s state, address string) (value T, err error) {
	for _, r := range s {
		if r.Address == address {
			return value, json.Unmarshal(r.Values, &value)
		}
	}
	return value, fmt.Errorf("there is no %s", address)
}

// each decodes all resources of the type, by address.
func each[T any](s state, kind string) (map[string]T, error) {
	all := map[string]T{}
	for _, r := range s {
		if r.Type != kind {
			continue
		}
		var value T
		if err := json.Unmarshal(r.Values, &value); err != nil {
			return nil, fmt.Errorf("read %s: %w", r.Address, err)
		}
		all[r.Address] = value
	}
	return all, nil
}
