package functions_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/functions"
	"github.com/liftlog/liftlog-api/functions/functionstest"
	"github.com/liftlog/liftlog-api/shared/postgres"
	"github.com/liftlog/liftlog-api/shared/postgres/pgtest"
)

// TestBodiesAreReadAsV1ReadsThem plays a good body, and what v1 refuses of it, to every route that takes one. The
// recordings hold the rest.
func TestBodiesAreReadAsV1ReadsThem(t *testing.T) {
	t.Parallel()
	deps := functionstest.NewDeps(t, postgres.Options{URL: pgtest.URL(t), MaxConns: 4})
	deps.Limits.WebPerDay = 1000
	handler := functionstest.Handler(deps)
	user, victim := functionstest.NewAccount(t, handler), functionstest.NewAccount(t, handler)
	asUser := user.Login("userId")
	const expiry = `"expiry":"2099-01-02T03:04:05.678Z"`
	type refusal struct{ from, to, field string }
	for function, c := range map[string]struct {
		body     string
		refusals []refusal
	}{
		"PutUser": {user.Login("id") + `,"encryptedCurrentPlan":"QUJDZA==","encryptedProfilePicture":"QUJDZA==","encryptedName":"QUJDZA==","encryptionIV":"QUJDZA==","rsaPublicKey":"QUJDZA=="}`, []refusal{
			{`"id"`, `"ıd"`, "id"}, {`"password"`, `"paſsword"`, "password"}, {`"encryptionIV":"QUJDZA=="`, `"encryptionIV":"","encryptionIV":null`, "encryptionIV"},
			{`"rsaPublicKey"`, `"rsaPublic\u212aey"`, "rsaPublicKey"},
			{`"encryptedCurrentPlan":"QUJDZA=="`, `"encryptedCurrentPlan":"QUJDZB=="`, "encryptedCurrentPlan"},
			{`"encryptedProfilePicture":"QUJDZA=="`, `"encryptedProfilePicture":"QUJDZDF="`, "encryptedProfilePicture"},
			{`"encryptedName":"QUJDZA=="`, `"encryptedName":"QUJD ZB=="`, "encryptedName"},
			{`"encryptionIV":"QUJDZA=="`, `"encryptionIV":"QUJDZB=="`, "encryptionIV"},
			{`"rsaPublicKey":"QUJDZA=="`, `"rsaPublicKey":"QUJDZP=="`, "rsaPublicKey"},
			{`"encryptedCurrentPlan":"QUJDZA=="`, `"encryptedCurrentPlan":"` + strings.Repeat("A", 4*(64<<10)/3+4) + `"`, "encryptedCurrentPlan"},
		}},
		"GetUsers": {fmt.Sprintf(`{"ids":[%q]}`, user.ID), []refusal{
			{`"ids"`, `"idſ"`, "ids"}, {`]`, `],"ids":[]`, "ids"}, {`]`, `],"ids":null`, "ids"}, {`["`, `[null,"`, "ids[0]"},
			{`]`, strings.Repeat(`,"0e000000-0000-4000-8000-000000000001"`, 1000) + `,7`, "ids"},
		}},
		"PutEvent": {asUser + `,"eventId":"0e000000-0000-4000-8000-000000000001","encryptedEventPayload":"QUJDZA==","encryptedEventIV":"QUJDZA==",` + expiry + `}`, []refusal{
			{`"userId"`, `"uſerId"`, "userId"}, {`"eventId":`, `"eventID":`, ""}, {`"QUJDZA=="`, `"QUJDZB=="`, "encryptedEventPayload"},
			{`IV":"QUJDZA=="`, `IV":"QUJDZB=="`, "encryptedEventIV"}, {`5.678Z`, `5.678+14:01`, "expiry"}, {`5.678Z`, `5.678-01:60`, "expiry"}, {`5.678Z`, `5.678+02`, ""},
			{expiry, expiry + `,"expiry":null`, "expiry"},
			{`d":"QUJDZA=="`, `d":"` + strings.Repeat("A", 4*(128<<10)/3+4) + `"`, "encryptedEventPayload"},
		}},
		"GetEvents": {fmt.Sprintf(`{"users":[{"userId":%q,"followSecret":"s","since":"2024-02-03T04:05:06.789Z"}]}`, user.ID), []refusal{
			{`"users"`, `"uſers"`, "users"}, {`]`, `],"users":[]`, "users"}, {`]`, `],"users":[{}]`, "users[0].since"}, {`]`, `,null]`, "users[1].userId"},
			{`"followSecret":"s",`, ``, "users[0].followSecret"}, {`"followSecret":"s"`, `"followSecret":null`, "users[0].followSecret"},
			{`"followSecret":"s"`, `"followSecret":"s","followSecret":null`, "users[0].followSecret"}, {`"followSecret":"s"`, `"followSecret":""`, ""},
			{`"since"`, `"ſince"`, "users[0].since"}, {`6.789Z`, `6.789-14:30`, "users[0].since"}, {`6.789Z`, `6.789+00`, ""}, {`6.789Z`, `6.789+0:00`, "users[0].since"},
			{`]`, strings.Repeat(`,{}`, 1000) + `,7`, "users"},
		}},
		"PutFollowSecret": {asUser + `,"followSecret":"s"}`, []refusal{
			{`"followSecret":"s"`, `"followSecret":null`, "followSecret"}, {`,"followSecret":"s"`, ``, "followSecret"},
			{`"followSecret":"s"`, `"followSecret":"s","followSecret":""`, "followSecret"}, {`"followSecret"`, `"followſecret"`, "followSecret"},
		}},
		"DeleteFollowSecret": {asUser + `,"followSecret":"s"}`, []refusal{
			{`"followSecret":"s"`, `"followSecret":null`, "followSecret"}, {`,"followSecret":"s"`, ``, "followSecret"},
		}},
		"PutInboxMessage": {fmt.Sprintf(`{"toUserId":%q,"encryptedMessage":["QUJDZA==","QUJDZA=="]}`, user.ID), []refusal{
			{`"toUserId"`, `"toUſerId"`, "toUserId"}, {`["QUJDZA=="`, `["QUJDZB=="`, "encryptedMessage[0]"}, {`,"QUJDZA=="]`, `,"QUJDZDF="]`, "encryptedMessage[1]"},
			{`]`, `],"encryptedMessage":[]`, "encryptedMessage"}, {`]`, `,null]`, "encryptedMessage[2]"}, {`]`, strings.Repeat(`,""`, 19) + `,7`, "encryptedMessage"},
			{`]`, strings.Repeat(`,""`, 18) + `]`, ""},
		}},
		"GetInboxMessages": {asUser + `}`, []refusal{{`"password"`, `"paſſword"`, "password"}, {`}`, `,"userId":null}`, "userId"}, {`}`, `,"password":null}`, "password"}}},
		"CreateSharedItem": {asUser + `,"encryptedPayload":{"encryptedPayload":"QUJDZA==","iv":{"value":"QUJDREVGR0hJSktMTU5PUA=="}},` + expiry + `}`, []refusal{
			{`,"expiry"`, `,"encryptedPayload":{},"expiry"`, "encryptedPayload.encryptedPayload"}, {`,"expiry"`, `,"encryptedPayload":null,"expiry"`, "encryptedPayload"},
			{`}},`, `},"iv":{}},`, "encryptedPayload.iv.value"}, {`}},`, `},"iv":null},`, "encryptedPayload.iv"},
			{`"QUJDZA=="`, `"QUJDZB=="`, "encryptedPayload.encryptedPayload"}, {`UA==`, `UB==`, "encryptedPayload.iv.value"},
			{`5.678Z`, `5.678+15:00`, "expiry"}, {`5.678Z`, `5.678-14`, ""},
			{`"QUJDZA=="`, `"` + strings.Repeat("A", 4*(64<<10)/3+4) + `"`, "encryptedPayload.encryptedPayload"},
		}},
		"DeleteUser": {victim.Login("id") + `}`, []refusal{{`"password"`, `"paſsword"`, "password"}, {`}`, `,"id":null}`, "id"}}},
		"PlanWorkout": {functionstest.GoodWorkout, []refusal{
			{`}}`, `},"attributes":{}}`, "attributes.goals"}, {`}}`, `},"attributes":null}`, "attributes"}, {`"goals"`, `"goalſ"`, "attributes.goals"},
			{`"goals":[`, `"goals":["Goal","Goal","Goal","Goal","Goal","Goal","Goal","Goal","Goal",`, "attributes.goals"},
		}},
		"PlanSession": {`{"attributes":{"areasToWorkout":["Chest"],"volume":50,"exerciseToKilograms":{"K":1},"useImperialUnits":false,"additionalInfo":""}}`, []refusal{
			{`}}`, `},"attributes":{}}`, "attributes.areasToWorkout"}, {`"areasToWorkout"`, `"areasToWor\u212aout"`, "attributes.areasToWorkout"},
			{`"volume"`, `"exerciseToKilograms":null,"volume"`, ""}, {`"use`, `"exerciseToKilograms":null,"use`, "attributes.exerciseToKilograms"},
		}},
		"CreateUser": {`{}`, nil},
	} {
		route, ok := functions.Manifest().Find(function)
		require.True(t, ok, function)
		for _, r := range c.refusals {
			body := strings.Replace(c.body, r.from, r.to, 1)
			require.NotEqual(t, c.body, body, "%s: %s", function, r.from)
			w := functionstest.Call(t, handler, route.Method, route.Path, body)
			if r.field == "" {
				assert.Equal(t, http.StatusOK, w.Code, "%s: %s: %s", function, r.to, w.Body)
				continue
			}
			assert.Equal(t, http.StatusBadRequest, w.Code, "%s: %.100s: %s", function, r.to, w.Body)
			var problem struct {
				Errors map[string][]string `json:"errors"`
			}
			require.NoError(t, json.Unmarshal(w.Body.Bytes(), &problem))
			assert.Contains(t, problem.Errors, r.field, "%s: %.100s", function, r.to)
		}
		var zipped bytes.Buffer
		zip := gzip.NewWriter(&zipped)
		_, err := zip.Write([]byte(c.body))
		require.NoError(t, err)
		require.NoError(t, zip.Close())
		r := functionstest.NewRequest(t, route.Method, route.Path, zipped.String())
		r.Header.Set("Content-Encoding", "gzip")
		w := functionstest.Serve(t, handler, r)
		assert.Equal(t, http.StatusUnsupportedMediaType, w.Code, function)
		assert.Equal(t, "identity", w.Header().Get("Accept-Encoding"), function)
		r = functionstest.NewRequest(t, route.Method, route.Path, c.body)
		r.Header.Set("Content-Encoding", "identity")
		w = functionstest.Serve(t, handler, r)
		assert.Equal(t, http.StatusOK, w.Code, "%s: %s", function, w.Body)
	}
}

func TestARefusalNamesFewFaults(t *testing.T) {
	t.Parallel()
	handler := functionstest.Handler(functionstest.NewDeps(t, postgres.Options{URL: pgtest.URL(t), MaxConns: 1}))
	w := functionstest.Call(t, handler, http.MethodPost, "/v2/events", `{"users":[{}`+strings.Repeat(`,{}`, 999)+`]}`)
	assert.Equal(t, http.StatusBadRequest, w.Code)
	assert.Less(t, w.Body.Len(), 4<<10)
	assert.Contains(t, w.Body.String(), "users[0].since")
}

func TestAUserIsFoundByEveryFormOfTheID(t *testing.T) {
	t.Parallel()
	handler := functionstest.Handler(functionstest.NewDeps(t, postgres.Options{URL: pgtest.URL(t), MaxConns: 1}))
	user := functionstest.NewAccount(t, handler)
	id := user.ID.String()
	for _, path := range []string{
		id, strings.ToUpper(id), strings.ReplaceAll(id, "-", ""), "%20" + id + "%20", "%7B" + id + "%7D", "(" + id + ")", "%09(" + id + ")%0A",
		strings.Repeat("%20", 100) + id,
	} {
		assert.Equal(t, http.StatusOK, functionstest.Call(t, handler, http.MethodGet, "/v2/user/"+path, "").Code, path)
	}
	for _, path := range []string{"(" + strings.ReplaceAll(id, "-", "") + ")", "(" + id + "%7D", "(%20" + id + ")", "%20" + user.Lookup} {
		assert.Equal(t, http.StatusNotFound, functionstest.Call(t, handler, http.MethodGet, "/v2/user/"+path, "").Code, path)
	}
}

// TestASecretThatIsTooLongIsInvalid lets one friend's nonsense cost nobody the others' events.
func TestASecretThatIsTooLongIsInvalid(t *testing.T) {
	t.Parallel()
	handler := functionstest.Handler(functionstest.NewDeps(t, postgres.Options{URL: pgtest.URL(t), MaxConns: 2}))
	user, long := functionstest.NewAccount(t, handler), strings.Repeat("x", 10_000)
	require.Equal(t, http.StatusOK, functionstest.Call(t, handler, "PUT", "/v2/follow-secret", user.Login("userId")+`,"followSecret":"s"}`).Code)
	require.Equal(t, http.StatusOK, functionstest.Call(t, handler, "PUT", "/v2/event", user.Login("userId")+fmt.Sprintf(
		`,"eventId":%q,"encryptedEventPayload":"QQ==","encryptedEventIV":"QQ==","expiry":"2099-01-01"}`, user.ID)).Code)
	w := functionstest.Call(t, handler, "POST", "/v2/events", fmt.Sprintf(
		`{"users":[{"userId":%[1]q,"followSecret":"s","since":"2000-01-01"},{"userId":%[1]q,"followSecret":%[2]q,"since":"2000-01-01"}]}`, user.ID, long))
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	assert.Contains(t, w.Body.String(), user.ID.String())
	assert.Contains(t, w.Body.String(), fmt.Sprintf(`"invalidFollowSecrets":[%q]`, long))
}
