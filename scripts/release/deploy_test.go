package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/scripts/gcloudtest"
	"github.com/liftlog/liftlog-api/scripts/releasefile"
)

func TestAReleaseIsDeployedAndRolledBack(t *testing.T) {
	w := newWorld(t, "production")
	w.exec = nil
	w.monitoring.Set(gcloudtest.Answering, map[string]gcloudtest.Counts{"get-user-00002": {Requests: 1000}})
	require.NoError(t, w.deploy(2, "--canary=10,100"))
	w.runs(2)
	w.unlocked()
	require.NoError(t, w.deploy(2), "what is there is success")
	assert.Contains(t, w.said.String(), "already")
	assert.Len(t, w.cloud.State().Services["get-user"].Revisions, 2, "and makes nothing")

	require.NoError(t, w.run("", "rollback", "production"))
	w.runs(1)
	require.NoError(t, w.run("", "rollback", "production"), "what is there is success")
	w.runs(1, "and nothing older is gone to")

	require.NoError(t, w.deploy(2), "the same release once more")
	w.runs(2)
	assert.Len(t, w.cloud.State().Services["get-user"].Revisions, 2, "its revision is there")
	w.unlocked()
	w.cloud.Lint()
}

func TestSomeFunctionsAreDeployedAndRolledBack(t *testing.T) {
	w := newWorld(t, "staging")
	require.NoError(t, w.deploy(3, "GetUser", "chat-service", "migrate"))
	s := w.cloud.State()
	for name, want := range map[string]int{"get-user": 3, "chat-service": 3, "migrate": 3, "health": 1, "cleanup": 1} {
		assert.Equal(t, want, releaseOf(s, name), name)
	}
	require.NoError(t, w.deploy(3))
	w.runs(3)
	require.NoError(t, w.run("", "rollback", "staging", "chat-service"))
	assert.Equal(t, 1, releaseOf(w.cloud.State(), "chat-service"))
	assert.Equal(t, 3, releaseOf(w.cloud.State(), "health"))
	require.NoError(t, w.run("", "rollback", "staging"))
	w.runs(1, "all that the release had reached, in however many deployments")
	require.ErrorContains(t, w.deploy(2, "Gossip"), `"Gossip" is no function, service or job`)
}

func TestARevisionThatTerraformMadeGetsTheTraffic(t *testing.T) {
	w := newWorld(t, "staging")
	w.cloud.Change(func(s *gcloudtest.State) { // a change of variables, while traffic is pinned
		get := s.Services["get-user"]
		get.Traffic = []gcloudtest.Target{{Revision: "get-user-00001", Percent: 100}}
		get.Revisions = append(get.Revisions, gcloudtest.Revision{Name: "get-user-00002", Image: get.Image, Started: true})
		get.Ready = "get-user-00002"
	})
	require.NoError(t, w.deploy(1))
	assert.Equal(t, map[string]int{"get-user-00002": 100}, w.cloud.State().Services["get-user"].Serving())
	require.NoError(t, w.run("", "rollback", "staging"))
	assert.Equal(t, map[string]int{"get-user-00001": 100}, w.cloud.State().Services["get-user"].Serving())
}

func TestImagesInUseAreRenewed(t *testing.T) {
	w := newWorld(t, "production")
	require.NoError(t, w.deploy(2))
	require.NoError(t, w.run("", "rollback", "production"))
	require.NoError(t, w.run("", "deploy", "production", "--renew", "GetUser"))
	s := w.cloud.State()
	assert.Equal(t, map[string]int{"get-user-00003": 100}, s.Services["get-user"].Serving(), "a new revision")
	w.runs(1, "of the image that served, and not of the one that was rolled back")
}

func TestACanaryIsPromotedWhenItIsWell(t *testing.T) {
	w := newWorld(t, "production")
	var shares []int
	w.onSleep = func() {
		share := w.cloud.State().Services["health"].Serving()["health-00002"]
		if len(shares) == 0 || shares[len(shares)-1] != share {
			shares = append(shares, share)
		}
		w.monitoring.Set(gcloudtest.Answering, map[string]gcloudtest.Counts{
			"health-00001": {Requests: 10_000, Errors: 10_000}, "health-00002": {Requests: 150}, "get-user-00002": {Requests: 150, Errors: 1},
		})
	}
	begun := w.clock
	require.NoError(t, w.deploy(2, "--canary=10,50,100"))
	w.runs(2)
	assert.Equal(t, []int{10, 50}, shares)
	assert.Equal(t, 20*time.Minute, w.clock.Sub(begun), "each stage is watched for ten minutes")
	for _, query := range w.monitoring.Queries() {
		assert.Contains(t, query, `revision_name=~"chat-service-00002|get-user-00002|health-00002"`)
	}
}

func TestACanaryThatIsNotWellGoesBack(t *testing.T) {
	for name, c := range map[string]struct {
		health gcloudtest.Health
		counts gcloudtest.Counts
		args   []string
		want   string        // empty: it is promoted
		after  time.Duration // of a stage
	}{
		"2 % errors":              {gcloudtest.Answering, gcloudtest.Counts{Requests: 1000, Errors: 20}, nil, "2.00 % of 1000 requests", 30 * time.Second},
		"half a percent":          {gcloudtest.Answering, gcloudtest.Counts{Requests: 1000, Errors: 5}, nil, "", 10 * time.Minute},
		"2 % allowed":             {gcloudtest.Answering, gcloudtest.Counts{Requests: 1000, Errors: 20}, []string{"--limit=3"}, "", 10 * time.Minute},
		"no data":                 {gcloudtest.Answering, gcloudtest.Counts{}, nil, "only 0 requests came", time.Hour},
		"no data, promoted":       {gcloudtest.Answering, gcloudtest.Counts{}, []string{"--on-quiet=promote"}, "", time.Hour},
		"few requests":            {gcloudtest.Answering, gcloudtest.Counts{Requests: 199}, nil, "only 199 requests came", time.Hour},
		"few, promoted":           {gcloudtest.Answering, gcloudtest.Counts{Requests: 199}, []string{"--on-quiet=promote"}, "", time.Hour},
		"few and bad":             {gcloudtest.Answering, gcloudtest.Counts{Requests: 100, Errors: 50}, []string{"--on-quiet=promote"}, "50.00 % of only 100", time.Hour},
		"it fails":                {gcloudtest.Failing, gcloudtest.Counts{Requests: 1000}, nil, "Cloud Monitoring cannot be asked", time.Hour},
		"it fails, quiet or not":  {gcloudtest.Failing, gcloudtest.Counts{}, []string{"--on-quiet=promote"}, "Cloud Monitoring cannot be asked", time.Hour},
		"it answers with a page":  {gcloudtest.Nonsense, gcloudtest.Counts{Requests: 1000}, nil, "Cloud Monitoring cannot be asked", time.Hour},
		"it is slower than asked": {gcloudtest.Slow, gcloudtest.Counts{Requests: 1000}, []string{"--watch=30s", "--wait=1m"}, "Cloud Monitoring cannot be asked", time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "production")
			w.monitoring.Set(c.health, map[string]gcloudtest.Counts{"get-user-00002": c.counts})
			begun := w.clock
			args := append([]string{"deploy", "production", "--release=" + w.file(2), "--monitoring=" + w.monitoring.URL, "--canary=10,100"}, c.args...)
			run := w.tool()
			if c.health == gcloudtest.Slow {
				run.answer = 200 * time.Millisecond
			}
			err := w.runWith(t.Context(), run, "", args...)
			assert.Equal(t, c.after, w.clock.Sub(begun))
			w.unlocked()
			if c.want == "" {
				require.NoError(t, err)
				w.runs(2)
				return
			}
			require.ErrorContains(t, err, c.want)
			require.ErrorContains(t, err, "back on what it ran before")
			w.runs(1)
		})
	}
}

func TestACanaryThatIsEndedGoesBack(t *testing.T) {
	w := newWorld(t, "production")
	w.exec = nil
	w.monitoring.Set(gcloudtest.Answering, map[string]gcloudtest.Counts{"get-user-00002": {Requests: 1000}})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w.onSleep = func() {
		if w.cloud.State().Services["health"].Serving()["health-00002"] == 50 {
			cancel()
		}
	}
	err := w.runWith(ctx, w.tool(), "", "deploy", "production", "--release="+w.file(2), "--monitoring="+w.monitoring.URL, "--canary=10,50,100")
	require.ErrorContains(t, err, "the deployment was ended; every service and job is back")
	w.runs(1)
	w.unlocked()
	require.NoError(t, w.deploy(2))
	w.runs(2)
}

// Whichever call fails, and however: the environment is whole afterwards, or it is after a deployment or a rollback. A lock that
// could not be given back is broken by hand, as the script says.
func TestADeploymentThatIsBrokenOffAnywhereIsMadeWholeAgain(t *testing.T) {
	w := newWorld(t, "production")
	healthy := map[string]gcloudtest.Counts{"get-user-00002": {Requests: 1000}}
	w.monitoring.Set(gcloudtest.Answering, healthy)
	args := []string{"--canary=10,100", "--watch=30s", "--wait=1m"}
	require.NoError(t, w.deploy(2, args...))
	calls := len(w.cloud.State().Calls)
	require.Greater(t, calls, 15)
	free := func() {
		for address := range w.cloud.State().Objects {
			if strings.HasSuffix(address, "deploy.lock") {
				require.NoError(t, w.run("", "lock", "production", "--break"))
			}
		}
	}
	for n := range calls {
		for _, fault := range []gcloudtest.Fault{
			{Skip: n, Times: 1, Kind: gcloudtest.Refused}, {Skip: n, Times: 1, Kind: gcloudtest.Lost},
			{Skip: n, Times: 1000, Kind: gcloudtest.Refused}, // and is gone for good
		} {
			for _, then := range []string{"deploy", "rollback"} {
				s := initial("production")
				s.Faults = []gcloudtest.Fault{fault}
				w.cloud.Reset(s)
				w.clock = w.clock.Add(time.Hour)
				failure := w.deploy(2, args...)
				if fault.Times == 1 && failure != nil {
					s := w.cloud.State()
					for _, name := range names {
						assert.Contains(t, []int{1, 2}, releaseOf(s, name), "%s after call %d was %s: %v", name, n, fault.Kind, failure)
					}
				}
				w.cloud.Change(func(s *gcloudtest.State) { s.Faults = nil })
				free()
				if then == "rollback" {
					err := w.run("", "rollback", "production")
					if err != nil { // it was broken off before it had moved anything
						require.ErrorContains(t, err, "there is nothing to go back to", "call %d was %s", n, fault.Kind)
					}
					w.runs(1, "rolled back after call", n, "was", fault.Kind, fault.Times)
					continue
				}
				require.NoError(t, w.deploy(2), "call %d was %s", n, fault.Kind)
				w.runs(2, "deployed again after call", n, "was", fault.Kind, fault.Times)
				require.NoError(t, w.run("", "rollback", "production"), "call %d was %s", n, fault.Kind)
				w.runs(1, "deployed again and rolled back after call", n, "was", fault.Kind, fault.Times)
			}
			if t.Failed() {
				return
			}
		}
	}
}

func TestARollbackThatIsBrokenOffIsRunAgain(t *testing.T) {
	w := newWorld(t, "staging")
	require.NoError(t, w.deploy(2))
	deployed := w.cloud.State()
	before := len(deployed.Calls)
	require.NoError(t, w.run("", "rollback", "staging"))
	for n := range len(w.cloud.State().Calls) - before {
		for _, kind := range []gcloudtest.Kind{gcloudtest.Refused, gcloudtest.Lost} {
			s := deployed
			s.Faults = []gcloudtest.Fault{{Skip: n, Times: 1, Kind: kind}}
			w.cloud.Reset(s)
			_ = w.run("", "rollback", "staging")
			require.NoError(t, w.run("", "lock", "staging", "--break"))
			require.NoError(t, w.run("", "rollback", "staging"), "call %d was %s", n, kind)
			w.runs(1, "call", n, "was", kind)
		}
	}
}

func TestACallThatDoesNotEndIsEnded(t *testing.T) {
	for _, kind := range []gcloudtest.Kind{gcloudtest.Hanging, gcloudtest.HangingDone} {
		w := newWorld(t, "staging")
		if kind == gcloudtest.HangingDone {
			w.exec = nil
		}
		w.cloud.Change(func(s *gcloudtest.State) {
			s.Faults = []gcloudtest.Fault{{Matching: "update-traffic get-user", Times: 1, Kind: kind}}
		})
		run := w.tool()
		run.limit = 10 * time.Second
		err := w.runWith(t.Context(), run, "", "deploy", "staging", "--release="+w.file(2))
		require.ErrorContains(t, err, "deadline exceeded")
		w.runs(1, kind)
		require.NoError(t, w.deploy(2))
		w.runs(2, kind)
	}
}

func TestARevisionThatDoesNotStartMovesNothing(t *testing.T) {
	w := newWorld(t, "staging")
	w.cloud.Change(func(s *gcloudtest.State) { s.Broken = []string{image(releasefile.Server, 2)} })
	err := w.deploy(2)
	require.ErrorContains(t, err, "no traffic was moved")
	require.ErrorContains(t, err, "failed to start")
	w.runs(1)
	w.unlocked()
	require.ErrorContains(t, w.run("", "rollback", "staging"), "there is nothing to go back to")
	w.cloud.Change(func(s *gcloudtest.State) { s.Broken = nil })
	require.NoError(t, w.deploy(2), "a variable was put right")
	w.runs(2)
}

func TestOnlyWhatStagingHasPassedGoesToProduction(t *testing.T) {
	w := newWorld(t, "production")
	err := w.deploy(3)
	require.ErrorContains(t, err, "staging has not passed commit 3333")
	require.ErrorContains(t, err, strings.Join(releasefile.Programs, ", ")+" without the tag staging-ok")
	w.runs(1)
	assert.Empty(t, w.cloud.State().Objects, "and nothing was begun")

	w.cloud.Reset(initial("staging"))
	require.ErrorContains(t, w.deploy(3, "--passed"), "so that it cannot have passed")
	require.NoError(t, w.deploy(3))
	require.NoError(t, w.deploy(3, "--passed"))
	tags := w.cloud.State().Tags
	w.cloud.Lint()
	w.cloud.Reset(initial("production"))
	w.cloud.Change(func(s *gcloudtest.State) { s.Tags = tags })
	require.ErrorContains(t, w.deploy(3, "--passed"), "production is not staging")
	require.NoError(t, w.deploy(2), "staging is further, and has passed this one as well")
	require.NoError(t, w.deploy(3))
	w.runs(3)
}

func TestBadInputIsRefusedAndNothingChanged(t *testing.T) {
	w := newWorld(t, "staging")
	empty, half, elsewhere := filepath.Join(t.TempDir(), "empty"), filepath.Join(t.TempDir(), "half"), filepath.Join(t.TempDir(), "elsewhere")
	whole, err := os.ReadFile(w.file(2))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	require.NoError(t, os.WriteFile(half, whole[:len(whole)/2], 0o600))
	require.NoError(t, os.WriteFile(elsewhere, []byte(strings.ReplaceAll(string(whole), "liftlog-images", "evil")), 0o600))
	good := "--release=" + w.file(2)
	for _, c := range []struct {
		want string
		args []string
	}{
		{"what is to be done?", nil},
		{`"destroy" is not one of`, []string{"destroy"}},
		{"which environment?", []string{"deploy"}},
		{"it has to be one of dev, production, staging", []string{"deploy", "prod", good}},
		{"flag provided but not defined", []string{"deploy", "staging", "--force"}},
		{"the file is empty", []string{"deploy", "staging", "--release=" + empty}},
		{"written by halves", []string{"deploy", "staging", "--release=" + half}},
		{"is not there", []string{"deploy", "staging", "--release=" + empty + "-not"}},
		{"build them there", []string{"deploy", "staging", "--release=" + elsewhere}},
		{"percentages that grow", []string{"deploy", "staging", good, "--canary=50,10,100"}},
		{"percentages that grow", []string{"deploy", "staging", good, "--canary=101"}},
		{"percentages that grow", []string{"deploy", "staging", good, "--canary="}},
		{"the last percentage has to be 100", []string{"deploy", "staging", good, "--canary=10,50"}},
		{"it has to be back or promote", []string{"deploy", "staging", good, "--on-quiet=maybe"}},
		{"--limit has to be", []string{"deploy", "staging", good, "--limit=0"}},
		{"--wait no less", []string{"deploy", "staging", good, "--wait=1m"}},
		{"exclude each other", []string{"deploy", "staging", good, "--renew", "--passed"}},
		{"there is nothing to go back to", []string{"rollback", "staging"}},
		{"there is nothing to go back to for get-user", []string{"rollback", "staging", "GetUser"}},
		{"PERMISSION_DENIED", []string{"deploy", "dev", good}},
	} {
		require.ErrorContains(t, w.run("", c.args...), c.want)
		w.unlocked()
	}
	w.runs(1)
	assert.Empty(t, w.cloud.State().Objects)
	assert.Len(t, w.cloud.State().Services["get-user"].Revisions, 1)

	w.cloud.Change(func(s *gcloudtest.State) { delete(s.Services, "health") })
	require.ErrorContains(t, w.deploy(2), "staging has no health, or none that serves: `terraform apply` makes it")
	w.cloud.Change(func(s *gcloudtest.State) {
		s.Objects = map[string]*gcloudtest.Object{"gs://liftlog-terraform/staging/deployed.json": {Content: `{"steps": {"health`, Generation: 1}}
	})
	require.ErrorContains(t, w.deploy(2), "is not understood. Put back its version before")
	w.exec = nil
	t.Setenv("PATH", t.TempDir())
	require.ErrorContains(t, w.deploy(2), "gcloud is not installed")
}

func TestADryRunChangesNothing(t *testing.T) {
	w := newWorld(t, "production")
	before := w.cloud.State()
	require.NoError(t, w.deploy(2, "--canary=10,50,100", "--dry-run"))
	for _, line := range []string{
		"would run: gcloud run services update get-user --image=" + image(releasefile.Server, 2) + " --no-traffic",
		"update-traffic get-user --to-revisions=get-user-NEW=10,get-user-00001=90", "--to-revisions=get-user-NEW=100",
		"run jobs update cleanup --image=" + image("cleanup", 2),
	} {
		assert.Contains(t, w.said.String(), line)
	}
	require.NoError(t, w.run("", "lock", "production", "--dry-run"))
	after := w.cloud.State()
	after.Calls = before.Calls
	assert.Equal(t, before, after)
	assert.Empty(t, w.monitoring.Queries())

	require.NoError(t, w.deploy(2))
	require.NoError(t, w.run("", "rollback", "production", "--dry-run"))
	assert.Contains(t, w.said.String(), "--to-revisions=get-user-00001=100")
	w.runs(2)
}

// The environment as the manifest has it.
func TestEveryServiceOfTheManifestIsDeployed(t *testing.T) {
	w := newWorld(t, "staging")
	w.folder = "../../terraform"
	targets, err := readTargets(w.folder, strings.TrimSuffix(registry, "/"))
	require.NoError(t, err)
	w.cloud.Change(func(s *gcloudtest.State) {
		for _, one := range targets {
			if s.Services[one.name] == nil && !one.job {
				first := image(one.program, 1)
				s.Services[one.name] = &gcloudtest.Service{
					Image: first, Ready: one.name + "-00001", Traffic: []gcloudtest.Target{{Percent: 100}},
					Revisions: []gcloudtest.Revision{{Name: one.name + "-00001", Image: first, Started: true}},
				}
			}
		}
	})
	require.NoError(t, w.run("", "deploy", "staging", "--release="+releaseFile(t)))
	s := w.cloud.State()
	for _, one := range targets {
		assert.Equal(t, 2, releaseOf(s, one.name), one.name)
	}
}

// releaseFile is release 2's, elsewhere.
func releaseFile(t *testing.T) string {
	t.Helper()
	file := releasefile.Release{Commit: commit(2), Images: map[string]releasefile.Image{}}
	for _, program := range releasefile.Programs {
		platforms := map[string]string{releasefile.AMD64: "sha256:" + strings.Repeat("f", 64)}
		file.Images[program] = releasefile.Image{Index: image(program, 2), Platforms: platforms}
	}
	path := filepath.Join(t.TempDir(), "release.json")
	require.NoError(t, releasefile.Write(path, file))
	return path
}

func TestOnlyWhatABrokenDeploymentMovedGoesBack(t *testing.T) {
	w := newWorld(t, "staging")
	require.NoError(t, w.deploy(2, "GetUser"))
	w.cloud.Change(func(s *gcloudtest.State) { // one service has moved, the other has not, and neither moves any more
		s.Faults = []gcloudtest.Fault{{Matching: "update-traffic", Skip: 1, Times: 1000, Kind: gcloudtest.Refused}}
	})
	require.ErrorContains(t, w.deploy(2), "may be between two releases: `scripts/rollback staging`")
	w.cloud.Change(func(s *gcloudtest.State) { s.Faults = nil })
	require.ErrorContains(t, w.deploy(3, "GetUser"), "a deployment of "+commit(2)+" was broken off, and ")
	require.ErrorContains(t, w.run("", "deploy", "staging", "--renew"), "was broken off")
	require.NoError(t, w.run("", "rollback", "staging"))
	s := w.cloud.State()
	for name, want := range map[string]int{"get-user": 2, "chat-service": 1, "health": 1, "cleanup": 1, "migrate": 1} {
		assert.Equal(t, want, releaseOf(s, name), name)
	}
}
