package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/scripts/emulatortest"
	"github.com/liftlog/liftlog-api/shared/postgres/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }

// call sends a request to the emulator.
func call(t *testing.T, base, method, path string, body any) (status int, answer map[string]string) {
	t.Helper()
	sent, err := json.Marshal(body)
	require.NoError(t, err)
	r, err := http.NewRequestWithContext(t.Context(), method, base+path, bytes.NewReader(sent))
	require.NoError(t, err)
	r.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, nil
	}
	defer func() { _ = response.Body.Close() }()
	_ = json.NewDecoder(response.Body).Decode(&answer) // where there is one
	return response.StatusCode, answer
}

// swap exchanges two databases on one server, as a restoration in place does.
func swap(t *testing.T, a, b string) {
	t.Helper()
	parsed, err := pgx.ParseConfig(a)
	require.NoError(t, err)
	other, err := pgx.ParseConfig(b)
	require.NoError(t, err)
	admin := parsed.Copy()
	admin.Database = "postgres"
	conn, err := pgx.ConnectConfig(t.Context(), admin)
	require.NoError(t, err)
	defer func() { _ = conn.Close(t.Context()) }()
	for _, names := range [][2]string{{parsed.Database, "swapped"}, {other.Database, parsed.Database}, {"swapped", other.Database}} {
		// Whoever is still connected comes back at once, so that the renaming may need another attempt.
		require.Eventually(t, func() bool {
			_, err := conn.Exec(t.Context(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1`, names[0])
			require.NoError(t, err)
			_, err = conn.Exec(t.Context(), `ALTER DATABASE `+pgx.Identifier{names[0]}.Sanitize()+` RENAME TO `+pgx.Identifier{names[1]}.Sanitize())
			return err == nil
		}, time.Minute, 10*time.Millisecond)
	}
}

func TestRestore(t *testing.T) {
	t.Parallel()
	from, to := pgtest.EmptyURL(t), pgtest.EmptyURL(t)
	emulator := emulatortest.Start(t, from)
	status, account := call(t, emulator.Base, http.MethodPost, "/v2/user/create", struct{}{})
	require.Equal(t, http.StatusOK, status)
	profile := map[string]any{"id": account["id"], "password": account["password"], "encryptedName": "AAAA", "encryptionIV": "AAAA", "rsaPublicKey": "AAAA"}
	status, _ = call(t, emulator.Base, http.MethodPut, "/v2/user", profile)
	require.Equal(t, http.StatusOK, status)
	status, _ = call(t, emulator.Base, http.MethodPut, "/v2/event", map[string]any{
		"userId": account["id"], "password": account["password"], "eventId": account["id"], "encryptedEventPayload": "AAAA", "encryptedEventIV": "AAAA",
		"expiry": time.Now().Add(time.Hour),
	})
	require.Equal(t, http.StatusOK, status)

	environ := func(values map[string]string) func(string) string {
		return func(name string) string { return values[name] }
	}
	here := environ(map[string]string{"FROM_DATABASE_URL": from, "DATABASE_URL": to})
	var output bytes.Buffer
	require.NoError(t, run(t.Context(), []string{"--dry-run"}, here, &output))
	require.NoError(t, run(t.Context(), nil, here, &output), output.String())
	assert.Regexp(t, `\n +1 rows in users\n`, output.String())
	assert.Regexp(t, `\n +1 rows in user_events\n`, output.String())
	assert.NotContains(t, output.String(), "jobs/migrate")
	require.ErrorContains(t, run(t.Context(), nil, here, &output), "the target is not empty")

	// What takes the original's place is another database to who began with that, and is all that it was to who begins now.
	swap(t, from, to)
	require.Eventually(t, func() bool {
		status, _ := call(t, emulator.Base, http.MethodPut, "/v2/user", profile)
		assert.NotContains(t, []int{http.StatusOK, http.StatusNotFound, http.StatusUnauthorized}, status)
		select {
		case <-emulator.Ended:
			return true
		default:
			return false
		}
	}, time.Minute, 20*time.Millisecond, "the emulator works on as if nothing had happened")
	assert.Contains(t, emulator.Log.String(), "identity has changed")
	again := emulatortest.Start(t, from)
	status, _ = call(t, again.Base, http.MethodPut, "/v2/user", profile)
	assert.Equal(t, http.StatusOK, status, "with the old password")
}

func TestAFileIsRestored(t *testing.T) {
	t.Parallel()
	from, to := pgtest.URL(t), pgtest.EmptyURL(t)
	programs, err := pgtest.Binaries()
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "dump")
	require.NoError(t, tool(t.Context(), filepath.Join(programs, "pg_dump"), from, "--format=custom", "--file="+file))
	environ := func(name string) string { return map[string]string{"DATABASE_URL": to}[name] }
	half, err := os.ReadFile(file)
	require.NoError(t, err)
	broken := filepath.Join(t.TempDir(), "half")
	require.NoError(t, os.WriteFile(broken, half[:len(half)/2], 0o600))
	require.ErrorContains(t, run(t.Context(), []string{"--file", broken}, environ, &bytes.Buffer{}), "pg_restore")
	require.NoError(t, run(t.Context(), []string{"--file", file}, environ, &bytes.Buffer{}), "half a dump has left something")
}

func TestWhatCannotBeRestoredIsSaid(t *testing.T) {
	t.Parallel()
	empty, nowhere := pgtest.EmptyURL(t), "postgres://u:secret@127.0.0.1:1/d"
	for want, c := range map[string]struct {
		args    []string
		environ map[string]string
	}{
		"DATABASE_URL does not say":          {nil, map[string]string{"FROM_DATABASE_URL": empty}},
		"either its FROM_ variable":          {nil, map[string]string{"DATABASE_URL": empty}},
		"into itself":                        {nil, map[string]string{"DATABASE_URL": empty, "FROM_DATABASE_URL": empty}},
		"cannot be connected to":             {nil, map[string]string{"DATABASE_URL": empty, "FROM_DATABASE_URL": nowhere}},
		"no such file":                       {[]string{"--file", "nowhere"}, map[string]string{"DATABASE_URL": empty}},
		"URLs hold passwords":                {[]string{empty}, nil},
		"rate limits' database: either":      {nil, map[string]string{"DATABASE_URL": empty, "FROM_DATABASE_URL": nowhere, "RATE_LIMIT_DATABASE_URL": empty}},
		"it has no identity to replace: has": {nil, map[string]string{"DATABASE_URL": empty, "FROM_DATABASE_URL": pgtest.EmptyURL(t)}},
	} {
		err := run(t.Context(), c.args, func(name string) string { return c.environ[name] }, &bytes.Buffer{})
		require.ErrorContains(t, err, want)
		assert.NotContains(t, err.Error(), "secret")
	}
}
