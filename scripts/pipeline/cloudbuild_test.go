// Package pipeline checks what Cloud Build is told before it is told: it would take most faults without a word.
package pipeline

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
	"google.golang.org/api/cloudbuild/v1"

	"github.com/liftlog/liftlog-api/scripts/environment"
)

const root = "../.."

var (
	digested     = regexp.MustCompile(`^[\w./-]+(:[\w.-]+)?@sha256:[0-9a-f]{64}$`)
	latest       = regexp.MustCompile(`\blatest\b`)
	substitution = regexp.MustCompile(`\$\$|\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)[^}]*\})`)
	scripted     = regexp.MustCompile(`(?:scripts|\.ci)/[\w-]+`)
	// What Cloud Build knows by itself of every build that a trigger has begun for a commit.
	builtIn = []string{
		"PROJECT_ID", "PROJECT_NUMBER", "BUILD_ID", "LOCATION", "TRIGGER_NAME", "TRIGGER_BUILD_CONFIG_PATH", "SERVICE_ACCOUNT", "SERVICE_ACCOUNT_EMAIL",
		"COMMIT_SHA", "SHORT_SHA", "REVISION_ID", "REPO_NAME", "REPO_FULL_NAME", "BRANCH_NAME", "TAG_NAME", "REF_NAME",
	}
)

// read decodes a build, and refuses what Cloud Build's API does not have.
func read(text []byte) (build cloudbuild.Build, err error) {
	var document any
	if err := yaml.Unmarshal(text, &document); err != nil {
		return build, err
	}
	encoded, err := json.Marshal(document)
	if err != nil {
		return build, err
	}
	if err := jsonv2.Unmarshal(encoded, &build, jsonv2.RejectUnknownMembers(true)); err != nil {
		return build, err
	}
	if len(build.Steps) == 0 {
		return build, errors.New("there are no steps")
	}
	return build, nil
}

// texts are all strings of the build in which Cloud Build replaces substitutions.
func texts(build cloudbuild.Build) (all []string) {
	for _, step := range build.Steps {
		all = append(all, step.Name, step.Entrypoint, step.Dir, step.Script)
		all = append(all, step.Args...)
		all = append(all, step.Env...)
	}
	if build.Artifacts != nil && build.Artifacts.Objects != nil {
		all = append(all, build.Artifacts.Objects.Location)
		all = append(all, build.Artifacts.Objects.Paths...)
	}
	return append(append(all, build.Images...), build.Tags...)
}

// faults is everything in a build's text that Cloud Build would not say, or not before it is too late.
func faults(text []byte) error {
	build, err := read(text)
	if err != nil {
		return err
	}
	var all []error
	fault := func(format string, args ...any) { all = append(all, fmt.Errorf(format, args...)) }
	var ids []string
	mounted := map[string]int{}
	for i, step := range build.Steps {
		if step.Id == "" || slices.Contains(ids, step.Id) {
			fault("step %d has no id of its own", i+1)
		}
		if !digested.MatchString(step.Name) {
			fault("the image of %s is not given by digest", step.Id)
		}
		if len(step.WaitFor) == 0 {
			fault("%s does not say what it waits for", step.Id)
		}
		for _, id := range step.WaitFor {
			if id != "-" && !slices.Contains(ids, id) {
				fault("%s waits for %q, which is no step before it", step.Id, id)
			}
		}
		ids = append(ids, step.Id)
		for _, volume := range step.Volumes {
			mounted[volume.Name]++
		}
		for _, script := range scripted.FindAllString(strings.Join(append(step.Args, step.Entrypoint), " "), -1) {
			info, err := os.Stat(filepath.Join(root, script))
			if err != nil || info.IsDir() || info.Mode()&0o111 == 0 {
				fault("%s runs %s, which is no program", step.Id, script)
			}
		}
	}
	for volume, steps := range mounted {
		if steps < 2 {
			fault("the volume %s is used by one step only", volume)
		}
	}
	used := map[string]bool{}
	for _, text := range texts(build) {
		if latest.MatchString(text) {
			fault("%q speaks of latest", text)
		}
		for _, match := range substitution.FindAllStringSubmatch(text, -1) {
			name := match[1] + match[2]
			used[name] = true
			_, declared := build.Substitutions[name]
			if name != "" && !declared && !slices.Contains(builtIn, name) {
				fault("%q has the substitution %s, which nobody declares", text, name)
			}
		}
	}
	for name := range build.Substitutions {
		if !strings.HasPrefix(name, "_") || !used[name] {
			fault("the substitution %s is declared in vain", name)
		}
	}
	if build.Timeout == "" {
		fault("the build has no timeout: it would end after an hour")
	}
	if build.Options == nil || build.Options.Logging != "CLOUD_LOGGING_ONLY" {
		fault("options.logging is not CLOUD_LOGGING_ONLY, as an account of our own needs")
	}
	return errors.Join(all...)
}

// builds are the files of Cloud Build at the root.
func builds(t *testing.T) (all map[string][]byte) {
	t.Helper()
	files, err := fs.Glob(os.DirFS(root), "cloudbuild*.yaml")
	require.NoError(t, err)
	all = map[string][]byte{}
	for _, file := range files {
		text, err := os.ReadFile(filepath.Join(root, file))
		require.NoError(t, err)
		all[file] = text
	}
	require.Len(t, all, 3)
	return all
}

func TestTheBuilds(t *testing.T) {
	t.Parallel()
	for file, text := range builds(t) {
		require.NoError(t, faults(text), file)
	}
}

func TestFaultsAreFound(t *testing.T) {
	t.Parallel()
	whole := string(builds(t)["cloudbuild.yaml"])
	for name, c := range map[string]struct{ old, new, want string }{
		"substitution in short":  {"$_URL]", "$_ULR]", "_ULR, which nobody declares"},
		"substitution in braces": {"$COMMIT_SHA/", "${COMMIT_SHAH}/", "COMMIT_SHAH, which nobody declares"},
		"in an argument of sh":   {"PATH=/tools:$$PATH", "PATH=/tools:$PATH", "PATH, which nobody declares"},
		"declared in vain":       {"  _URL: \"\"\n", "  _URL: \"\"\n  _UNUSED: \"\"\n", "_UNUSED is declared in vain"},
		"unknown step":           {"waitFor: [images, go]", "waitFor: [image, go]", `waits for "image"`},
		"later step":             {"waitFor: [scan]", "waitFor: [deploy]", `waits for "deploy"`},
		"no waitFor":             {"    waitFor: [scan]\n", "", "does not say what it waits for"},
		"image by tag":           {"hashicorp/terraform:1.15.8@sha256:", "hashicorp/terraform:1.15.8#", "not given by digest"},
		"latest":                 {"hashicorp/terraform:1.15.8@", "hashicorp/terraform:latest@", "speaks of latest"},
		"unknown field":          {"waitFor: [scan]", "waitsFor: [scan]", "waitsFor"},
		"field in another case":  {"waitFor: [scan]", "waitfor: [scan]", "waitfor"},
		"unknown field above":    {"timeout: 7200s", "timeOut: 7200s", "timeOut"},
		"id twice":               {"- id: scan", "- id: images", "no id of its own"},
		"no script":              {"scripts/scan", "scripts/scam", "scripts/scam, which is no program"},
		"no timeout":             {"timeout: 7200s\n", "", "no timeout"},
		"another log":            {"CLOUD_LOGGING_ONLY", "LEGACY", "options.logging"},
		"half":                   {whole[len(whole)/2:], "", ""},
		"nothing":                {whole, "", "there are no steps"},
	} {
		require.Contains(t, whole, c.old, name)
		err := faults([]byte(strings.Replace(whole, c.old, c.new, 1)))
		require.Error(t, err, name)
		assert.Contains(t, err.Error(), c.want, name)
	}
}

func TestAPullRequestRunsTheFirstStepsOfACommit(t *testing.T) {
	t.Parallel()
	all := builds(t)
	commit, err := read(all["cloudbuild.yaml"])
	require.NoError(t, err)
	request, err := read(all["cloudbuild.pull-request.yaml"])
	require.NoError(t, err)
	require.Less(t, len(request.Steps), len(commit.Steps))
	assert.Equal(t, commit.Steps[:len(request.Steps)], request.Steps)
	assert.Empty(t, request.Substitutions)
	ci, err := os.ReadFile(filepath.Join(root, ".ci/run"))
	require.NoError(t, err)
	for _, step := range request.Steps {
		for _, script := range scripted.FindAllString(strings.Join(append(step.Args, step.Entrypoint), " "), -1) {
			// What migrations are tried with is among all tests.
			if script != "scripts/migrations" {
				assert.Contains(t, string(ci), script, "what a pull request is checked by, CI runs as well")
			}
		}
	}
}

func TestTheBaseOfTheImagesIsGivenByDigest(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(root, "scripts/tools/ko/.ko.yaml"))
	require.NoError(t, err)
	var ko struct {
		Base string `yaml:"defaultBaseImage"`
	}
	require.NoError(t, yaml.Unmarshal(text, &ko))
	assert.Regexp(t, digested, ko.Base)
	assert.NotRegexp(t, latest, ko.Base)
}

func TestTheTriggersGiveWhatTheBuildsDeclare(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(root, "terraform/builds.tf"))
	require.NoError(t, err)
	var given []string
	for _, match := range regexp.MustCompile(`(?m)^    (_[A-Z_]+) +=`).FindAllStringSubmatch(string(text), -1) {
		given = append(given, match[1])
	}
	require.NotEmpty(t, given)
	all := builds(t)
	for name, file := range map[string]string{"staging": "cloudbuild.yaml", "production": "cloudbuild.production.yaml"} {
		values, err := environment.Attributes(filepath.Join(root, "terraform/environments", name+".tfvars"), nil)
		require.NoError(t, err)
		trigger := values["release_trigger"].AsValueMap()
		assert.Equal(t, file, environment.Text(trigger["file"]))
		assert.Equal(t, name == "production", trigger["approval"].True())
		build, err := read(all[file])
		require.NoError(t, err)
		assert.ElementsMatch(t, given, slices.Collect(maps.Keys(build.Substitutions)))
	}
}
