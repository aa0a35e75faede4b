package main

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/functions"
	"github.com/liftlog/liftlog-api/shared/config"
	"github.com/liftlog/liftlog-api/shared/planner/plannertest"
	"github.com/liftlog/liftlog-api/shared/postgres/pgtest"
	"github.com/liftlog/liftlog-api/shared/web"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }

const testWebKey = "test-web-auth-key-12345"

// testHandler is the emulator's handler on a database of the test's own.
func testHandler(t *testing.T) http.Handler {
	t.Helper()
	return handlerOn(t, pgtest.URL(t))
}

func handlerOn(t *testing.T, url string) http.Handler {
	t.Helper()
	c := functions.ConfigFor(functions.Manifest()...)
	log := slog.New(slog.DiscardHandler)
	model, err := plannertest.Start()
	require.NoError(t, err)
	t.Cleanup(model.Close)
	environ := append([]string{"DATABASE_URL=" + url, "OPENAI_BASE_URL=" + model.URL()}, defaults...)
	require.NoError(t, config.Load(t.Context(), environ, c))
	var chat chatSettings
	require.NoError(t, config.Load(t.Context(), environ, &chat))
	deps, gate, closeAll, err := functions.Open(t.Context(), c, "test", maxConns, log)
	require.NoError(t, err)
	t.Cleanup(closeAll)
	chats, err := newHub(deps, chat.Chat, log)
	require.NoError(t, err)
	return newHandler(&web.Service{Log: log, Ready: gate.Ready}, deps, chats)
}

func get(t *testing.T, handler http.Handler, path string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
	return w
}

func send(t *testing.T, handler http.Handler, method, path, body string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	return w
}

// sample is what v1 read from the database that it filled, and that database's address.
type sample struct {
	Users             map[string]sampleUser      `json:"users"`
	SharedItems       map[string]string          `json:"shared_items"`
	WaitingInBosInbox [][]string                 `json:"waiting_in_bos_inbox"`
	ReadsByV1         map[string]json.RawMessage `json:"reads_by_v1"`
	url               string
}

type sampleUser struct {
	ID       string `json:"id"`
	Lookup   string `json:"lookup"`
	Password string `json:"password"`
}

// loadSample fills a database as v1 did and migrates it.
func loadSample(t *testing.T) (s sample) {
	t.Helper()
	file, err := os.ReadFile("testdata/v1/sample.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(file, &s))
	script, err := os.ReadFile("testdata/v1/sample.sql")
	require.NoError(t, err)
	s.url = pgtest.EmptyURL(t)
	conn, err := pgx.Connect(t.Context(), s.url)
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), string(script))
	require.NoError(t, err)
	require.NoError(t, conn.Close(t.Context()))
	there := &functions.Config{
		Database:  &config.Database{URL: config.NewSecret(s.url)},
		RateLimit: &config.RateLimitDatabase{URL: config.NewSecret(s.url)},
	}
	require.NoError(t, migrate(t.Context(), there, slog.New(slog.DiscardHandler)))
	return s
}
