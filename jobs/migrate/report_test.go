package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/shared/postgres/pgtest"
)

// v1Database makes a database that v1 filled.
func v1Database(t *testing.T) string {
	t.Helper()
	url := pgtest.EmptyURL(t)
	script, err := os.ReadFile("../../shared/postgres/migrations/testdata/v1/sample.sql")
	require.NoError(t, err)
	change(t, url, string(script))
	return url
}

func change(t *testing.T, url, statements string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer func() { _ = conn.Close(t.Context()) }()
	_, err = conn.Exec(t.Context(), statements)
	require.NoError(t, err)
}

// sample is what v1 read from the database.
type sample struct {
	Users map[string]struct{ ID, Lookup, Password string }
}

func readSample(t *testing.T) (s sample) {
	t.Helper()
	text, err := os.ReadFile("../../functions/cmd/emulator/testdata/v1/sample.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &s))
	return s
}

func look(t *testing.T, url string, args ...string) (string, error) {
	t.Helper()
	var output bytes.Buffer
	environ := []string{"DATABASE_URL=" + url}
	for len(args) > 0 && strings.Contains(args[0], "=") && !strings.HasPrefix(args[0], "-") {
		environ, args = append(environ, args[0]), args[1:]
	}
	err := run(t.Context(), append([]string{"--check"}, args...), environ, &output)
	return output.String(), err
}

func TestAReportOfV1sDatabase(t *testing.T) {
	t.Parallel()
	url := v1Database(t)
	accounts := filepath.Join(t.TempDir(), "accounts")
	users := readSample(t).Users
	require.NoError(t, os.WriteFile(accounts, []byte(users["ada"].ID+" "+users["ada"].Password+"\n"+users["bo"].ID+" "+users["bo"].Password+"\n"), 0o600))
	said, err := look(t, url, "--v1-users", users["ada"].ID+","+users["new"].ID, "--accounts", accounts, "--max-instances", "1")
	require.NoError(t, err)
	for _, want := range []string{
		"a primary", "user/00004_event_order.sql: an index on user_events (", "user/00002_password_tags.sql: a moment, with a lock on users",
		"2 of 2 users that v1 is said to have are there", "encoding UTF8", "users: ", "1 shared items have expired", "1 follow secrets are stored more than once",
		"2 passwords fit", "all together may open", "connected now", "nothing is in the way",
	} {
		assert.Contains(t, said, want)
	}
	assert.NotContains(t, said, users["ada"].Password)

	said, err = look(t, url, "--json")
	require.NoError(t, err)
	var found report
	require.NoError(t, json.Unmarshal([]byte(said), &found))
	assert.Len(t, found.Checks, len(checks))
	assert.Contains(t, found.Pending, "user/00003_feed_clocks.sql")
	assert.Zero(t, found.Obstacles)
	_, err = migrated(t, url)
	require.NoError(t, err)
	said, err = look(t, url)
	require.NoError(t, err, "what is migrated is in order")
	assert.Contains(t, said, "0 migrations pending")
}

// migrated migrates.
func migrated(t *testing.T, url string) (string, error) {
	t.Helper()
	var output bytes.Buffer
	err := run(t.Context(), nil, []string{"DATABASE_URL=" + url}, &output)
	return output.String(), err
}

func TestAReportSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	const missing = "11111111-1111-4111-8111-111111111111"
	cases := map[string]struct {
		empty  bool
		change string
		args   []string
		want   string
	}{
		"without a column":       {change: `ALTER TABLE public.users DROP created`, want: "!!! user: the column users.created is missing"},
		"half restored":          {change: `DROP TABLE public.shared_items, public.user_inbox_items`, want: "!!! user: the column shared_items.user_id is missing"},
		"without its keys":       {change: `ALTER TABLE public.user_events DROP CONSTRAINT pk_user_events`, want: "the table user_events has no primary key"},
		"another application's":  {empty: true, change: `CREATE TABLE wp_posts (id int); CREATE TABLE wp_users (id int)`, want: "holds 2 tables (such as wp_posts) and no history of v1's migrations"},
		"another one with users": {empty: true, change: `CREATE TABLE users (id int)`, want: "holds 1 tables (such as users) and no history of v1's migrations"},
		"empty beside v1":        {empty: true, args: []string{"V1_DATABASE_LOGIN=liftlog"}, want: "the database is empty, and v1 is said to work on it"},
		"an older copy":          {args: []string{"--v1-users", missing}, want: "the user " + missing + " of v1's is not there"},
		"no user in it":          {change: `DELETE FROM public.users`, args: []string{"--v1", "http://127.0.0.1:1"}, want: "there is no user at all"},
		"v1 away":                {args: []string{"--v1", "http://127.0.0.1:1"}, want: "v1 does not answer"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			made := v1Database
			if c.empty {
				made = func(t *testing.T) string { t.Helper(); return pgtest.EmptyURL(t) }
			}
			url := made(t)
			change(t, url, c.change)
			said, err := look(t, url, c.args...)
			require.ErrorContains(t, err, "obstacles are in the way", said)
			assert.Contains(t, said, c.want)
			assert.Contains(t, said, "→")
		})
	}
}

func TestAReportWarns(t *testing.T) {
	t.Parallel()
	url := v1Database(t)
	change(t, url, `
		DROP INDEX public.ix_user_events_expiry;
		UPDATE public.users SET hashed_password = 'x' WHERE id = (SELECT min(id::text)::uuid FROM public.users);
		UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'public.ix_user_inbox_items_user_id'::regclass;
		UPDATE public.user_events SET "timestamp" = now() + interval '1 year'`)
	args := []string{"V1_DATABASE_LOGIN=liftlog", "DATABASE_LOGINS=run-*@nowhere.iam"}
	said, err := look(t, url, args...)
	require.NoError(t, err, "warnings do not keep migrations from being applied")
	for _, want := range []string{
		"user: the table user_events has no index (expiry)", "the server has no login run-put-event@nowhere.iam", "nothing proves that v1 serves this database",
		"1 users have a password hash that is not v1's form", "the index ix_user_inbox_items_user_id is invalid", "REINDEX INDEX CONCURRENTLY ix_user_inbox_items_user_id",
		"events are newer than the database's clock",
	} {
		assert.Contains(t, said, want)
	}
	_, err = look(t, url, append(args, "--strict")...)
	require.ErrorContains(t, err, "warnings are in the way")
}

func TestAPasswordThatDoesNotFit(t *testing.T) {
	t.Parallel()
	url := v1Database(t)
	users := readSample(t).Users
	accounts := filepath.Join(t.TempDir(), "accounts")
	require.NoError(t, os.WriteFile(accounts, []byte(users["ada"].ID+" "+users["bo"].Password+"\nnonsense\n"), 0o600))
	said, err := look(t, url, "--accounts", accounts)
	require.ErrorContains(t, err, "2 obstacles")
	assert.Contains(t, said, "the password of line 1 does not fit")
	assert.Contains(t, said, "line 2 of the accounts is not an id and a password")
	assert.NotContains(t, said, users["bo"].Password)
	_, err = look(t, url, "--v1-users", "x")
	require.ErrorContains(t, err, "holds something that is no id")
}

// TestV1ProvesItsDatabase asks a stand-in that reads profiles as v1 does: it notes when each was read.
func TestV1ProvesItsDatabase(t *testing.T) {
	t.Parallel()
	url, copied := v1Database(t), v1Database(t)
	v1 := func(url string, known bool) string {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !known {
				w.WriteHeader(http.StatusNotFound)
				return
			}
			id := strings.TrimPrefix(r.URL.Path, "/user/")
			conn, err := pgx.Connect(r.Context(), url)
			if !assert.NoError(t, err) {
				return
			}
			defer func() { _ = conn.Close(r.Context()) }()
			_, err = conn.Exec(r.Context(), `UPDATE users SET last_accessed = now() WHERE id = $1`, id)
			assert.NoError(t, err)
			assert.NoError(t, json.NewEncoder(w).Encode(map[string]string{"id": id}))
		}))
		t.Cleanup(server.Close)
		return server.URL
	}
	said, err := look(t, url, "--v1", v1(url, true))
	require.NoError(t, err)
	assert.Contains(t, said, "it serves this database")
	said, err = look(t, copied, "--v1", v1(url, true))
	require.Error(t, err)
	assert.Contains(t, said, "its reading was not noted in this database")
	said, err = look(t, url, "--v1", v1(url, false))
	require.Error(t, err)
	assert.Contains(t, said, "v1 does not know the newest user of this database")
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) }))
	t.Cleanup(page.Close)
	said, err = look(t, url, "--v1", page.URL)
	require.Error(t, err)
	assert.Contains(t, said, "answers 200 OK with \"text/html; charset=utf-8\" instead of a profile")
}

func TestNoDatabase(t *testing.T) {
	t.Parallel()
	said, err := look(t, "postgres://nobody@127.0.0.1:1/nothing")
	require.EqualError(t, err, "1 obstacles are in the way")
	assert.Contains(t, said, "there is no such database, or it does not answer")
}
