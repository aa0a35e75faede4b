package main

import (
	"bytes"
	"flag"
	"log/slog"
	"net/http/httptest"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/functions"
	"github.com/liftlog/liftlog-api/shared/config"
	"github.com/liftlog/liftlog-api/shared/postgres"
	"github.com/liftlog/liftlog-api/shared/postgres/pgtest"
	"github.com/liftlog/liftlog-api/shared/web"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }

// serve serves every route on the database.
func serve(t *testing.T, url string) *httptest.Server {
	t.Helper()
	routes := functions.Manifest()
	c := functions.ConfigFor(routes...)
	environ := []string{"DATABASE_URL=" + url, "CREDENTIAL_KEY=1:dGhpcnR5LXR3byBieXRlcyBvZiBhIGtleSBmb3IgdGVzdHM="}
	require.NoError(t, config.Load(t.Context(), environ, c))
	log := slog.New(slog.DiscardHandler)
	deps, gate, closeAll, err := functions.Open(t.Context(), c, "test", 8, log)
	require.NoError(t, err)
	t.Cleanup(closeAll)
	service := web.Service{Log: log, Ready: gate.Ready}
	server := httptest.NewServer(service.Handler(functions.Mount(routes, deps)))
	t.Cleanup(server.Close)
	return server
}

func TestTheWholeStory(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	server := serve(t, url)
	db := pgtest.Pool(t, postgres.Options{URL: url, MaxConns: 1})
	for _, prefix := range []string{"/v2", ""} {
		var output bytes.Buffer
		require.NoError(t, run(t.Context(), []string{"--url", server.URL + prefix}, &output))
		assert.Contains(t, output.String(), "Both have deleted their accounts, and nothing of theirs is found.")
		for _, table := range []string{
			"users", "user_events", "user_follow_secrets", "user_inbox_items", "shared_items", "v2_password_tags", "v2_password_proofs", "v2_feed_clocks",
		} {
			var left int
			require.NoError(t, db.QueryRow(t.Context(), `SELECT count(*) FROM `+table).Scan(&left))
			assert.Zero(t, left, table)
		}
	}
}

func TestAServerThatIsNotOneIsNoticed(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(nil)
	server.Close()
	require.ErrorContains(t, run(t.Context(), []string{"--url", server.URL}, &bytes.Buffer{}), "GET /health")
	var output bytes.Buffer
	require.ErrorIs(t, run(t.Context(), []string{"--help"}, &output), flag.ErrHelp)
	assert.Contains(t, output.String(), "--url BASE")
}

func TestSealedTextIsNotTakenFromAnybodyElse(t *testing.T) {
	t.Parallel()
	mine, err := newRSAKey()
	require.NoError(t, err)
	another, err := newRSAKey()
	require.NoError(t, err)
	key := newKey()
	iv, sealed, err := seal(key, mine, "text")
	require.NoError(t, err)
	text, err := openSealed(key, &mine.PublicKey, iv, sealed)
	require.NoError(t, err)
	assert.Equal(t, "text", text)
	_, err = openSealed(key, &another.PublicKey, iv, sealed)
	require.Error(t, err)
	_, err = openSealed(newKey(), &mine.PublicKey, iv, sealed)
	require.Error(t, err)
}
