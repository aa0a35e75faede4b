package gcloudtest_test

import (
	"io"
	"net/http"
	"net/url"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/scripts/gcloudtest"
)

const (
	one = "europe-west1-docker.pkg.dev/images/liftlog/server@sha256:1"
	two = "europe-west1-docker.pkg.dev/images/liftlog/server@sha256:2"
)

func state() gcloudtest.State {
	return gcloudtest.State{
		Project: "liftlog", Region: "europe-west1", Images: []string{one, two},
		Services: map[string]*gcloudtest.Service{"get-user": {
			Image: one, Ready: "get-user-00001", Traffic: []gcloudtest.Target{{Percent: 100}},
			Revisions: []gcloudtest.Revision{{Name: "get-user-00001", Image: one, Started: true}},
		}},
		Jobs: map[string]*gcloudtest.Job{"migrate": {Image: one}},
	}
}

// gcloud runs a command line, by way of the path as scripts do.
func gcloud(t *testing.T, input, line string) (string, error) {
	t.Helper()
	command := exec.CommandContext(t.Context(), "gcloud", append(strings.Fields(line), "--project=liftlog", "--quiet")...)
	command.Stdin = strings.NewReader(input)
	said, err := command.CombinedOutput()
	return string(said), err
}

func TestServicesKeepWhatIsDoneToThem(t *testing.T) {
	cloud := gcloudtest.New(t, state())
	does := func(line string) string {
		t.Helper()
		said, err := gcloud(t, "", line)
		require.NoError(t, err, said)
		return said
	}
	does("run services update get-user --image=" + two + " --no-traffic --region=europe-west1")
	assert.Equal(t, map[string]int{"get-user-00001": 100}, cloud.State().Services["get-user"].Serving(), "pinned to what it was")
	assert.Contains(t, does("run services list --region=europe-west1 --format=json"), `"latestCreatedRevisionName":"get-user-00002"`)
	does("run services update-traffic get-user --to-revisions=get-user-00002=10,get-user-00001=90 --region=europe-west1")
	assert.Equal(t, map[string]int{"get-user-00001": 90, "get-user-00002": 10}, cloud.State().Services["get-user"].Serving())
	assert.Contains(t, does("run revisions describe get-user-00002 --region=europe-west1 --format=json"), two)
	assert.Contains(t, does("run services describe get-user --region=europe-west1 --format=json"), `"percent":90`)

	does("run jobs update migrate --image=" + two + " --region=europe-west1")
	assert.Contains(t, does("run jobs list --region=europe-west1 --format=json"), two)
	does("run jobs execute migrate --wait --args=--check --region=europe-west1")
	executed := cloud.State().Jobs["migrate"].Executions
	assert.Equal(t, []gcloudtest.Execution{{Name: "migrate-00001", Image: two, Args: []string{"--check"}, Succeeded: true}}, executed)

	does("artifacts docker tags add " + two + " " + strings.Replace(two, "@sha256:2", ":good", 1))
	assert.Contains(t, does("artifacts docker tags list europe-west1-docker.pkg.dev/images/liftlog --format=json"), "/versions/sha256:2")
	assert.Equal(t, gcloudtest.Token, does("auth print-access-token"))
	cloud.Lint()
}

func TestObjectsHaveGenerations(t *testing.T) {
	cloud := gcloudtest.New(t, state())
	_, err := gcloud(t, "mine", "storage cp - gs://bucket/lock --if-generation-match=0")
	require.NoError(t, err)
	said, err := gcloud(t, "yours", "storage cp - gs://bucket/lock --if-generation-match=0")
	require.Error(t, err)
	assert.Contains(t, said, "412")
	said, err = gcloud(t, "", "storage cat gs://bucket/lock")
	require.NoError(t, err)
	assert.Equal(t, "mine", said)
	said, err = gcloud(t, "", "storage objects describe gs://bucket/lock --format=json")
	require.NoError(t, err)
	assert.Contains(t, said, `"generation":"1"`)
	_, err = gcloud(t, "", "storage rm gs://bucket/lock --if-generation-match=2")
	require.Error(t, err)
	_, err = gcloud(t, "", "storage rm gs://bucket/lock --if-generation-match=1")
	require.NoError(t, err)
	said, err = gcloud(t, "", "storage rm gs://bucket/lock")
	require.Error(t, err)
	assert.Contains(t, said, "matched no objects")
	_, err = gcloud(t, "again", "storage cp - gs://bucket/lock --if-generation-match=0")
	require.NoError(t, err)
	assert.EqualValues(t, 2, cloud.State().Objects["gs://bucket/lock"].Generation)
}

func TestWhatTheRealOneRefusesIsRefused(t *testing.T) {
	broken := state()
	broken.Broken = []string{two}
	cloud := gcloudtest.New(t, broken)
	before := cloud.State()
	const traffic = "run services update-traffic get-user --region=europe-west1 --to-revisions="
	for line, want := range map[string]string{
		"run services update nobody --image=" + two + " --region=europe-west1":  "Service [nobody] could not be found",
		"run services update get-user --image=x@sha256:3 --region=europe-west1": "Image 'x@sha256:3' not found",
		"run services update get-user --image=" + two + " --region=mars":        "has nothing of the kind",
		"run services upgrade get-user":                                         "unrecognized command",
		"run services list --region=europe-west1 --all":                         "unrecognized arguments: --all",
		"run services list get-user --region=europe-west1":                      "unrecognized arguments: get-user",
		traffic + "get-user-00009=100":                                          "Revision 'get-user-00009' not found",
		traffic + "get-user-00001=99":                                           "has not been specified",
		traffic + "get-user-00001=101":                                          "Bad value",
		traffic + "get-user-00001=60,get-user-00001=60":                         "Over 100%",
		"run revisions describe x --region=europe-west1":                        "Revision [x] could not be found",
		"run jobs update nothing --image=" + two + " --region=europe-west1":     "Job [nothing] could not be found",
		"storage cat gs://bucket/nothing":                                       "matched no objects",
		"artifacts docker tags add " + one + " x:y":                             "does not match image",
	} {
		said, err := gcloud(t, "", line)
		require.Error(t, err, line)
		assert.Contains(t, said, want, line)
	}
	after := cloud.State()
	after.Calls = before.Calls
	assert.Equal(t, before, after, "what is refused changes nothing")

	said, err := gcloud(t, "", "run services update get-user --image="+two+" --no-traffic --region=europe-west1")
	require.Error(t, err)
	assert.Contains(t, said, "failed to start")
	said, err = gcloud(t, "", traffic+"get-user-00002=100")
	require.Error(t, err)
	assert.Contains(t, said, "cannot serve traffic")
}

func TestCallsFailOnDemand(t *testing.T) {
	cloud := gcloudtest.New(t, state())
	const update = "run jobs update migrate --region=europe-west1 --image="
	cloud.Change(func(s *gcloudtest.State) {
		s.Faults = []gcloudtest.Fault{
			{Matching: "jobs update", Skip: 1, Times: 1, Kind: gcloudtest.Refused}, {Matching: "jobs update", Skip: 1, Times: 1, Kind: gcloudtest.Lost},
		}
	})
	for i, c := range []struct {
		image string
		fails bool
		want  string
	}{{two, false, two}, {one, true, two}, {one, true, one}, {two, false, two}} {
		said, err := gcloud(t, "", update+c.image)
		assert.Equal(t, c.fails, err != nil, "call %d: %s", i, said)
		assert.Equal(t, c.want, cloud.State().Jobs["migrate"].Image, "call %d", i)
	}
}

func TestMonitoringCountsTheRevisionsThatAreNamed(t *testing.T) {
	t.Parallel()
	m := gcloudtest.NewMonitoring(t)
	m.Set(gcloudtest.Answering, map[string]gcloudtest.Counts{"a-1": {100, 2}, "b-1": {50, 0}, "a-2": {7, 7}})
	ask := func(path, query, token string) (int, string) {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, m.URL+path+"?query="+url.QueryEscape(query), nil)
		require.NoError(t, err)
		request.Header.Set("Authorization", "Bearer "+token)
		response, err := http.DefaultClient.Do(request)
		require.NoError(t, err)
		defer func() { _ = response.Body.Close() }()
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		return response.StatusCode, string(body)
	}
	const (
		path  = "/v1/projects/liftlog/location/global/prometheus/api/v1/query"
		query = `sum by (response_code_class) (increase(run_googleapis_com:request_count{revision_name=~"a-1|b-1"}[600s]))`
	)
	status, said := ask(path, query, gcloudtest.Token)
	assert.Equal(t, http.StatusOK, status)
	assert.Contains(t, said, `"148"`)
	assert.Contains(t, said, `"2"`)
	for _, c := range []struct {
		path, query, token string
		want               int
	}{
		{path, query, "another", http.StatusUnauthorized},
		{"/api/v1/query", query, gcloudtest.Token, http.StatusNotFound},
		{path, "up", gcloudtest.Token, http.StatusBadRequest},
	} {
		status, _ := ask(c.path, c.query, c.token)
		assert.Equal(t, c.want, status)
	}
	m.Set(gcloudtest.Failing, nil)
	status, _ = ask(path, query, gcloudtest.Token)
	assert.Equal(t, http.StatusInternalServerError, status)
	assert.Len(t, m.Queries(), 5)
}
