package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/functions/manifest"
	"github.com/liftlog/liftlog-api/scripts/environment"
	"github.com/liftlog/liftlog-api/scripts/gcloud"
	"github.com/liftlog/liftlog-api/scripts/gcloudtest"
	"github.com/liftlog/liftlog-api/scripts/releasefile"
)

// asProgram makes the test's binary the script's program.
const asProgram = "RELEASE_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

const registry = "europe-west1-docker.pkg.dev/liftlog-images/liftlog/"

// routes are two functions, so that breaking a deployment off at each of its calls takes little.
const routes = `[
	{"function": "Health", "method": "GET", "path": "/health", "summary": "Be up.", "auth": "none", "databases": [], "memory": "128Mi", "cpu": "1",
	 "concurrency": 80, "timeout_s": 10, "handler_timeout_s": 5, "max_instances": 2, "pool": 0, "max_body": 0, "secrets": [], "settings": []},
	{"function": "GetUser", "method": "GET", "path": "/v2/user/{id}", "summary": "Read.", "auth": "none", "databases": ["user"], "memory": "256Mi", "cpu": "1",
	 "concurrency": 8, "timeout_s": 60, "handler_timeout_s": 15, "max_instances": 5, "pool": 4, "max_body": 0, "secrets": [], "settings": []}]`

// names of all targets, services first.
var names = func() []string {
	services, jobs := []string{"get-user", "health"}, []string{}
	for _, program := range manifest.Programs() {
		if program.Job {
			jobs = append(jobs, program.Program)
		} else {
			services = append(services, program.Program)
		}
	}
	slices.Sort(services)
	return append(services, jobs...)
}()

func programOf(name string) string {
	for _, program := range manifest.Programs() {
		if program.Program == name {
			return program.Image
		}
	}
	return releasefile.Server
}

// image is a program's in a release, which is a digit.
func image(program string, release int) string {
	return registry + program + "@sha256:" + strings.Repeat(strconv.Itoa(release), 63) + strconv.Itoa(slices.Index(releasefile.Programs, program))
}

func commit(release int) string { return strings.Repeat(strconv.Itoa(release), 40) }

// world is an environment with release 1, and files of releases 1 to 3 of which staging has passed 1 and 2.
type world struct {
	t          *testing.T
	folder     string // of Terraform's configuration
	cloud      *gcloudtest.Cloud
	monitoring *gcloudtest.Monitoring
	clock      time.Time
	onSleep    func()      // what happens while the script waits
	exec       gcloud.Exec // the stand-in within this process; nil: its program, as scripts run it
	said       bytes.Buffer
}

func initial(environment string) gcloudtest.State {
	s := gcloudtest.State{
		Project: "liftlog-" + environment, Region: "europe-west1", Services: map[string]*gcloudtest.Service{}, Jobs: map[string]*gcloudtest.Job{},
		Tags: map[string]string{},
	}
	for _, program := range releasefile.Programs {
		for release := 1; release <= 3; release++ {
			s.Images = append(s.Images, image(program, release))
			if release < 3 {
				_, digest, _ := strings.Cut(image(program, release), "@")
				s.Tags[registry+program+":staging-ok-"+commit(release)[:12]] = digest
			}
		}
	}
	for _, name := range names {
		first := image(programOf(name), 1)
		if programOf(name) == name {
			s.Jobs[name] = &gcloudtest.Job{Image: first}
			continue
		}
		s.Services[name] = &gcloudtest.Service{
			Image: first, Ready: name + "-00001", Traffic: []gcloudtest.Target{{Percent: 100}},
			Revisions: []gcloudtest.Revision{{Name: name + "-00001", Image: first, Started: true}},
		}
	}
	return s
}

func newWorld(t *testing.T, environment string) *world {
	t.Helper()
	root := t.TempDir()
	w := &world{t: t, folder: filepath.Join(root, "terraform"), clock: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC), onSleep: func() {}}
	require.NoError(t, os.CopyFS(filepath.Join(w.folder, "environments"), os.DirFS("../../terraform/environments")))
	require.NoError(t, os.Mkdir(filepath.Join(root, "functions"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(root, "functions", "routes.json"), []byte(routes), 0o600))
	for release := 1; release <= 3; release++ {
		file := releasefile.Release{Commit: commit(release), Images: map[string]releasefile.Image{}}
		for _, program := range releasefile.Programs {
			platforms := map[string]string{releasefile.AMD64: "sha256:" + strings.Repeat("f", 64)}
			file.Images[program] = releasefile.Image{Index: image(program, release), Platforms: platforms}
		}
		require.NoError(t, releasefile.Write(w.file(release), file))
	}
	w.cloud = gcloudtest.New(t, initial(environment))
	w.exec, w.monitoring = w.cloud.Exec, gcloudtest.NewMonitoring(t)
	return w
}

func (w *world) file(release int) string {
	return filepath.Join(filepath.Dir(w.folder), fmt.Sprintf("release-%d.json", release))
}

// tool is one run of the script, whose waiting takes no time.
func (w *world) tool() *tool {
	return &tool{
		output: &w.said, exec: w.exec, limit: time.Minute, revisionLimit: time.Minute, answer: answerLimit, now: func() time.Time { return w.clock },
		sleep: func(ctx context.Context, d time.Duration) error {
			w.clock = w.clock.Add(d)
			w.onSleep()
			return ctx.Err()
		},
	}
}

// run is a run by somebody, or under the lock of a holder.
func (w *world) run(holder string, args ...string) error {
	w.t.Helper()
	return w.runWith(w.t.Context(), w.tool(), holder, args...)
}

func (w *world) runWith(ctx context.Context, t *tool, holder string, args ...string) error {
	w.said.Reset()
	return t.run(ctx, args, w.folder, func(string) string { return holder })
}

func (w *world) deploy(release int, more ...string) error {
	w.t.Helper()
	environment := strings.TrimPrefix(w.cloud.State().Project, "liftlog-")
	return w.run("", append([]string{"deploy", environment, "--release=" + w.file(release), "--monitoring=" + w.monitoring.URL}, more...)...)
}

// releaseOf returns the release that a target runs, and 0 if it runs two.
func releaseOf(s gcloudtest.State, name string) int {
	runs := ""
	if job := s.Jobs[name]; job != nil {
		runs = job.Image
	} else {
		for revision, percent := range s.Services[name].Serving() {
			for _, made := range s.Services[name].Revisions {
				if made.Name == revision && percent == 100 {
					runs = made.Image
				}
			}
		}
	}
	for release := 1; release <= 3; release++ {
		if runs == image(programOf(name), release) {
			return release
		}
	}
	return 0
}

// runs asserts that everything runs the release, whole.
func (w *world) runs(release int, because ...any) {
	w.t.Helper()
	s := w.cloud.State()
	for _, name := range names {
		assert.Equal(w.t, release, releaseOf(s, name), "%s: %s", name, fmt.Sprintln(because...))
	}
}

// unlocked asserts that the lock is nobody's.
func (w *world) unlocked() {
	w.t.Helper()
	for address := range w.cloud.State().Objects {
		assert.NotContains(w.t, address, "deploy.lock")
	}
}

func (w *world) environment(name string) environment.Environment {
	w.t.Helper()
	e, err := environment.Read(w.folder, name)
	require.NoError(w.t, err)
	return e
}
