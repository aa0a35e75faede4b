package functions_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/functions"
	"github.com/liftlog/liftlog-api/functions/functionstest"
	"github.com/liftlog/liftlog-api/functions/manifest"
	"github.com/liftlog/liftlog-api/shared/config"
	"github.com/liftlog/liftlog-api/shared/postgres"
	"github.com/liftlog/liftlog-api/shared/postgres/pgtest"
	"github.com/liftlog/liftlog-api/shared/web"
)

// outage is a service under traffic while its database has a fault.
type outage struct {
	t      *testing.T
	server *pgtest.Server
	proxy  *pgtest.Proxy // between the service and the database
	admin  string        // URL of the database for its operator, past the proxy
	base   string        // of the service
	gate   *postgres.Gate
	user   functionstest.Account

	mu       sync.Mutex
	refused  int
	events   []uuid.UUID // acknowledged
	messages int         // acknowledged, since they were counted last
}

// poolSize is how many connections the service has.
const poolSize = 4

// newOutage starts a service with all functions that need the users' database, with the rights that it has in the cloud.
func newOutage(t *testing.T) *outage {
	t.Helper()
	server, admin := pgtest.Own(t)
	o := &outage{t: t, server: server, admin: admin}
	o.operate(`CREATE ROLE app LOGIN PASSWORD 'app'`, `GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO app`)
	through, err := url.Parse(admin)
	require.NoError(t, err)
	through.User = url.UserPassword("app", "app")
	proxy, database := pgtest.NewProxy(t, through.String())
	o.proxy = proxy

	served := slices.DeleteFunc(functions.Manifest(), func(r manifest.Route) bool { return !r.Needs(manifest.DatabaseUser) })
	c := functions.ConfigFor(served...)
	require.NoError(t, config.Load(t.Context(), []string{
		"DATABASE_URL=" + database, "CREDENTIAL_KEY=" + functionstest.CredentialKey, "INBOX_MAX_WAITING=1000000", "INBOX_MAX_BYTES=1000000000", "MAX_EVENTS=1000000",
	}, c))
	deps, gate, closeAll, err := functions.Open(t.Context(), c, "outage", poolSize, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(closeAll)
	o.gate = gate
	service := web.Service{Log: slog.New(slog.DiscardHandler), Ready: gate.Ready}
	serving := httptest.NewServer(service.Handler(functions.Mount(served, deps)))
	t.Cleanup(serving.Close)
	o.base = serving.URL
	require.Eventually(t, func() bool {
		status, body := o.send("POST", "/v2/user/create", "{}")
		return status == http.StatusOK && json.Unmarshal(body, &o.user) == nil
	}, time.Minute, 10*time.Millisecond)
	o.requireGood("PUT", "/v2/follow-secret", o.user.Login("userId")+`,"followSecret":"s"}`)
	return o
}

// operate runs statements as the database's operator.
func (o *outage) operate(statements ...string) {
	o.t.Helper()
	conn, err := pgx.Connect(o.t.Context(), o.admin)
	require.NoError(o.t, err)
	defer func() { _ = conn.Close(context.WithoutCancel(o.t.Context())) }()
	for _, statement := range statements {
		_, err := conn.Exec(o.t.Context(), statement)
		require.NoError(o.t, err, statement)
	}
}

// send sends a request and returns the answer, and 0 when that is not whole.
func (o *outage) send(method, path, body string) (status int, answer []byte) {
	o.t.Helper()
	r, err := http.NewRequestWithContext(o.t.Context(), method, o.base+path, strings.NewReader(body))
	if !assert.NoError(o.t, err) {
		return 0, nil
	}
	r.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, nil
	}
	defer func() { _ = response.Body.Close() }()
	if answer, err = io.ReadAll(response.Body); err != nil {
		return 0, nil
	}
	if response.StatusCode == http.StatusServiceUnavailable {
		assert.NotEmpty(o.t, response.Header.Get("Retry-After"), "%s", answer)
	}
	return response.StatusCode, answer
}

// requireGood sends a request, as often as it is asked to come back.
func (o *outage) requireGood(method, path, body string) {
	o.t.Helper()
	require.Eventually(o.t, func() bool {
		status, _ := o.send(method, path, body)
		return status == http.StatusOK
	}, time.Minute, 10*time.Millisecond, "%s %s", method, path)
}

// step is one thing that a user does. Whatever happens, it is done or refused for now; and what it says is true.
func (o *outage) step() {
	id := uuid.New()
	requests := []struct {
		method, path, body string
		done               func(answer string)
	}{
		{"PUT", "/v2/event", o.user.Login("userId") + fmt.Sprintf(
			`,"eventId":%q,"encryptedEventPayload":"QQ==","encryptedEventIV":"QQ==","expiry":"2099-01-01"}`, id), func(string) {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.events = append(o.events, id)
		}},
		{"PUT", "/v2/inbox", fmt.Sprintf(`{"toUserId":%q,"encryptedMessage":["QQ=="]}`, o.user.ID), func(string) {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.messages++
		}},
		{"PUT", "/v2/user", o.user.Login("id") + `,"encryptionIV":"","rsaPublicKey":""}`, nil},
		{"PUT", "/v2/follow-secret", o.user.Login("userId") + `,"followSecret":"s"}`, nil},
		{"GET", "/v2/user/" + o.user.ID.String(), "", nil},
		{"GET", "/v2/user/" + o.user.Lookup, "", nil},
		{"POST", "/v2/users", fmt.Sprintf(`{"ids":[%q]}`, o.user.ID), func(answer string) {
			assert.Contains(o.t, answer, o.user.ID.String(), "a user who is there is not left out")
		}},
		{"POST", "/v2/events", fmt.Sprintf(`{"users":[{"userId":%q,"followSecret":"s","since":"2099-01-01"}]}`, o.user.ID), func(answer string) {
			assert.Contains(o.t, answer, `"invalidFollowSecrets":[]`, "a secret that is right is not called wrong")
		}},
	}
	request := requests[rand.IntN(len(requests))] //nolint:gosec // any will do
	status, answer := o.send(request.method, request.path, request.body)
	switch status {
	case http.StatusOK:
		if request.done != nil {
			request.done(string(answer))
		}
	case http.StatusServiceUnavailable:
		o.mu.Lock()
		o.refused++
		o.mu.Unlock()
		time.Sleep(10 * time.Millisecond) // much less than it is asked for
	default:
		assert.Fail(o.t, "neither done nor refused for now", "%s %s: %d %s", request.method, request.path, status, answer)
	}
}

// during lets users act before, during and after the fault, which is over when fault returns. It fails the test if users get
// anything but answers and requests to come back, if anything is lost that was acknowledged, or if the service is not back as
// soon as its database is.
func (o *outage) during(fault func()) (refused int) {
	o.t.Helper()
	o.operate(`DELETE FROM user_inbox_items`, `DELETE FROM user_events`)
	o.mu.Lock()
	o.refused, o.events, o.messages = 0, nil, 0
	o.mu.Unlock()
	acted := func(least int) {
		o.t.Helper()
		done := func() int {
			o.mu.Lock()
			defer o.mu.Unlock()
			return len(o.events) + o.messages
		}
		least += done()
		require.Eventually(o.t, func() bool { return done() >= least }, time.Minute, time.Millisecond)
	}
	stop := make(chan struct{})
	var users sync.WaitGroup
	for range 2 * poolSize {
		users.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					o.step()
				}
			}
		})
	}
	end := sync.OnceFunc(func() {
		close(stop)
		users.Wait()
	})
	defer end()
	acted(5)
	fault()
	back, tries := time.Now(), 0
	for good := false; !good; tries++ { // alone, each of the pool's connections may turn out to be a dead one
		status, _ := o.send("GET", "/v2/user/"+o.user.ID.String(), "")
		good = status == http.StatusOK
		require.LessOrEqual(o.t, tries, 3*poolSize, "it is not back")
	}
	o.mu.Lock()
	o.t.Logf("back %v after the database, at the %d. request; %d were refused", time.Since(back).Round(time.Millisecond), tries, o.refused)
	o.mu.Unlock()
	acted(5)
	end()

	conn, err := pgx.Connect(o.t.Context(), o.admin)
	require.NoError(o.t, err)
	defer func() { _ = conn.Close(context.WithoutCancel(o.t.Context())) }()
	var lost, waiting int
	require.NoError(o.t, conn.QueryRow(o.t.Context(), `SELECT count(*) FROM unnest($1::uuid[]) id WHERE NOT EXISTS (SELECT FROM user_events e WHERE e.id = id)`,
		o.events).Scan(&lost))
	assert.Zero(o.t, lost, "events of %d", len(o.events))
	require.NoError(o.t, conn.QueryRow(o.t.Context(), `SELECT count(*) FROM user_inbox_items`).Scan(&waiting))
	assert.GreaterOrEqual(o.t, waiting, o.messages)
	require.NoError(o.t, o.gate.Ready(o.t.Context()))
	return o.refused
}

// wait lets the fault last until this many requests have been refused for it.
func (o *outage) wait(refused int) {
	o.t.Helper()
	require.Eventually(o.t, func() bool {
		o.mu.Lock()
		defer o.mu.Unlock()
		return o.refused >= refused
	}, time.Minute, time.Millisecond)
}

// TestFaultsOfTheDatabase lets one fault after another happen to a database with traffic.
func TestFaultsOfTheDatabase(t *testing.T) {
	t.Parallel()
	o := newOutage(t)
	up := func() { require.NoError(t, o.server.Up(t.Context())) }
	for _, fault := range []struct { //nolint:paralleltest // one after the other
		name   string
		happen func()
		passes bool // nobody is refused
	}{
		{name: "a restart", happen: func() { require.NoError(t, o.server.Down(false)); o.wait(5); up() }},
		{name: "a crash", happen: func() { require.NoError(t, o.server.Down(true)); o.wait(5); up() }},
		{name: "an administrator ends its sessions", happen: func() {
			for range 5 {
				o.operate(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'`)
			}
		}},
		{name: "connections break", happen: func() {
			for range 5 {
				o.proxy.Cut()
				time.Sleep(20 * time.Millisecond)
			}
		}},
		{name: "nobody answers", happen: func() { o.proxy.Lead(""); o.proxy.Cut(); o.wait(5); o.proxy.Lead(o.admin) }},
		{name: "the network freezes", happen: func() { o.proxy.Freeze(); o.wait(1) }},
		{name: "connections run out", happen: func() {
			o.operate(`ALTER ROLE app CONNECTION LIMIT 0`)
			o.proxy.Cut()
			o.wait(5)
			o.operate(`ALTER ROLE app CONNECTION LIMIT -1`)
		}},
		{name: "logins are refused", happen: func() {
			o.operate(`ALTER ROLE app PASSWORD 'another'`)
			o.proxy.Cut()
			o.wait(5)
			o.operate(`ALTER ROLE app PASSWORD 'app'`)
		}},
		{name: "sessions become read-only", happen: func() {
			o.operate(`ALTER ROLE app SET default_transaction_read_only = on`)
			o.proxy.Cut()
			o.wait(5)
			o.operate(`ALTER ROLE app RESET default_transaction_read_only`)
		}},
		{name: "a right is missing", happen: func() {
			o.operate(`REVOKE INSERT ON user_events FROM app`)
			o.wait(5)
			require.Error(t, o.gate.Ready(t.Context()))
			o.operate(`GRANT INSERT ON user_events TO app`)
		}},
		{name: "a column changes its type", passes: true, happen: func() { o.operate(`ALTER TABLE users ALTER user_lookup TYPE varchar`) }},
		{name: "a table is locked", happen: func() {
			conn, err := pgx.Connect(t.Context(), o.admin)
			require.NoError(t, err)
			defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
			_, err = conn.Exec(t.Context(), `BEGIN; LOCK user_events`)
			require.NoError(t, err)
			o.wait(1)
		}},
	} {
		t.Run(fault.name, func(t *testing.T) {
			o.t = t
			refused := o.during(fault.happen)
			if fault.passes {
				assert.Zero(t, refused)
			}
		})
	}
}

func TestAStandbyTakesOver(t *testing.T) {
	t.Parallel()
	o := newOutage(t)
	standby := o.server.Standby(t)
	// Nothing is acknowledged that the standby does not have.
	o.operate(`ALTER SYSTEM SET synchronous_standby_names = '*'`, `SELECT pg_reload_conf()`)
	o.during(func() {
		require.NoError(t, o.server.Down(true))
		o.wait(5)
		o.admin = standby.URL("liftlog")
		o.operate(`SELECT pg_promote()`)
		o.proxy.Lead(o.admin)
	})
}

func TestTheDiskIsFull(t *testing.T) {
	t.Parallel()
	o := newOutage(t)
	o.operate(`DELETE FROM user_follow_secrets`)
	share := func() int {
		status, _ := o.send("POST", "/v2/shareditem", o.user.Login("userId")+
			`,"encryptedPayload":{"encryptedPayload":"QQ==","iv":{"value":"QUJDREVGR0hJSktMTU5PUA=="}},"expiry":"2099-01-01"}`)
		return status
	}
	require.NoError(t, o.server.FillDisk(t.Context(), "shared_items"))
	o.proxy.Cut()
	require.Eventually(t, func() bool { return share() == http.StatusServiceUnavailable }, time.Minute, time.Millisecond)
	for range 5 {
		assert.Equal(t, http.StatusServiceUnavailable, share())
	}
	o.requireGood("GET", "/v2/user/"+o.user.ID.String(), "")
	o.operate(`VACUUM FULL shared_items`)
	assert.Equal(t, http.StatusOK, share())
	require.NoError(t, o.gate.Ready(t.Context()))
}

// requireShut checks that nobody is told anything but to come back, and that the program is to end for the reason.
func (o *outage) requireShut(reason string) {
	o.t.Helper()
	require.Eventually(o.t, func() bool {
		o.step()
		return len(o.gate.Missing()) > 0
	}, time.Minute, time.Millisecond, "somebody notices")
	require.ErrorContains(o.t, <-o.gate.Missing(), reason)
	require.Error(o.t, o.gate.Ready(o.t.Context()))
	before := o.refused
	for range 20 {
		o.step()
	}
	assert.Equal(o.t, before+20, o.refused)
}

// TestAnotherDatabaseSaysNothing puts another database in the place of the one that the service began with.
func TestAnotherDatabaseSaysNothing(t *testing.T) {
	t.Parallel()
	t.Run("restored empty", func(t *testing.T) {
		t.Parallel()
		o := newOutage(t)
		_, empty := pgtest.Own(t)
		o.admin = empty
		o.operate(`CREATE ROLE app LOGIN PASSWORD 'app'`, `GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO app`)
		o.proxy.Lead(empty)
		o.proxy.Cut()
		o.requireShut("its identity has changed")
	})
	t.Run("emptied where it is", func(t *testing.T) {
		t.Parallel()
		o := newOutage(t)
		o.operate(`UPDATE v2_identity SET id = gen_random_uuid()`, `DELETE FROM users`)
		o.requireShut("its identity has changed")
	})
	t.Run("dropped", func(t *testing.T) {
		t.Parallel()
		o := newOutage(t)
		o.operate(`DROP SCHEMA public CASCADE`, `CREATE SCHEMA public`, `GRANT USAGE ON SCHEMA public TO app`)
		o.requireShut("lacks the tables __EFMigrationsHistory, users,")
	})
	t.Run("a replica that stands still", func(t *testing.T) {
		t.Parallel()
		o := newOutage(t)
		standby := o.server.Standby(t)
		o.admin = standby.URL("liftlog")
		o.operate(`SELECT pg_wal_replay_pause()`)
		require.NoError(t, o.server.Down(true))
		o.proxy.Lead(o.admin)
		o.requireShut("is a replica")
	})
}
