package functions_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/functions"
	"github.com/liftlog/liftlog-api/functions/functionstest"
	"github.com/liftlog/liftlog-api/functions/manifest"
	"github.com/liftlog/liftlog-api/shared/config"
	"github.com/liftlog/liftlog-api/shared/postgres"
	"github.com/liftlog/liftlog-api/shared/postgres/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }

func TestRoutesNameAllThatTheirConfigurationReads(t *testing.T) {
	t.Parallel()
	common := names(&functions.Config{Database: &config.Database{}, RateLimit: &config.RateLimitDatabase{}})
	for _, route := range functions.Manifest() {
		c := functions.ConfigFor(route)
		assert.Equal(t, route.Needs(manifest.DatabaseUser), c.Database != nil, route.Function)
		assert.Equal(t, route.Needs(manifest.DatabaseRateLimit), c.RateLimit != nil, route.Function)
		read := slices.DeleteFunc(names(c), func(name string) bool { return slices.Contains(common, name) })
		assert.ElementsMatch(t, read, slices.Concat(route.Secrets, route.Settings), route.Function)
	}
}

// names are those of the variables that a configuration reads.
func names(c *functions.Config) (names []string) {
	for _, v := range config.Describe(c) {
		names = append(names, v.Name)
	}
	return names
}

func TestSlowBodiesHaveTheirTime(t *testing.T) {
	t.Parallel()
	const longest, leastPace = 5 * time.Minute, 1 << 10 // what a request is worth, and package web's bytes a second
	for _, route := range functions.Manifest() {
		body := time.Duration(route.MaxBody/leastPace) * time.Second
		assert.GreaterOrEqual(t, route.Timeout(), min(longest, body+route.HandlerTimeout()), route.Function)
	}
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
	deps := functionstest.NewDeps(t, postgres.Options{URL: pgtest.URL(t), MaxConns: 1, Tables: postgres.UserTables, Tracer: counter})
	handler := functionstest.Handler(deps)
	// play lets a user do everything, and counts.
	play := func() map[string]int {
		trips := map[string]int{}
		step := func(name, method, path, body string) {
			before := counter.trips.Load()
			w := functionstest.Call(t, handler, method, path, body)
			require.Contains(t, []int{http.StatusOK, http.StatusNotFound}, w.Code, "%s: %s", name, w.Body)
			trips[name] = int(counter.trips.Load() - before)
		}
		step("create", "POST", "/v2/user/create", "{}")
		user := functionstest.NewAccount(t, handler)
		step("get by id", "GET", "/v2/user/"+user.ID.String(), "")
		step("get by lookup", "GET", "/v2/user/"+user.Lookup, "")
		step("get many", "POST", "/v2/users", fmt.Sprintf(`{"ids":[%q]}`, user.ID))
		profile := user.Login("id") + `,"encryptionIV":"","rsaPublicKey":""}`
		step("put", "PUT", "/v2/user", profile)
		_, err := deps.DB.Exec(t.Context(), `DELETE FROM v2_password_proofs`)
		require.NoError(t, err)
		step("put without a tag", "PUT", "/v2/user", profile)
		step("put event", "PUT", "/v2/event", user.Login("userId")+fmt.Sprintf(
			`,"eventId":%q,"encryptedEventPayload":"QQ==","encryptedEventIV":"QQ==","expiry":"2099-01-01"}`, user.ID))
		step("put follow secret", "PUT", "/v2/follow-secret", user.Login("userId")+`,"followSecret":"s"}`)
		step("get events", "POST", "/v2/events", fmt.Sprintf(`{"users":[{"userId":%q,"followSecret":"s","since":"2000-01-01"}]}`, user.ID))
		step("delete follow secret", "POST", "/v2/follow-secret/delete", user.Login("userId")+`,"followSecret":"s"}`)
		step("put message", "PUT", "/v2/inbox", fmt.Sprintf(`{"toUserId":%q,"encryptedMessage":["QQ=="]}`, user.ID))
		step("get messages", "POST", "/v2/inbox", user.Login("userId")+"}")
		step("share", "POST", "/v2/shareditem", user.Login("userId")+
			`,"encryptedPayload":{"encryptedPayload":"QQ==","iv":{"value":"QUJDREVGR0hJSktMTU5PUA=="}},"expiry":"2099-01-01"}`)
		step("plan", "POST", "/v2/ai/workout", functionstest.GoodWorkout)
		step("delete", "POST", "/v2/user/delete", user.Login("id")+"}")
		// Before something is called missing, the database is looked at once more.
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

// TestWalls checks that packages import only what they may know.
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
			module + "shared/postgres/pgtest", module + "shared/planner/plannertest", module + "shared/purchase/purchasetest", "testing", "github.com/pressly/goose", "github.com/swaggest/swgui",
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
		if !entry.IsDir() || slices.Contains([]string{"cmd", "manifest", "plans", "testdata", "functionstest", "client"}, entry.Name()) {
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
