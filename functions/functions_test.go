package functions

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/functions/manifest"
	"github.com/liftlog/liftlog-api/shared/auth"
	"github.com/liftlog/liftlog-api/shared/config"
	"github.com/liftlog/liftlog-api/shared/planner"
	"github.com/liftlog/liftlog-api/shared/planner/openai"
	"github.com/liftlog/liftlog-api/shared/planner/plannertest"
	"github.com/liftlog/liftlog-api/shared/postgres"
	"github.com/liftlog/liftlog-api/shared/postgres/pgtest"
	"github.com/liftlog/liftlog-api/shared/purchase"
	"github.com/liftlog/liftlog-api/shared/ratelimit"
	"github.com/liftlog/liftlog-api/shared/web"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }

func TestManifestAndTableAgree(t *testing.T) {
	t.Parallel()
	assert.ElementsMatch(t, Manifest().Functions(), slices.Collect(maps.Keys(endpoints)))
	for _, route := range Manifest() {
		endpoint := endpoints[route.Function](Deps{})
		assert.NotNil(t, endpoint.Request, route.Function)
	}
}

func TestRoutesNameAllThatTheirConfigurationReads(t *testing.T) {
	t.Parallel()
	common := names(&Config{Database: &config.Database{}, RateLimit: &config.RateLimitDatabase{}})
	for _, route := range Manifest() {
		c := ConfigFor(route)
		assert.Equal(t, route.Needs(manifest.DatabaseUser), c.Database != nil, route.Function)
		assert.Equal(t, route.Needs(manifest.DatabaseRateLimit), c.RateLimit != nil, route.Function)
		read := slices.DeleteFunc(names(c), func(name string) bool { return slices.Contains(common, name) })
		assert.ElementsMatch(t, read, slices.Concat(route.Secrets, route.Settings), route.Function)
	}
}

// names are those of the variables that a configuration reads.
func names(c *Config) (names []string) {
	for _, v := range config.Describe(c) {
		names = append(names, v.Name)
	}
	return names
}

func TestSlowBodiesHaveTheirTime(t *testing.T) {
	t.Parallel()
	const longest, leastPace = 5 * time.Minute, 1 << 10 // what a request is worth, and package web's bytes a second
	for _, route := range Manifest() {
		body := time.Duration(route.MaxBody/leastPace) * time.Second
		assert.GreaterOrEqual(t, route.Timeout(), min(longest, body+route.HandlerTimeout()), route.Function)
	}
}

// testKey is the key of password tags in tests.
const testKey = "1:dGhpcnR5LXR3byBieXRlcyBvZiBhIGtleSBmb3IgdGVzdHM="

// newDeps makes what endpoints need, on the database at the URL.
func newDeps(tb testing.TB, options postgres.Options) Deps {
	tb.Helper()
	var keys config.KeyRing
	require.NoError(tb, keys.UnmarshalText([]byte(testKey)))
	db := pgtest.Pool(tb, options)
	model, err := plannertest.Start(plannertest.WithPace(0, 1<<20))
	require.NoError(tb, err)
	tb.Cleanup(model.Close)
	return Deps{
		DB: db, RateLimitDB: db, Verifier: auth.New(keys.All()),
		Feed: config.Feed{MaxEvents: 30, MaxSecrets: 30}, Share: config.Share{MaxItems: 10}, Inbox: config.Inbox{MaxWaiting: 20, MaxBytes: 64 << 10},
		Purchases: purchase.New(config.Purchases{WebKey: config.NewSecret(webKey)}, db, slog.New(slog.DiscardHandler)),
		Limiter:   ratelimit.New(ratelimit.Options{DB: db, TokensPerDay: 1 << 40}),
		Limits:    config.Limits{WebPerDay: 3, MobilePerDay: 1},
		Planner:   planner.New(openai.New(config.Model{Name: "gpt-4o", BaseURL: model.URL()})),
	}
}

// webKey proves in tests that a caller paid.
const webKey = "key-of-the-web"

func newHandler(tb testing.TB, options postgres.Options) http.Handler {
	tb.Helper()
	return handlerOf(newDeps(tb, options))
}

// handlerOf serves every route, with more time than a request has in the cloud: a slow hash takes long on a machine under load.
func handlerOf(deps Deps) http.Handler {
	service := web.Service{Log: slog.New(slog.DiscardHandler)}
	mounts := Mount(Manifest(), deps)
	for i := range mounts {
		mounts[i].Timeout, mounts[i].Handler = time.Hour, 0
	}
	return service.Handler(mounts)
}

func newRequest(tb testing.TB, method, path, body string) *http.Request {
	tb.Helper()
	r := httptest.NewRequestWithContext(tb.Context(), method, path, strings.NewReader(body))
	if method == http.MethodPost || method == http.MethodPut {
		r.Header.Set("Content-Type", "application/json")
	}
	r.Header.Set("Authorization", "Web "+webKey)
	return r
}

func serve(handler http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	return w
}

// call sends one request to a handler.
func call(tb testing.TB, handler http.Handler, method, path, body string) *httptest.ResponseRecorder {
	tb.Helper()
	return serve(handler, newRequest(tb, method, path, body))
}

// account is a user with the only copy of the password.
type account struct {
	ID       uuid.UUID `json:"id"`
	Lookup   string    `json:"lookup"`
	Password string    `json:"password"`
}

func newAccount(tb testing.TB, handler http.Handler) (a account) {
	tb.Helper()
	w := call(tb, handler, http.MethodPost, "/v2/user/create", "{}")
	require.Equal(tb, http.StatusOK, w.Code, w.Body)
	require.NoError(tb, json.Unmarshal(w.Body.Bytes(), &a))
	return a
}

// login is the beginning of an authenticated body.
func (a account) login(id string) string {
	return fmt.Sprintf(`{"%s":%q,"password":%q`, id, a.ID, a.Password)
}

// tripCounter counts what is sent to the database and waited for.
type tripCounter struct{ trips atomic.Int32 }

func (c *tripCounter) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	c.trips.Add(1)
	return ctx
}
func (c *tripCounter) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}
func (c *tripCounter) TracePrepareStart(ctx context.Context, _ *pgx.Conn, _ pgx.TracePrepareStartData) context.Context {
	c.trips.Add(1)
	return ctx
}
func (c *tripCounter) TracePrepareEnd(context.Context, *pgx.Conn, pgx.TracePrepareEndData) {}

func TestRoundTrips(t *testing.T) {
	t.Parallel()
	counter := &tripCounter{}
	deps := newDeps(t, postgres.Options{URL: pgtest.URL(t), MaxConns: 1, Tables: postgres.UserTables, Tracer: counter})
	handler := handlerOf(deps)
	// play lets a user do everything, and counts.
	play := func() map[string]int {
		trips := map[string]int{}
		step := func(name, method, path, body string) {
			before := counter.trips.Load()
			w := call(t, handler, method, path, body)
			require.Contains(t, []int{http.StatusOK, http.StatusNotFound}, w.Code, "%s: %s", name, w.Body)
			trips[name] = int(counter.trips.Load() - before)
		}
		step("create", "POST", "/v2/user/create", "{}")
		user := newAccount(t, handler)
		step("get by id", "GET", "/v2/user/"+user.ID.String(), "")
		step("get by lookup", "GET", "/v2/user/"+user.Lookup, "")
		step("get many", "POST", "/v2/users", fmt.Sprintf(`{"ids":[%q]}`, user.ID))
		profile := user.login("id") + `,"encryptionIV":"","rsaPublicKey":""}`
		step("put", "PUT", "/v2/user", profile)
		_, err := deps.DB.Exec(t.Context(), `DELETE FROM v2_password_proofs`)
		require.NoError(t, err)
		step("put without a tag", "PUT", "/v2/user", profile)
		step("put event", "PUT", "/v2/event", user.login("userId")+fmt.Sprintf(
			`,"eventId":%q,"encryptedEventPayload":"QQ==","encryptedEventIV":"QQ==","expiry":"2099-01-01"}`, user.ID))
		step("put follow secret", "PUT", "/v2/follow-secret", user.login("userId")+`,"followSecret":"s"}`)
		step("get events", "POST", "/v2/events", fmt.Sprintf(`{"users":[{"userId":%q,"followSecret":"s","since":"2000-01-01"}]}`, user.ID))
		step("delete follow secret", "POST", "/v2/follow-secret/delete", user.login("userId")+`,"followSecret":"s"}`)
		step("put message", "PUT", "/v2/inbox", fmt.Sprintf(`{"toUserId":%q,"encryptedMessage":["QQ=="]}`, user.ID))
		step("get messages", "POST", "/v2/inbox", user.login("userId")+"}")
		step("share", "POST", "/v2/shareditem", user.login("userId")+
			`,"encryptedPayload":{"encryptedPayload":"QQ==","iv":{"value":"QUJDREVGR0hJSktMTU5PUA=="}},"expiry":"2099-01-01"}`)
		step("plan", "POST", "/v2/ai/workout", goodWorkout)
		step("delete", "POST", "/v2/user/delete", user.login("id")+"}")
		// That something is missing takes another look.
		step("get nobody", "GET", "/v2/user/"+user.ID.String(), "")
		step("get many and nobody", "POST", "/v2/users", fmt.Sprintf(`{"ids":[%q]}`, user.ID))
		step("put nobody", "PUT", "/v2/user", profile)
		step("get events with a wrong secret", "POST", "/v2/events", fmt.Sprintf(
			`{"users":[{"userId":%q,"followSecret":"s","since":"2000-01-01"}]}`, user.ID))
		return trips
	}
	play() // a connection prepares each statement once
	assert.Equal(t, map[string]int{
		"create": 1, "get by id": 1, "get by lookup": 1, "get many": 1, "put": 2, "put without a tag": 3, "delete": 2,
		"put event": 2, "put follow secret": 2, "get events": 1, "delete follow secret": 2, "put message": 1, "get messages": 2, "share": 2, "plan": 2,
		"get nobody": 2, "get many and nobody": 2, "put nobody": 2, "get events with a wrong secret": 2,
	}, play())
}

// TestWalls holds packages to what they may know.
func TestWalls(t *testing.T) {
	t.Parallel()
	const module = "github.com/liftlog/liftlog-api/"
	for _, wall := range []struct {
		packages string
		deep     bool // counts what is imported indirectly, too
		mustNot  []string
	}{
		{"./shared/...", true, []string{module + "functions", module + "jobs", module + "chat-service"}},
		{"./shared/apierr", true, []string{"net/http"}},
		{"./shared/user", false, []string{"net/http"}},
		{"./functions/manifest", true, []string{module + "functions/user", module + "shared"}},
		{"./shared/planner", true, []string{"net/http"}},
		{"./functions/cmd/server", true, []string{
			module + "shared/postgres/pgtest", module + "shared/planner/plannertest", module + "shared/purchase/purchasetest", "testing", "github.com/pressly/goose",
		}},
		{"./chat-service/signalr", false, []string{"net", "net/http", "github.com/gorilla/websocket"}},
		{"./chat-service", true, []string{
			module + "functions/user", module + "functions/feed", module + "functions/ai", module + "shared/postgres/pgtest", module + "shared/planner/plannertest", module + "shared/purchase/purchasetest", "testing",
		}},
		{"./jobs/...", true, []string{module + "shared/postgres/pgtest", "testing"}},
	} {
		for _, imported := range imports(t, wall.packages, wall.deep) {
			for _, forbidden := range wall.mustNot {
				assert.False(t, imported == forbidden || strings.HasPrefix(imported, forbidden+"/"), "%s imports %s", wall.packages, imported)
			}
		}
	}
}

// TestEndpointGroupsDoNotImportEachOther reads the groups from the folders.
func TestEndpointGroupsDoNotImportEachOther(t *testing.T) {
	t.Parallel()
	entries, err := os.ReadDir(".")
	require.NoError(t, err)
	for _, entry := range entries {
		if !entry.IsDir() || slices.Contains([]string{"cmd", "manifest", "plans", "testdata"}, entry.Name()) {
			continue
		}
		for _, imported := range imports(t, "./functions/"+entry.Name()+"/...", false) {
			assert.NotContains(t, imported, "liftlog-api/functions/", entry.Name())
		}
	}
}

func imports(t *testing.T, packages string, deep bool) []string {
	t.Helper()
	format := `{{join .Imports "\n"}}`
	if deep {
		format = `{{join .Deps "\n"}}`
	}
	list := exec.CommandContext(t.Context(), "go", "list", "-f", format, packages)
	list.Dir = ".."
	output, err := list.Output()
	require.NoError(t, err)
	return strings.Fields(string(output))
}
