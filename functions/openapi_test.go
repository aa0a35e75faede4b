package functions_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/functions"
	"github.com/liftlog/liftlog-api/functions/functionstest"
	"github.com/liftlog/liftlog-api/functions/manifest"
	"github.com/liftlog/liftlog-api/shared/planner/plannertest"
	"github.com/liftlog/liftlog-api/shared/postgres"
	"github.com/liftlog/liftlog-api/shared/postgres/pgtest"
)

// place is where a route's operation stands in the description, and something in it.
func place(route manifest.Route, in ...string) []string {
	return append([]string{"paths", route.Path, strings.ToLower(route.Method)}, in...)
}

func TestTheDescriptionsExamplesFit(t *testing.T) {
	t.Parallel()
	d := functionstest.Description()
	for _, route := range functions.Manifest() {
		contents := [][]string{}
		if route.MaxBody > 0 {
			contents = append(contents, place(route, "requestBody", "content", "application/json"))
		}
		for status := range d.At(place(route, "responses")...).(map[string]any) { //nolint:errcheck // a panic fails as well
			content, _ := d.At(place(route, "responses", status, "content")...).(map[string]any)
			for mediaType := range content {
				contents = append(contents, place(route, "responses", status, "content", mediaType))
			}
		}
		for _, content := range contents {
			example := d.At(append(content, "example")...)
			require.NotNil(t, example, content)
			assert.NoError(t, d.Validate(example, append(content, "schema")...), content)
		}
	}
}

// TestTheDescriptionsExamplesWork plays the examples as one story, with an account of the test's own in place of the one in them.
func TestTheDescriptionsExamplesWork(t *testing.T) {
	t.Parallel()
	handler := functionstest.NewHandler(t)
	d := functionstest.Description()
	find := func(function string) manifest.Route {
		route, ok := functions.Manifest().Find(function)
		require.True(t, ok, function)
		return route
	}
	example := func(function string, in ...string) string {
		text, err := json.Marshal(d.At(place(find(function), append(in, "example")...)...))
		require.NoError(t, err)
		return string(text)
	}
	names := []string{}
	told := func(function, answer string, members ...string) { // what the service made up itself takes the place of what is in the examples
		var was, is map[string]any
		require.NoError(t, json.Unmarshal([]byte(example(function, "responses", "200", "content", "application/json")), &was))
		require.NoError(t, json.Unmarshal([]byte(answer), &is))
		for _, member := range members {
			names = append(names, fmt.Sprint(was[member]), fmt.Sprint(is[member]))
		}
	}
	played := []string{}
	for _, function := range []string{
		"Health", "CreateUser", "PutUser", "GetUser", "GetUsers", "PutFollowSecret", "PutEvent", "GetEvents", "DeleteFollowSecret",
		"PutInboxMessage", "GetInboxMessages", "CreateSharedItem", "GetSharedItem", "PlanWorkout", "PlanSession", "DeleteUser",
	} {
		route, body := find(function), ""
		if route.MaxBody > 0 {
			body = example(function, "requestBody", "content", "application/json")
		}
		path := route.Path
		if before, _, ok := strings.Cut(path, "{"); ok {
			parameters, _ := d.At(place(route, "parameters")...).([]any)
			require.Len(t, parameters, 1)
			parameter, _ := parameters[0].(map[string]any)
			path = before + fmt.Sprint(parameter["example"])
		}
		real := strings.NewReplacer(names...)
		w := functionstest.Call(t, handler, route.Method, real.Replace(path), real.Replace(body))
		require.Equal(t, http.StatusOK, w.Code, "%s: %s", function, w.Body)
		switch function {
		case "CreateUser":
			told(function, w.Body.String(), "id", "lookup", "password")
		case "CreateSharedItem":
			told(function, w.Body.String(), "id")
		case "GetUser", "GetUsers", "GetSharedItem":
			assert.JSONEq(t, real.Replace(example(function, "responses", "200", "content", "application/json")), w.Body.String())
		}
		played = append(played, function)
	}
	assert.ElementsMatch(t, functions.Manifest().Functions(), played)
}

// TestEveryDescribedStatusIsGiven provokes each refusal of each route, but 408, for which a body has to come slowly: package
// web's tests have that.
func TestEveryDescribedStatusIsGiven(t *testing.T) {
	t.Parallel()
	deps := functionstest.NewDeps(t, postgres.Options{URL: pgtest.URL(t), MaxConns: 4})
	deps.Feed.MaxEvents, deps.Feed.MaxSecrets, deps.Share.MaxItems, deps.Inbox.MaxWaiting = 0, 0, 0, 0
	deps.Limits.WebPerDay = 1
	handler := functionstest.Handler(deps)
	away := functionstest.Handler(functionstest.NewDeps(t, postgres.Options{
		URL: "postgres://nobody@127.0.0.1:1/nothing", MaxConns: 1, Tables: postgres.UserTables,
	}))
	known := functionstest.NewAccount(t, handler)
	stranger := functionstest.Account{ID: known.ID, Password: "0e000000-0000-4000-8000-000000000001"}
	nobody := functionstest.Account{ID: [16]byte{1}, Password: known.Password}
	body := func(function string, a functionstest.Account) string {
		switch function {
		case "PutUser", "DeleteUser":
			return a.Login("id") + `,"encryptionIV":"","rsaPublicKey":""}`
		case "PlanWorkout":
			return functionstest.GoodWorkout
		case "PlanSession":
			return `{"attributes":{"areasToWorkout":["Chest"],"exerciseToKilograms":{}}}`
		case "GetUsers":
			return fmt.Sprintf(`{"ids":[%q]}`, a.ID)
		case "GetEvents":
			return fmt.Sprintf(`{"users":[{"userId":%q,"followSecret":"s","since":"2000-01-01"}]}`, a.ID)
		default: // each takes what it knows
			return a.Login("userId") + fmt.Sprintf(`,"toUserId":%q,"followSecret":"s","eventId":%q,"encryptedEventPayload":"QQ==",`+
				`"encryptedEventIV":"QQ==","encryptedMessage":["QQ=="],"expiry":"2099-01-01",`+
				`"encryptedPayload":{"encryptedPayload":"QQ==","iv":{"value":"QUJDREVGR0hJSktMTU5PUA=="}}}`, a.ID, a.ID)
		}
	}
	w := functionstest.Call(t, handler, http.MethodPost, "/v2/ai/workout", functionstest.GoodWorkout)
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	for _, route := range functions.Manifest() {
		path, plain := route.Path, route.Path
		if before, _, ok := strings.Cut(path, "{"); ok {
			path, plain = before+nobody.ID.String(), before+strings.Repeat("x", 100)
		}
		described, _ := functionstest.Description().At(place(route, "responses")...).(map[string]any)
		assert.Len(t, described, 1+len(route.Statuses()), route.Function)
		for status := range route.Statuses() {
			assert.Contains(t, described, strconv.Itoa(status), route.Function)
			on, r := handler, functionstest.NewRequest(t, route.Method, path, body(route.Function, known))
			switch status {
			case http.StatusBadRequest:
				r = functionstest.NewRequest(t, route.Method, plain, "{")
			case http.StatusUnauthorized:
				r = functionstest.NewRequest(t, route.Method, path, body(route.Function, stranger))
				r.Header.Set("Authorization", "Web wrong")
			case http.StatusNotFound:
				r = functionstest.NewRequest(t, route.Method, path, body(route.Function, nobody))
			case http.StatusRequestTimeout:
				continue
			case http.StatusRequestEntityTooLarge:
				r = functionstest.NewRequest(t, route.Method, path, strings.Repeat(" ", int(route.MaxBody)+1))
			case http.StatusUnsupportedMediaType:
				r.Header.Del("Content-Type")
			case http.StatusTooManyRequests:
				// nothing has room, and the one plan of the day has been made
			case http.StatusBadGateway:
				planning, _, model := functionstest.NewPlanner(t)
				model.Script(plannertest.Reply{Refusal: "No."})
				on = planning
			case http.StatusServiceUnavailable:
				on = away
			default:
				t.Errorf("%s: nothing provokes %d", route.Function, status)
			}
			w := functionstest.Serve(t, on, r)
			assert.Equal(t, status, w.Code, "%s: %s", route.Function, w.Body)
		}
	}
}
