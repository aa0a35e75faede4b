// Package functionstest serves all functions to tests, on a real database and a stand-in for the model, and holds every answer
// to the API's description.
package functionstest

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/functions"
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

// CredentialKey is the key of password tags.
const CredentialKey = "1:dGhpcnR5LXR3byBieXRlcyBvZiBhIGtleSBmb3IgdGVzdHM="

// WebKey proves that a caller paid.
const WebKey = "key-of-the-web"

// GoodWorkout is a request for a plan.
const GoodWorkout = `{"attributes":{"gender":"Male","weightRange":"70-80","age":30,"daysPerWeek":3,"goals":["Build muscle"],` +
	`"experience":"Beginner","useImperialUnits":false,"additionalInfo":"none"}}`

// NewDeps makes what endpoints need, with small bounds, on the database that the options name.
func NewDeps(tb testing.TB, options postgres.Options) functions.Deps {
	tb.Helper()
	var keys config.KeyRing
	require.NoError(tb, keys.UnmarshalText([]byte(CredentialKey)))
	db := pgtest.Pool(tb, options)
	model, err := plannertest.Start(plannertest.WithPace(0, 1<<20))
	require.NoError(tb, err)
	tb.Cleanup(model.Close)
	return functions.Deps{
		DB: db, RateLimitDB: db, Verifier: auth.New(keys.All()),
		Feed: config.Feed{MaxEvents: 30, MaxSecrets: 30}, Share: config.Share{MaxItems: 10}, Inbox: config.Inbox{MaxWaiting: 20, MaxBytes: 64 << 10},
		Purchases: purchase.New(config.Purchases{WebKey: config.NewSecret(WebKey)}, db, slog.New(slog.DiscardHandler)),
		Limiter:   ratelimit.New(ratelimit.Options{DB: db, TokensPerDay: 1 << 40}),
		Limits:    config.Limits{WebPerDay: 3, MobilePerDay: 1},
		Planner:   planner.New(openai.New(config.Model{Name: "gpt-4o", BaseURL: model.URL()})),
	}
}

// Handler serves every route, with more time than a request has in the cloud: a slow hash takes long on a machine under load.
func Handler(deps functions.Deps) http.Handler {
	service := web.Service{Log: slog.New(slog.DiscardHandler)}
	mounts := functions.Mount(functions.Manifest(), deps)
	for i := range mounts {
		mounts[i].Timeout, mounts[i].Handler = time.Hour, 0
	}
	return service.Handler(mounts)
}

// NewHandler serves every route on a database of the test's own.
func NewHandler(tb testing.TB) http.Handler {
	tb.Helper()
	return Handler(NewDeps(tb, postgres.Options{URL: pgtest.URL(tb), MaxConns: 4}))
}

// NewPlanner serves everything on a model that a test steers.
func NewPlanner(t *testing.T) (http.Handler, functions.Deps, *plannertest.Server) {
	t.Helper()
	deps := NewDeps(t, postgres.Options{URL: pgtest.URL(t), MaxConns: 4})
	model, err := plannertest.Start(plannertest.WithPace(0, 1<<20))
	require.NoError(t, err)
	t.Cleanup(model.Close)
	quick := openai.DefaultLimits
	quick.Pause = time.Millisecond
	deps.Planner = planner.New(openai.New(config.Model{Name: "gpt-4o", BaseURL: model.URL()}, openai.WithLimits(quick)))
	return Handler(deps), deps, model
}

// NewRequest makes a request of somebody who paid.
func NewRequest(tb testing.TB, method, path, body string) *http.Request {
	tb.Helper()
	r := httptest.NewRequestWithContext(tb.Context(), method, path, strings.NewReader(body))
	if method == http.MethodPost || method == http.MethodPut {
		r.Header.Set("Content-Type", "application/json")
	}
	r.Header.Set("Authorization", "Web "+WebKey)
	return r
}

// Serve returns a handler's answer, which has to be one that the API's description knows.
func Serve(tb testing.TB, handler http.Handler, r *http.Request) *httptest.ResponseRecorder {
	tb.Helper()
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	CheckAnswer(tb, r.Method, r.URL.Path, w)
	return w
}

// Call sends one request to a handler.
func Call(tb testing.TB, handler http.Handler, method, path, body string) *httptest.ResponseRecorder {
	tb.Helper()
	return Serve(tb, handler, NewRequest(tb, method, path, body))
}

// Account is a user with the only copy of the password.
type Account struct {
	ID       uuid.UUID `json:"id"`
	Lookup   string    `json:"lookup"`
	Password string    `json:"password"`
}

// NewAccount makes a user as an app does.
func NewAccount(tb testing.TB, handler http.Handler) (a Account) {
	tb.Helper()
	w := Call(tb, handler, http.MethodPost, "/v2/user/create", "{}")
	require.Equal(tb, http.StatusOK, w.Code, w.Body)
	require.NoError(tb, json.Unmarshal(w.Body.Bytes(), &a))
	return a
}

// Login is the beginning of a body in which the member id names the caller.
func (a Account) Login(id string) string {
	return fmt.Sprintf(`{"%s":%q,"password":%q`, id, a.ID, a.Password)
}

// Refusal is what is changed in a good body, what it is changed to, and the field that the answer blames. Without a field the
// changed body is good, too.
type Refusal [3]string

// PlayBodies sends a function a good body, and what v1 refuses of it. The recordings hold the rest.
func PlayBodies(t *testing.T, handler http.Handler, function, good string, refusals []Refusal) {
	t.Helper()
	route, ok := functions.Manifest().Find(function)
	require.True(t, ok, function)
	for _, r := range refusals {
		from, to, field := r[0], r[1], r[2]
		body := strings.Replace(good, from, to, 1)
		require.NotEqual(t, good, body, "%s: %s", function, from)
		w := Call(t, handler, route.Method, route.Path, body)
		if field == "" {
			assert.Equal(t, http.StatusOK, w.Code, "%s: %s: %s", function, to, w.Body)
			continue
		}
		assert.Equal(t, http.StatusBadRequest, w.Code, "%s: %.100s: %s", function, to, w.Body)
		var problem struct {
			Errors map[string][]string `json:"errors"`
		}
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &problem))
		assert.Contains(t, problem.Errors, field, "%s: %.100s", function, to)
	}
	var zipped bytes.Buffer
	zip := gzip.NewWriter(&zipped)
	_, err := zip.Write([]byte(good))
	require.NoError(t, err)
	require.NoError(t, zip.Close())
	r := NewRequest(t, route.Method, route.Path, zipped.String())
	r.Header.Set("Content-Encoding", "gzip")
	w := Serve(t, handler, r)
	assert.Equal(t, http.StatusUnsupportedMediaType, w.Code, function)
	assert.Equal(t, "identity", w.Header().Get("Accept-Encoding"), function)
	r = NewRequest(t, route.Method, route.Path, good)
	r.Header.Set("Content-Encoding", "identity")
	w = Serve(t, handler, r)
	assert.Equal(t, http.StatusOK, w.Code, "%s: %s", function, w.Body)
}
