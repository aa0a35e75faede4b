package functions_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/functions"
	"github.com/liftlog/liftlog-api/functions/functionstest"
	"github.com/liftlog/liftlog-api/shared/postgres"
	"github.com/liftlog/liftlog-api/shared/postgres/pgtest"
)

// FuzzBodies sends anything to every route that takes a body: no input makes a 500.
func FuzzBodies(f *testing.F) {
	handler := functionstest.Handler(functionstest.NewDeps(f, postgres.Options{URL: pgtest.URL(f), MaxConns: 4}))
	user := functionstest.NewAccount(f, handler)
	var routes []struct{ method, path string }
	for _, r := range functions.Manifest() {
		if r.MaxBody > 0 && r.Function != "CreateUser" { // which spends its time on hashing
			routes = append(routes, struct{ method, path string }{r.Method, r.Path})
		}
	}
	profile := user.Login("id") + `,"encryptedName":"QQ==","encryptedCurrentPlan":null,"encryptionIV":"","rsaPublicKey":""}`
	for i := range routes {
		for _, body := range []string{
			profile, `{"ids":["00000000-0000-0000-0000-000000000001"]}`, `{`, `null`, `[{}]`, `{"id":"` + "\x00" + `"}`, user.Login("userId") + `,"followSecret":"\u0000"}`,
			`{"users":[{"userId":"0e000000-0000-4000-8000-000000000001","followSecret":"\ud800","since":"9999-12-31T23:59:59.9999999Z"}]}`,
			user.Login("userId") + `,"eventId":"0e000000-0000-4000-8000-000000000001","encryptedEventPayload":"QQ==","encryptedEventIV":"QQ==","expiry":"0001-01-01T00:00:01Z"}`,
			`{"toUserId":"` + user.ID.String() + `","encryptedMessage":["QQ==",null]}`,
			user.Login("userId") + `,"encryptedPayload":{"encryptedPayload":"","iv":{"value":"QUJDREVGR0hJSktMTU5PUA=="}},"expiry":"2099-01-01"}`, `{"id":1e999}`,
			`{"password":"\u0000","id":"0e000000-0000-4000-8000-000000000001"}`, `{"ids":[[[[[[[[]]]]]]]]}`, `{"encryptionIV":"QQ= ="}`, functionstest.GoodWorkout,
			`{"users":[{}],"uſers":0,"USERS":[null,{"since":"2024-02-03T04:05+14"}]}`, `{"ids":null,"ids":[],"\u0069ds":["` + user.ID.String() + `"]}`,
			user.Login("userId") + `,"encryptedPayload":{"iv":{"value":"QQ=="}},"encryptedPayload":{"iv":null,"iv":{}},"expiry":"2099-01-01T00:00-14:00"}`,
			`{"attributes":{"goals":["Goal"],"gender":null},"attributes":{"exerciseToKilograms":{"a":1,"a":null}}}`,
			`{"attributes":{"areasToWorkout":["Arms"],"volume":1e1,"exerciseToKilograms":{"x":1e300,"":-0},"additionalInfo":"\ud83d"}}`,
		} {
			f.Add(uint8(i), body)
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, body string) {
		route := routes[int(which)%len(routes)]
		require.NotEqual(t, http.StatusInternalServerError, functionstest.Call(t, handler, route.method, route.path, body).Code)
	})
}

// FuzzPaths sends anything in the place of a path's variable.
func FuzzPaths(f *testing.F) {
	handler := functionstest.Handler(functionstest.NewDeps(f, postgres.Options{URL: pgtest.URL(f), MaxConns: 4}))
	for _, name := range []string{"x", "0e000000-0000-4000-8000-000000000001", "{0e000000-0000-4000-8000-000000000001}", " (0e000000-0000-4000-8000-000000000001)\n", "\x00", "\xff", "%00"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		r := functionstest.NewRequest(t, http.MethodGet, "/v2/user/x", "")
		r.URL.Path = "/v2/user/" + name
		require.NotEqual(t, http.StatusInternalServerError, functionstest.Serve(t, handler, r).Code)
	})
}
