package functions_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/functions"
	"github.com/liftlog/liftlog-api/functions/functionstest"
	"github.com/liftlog/liftlog-api/shared/logging"
	"github.com/liftlog/liftlog-api/shared/postgres"
	"github.com/liftlog/liftlog-api/shared/postgres/pgtest"
	"github.com/liftlog/liftlog-api/shared/web"
)

// TestFailuresTellNothingThatWasSent lets the database fail at each write with all of the row in its error.
func TestFailuresTellNothingThatWasSent(t *testing.T) {
	t.Parallel()
	const marker = "aGlkZGVu" // base64 of a text; the database shows bytes in hexadecimal digits
	sent := []string{marker, "hidden", "68696464656e"}
	deps := functionstest.NewDeps(t, postgres.Options{URL: pgtest.URL(t), MaxConns: 2})
	deps.Limits.WebPerDay = 100
	user := functionstest.NewAccount(t, functionstest.Handler(deps))
	_, err := deps.DB.Exec(t.Context(), `
		CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			RAISE EXCEPTION USING ERRCODE = '22P02', MESSAGE = NEW::text, DETAIL = NEW::text, HINT = NEW::text;
		END $$`)
	require.NoError(t, err)
	var log bytes.Buffer
	service := web.Service{Log: logging.New(&log, slog.LevelInfo)}
	handler := service.Handler(functions.Mount(functions.Manifest(), deps))
	for _, c := range []struct{ table, method, path, body string }{
		{"users", "PUT", "/v2/user", user.Login("id") + `,"encryptedCurrentPlan":"` + marker + `","encryptionIV":"` + marker + `","rsaPublicKey":"` + marker + `"}`},
		{"user_events", "PUT", "/v2/event", user.Login("userId") + fmt.Sprintf(
			`,"eventId":%q,"encryptedEventPayload":%q,"encryptedEventIV":%q,"expiry":"2099-01-01"}`, user.ID, marker, marker)},
		{"user_follow_secrets", "PUT", "/v2/follow-secret", user.Login("userId") + `,"followSecret":"` + marker + `"}`},
		{"user_inbox_items", "PUT", "/v2/inbox", fmt.Sprintf(`{"toUserId":%q,"encryptedMessage":[%q]}`, user.ID, marker)},
		{"shared_items", "POST", "/v2/shareditem", user.Login("userId") + fmt.Sprintf(
			`,"encryptedPayload":{"encryptedPayload":%q,"iv":{"value":"QUJDREVGR0hJSktMTU5PUA=="}},"expiry":"2099-01-01"}`, marker)},
	} {
		for _, failing := range []struct{ code, sql string }{
			{"22P02", `CREATE TRIGGER fail BEFORE INSERT OR UPDATE ON %[1]s FOR EACH ROW EXECUTE FUNCTION fail()`},
			{"23514", `DROP TRIGGER fail ON %[1]s; ALTER TABLE %[1]s ADD CONSTRAINT fail CHECK (false) NOT VALID`},
		} {
			_, err := deps.DB.Exec(t.Context(), fmt.Sprintf(failing.sql, c.table))
			require.NoError(t, err)
			log.Reset()
			w := httptest.NewRecorder() // a fault of the service's own is not in the API's description
			handler.ServeHTTP(w, functionstest.NewRequest(t, c.method, c.path, c.body))
			assert.Equal(t, http.StatusInternalServerError, w.Code, "%s: %s", c.path, w.Body)
			assert.Contains(t, log.String(), failing.code, c.path)
			for _, secret := range append(sent, user.Password) {
				assert.NotContains(t, log.String(), secret, c.path)
				assert.NotContains(t, w.Body.String(), secret, c.path)
			}
		}
	}
}
