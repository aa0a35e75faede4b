package pgtest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// helperVariable makes the test binary a program that starts a server and waits to be killed.
const helperVariable = "PGTEST_HELPER_DIR"

func TestMain(m *testing.M) {
	if dir, ok := os.LookupEnv(helperVariable); ok {
		server, err := Start(context.Background(), dir)
		if err != nil {
			fmt.Println("failed:", err)
			os.Exit(1)
		}
		fmt.Println(server.URL("postgres"))
		select {}
	}
	os.Exit(Run(m))
}

// start starts a server that a test may stop.
func start(t *testing.T, dir string) *Server {
	t.Helper()
	server, err := Start(t.Context(), dir)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, server.Stop()) })
	return server
}

func query(t *testing.T, url, statement string) (answer string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer func() { assert.NoError(t, conn.Close(context.Background())) }()
	require.NoError(t, conn.QueryRow(t.Context(), statement).Scan(&answer))
	return answer
}

func needServer(t *testing.T) {
	t.Helper()
	EmptyURL(t) // skips where there is none
}

func TestKeptDataSurvivesARestart(t *testing.T) {
	t.Parallel()
	needServer(t)
	dir := filepath.Join(t.TempDir(), "postgres")
	first := start(t, dir)
	require.NoError(t, first.CreateDatabase(t.Context(), "kept"))
	require.NoError(t, first.CreateDatabase(t.Context(), "kept"), "a second time")
	conn, err := pgx.Connect(t.Context(), first.URL("kept"))
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), `CREATE TABLE words AS SELECT 'still here' AS word`)
	require.NoError(t, err)
	require.NoError(t, conn.Close(t.Context()))
	require.NoError(t, first.Stop())
	require.NoError(t, first.Stop(), "a second time")

	second := start(t, dir)
	assert.Equal(t, "still here", query(t, second.URL("kept"), `SELECT word FROM words`))
	assert.Equal(t, "on", query(t, second.URL("kept"), `SHOW fsync`))
}

func TestTwoServersDoNotShareAFolder(t *testing.T) {
	t.Parallel()
	needServer(t)
	dir := t.TempDir()
	start(t, dir)
	_, err := Start(t.Context(), dir)
	require.ErrorContains(t, err, "is in use by another emulator: stop that one, or use --ephemeral")
}

func TestDataOfAnotherVersionIsRefused(t *testing.T) {
	t.Parallel()
	needServer(t)
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "data"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "data", "PG_VERSION"), []byte("9\n"), 0o600))
	_, err := Start(t.Context(), dir)
	require.ErrorContains(t, err, "was made by PostgreSQL 9, and this machine has 1")
	require.ErrorContains(t, err, "remove the folder, or use --ephemeral")
}

func TestABrokenStartShowsTheLog(t *testing.T) {
	t.Parallel()
	needServer(t)
	dir := t.TempDir()
	require.NoError(t, start(t, dir).Stop())
	require.NoError(t, os.WriteFile(filepath.Join(dir, "data", "postgresql.conf"), []byte("no_such_setting = 1\n"), 0o600))
	_, err := Start(t.Context(), dir)
	require.ErrorContains(t, err, "no_such_setting")
}

func TestATemporaryServerLeavesNothing(t *testing.T) {
	t.Parallel()
	needServer(t)
	server := start(t, "")
	assert.Equal(t, "off", query(t, server.URL("postgres"), `SHOW fsync`))
	require.NoError(t, server.Stop())
	assert.NoDirExists(t, server.temporary)
	requireGone(t, server.url.Host)
}

// requireGone waits until nothing listens at the address.
func requireGone(t *testing.T, address string) {
	t.Helper()
	require.Eventually(t, func() bool {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
		if err == nil {
			_ = conn.Close()
		}
		return errors.Is(err, syscall.ECONNREFUSED)
	}, stopTimeout, 10*time.Millisecond)
}

// helper runs the test binary as a program that starts a server.
func helper(t *testing.T, program, dir string, attributes *syscall.SysProcAttr) (*exec.Cmd, string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program)
	cmd.Env = append(os.Environ(), helperVariable+"="+dir, "TMPDIR=/tmp")
	cmd.SysProcAttr = attributes
	cmd.Dir = "/"
	output, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(output).ReadString('\n')
	require.NoError(t, err)
	return cmd, strings.TrimSpace(line)
}

func TestTheServerDiesWithItsParent(t *testing.T) {
	t.Parallel()
	needServer(t)
	dir := t.TempDir()
	program, err := os.Executable()
	require.NoError(t, err)
	cmd, address := helper(t, program, dir, nil)
	parsed, err := url.Parse(address)
	require.NoError(t, err)
	require.NoError(t, cmd.Process.Kill())
	requireGone(t, parsed.Host)
	start(t, dir) // what the killed one left is not in the way
}

func TestNoServerOnTheMachine(t *testing.T) {
	t.Parallel()
	_, err := find(t.TempDir(), filepath.Join(t.TempDir(), "*"), func() (string, error) { return "", errors.New("no network") })
	require.EqualError(t, err, "no PostgreSQL server is on this machine, and none could be downloaded: "+
		"install one (apt-get install postgresql, brew install postgresql) or give the URL of one: no network")
}

func TestADownloadThatIsRefused(t *testing.T) {
	t.Parallel()
	_, err := find("", "", func() (string, error) { return download(t.TempDir(), "http://127.0.0.1:1") })
	require.ErrorContains(t, err, "no PostgreSQL server is on this machine, and none could be downloaded: install one")
	require.ErrorContains(t, err, "unable to connect to http://127.0.0.1:1")
}

func TestTheNewestServerIsTaken(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	for _, version := range []string{"9", "15", "16"} {
		bin := filepath.Join(root, version, "bin")
		require.NoError(t, os.MkdirAll(bin, 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(bin, "postgres"), nil, 0o700))
		if version != "16" { // a client's folder
			require.NoError(t, os.WriteFile(filepath.Join(bin, "initdb"), nil, 0o700))
		}
	}
	found, err := find("", filepath.Join(root, "*", "bin"), nil)
	require.NoError(t, err)
	assert.Equal(t, filepath.Join(root, "15", "bin"), found)
}

func TestOnlyDisposableDatabasesAreUsed(t *testing.T) {
	t.Parallel()
	_, _, err := attach("postgres://someone:secret@localhost/liftlog")
	require.EqualError(t, err, `PGTEST_URL names the database "liftlog": tests use one only if its name says test or disposable`)
	server, prefix, err := attach("postgres://someone@localhost/liftlog_test?sslmode=disable")
	require.NoError(t, err)
	assert.Equal(t, "liftlog_test", prefix)
	assert.Equal(t, "postgres://someone@localhost/liftlog_test_x?sslmode=disable", server.URL("liftlog_test_x"))
}

func TestADurableDatabaseWaitsForItsDisk(t *testing.T) {
	t.Parallel()
	if os.Getenv(environmentURL) != "" {
		t.Skip("a server that runs already has settings of its own")
	}
	needServer(t)
	url := DurableURL(t)
	assert.Equal(t, "on", query(t, url, `SHOW fsync`))
	assert.Equal(t, "on", query(t, url, `SHOW synchronous_commit`))
	assert.Equal(t, "2000", query(t, url, `SHOW commit_delay`), "in microseconds")
	assert.Equal(t, "rate_limit_consumptions", query(t, url, `SELECT to_regclass('rate_limit_consumptions')::text`), "it is migrated")
}

func TestAServerComesBackAtItsAddress(t *testing.T) {
	t.Parallel()
	server, url := Own(t)
	for _, crash := range []bool{false, true} {
		require.NoError(t, server.Down(crash))
		_, err := pgx.Connect(t.Context(), url)
		require.Error(t, err)
		require.NoError(t, server.Up(t.Context()))
		assert.Equal(t, "f", query(t, url, `SELECT pg_is_in_recovery()::text::char`))
	}
}

func TestAStandbyFollowsAndTakesOver(t *testing.T) {
	t.Parallel()
	server, url := Own(t)
	standby := server.Standby(t)
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), `CREATE TABLE words AS SELECT 'followed' AS word`)
	require.NoError(t, err)
	require.NoError(t, conn.Close(t.Context()))
	followed := standby.URL(ownDatabase)
	require.Eventually(t, func() bool {
		return query(t, followed, `SELECT coalesce(to_regclass('words')::text, '')`) == "words"
	}, 30*time.Second, 10*time.Millisecond)
	assert.Equal(t, "t", query(t, followed, `SELECT pg_is_in_recovery()::text::char`))
	require.NoError(t, server.Down(true))
	assert.Equal(t, "true", query(t, followed, `SELECT pg_promote()::text`))
	assert.Equal(t, "followed", query(t, followed, `SELECT word FROM words`))
}

func TestAFullDiskHasRoomAgain(t *testing.T) {
	t.Parallel()
	server, url := Own(t)
	require.NoError(t, server.FillDisk(t.Context(), "v2_feed_clocks"))
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer func() { assert.NoError(t, conn.Close(context.Background())) }()
	write := func() error {
		_, err := conn.Exec(t.Context(), `INSERT INTO users (id, user_lookup, hashed_password, salt) VALUES (gen_random_uuid(), 'x', '', '');
			INSERT INTO v2_feed_clocks SELECT id, now() FROM users`)
		return err
	}
	err = write()
	require.ErrorContains(t, err, "No space left on device")
	require.ErrorContains(t, err, "53100")
	_, err = conn.Exec(t.Context(), `VACUUM FULL v2_feed_clocks`)
	require.NoError(t, err)
	require.NoError(t, write())
}

func TestAProxyFails(t *testing.T) {
	t.Parallel()
	proxy, through := NewProxy(t, EmptyURL(t))
	connect := func() *pgx.Conn {
		conn, err := pgx.Connect(t.Context(), through)
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close(context.Background()) })
		return conn
	}
	first := connect()
	require.NoError(t, first.Ping(t.Context()))
	proxy.Freeze()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, first.Ping(ctx), context.DeadlineExceeded)
	second := connect()
	require.NoError(t, second.Ping(t.Context()))
	proxy.Cut()
	require.Error(t, second.Ping(t.Context()))
	proxy.Lead("")
	_, err := pgx.Connect(t.Context(), through)
	require.Error(t, err)
}
