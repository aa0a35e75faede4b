package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/gorilla/websocket"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/functions"
	"github.com/liftlog/liftlog-api/functions/manifest"
	"github.com/liftlog/liftlog-api/functions/recorded"
	"github.com/liftlog/liftlog-api/shared/cleanup"
	"github.com/liftlog/liftlog-api/shared/config"
	"github.com/liftlog/liftlog-api/shared/planner/plannertest"
	"github.com/liftlog/liftlog-api/shared/postgres"
	"github.com/liftlog/liftlog-api/shared/postgres/grants"
	"github.com/liftlog/liftlog-api/shared/postgres/migrations"
	"github.com/liftlog/liftlog-api/shared/postgres/pgtest"
	"github.com/liftlog/liftlog-api/shared/purchase/purchasetest"
	"github.com/liftlog/liftlog-api/shared/web"
)

const (
	loginPrefix   = "run-"
	loginPassword = "of-a-test"
	revenueCatKey = "sk_test"
	entitlement   = "entl1"
)

// restricted is a server's database on which every program has a login of its own, with the rights of its group.
type restricted struct {
	url    string // of the database, for its superuser
	logins config.Logins
	admin  *postgres.DB
}

// restrict makes logins for the database, which is the only one of its server, as Terraform does, and gives them their rights, as
// jobs/migrate does.
func restrict(tb testing.TB, databaseURL string) restricted {
	tb.Helper()
	r := restricted{url: databaseURL, logins: config.Logins{Pattern: loginPrefix + "*"}}
	r.admin = pgtest.Pool(tb, postgres.Options{URL: databaseURL, MaxConns: 2})
	logins := functions.Logins(r.logins)
	for _, login := range logins.Programs {
		r.exec(tb, fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD '%s'", pgx.Identifier{login.Name}.Sanitize(), loginPassword))
	}
	require.NoError(tb, grants.Apply(tb.Context(), postgres.Databases{User: r.admin, RateLimit: r.admin}, logins, slog.New(slog.DiscardHandler)))
	return r
}

func (r restricted) exec(tb testing.TB, sql string) {
	tb.Helper()
	_, err := r.admin.Exec(tb.Context(), sql)
	require.NoError(tb, err, sql)
}

// as is the database's URL for the program's login.
func (r restricted) as(tb testing.TB, program string) string {
	tb.Helper()
	parsed, err := url.Parse(r.url)
	require.NoError(tb, err)
	parsed.User = url.UserPassword(r.logins.Login(program), loginPassword)
	return parsed.String()
}

// instance is what one program has opened with its own login.
type instance struct {
	deps functions.Deps
	gate *postgres.Gate
}

// stores stand in for all that is outside of the system.
type stores struct {
	model      *plannertest.Server
	revenueCat *purchasetest.Store
	server     *httptest.Server
}

func newStores(tb testing.TB) stores {
	tb.Helper()
	model, err := plannertest.Start()
	require.NoError(tb, err)
	tb.Cleanup(model.Close)
	store := purchasetest.RevenueCat("project", revenueCatKey)
	server := httptest.NewServer(store)
	tb.Cleanup(server.Close)
	return stores{model, store, server}
}

// start opens what the route's own process opens.
func (r restricted) start(tb testing.TB, s stores, program string, route manifest.Route) instance {
	tb.Helper()
	c := functions.ConfigFor(route)
	environ := append([]string{
		"DATABASE_URL=" + r.as(tb, program), "OPENAI_BASE_URL=" + s.model.URL(), "REVENUECAT_BASE_URL=" + s.server.URL, "REVENUECAT_API_KEY=" + revenueCatKey,
		"REVENUECAT_PROJECT_ID=project", "REVENUECAT_ENTITLEMENT_ID=" + entitlement,
	}, defaults...)
	require.NoError(tb, config.Load(tb.Context(), environ, c))
	deps, gate, closeAll, err := functions.Open(tb.Context(), c, program, max(route.Pool, 1), slog.New(slog.DiscardHandler))
	require.NoError(tb, err)
	tb.Cleanup(closeAll)
	return instance{deps, gate}
}

// serve starts every function of the group's database, and the chat if that is the rate limits', each with its own login, behind
// one address.
func (r restricted) serve(tb testing.TB, s stores, database string) *httptest.Server {
	tb.Helper()
	var mounts []web.Mount
	var gates []*postgres.Gate
	var planning manifest.Route
	for _, route := range functions.Manifest() {
		if len(route.Databases) > 0 && !route.Needs(database) {
			continue
		}
		i := r.start(tb, s, route.Service(), route)
		mounts = append(mounts, functions.Mount(manifest.Manifest{route}, i.deps)...)
		gates = append(gates, i.gate)
		if route.Auth == manifest.AuthPurchase {
			planning = route
		}
	}
	service := web.Service{Log: slog.New(slog.DiscardHandler), Ready: func(ctx context.Context) error {
		var failed []error
		for _, gate := range gates {
			failed = append(failed, gate.Ready(ctx))
		}
		return errors.Join(failed...)
	}}
	var handler http.Handler
	if database == manifest.DatabaseRateLimit {
		chat := r.start(tb, s, "chat-service", planning) // which reads what the planner's functions read
		var settings chatSettings
		require.NoError(tb, config.Load(tb.Context(), defaults, &settings))
		chats, err := newHub(chat.deps, settings.Chat, slog.New(slog.DiscardHandler))
		require.NoError(tb, err)
		gates = append(gates, chat.gate)
		handler = chats.Canonical(service.Handler(append(mounts, chats.Mounts()...)))
	} else {
		handler = service.Handler(mounts)
	}
	server := httptest.NewServer(handler)
	tb.Cleanup(server.Close)
	return server
}

// play has every program of the group's kind do all that it does, and compares the answers with what was recorded.
func (r restricted) play(tb testing.TB, group grants.Group, cases []recorded.Case) {
	tb.Helper()
	if group == grants.Cleanup {
		r.playCleanup(tb)
		return
	}
	database := manifest.DatabaseUser
	if group == grants.Limits {
		database = manifest.DatabaseRateLimit
	}
	s := newStores(tb)
	server := r.serve(tb, s, database)
	replay := replay{server: server, values: recorded.Values{"web-key": testWebKey}, prefix: "/v2"}
	for _, c := range cases {
		if _, path, _ := strings.Cut(c.Request, " "); strings.HasPrefix(path, "/ai") == (group == grants.Limits) {
			replay.play(tb, c)
		}
	}
	if group == grants.Limits {
		r.playPurchases(tb, s, server)
		playChat(tb, server)
	} else {
		r.playRenewal(tb, server)
	}
}

// playRenewal has a password checked whose tag was made by another key.
func (r restricted) playRenewal(tb testing.TB, server *httptest.Server) {
	tb.Helper()
	post := func(method, path, body string) *http.Response {
		request, err := http.NewRequestWithContext(tb.Context(), method, server.URL+path, strings.NewReader(body))
		require.NoError(tb, err)
		request.Header.Set("Content-Type", "application/json")
		response, err := server.Client().Do(request)
		require.NoError(tb, err)
		require.Equal(tb, http.StatusOK, response.StatusCode)
		return response
	}
	var user sampleUser
	created := post(http.MethodPost, "/v2/user/create", "{}")
	require.NoError(tb, json.NewDecoder(created.Body).Decode(&user))
	require.NoError(tb, created.Body.Close())
	r.exec(tb, fmt.Sprintf(`UPDATE v2_password_proofs SET key_fingerprint = decode(repeat('ab', octet_length(key_fingerprint)), 'hex') WHERE user_id = '%s'`, user.ID))
	body := fmt.Sprintf(`{"userId":%q,"password":%q,"followSecret":"s"}`, user.ID, user.Password)
	require.NoError(tb, post(http.MethodPut, "/v2/follow-secret", body).Body.Close())
	var renewed bool
	require.NoError(tb, r.admin.QueryRow(tb.Context(), `SELECT key_fingerprint <> decode(repeat('ab', octet_length(key_fingerprint)), 'hex')
		FROM v2_password_proofs WHERE user_id = $1`, user.ID).Scan(&renewed))
	require.True(tb, renewed, "the proof is not renewed")
}

// playPurchases has instances verify a purchase that another one has remembered, or that turns out to be refunded.
func (r restricted) playPurchases(tb testing.TB, s stores, server *httptest.Server) {
	tb.Helper()
	bought := func(customer string) purchasetest.Answer {
		return purchasetest.RevenueCatCustomer(customer, purchasetest.RevenueCatPage(nil, purchasetest.RevenueCatEntitlement(entitlement, nil)))
	}
	ask := func(path, token string) int {
		request, err := http.NewRequestWithContext(tb.Context(), http.MethodPost, server.URL+path, strings.NewReader("{}"))
		require.NoError(tb, err)
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("Authorization", "RevenueCat "+token)
		response, err := server.Client().Do(request)
		require.NoError(tb, err)
		require.NoError(tb, response.Body.Close())
		return response.StatusCode
	}
	remembered := func() (n int, newest time.Time) {
		require.NoError(tb, r.admin.QueryRow(tb.Context(), `SELECT count(*), coalesce(max(verified_at), 'epoch') FROM v2_purchase_verdicts`).Scan(&n, &newest))
		return n, newest
	}
	s.revenueCat.On("kept", bought("kept"))
	require.Equal(tb, http.StatusBadRequest, ask("/v2/ai/workout", "kept"), "a buyer's empty request")
	n, first := remembered()
	require.Equal(tb, 1, n)
	require.Equal(tb, http.StatusOK, ask("/ai-chat/negotiate?negotiateVersion=1", "kept"))
	n, second := remembered()
	require.Equal(tb, 1, n)
	require.True(tb, second.After(first), "the chat has confirmed it again")
	s.revenueCat.On("kept", purchasetest.RevenueCatError(http.StatusServiceUnavailable, "server_error"))
	require.Equal(tb, http.StatusBadRequest, ask("/v2/ai/session", "kept"), "the store is away, and the table remembers")

	s.revenueCat.On("refunded", bought("refunded"), purchasetest.RevenueCatCustomer("refunded", purchasetest.RevenueCatPage(nil)))
	require.Equal(tb, http.StatusBadRequest, ask("/v2/ai/workout", "refunded"))
	n, _ = remembered()
	require.Equal(tb, 2, n)
	require.Equal(tb, http.StatusUnauthorized, ask("/v2/ai/session", "refunded"))
	n, _ = remembered()
	require.Equal(tb, 1, n, "a refunded purchase is forgotten")
}

// playChat sends one message to the planner.
func playChat(tb testing.TB, server *httptest.Server) {
	tb.Helper()
	header := http.Header{"Authorization": {"Web " + testWebKey}}
	conn, response, err := websocket.DefaultDialer.DialContext(tb.Context(), "ws"+strings.TrimPrefix(server.URL, "http")+"/v2/ai-chat", header) //nolint:bodyclose // a websocket's
	if err != nil && response != nil {
		body, _ := io.ReadAll(response.Body)
		require.NoError(tb, err, "%d %s", response.StatusCode, body)
	}
	require.NoError(tb, err)
	defer func() { _ = conn.Close() }()
	const end = "\x1e"
	require.NoError(tb, conn.WriteMessage(websocket.TextMessage, []byte(`{"protocol":"json","version":1}`+end)))
	require.NoError(tb, conn.WriteMessage(websocket.TextMessage, []byte(`{"type":1,"invocationId":"0","target":"SendMessage","arguments":["Hello"]}`+end)))
	require.NoError(tb, conn.SetReadDeadline(time.Now().Add(time.Minute)))
	answered := false
	for {
		_, message, err := conn.ReadMessage()
		require.NoError(tb, err)
		for record := range strings.SplitSeq(strings.TrimSuffix(string(message), end), end) {
			var got struct {
				Type   int             `json:"type"`
				Target string          `json:"target"`
				Error  json.RawMessage `json:"error"`
			}
			require.NoError(tb, json.Unmarshal([]byte(record), &got))
			answered = answered || got.Target == "ReceiveMessage"
			if got.Type == 3 {
				require.Empty(tb, string(got.Error))
				require.True(tb, answered, "the planner has said nothing")
				return
			}
		}
	}
}

// playCleanup has the job remove a row of each kind, and leave another one.
func (r restricted) playCleanup(tb testing.TB) {
	tb.Helper()
	owner := uuid.NewString()
	r.exec(tb, fmt.Sprintf(`
		INSERT INTO users (id, user_lookup, hashed_password, salt) VALUES ('%[1]s', '%[1]s', '', '');
		INSERT INTO user_events (id, user_id, "timestamp", last_accessed, expiry, encrypted_event)
			SELECT gen_random_uuid(), '%[1]s', now(), now(), expiry, '' FROM unnest(ARRAY[now() - interval '1 day', now() + interval '1 day']) AS expiry;
		INSERT INTO shared_items (id, user_id, "timestamp", expiry, encrypted_payload, encryption_iv)
			SELECT expiry::text, '%[1]s', now(), expiry, '', '' FROM unnest(ARRAY[now() - interval '1 day', now() + interval '1 day']) AS expiry;
		INSERT INTO v2_purchase_verdicts (digest, subject, verified_at) VALUES (sha256('%[1]s'), 's', now() - interval '8 days');
		INSERT INTO rate_limit_consumptions (key, requests) VALUES ('%[1]s', ARRAY[now() - interval '2 days'])`, owner))
	db := pgtest.Pool(tb, postgres.Options{URL: r.as(tb, "cleanup"), MaxConns: manifest.ProgramOf("cleanup").Pool, Tables: postgres.UserTables})
	var log strings.Builder
	require.NoError(tb, cleanup.Run(tb.Context(), postgres.Databases{User: db, RateLimit: db}, cleanup.Options{Now: time.Now()}, slog.New(slog.NewTextHandler(&log, nil))))
	var left []string
	rows, _ := r.admin.Query(tb.Context(), `
		SELECT 'event' FROM user_events WHERE expiry <= now() UNION ALL SELECT 'item' FROM shared_items WHERE expiry <= now()
		UNION ALL SELECT 'verdict' FROM v2_purchase_verdicts WHERE verified_at < now() - interval '7 days'
		UNION ALL SELECT 'limit' FROM rate_limit_consumptions WHERE key = $1`, owner)
	left, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(tb, err)
	require.Empty(tb, left, "%s", &log)
}

// statement is one that a program has run, as its login.
type statement struct{ login, sql string }

// statements are those that programs have run until now, each once.
func (r restricted) statements(tb testing.TB) (all []statement) {
	tb.Helper()
	const last = "the last statement to look at"
	var log string
	require.EventuallyWithT(tb, func(c *assert.CollectT) { // the server writes its log in a moment
		require.NoError(c, r.admin.QueryRow(tb.Context(), `SELECT pg_read_file(pg_current_logfile('jsonlog')) -- `+last).Scan(&log))
		require.Contains(c, log, last)
		require.True(c, strings.HasSuffix(log, "\n"), "half a line")
	}, time.Minute, 10*time.Millisecond)
	seen := map[statement]bool{}
	for line := range strings.Lines(log) {
		var entry struct{ User, Message string }
		require.NoError(tb, json.Unmarshal([]byte(line), &entry))
		execution, sql, _ := strings.Cut(entry.Message, ": ")
		s := statement{entry.User, sql}
		if strings.HasPrefix(entry.User, loginPrefix) && strings.HasPrefix(execution, "execute ") && !seen[s] {
			seen[s] = true
			all = append(all, s)
		}
	}
	return all
}

// denied are those of the statements that their logins may not run after the change to their rights, which is undone.
func (r restricted) denied(tb testing.TB, statements []statement, change string) (denied []statement) {
	tb.Helper()
	ctx := tb.Context()
	tx, err := r.admin.Begin(ctx)
	require.NoError(tb, err)
	defer func() { assert.NoError(tb, tx.Rollback(ctx)) }()
	_, err = tx.Exec(ctx, change)
	require.NoError(tb, err)
	for _, s := range statements {
		one, err := tx.Begin(ctx)
		require.NoError(tb, err)
		prepared, err := one.Prepare(ctx, "", s.sql)
		require.NoError(tb, err, s.sql)
		_, err = one.Exec(ctx, "SET LOCAL SESSION AUTHORIZATION "+pgx.Identifier{s.login}.Sanitize())
		require.NoError(tb, err)
		// It takes the same rights to explain a statement as to run it.
		_, err = one.Exec(ctx, "EXPLAIN "+s.sql, make([]any, len(prepared.ParamOIDs))...)
		if failure, ok := errors.AsType[*pgconn.PgError](err); ok && failure.Code == "42501" {
			denied = append(denied, s)
		} else {
			require.NoError(tb, err, s.sql)
		}
		require.NoError(tb, one.Rollback(ctx)) // and whoever asks is the superuser again
	}
	return denied
}

// TestProgramsHaveTheRightsThatTheyNeedAndNoOthers plays what v1 was recorded answering against programs that have a login each,
// and then takes one right after the other away from them.
func TestProgramsHaveTheRightsThatTheyNeedAndNoOthers(t *testing.T) {
	t.Parallel()
	cases := recordedCases(t)
	_, databaseURL := pgtest.Own(t, "logging_collector=on", "log_destination=jsonlog", "log_statement=all")
	r := restrict(t, databaseURL)
	for _, group := range []grants.Group{grants.Writer, grants.Limits, grants.Cleanup} { // readers are with the writers
		r.play(t, group, cases)
	}
	statements := r.statements(t)
	require.Empty(t, r.denied(t, statements, ""))
	for _, right := range grants.Rights() {
		revoke := fmt.Sprintf("REVOKE %s ON %s FROM %s", right.Privilege, pgx.Identifier{right.Table}.Sanitize(), right.Group)
		assert.NotEmpty(t, r.denied(t, statements, revoke), "%s: all works without it: take it out of shared/postgres/grants", revoke)
	}
}

// TestEveryTableIsDecidedOn requires a line for each table, if only to say that nobody needs it.
func TestEveryTableIsDecidedOn(t *testing.T) {
	t.Parallel()
	rows, _ := pgtest.New(t).Query(t.Context(), `
		SELECT relname::text FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r' AND relname NOT LIKE 'v2\_%\_migrations'`)
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	require.ElementsMatch(t, tables, grants.Tables(), "shared/postgres/grants has a line for each")
}

// TestMigrationsRunAsTheOwnersMember brings v1's database forward as Cloud SQL lets it: nobody is a superuser, v1's login owns
// v1's tables, and the migration's login is a member of a role that may make others.
func TestMigrationsRunAsTheOwnersMember(t *testing.T) {
	t.Parallel()
	script, err := os.ReadFile("testdata/v1/sample.sql")
	require.NoError(t, err)
	databaseURL := pgtest.EmptyURL(t)
	parsed, err := url.Parse(databaseURL)
	require.NoError(t, err)
	name := strings.Trim(parsed.Path, "/")
	r := restricted{url: databaseURL, logins: config.Logins{Pattern: name + "-*", V1: name + "-v1"}}
	r.admin = pgtest.Pool(t, postgres.Options{URL: databaseURL, MaxConns: 2})
	discard := slog.New(slog.DiscardHandler)
	maker := name + "-superuser"
	logins := functions.Logins(r.logins)
	r.exec(t, fmt.Sprintf(`CREATE ROLE "%s" CREATEROLE CREATEDB NOLOGIN`, maker))
	roles := []string{maker, r.logins.V1}
	r.exec(t, fmt.Sprintf(`CREATE ROLE "%s" LOGIN PASSWORD '%s'; ALTER DATABASE "%s" OWNER TO "%[1]s"`, r.logins.V1, loginPassword, name))
	for _, login := range logins.Programs {
		r.exec(t, fmt.Sprintf(`CREATE ROLE "%s" LOGIN PASSWORD '%s'`, login.Name, loginPassword))
		roles = append(roles, login.Name)
	}
	r.exec(t, fmt.Sprintf(`GRANT "%s" TO "%s"`, maker, r.logins.Login("migrate")))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		conn, err := pgx.Connect(ctx, databaseURL)
		if !assert.NoError(t, err) {
			return
		}
		defer func() { _ = conn.Close(ctx) }()
		_, err = conn.Exec(ctx, fmt.Sprintf(`ALTER DATABASE "%s" OWNER TO CURRENT_USER; REASSIGN OWNED BY liftlog_owner TO CURRENT_USER; DROP OWNED BY liftlog_owner`, name))
		assert.NoError(t, err)
		for _, role := range roles {
			_, err := conn.Exec(ctx, fmt.Sprintf(`REASSIGN OWNED BY "%s" TO CURRENT_USER; DROP OWNED BY "%[1]s"; DROP ROLE "%[1]s"`, role))
			assert.NoError(t, err)
		}
	})
	parsed.User = url.UserPassword(r.logins.V1, loginPassword)
	v1 := pgtest.Pool(t, postgres.Options{URL: parsed.String(), MaxConns: 1})
	_, err = v1.Exec(t.Context(), string(script)+`; RESET search_path`)
	require.NoError(t, err)
	databases, err := migrations.Open(t.Context(), r.as(t, "migrate"), r.as(t, "migrate"), "")
	require.NoError(t, err)
	t.Cleanup(databases.Close)

	err = grants.Apply(t.Context(), databases, logins, discard)
	require.ErrorContains(t, err, "the owner of v1's tables has to run once")
	var statements []string
	for line := range strings.Lines(err.Error()) {
		if strings.HasSuffix(line, ";\n") || strings.Contains(line, "; -- it belongs to "+r.logins.V1) {
			statements = append(statements, line)
		}
	}
	require.Len(t, statements, 7, "the schema, and a statement for each of v1's tables")
	_, err = v1.Exec(t.Context(), strings.Join(statements, ""))
	require.NoError(t, err, "v1's own login may run them")

	require.NoError(t, grants.Apply(t.Context(), databases, logins, discard))
	report, err := migrations.Check(t.Context(), databases)
	require.NoError(t, err)
	require.Empty(t, report.Obstacles)
	require.NoError(t, migrations.Up(t.Context(), databases, discard))
	require.NoError(t, grants.Renew(t.Context(), databases, discard))
	require.NoError(t, grants.Apply(t.Context(), databases, logins, discard), "it may be run again")

	// Without its group's rights it may do nothing of that.
	reader := pgtest.Pool(t, postgres.Options{URL: r.as(t, "get-user"), MaxConns: 1})
	_, err = reader.Exec(t.Context(), `SELECT count(*) FROM users`)
	require.NoError(t, err)
	for _, statement := range []string{`UPDATE users SET salt = ''`, `SELECT count(*) FROM v2_password_tags`, `CREATE TABLE mine (id int)`, `DROP TABLE users`} {
		_, err = reader.Exec(t.Context(), statement)
		require.ErrorContains(t, err, "42501", statement)
	}
	// v1 goes on as before, its own migrations included.
	_, err = v1.Exec(t.Context(), `UPDATE users SET last_accessed = now(); ALTER TABLE users ADD COLUMN later text; ALTER TABLE users DROP COLUMN later;
		INSERT INTO "__EFMigrationsHistory" VALUES ('later', '11'); DELETE FROM "__EFMigrationsHistory" WHERE "MigrationId" = 'later'`)
	require.NoError(t, err)
	// Without the owner's group a migration is refused before it begins.
	r.exec(t, fmt.Sprintf(`REVOKE liftlog_owner FROM "%s"`, r.logins.Login("migrate")))
	r.exec(t, `DELETE FROM v2_user_migrations WHERE version_id > 3`)
	require.ErrorContains(t, migrations.Up(t.Context(), databases, discard), "permission denied")
}
