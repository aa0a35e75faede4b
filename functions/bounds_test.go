package functions_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/functions/functionstest"
	"github.com/liftlog/liftlog-api/shared/config"
	"github.com/liftlog/liftlog-api/shared/postgres"
	"github.com/liftlog/liftlog-api/shared/postgres/pgtest"
)

// TestWhatOneAccountCanGrowIsBounded fills everything up to bounds that differ, so that none is taken for another.
func TestWhatOneAccountCanGrowIsBounded(t *testing.T) {
	t.Parallel()
	deps := functionstest.NewDeps(t, postgres.Options{URL: pgtest.URL(t), MaxConns: 2})
	deps.Feed = config.Feed{MaxEvents: 2, MaxSecrets: 3}
	deps.Share = config.Share{MaxItems: 4}
	deps.Inbox = config.Inbox{MaxWaiting: 5, MaxBytes: 2500}
	handler := functionstest.Handler(deps)
	a := functionstest.NewAccount(t, handler)
	event := func(id uuid.UUID) string { return ownWrites["PutEvent"](a, id) }
	first := uuid.New()
	for name, c := range map[string]struct {
		method, path string
		body         func(n int) string
		bound        int
	}{
		"events": {"PUT", "/v2/event", func(n int) string {
			if n == 0 {
				return event(first)
			}
			return event(uuid.New())
		}, 2},
		"secrets":  {"PUT", "/v2/follow-secret", func(n int) string { return a.Login("userId") + fmt.Sprintf(`,"followSecret":"s%d"}`, n) }, 3},
		"items":    {"POST", "/v2/shareditem", func(int) string { return ownWrites["CreateSharedItem"](a, uuid.Nil) }, 4},
		"messages": {"PUT", "/v2/inbox", func(int) string { return ownWrites["PutInboxMessage"](a, uuid.Nil) }, 5},
	} {
		for n := range c.bound {
			w := functionstest.Call(t, handler, c.method, c.path, c.body(n))
			require.Equal(t, http.StatusOK, w.Code, "%s: %s", name, w.Body)
		}
		w := functionstest.Call(t, handler, c.method, c.path, c.body(c.bound))
		require.Equal(t, http.StatusTooManyRequests, w.Code, "%s: %s", name, w.Body)
		at, err := http.ParseTime(w.Header().Get("Retry-After"))
		require.NoError(t, err, name)
		assert.True(t, at.After(time.Now()), name)
	}
	assert.Equal(t, http.StatusOK, functionstest.Call(t, handler, "PUT", "/v2/event", event(first)).Code, "a replacement passes")

	b := functionstest.NewAccount(t, handler)
	large := fmt.Sprintf(`{"toUserId":%q,"encryptedMessage":["%s"]}`, b.ID, base64.StdEncoding.EncodeToString(make([]byte, 1000)))
	assert.Equal(t, http.StatusOK, functionstest.Call(t, handler, "PUT", "/v2/inbox", large).Code)
	assert.Equal(t, http.StatusOK, functionstest.Call(t, handler, "PUT", "/v2/inbox", large).Code)
	assert.Equal(t, http.StatusTooManyRequests, functionstest.Call(t, handler, "PUT", "/v2/inbox", large).Code, "its bytes are bounded as well")
}
