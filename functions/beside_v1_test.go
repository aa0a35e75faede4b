package functions

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/liftlog/liftlog-api/functions/feed"
	"github.com/liftlog/liftlog-api/functions/manifest"
	"github.com/liftlog/liftlog-api/shared/config"
	"github.com/liftlog/liftlog-api/shared/postgres"
	"github.com/liftlog/liftlog-api/shared/postgres/pgtest"
)

// v1PutEvent returns the statements by which v1 stores the event.
func v1PutEvent(t *testing.T, user, event uuid.UUID) (statements []string) {
	t.Helper()
	script, err := os.ReadFile("testdata/v1/v1-put-event.sql")
	require.NoError(t, err)
	var plain strings.Builder
	for line := range strings.Lines(string(script)) {
		if !strings.HasPrefix(line, "--") {
			plain.WriteString(line)
		}
	}
	text := strings.NewReplacer(":user", "'"+user.String()+"'", ":event", "'"+event.String()+"'").Replace(plain.String())
	for statement := range strings.SplitSeq(text, ";") {
		if statement = strings.TrimSpace(statement); statement != "" {
			statements = append(statements, statement)
		}
	}
	require.Equal(t, []string{"BEGIN", "COMMIT"}, []string{statements[0], statements[len(statements)-1]})
	return statements
}

// ownWrites are requests for everything that changes what is stored of a user, but deleting the user: its cascade locks in no
// order, and doing again what became its victim is the remedy.
var ownWrites = map[string]func(a account, event uuid.UUID) string{
	"CreateUser": func(account, uuid.UUID) string { return "{}" },
	"PutUser":    func(a account, _ uuid.UUID) string { return a.login("id") + `,"encryptionIV":"","rsaPublicKey":""}` },
	"PutEvent": func(a account, event uuid.UUID) string {
		return a.login("userId") + fmt.Sprintf(
			`,"eventId":%q,"encryptedEventPayload":%q,"encryptedEventIV":"QQ==","expiry":"2099-01-01"}`, event, ownPayload)
	},
	"PutFollowSecret": func(a account, _ uuid.UUID) string {
		return a.login("userId") + fmt.Sprintf(`,"followSecret":"s%d"}`, rand.IntN(3)) //nolint:gosec // a name, and no secret
	},
	"DeleteFollowSecret": func(a account, _ uuid.UUID) string {
		return a.login("userId") + fmt.Sprintf(`,"followSecret":"s%d"}`, rand.IntN(3)) //nolint:gosec // a name, and no secret
	},
	"PutInboxMessage": func(a account, _ uuid.UUID) string {
		return fmt.Sprintf(`{"toUserId":%q,"encryptedMessage":["QQ=="]}`, a.ID)
	},
	"GetInboxMessages": func(a account, _ uuid.UUID) string { return a.login("userId") + "}" },
	"CreateSharedItem": func(a account, _ uuid.UUID) string {
		return a.login("userId") + `,"encryptedPayload":{"encryptedPayload":"QQ==","iv":{"value":"QUJDREVGR0hJSktMTU5PUA=="}},"expiry":"2099-01-01"}`
	},
}

// ownPayload tells an event of ours from v1's.
const ownPayload = "b3Vycw=="

// TestOursBesideV1 lets v1 store the events that we store, and counts deadlocks: v1 cannot do again what became the victim of one.
// Meanwhile a reader goes on from the newest of our events each time, and misses none.
func TestOursBesideV1(t *testing.T) {
	t.Parallel()
	url := pgtest.DurableURL(t)
	deps := newDeps(t, postgres.Options{URL: url, MaxConns: 12})
	deps.Feed = config.Feed{MaxEvents: 100_000, MaxSecrets: 1000}
	deps.Share, deps.Inbox = config.Share{MaxItems: 100_000}, config.Inbox{MaxWaiting: 100_000, MaxBytes: 1 << 30}
	handler := handlerOf(deps)
	const users, ofV1, rounds = 2, 3, 60
	accounts, shared := make([]account, users), make([][]uuid.UUID, users)
	for i := range accounts {
		accounts[i], shared[i] = newAccount(t, handler), []uuid.UUID{uuid.New(), uuid.New()}
		w := call(t, handler, http.MethodPut, "/v2/follow-secret", accounts[i].login("userId")+`,"followSecret":"kept"}`)
		require.Equal(t, http.StatusOK, w.Code)
	}

	var v1 errgroup.Group
	var v1Done atomic.Bool
	for i, a := range accounts {
		for range ofV1 {
			conn, err := pgx.Connect(t.Context(), url)
			require.NoError(t, err)
			v1.Go(func() error {
				defer func() { _ = conn.Close(t.Context()) }()
				for round := range rounds {
					for _, statement := range v1PutEvent(t, a.ID, shared[i][round%len(shared[i])]) {
						if _, err := conn.Exec(t.Context(), statement, pgx.QueryExecModeSimpleProtocol); err != nil {
							return fmt.Errorf("v1: %s: %w", statement, err)
						}
					}
					if round%8 == 0 { // so that ours note an access, too
						if _, err := conn.Exec(t.Context(), `UPDATE users SET last_accessed = '-infinity' WHERE id = $1`, a.ID); err != nil {
							return err
						}
					}
				}
				return nil
			})
		}
	}

	var ours, reading errgroup.Group
	var oursDone atomic.Bool
	own := make([]map[uuid.UUID]bool, users) // events that v1 does not store
	for i := range own {
		own[i] = map[uuid.UUID]bool{}
	}
	for _, route := range Manifest() {
		if !route.Writes || !route.Needs(manifest.DatabaseUser) || route.Function == "DeleteUser" {
			continue
		}
		body, ok := ownWrites[route.Function]
		require.True(t, ok, "%s has no request", route.Function)
		for i, a := range accounts {
			ours.Go(func() error {
				for n := 0; !v1Done.Load(); n++ {
					event := shared[i][n%len(shared[i])]
					if route.Function == "PutEvent" && n%3 == 0 {
						event = uuid.New()
						own[i][event] = true // by this goroutine alone
					}
					if w := call(t, handler, route.Method, route.Path, body(a, event)); w.Code != http.StatusOK {
						return fmt.Errorf("%s: %d: %s", route.Function, w.Code, w.Body)
					}
				}
				return nil
			})
		}
	}
	seen := make([]map[uuid.UUID]bool, users)
	for i, a := range accounts {
		seen[i] = map[uuid.UUID]bool{}
		reading.Go(func() error {
			since := postgres.Never.Add(time.Hour)
			for last := false; !last; {
				last = oursDone.Load()
				w := call(t, handler, http.MethodPost, "/v2/events",
					fmt.Sprintf(`{"users":[{"userId":%q,"followSecret":"kept","since":%q}]}`, a.ID, since.Format(time.RFC3339Nano)))
				var answer feed.GetEventsResponse
				if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != http.StatusOK {
					return fmt.Errorf("read: %d: %w", w.Code, err)
				}
				for _, e := range answer.Events {
					if string(e.EncryptedEventPayload) == "ours" {
						since = e.Timestamp
						seen[i][e.EventID] = true
					}
				}
			}
			return nil
		})
	}
	assert.NoError(t, v1.Wait())
	v1Done.Store(true)
	assert.NoError(t, ours.Wait())
	oursDone.Store(true)
	assert.NoError(t, reading.Wait())
	stored := 0
	for i := range own {
		for event := range own[i] {
			assert.True(t, seen[i][event], "an event was passed over")
		}
		stored += len(own[i])
	}
	assert.NotZero(t, stored)
	deps.DB.Close() // a connection tells what it counted when it ends
	assert.Zero(t, deadlocks(t, url))
}

// deadlocks is how often the server ended one in this database.
func deadlocks(t *testing.T, url string) (n int) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer func() { assert.NoError(t, conn.Close(t.Context())) }()
	require.Eventually(t, func() bool {
		var others int
		err := conn.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`).Scan(&others)
		return err == nil && others == 0
	}, 30*time.Second, 20*time.Millisecond)
	require.NoError(t, conn.QueryRow(t.Context(), `SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()`).Scan(&n))
	return n
}
