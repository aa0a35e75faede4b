package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/shared/postgres"
	"github.com/liftlog/liftlog-api/shared/postgres/pgtest"
	"github.com/liftlog/liftlog-api/shared/web"
)

func TestFillAndClear(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	base := serve(t, url).URL + "/v2"
	db := pgtest.Pool(t, postgres.Options{URL: url, MaxConns: 1})
	file := filepath.Join(t.TempDir(), "state.json")
	// What is there, by number and by size: the texts are the same when their ciphertexts are as long.
	there := func() (all [6]int) {
		require.NoError(t, db.QueryRow(t.Context(), `
			SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM user_events), (SELECT count(*) FROM user_follow_secrets),
				(SELECT count(*) FROM user_inbox_items), (SELECT count(*) FROM shared_items),
				(SELECT coalesce(sum(length(encrypted_event)), 0) FROM user_events)`).Scan(&all[0], &all[1], &all[2], &all[3], &all[4], &all[5]))
		return all
	}
	demo := func(args ...string) (string, error) {
		var output bytes.Buffer
		err := run(t.Context(), append([]string{"--url", base, "--state", file}, args...), &output)
		return output.String(), err
	}
	said, err := demo()
	require.NoError(t, err)
	assert.Contains(t, said, "4 people are there")
	first := there()
	assert.Equal(t, [5]int{4, 4, 5, 3, 2}, [5]int(first[:5]))
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	var state stateFile
	require.NoError(t, json.Unmarshal(text, &state))
	require.Len(t, state.People, 4)
	assert.Equal(t, "Ada", state.People[0].Name)
	assert.NotEmpty(t, state.People[3].Password)
	info, err := os.Stat(file)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode())

	_, err = demo()
	require.ErrorContains(t, err, "is there already")
	require.ErrorContains(t, run(t.Context(), []string{"--url", base[:len(base)-3], "--state", file, "--clear"}, &bytes.Buffer{}), "and not at")
	// Somebody has gone by themselves.
	require.NoError(t, state.People[1].leave(t.Context(), &client{base: base}))
	said, err = demo("--clear")
	require.NoError(t, err)
	assert.Contains(t, said, "4 people are gone")
	assert.Equal(t, [6]int{}, there())
	assert.NoFileExists(t, file)
	_, err = demo("--clear")
	require.ErrorContains(t, err, "nobody knows whom to remove")

	_, err = demo()
	require.NoError(t, err)
	assert.Equal(t, first, there(), "the same people and texts each time")
	_, err = demo("--clear")
	require.NoError(t, err)
}

func TestWhatIsMadeBeforeAFailureCanBeCleared(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	inner := serve(t, url)
	failing := true
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if failing && r.URL.Path == "/v2/shareditem" {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		inner.Config.Handler.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	file := filepath.Join(t.TempDir(), "state.json")
	args := []string{"--url", server.URL + "/v2", "--state", file}
	require.ErrorContains(t, run(t.Context(), args, &bytes.Buffer{}), "POST /shareditem: status 503")
	require.NoError(t, run(t.Context(), append(args, "--clear"), &bytes.Buffer{}))
	var users int
	db := pgtest.Pool(t, postgres.Options{URL: url, MaxConns: 1})
	require.NoError(t, db.QueryRow(t.Context(), `SELECT count(*) FROM users`).Scan(&users))
	assert.Zero(t, users)
}

func TestProductionIsNotPlayedWith(t *testing.T) {
	t.Parallel()
	for environment, want := range map[string]string{"production": "this is production", "": "does not tell which environment"} {
		var asked []string
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked = append(asked, r.Method+" "+r.URL.Path)
			if environment != "" {
				w.Header().Set(web.EnvironmentHeader, environment)
			}
		}))
		for _, args := range [][]string{nil, {"--state", "nowhere"}, {"--state", "nowhere", "--clear"}} {
			require.ErrorContains(t, run(t.Context(), append([]string{"--url", server.URL + "/v2"}, args...), &bytes.Buffer{}), want)
		}
		server.Close()
		assert.Equal(t, []string{"GET /health", "GET /health", "GET /health"}, asked)
	}
	require.ErrorContains(t, run(t.Context(), []string{"--clear"}, &bytes.Buffer{}), "--clear needs")
	require.ErrorContains(t, run(t.Context(), []string{"http://localhost"}, &bytes.Buffer{}), "is not understood")
}
