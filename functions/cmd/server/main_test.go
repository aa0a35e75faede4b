package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/functions"
	"github.com/liftlog/liftlog-api/functions/manifest"
	"github.com/liftlog/liftlog-api/shared/postgres"
	"github.com/liftlog/liftlog-api/shared/postgres/pgtest"
	"github.com/liftlog/liftlog-api/shared/programtest"
	"github.com/liftlog/liftlog-api/shared/web"
)

func TestMain(m *testing.M) { programtest.Run(m, main, pgtest.Run) }

const credentialKey = "CREDENTIAL_KEY=1:dGhpcnR5LXR3byBieXRlcyBvZiBhIGtleSBmb3IgdGVzdHM="

// server is a running process that serves one function.
type server struct {
	*programtest.Program

	base string
}

// launch starts a process with nothing but this environment.
func launch(tb testing.TB, environ ...string) *server {
	tb.Helper()
	p := programtest.Launch(tb, append(environ, credentialKey)...)
	return &server{p, "http://" + p.Address}
}

// start starts a function on the database and waits until it is ready.
func start(tb testing.TB, target, url string) *server {
	tb.Helper()
	s := launch(tb, "FUNCTION_TARGET="+target, "DATABASE_URL="+url)
	require.Eventually(tb, func() bool { return s.status(tb, http.MethodGet, web.ReadyPath, "") == http.StatusOK }, time.Minute, 5*time.Millisecond,
		"%s", s.Log)
	return s
}

// status is that of an answer, and 0 when there is none.
func (s *server) status(tb testing.TB, method, path, body string) int {
	tb.Helper()
	response, err := http.DefaultClient.Do(s.request(tb, method, path, strings.NewReader(body)))
	if err != nil {
		return 0
	}
	defer func() { _ = response.Body.Close() }()
	_, _ = io.Copy(io.Discard, response.Body)
	return response.StatusCode
}

func (s *server) request(tb testing.TB, method, path string, body io.Reader) *http.Request {
	tb.Helper()
	r, err := http.NewRequestWithContext(tb.Context(), method, s.base+path, body)
	require.NoError(tb, err)
	if method == http.MethodPost || method == http.MethodPut {
		r.Header.Set("Content-Type", "application/json")
	}
	return r
}

// newUsers stores users with a picture of that size.
func newUsers(tb testing.TB, db *postgres.DB, n, picture int) (ids []uuid.UUID) {
	tb.Helper()
	for range n {
		ids = append(ids, uuid.New())
	}
	_, err := db.Exec(tb.Context(), `INSERT INTO users (id, user_lookup, hashed_password, salt, encrypted_profile_picture)
		SELECT id, id, '', '', picture FROM unnest($1::uuid[]) id, (SELECT string_agg(sha512(n::text::bytea), '') AS picture FROM generate_series(1, $2 / 64) n) p`,
		ids, picture)
	require.NoError(tb, err)
	return ids
}

func idsBody(ids []uuid.UUID) string {
	list := make([]string, len(ids))
	for i, id := range ids {
		list[i] = strconv.Quote(id.String())
	}
	return `{"ids":[` + strings.Join(list, ",") + `]}`
}

func TestAnUnknownTargetFailsWithTheList(t *testing.T) {
	t.Parallel()
	for _, target := range []string{"", "getuser"} {
		s := launch(t, "FUNCTION_TARGET="+target)
		require.Error(t, s.WaitToEnd(t))
		assert.Contains(t, s.Log.String(), fmt.Sprintf("server: FUNCTION_TARGET is %q: it has to be one of %s", target,
			strings.Join(functions.Manifest().Functions(), ", ")))
	}
}

func TestFaultsOfTheEnvironmentEndIt(t *testing.T) {
	t.Parallel()
	s := launch(t, "FUNCTION_TARGET=PutUser", "ENVIRONMENT=production", "TEST_MODE=1")
	require.Error(t, s.WaitToEnd(t))
	assert.Contains(t, s.Log.String(), "DATABASE_URL: is required")
	assert.Contains(t, s.Log.String(), "TEST_MODE: is not for production")
}

func TestAFunctionServesItsOwnPathsAndMethodOnly(t *testing.T) {
	t.Parallel()
	api := patterns(functions.Manifest())
	for _, route := range functions.Manifest() {
		t.Run(route.Function, func(t *testing.T) {
			t.Parallel()
			const nowhere = "DATABASE_URL=postgres://nobody@127.0.0.1:1/nothing" // so that no answer can come from a row
			s := launch(t, "FUNCTION_TARGET="+route.Function, nowhere)
			s.alive(t)
			programtest.WalkPaths(t, s.base, patterns(manifest.Manifest{route}), append(api, "/ai-chat", "/v2/ai-chat", "/ai-chat/negotiate", "POST /jobs/cleanup"))
		})
	}
}

// patterns are those of all paths of the routes, with their methods.
func patterns(m manifest.Manifest) (all []string) {
	for _, mount := range functions.Mount(m, functions.Deps{}) {
		all = append(all, mount.Method+" "+mount.Path)
	}
	return all
}

// alive waits until the process answers.
func (s *server) alive(tb testing.TB) {
	tb.Helper()
	require.Eventually(tb, func() bool { return s.status(tb, http.MethodGet, web.LivePath, "") == http.StatusOK }, time.Minute, 5*time.Millisecond, "%s", s.Log)
}

func TestAFunctionAsksForItsOwnDatabasesOnly(t *testing.T) {
	t.Parallel()
	s := launch(t, "FUNCTION_TARGET=PlanWorkout", "RATE_LIMIT_DATABASE_URL=postgres://nobody@127.0.0.1:1/nothing")
	s.alive(t)
	s = launch(t, "FUNCTION_TARGET=PlanWorkout")
	require.Error(t, s.WaitToEnd(t))
	assert.Contains(t, s.Log.String(), "RATE_LIMIT_DATABASE_URL: is required where DATABASE_URL is not set")
	s = launch(t, "FUNCTION_TARGET=GetUser", "RATE_LIMIT_DATABASE_URL=postgres://nobody@127.0.0.1:1/nothing")
	require.Error(t, s.WaitToEnd(t))
	assert.Contains(t, s.Log.String(), "DATABASE_URL: is required")
}

func TestTheFrameworkServesTheTarget(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	id := newUsers(t, pgtest.Pool(t, postgres.Options{URL: url, MaxConns: 1}), 1, 64)[0]
	s := &server{Program: programtest.LaunchWith(t, []string{"--framework"}, "FUNCTION_TARGET=GetUser", "DATABASE_URL="+url)}
	s.base = "http://" + s.Address
	require.Eventually(t, func() bool { return s.status(t, http.MethodGet, "/v2/user/"+id.String(), "") == http.StatusOK }, time.Minute, 5*time.Millisecond, "%s", s.Log)
	require.NoError(t, s.Cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, s.WaitToEnd(t), "%s", s.Log)
}

func TestHealthNeedsNoDatabase(t *testing.T) {
	t.Parallel()
	s := launch(t, "FUNCTION_TARGET=Health")
	require.Eventually(t, func() bool { return s.status(t, "GET", "/health", "") == http.StatusOK }, time.Minute, 5*time.Millisecond)
}

func TestWithoutItsDatabaseAFunctionIsUnavailable(t *testing.T) {
	t.Parallel()
	s := launch(t, "FUNCTION_TARGET=PutUser", "DATABASE_URL=postgres://nobody@127.0.0.1:1/nothing")
	body := fmt.Sprintf(`{"id":%q,"password":"x","encryptionIV":"","rsaPublicKey":""}`, uuid.New())
	require.Eventually(t, func() bool { return s.status(t, "PUT", "/v2/user", body) == http.StatusServiceUnavailable }, time.Minute, 5*time.Millisecond)
	assert.Equal(t, http.StatusServiceUnavailable, s.status(t, "GET", web.ReadyPath, ""))
}

func TestAFunctionEndsWhenAnotherDatabaseTakesThePlaceOfItsOwn(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	s := start(t, "GetUser", url)
	require.Equal(t, http.StatusNotFound, s.status(t, "GET", "/v2/user/"+uuid.NewString(), ""))
	_, err := pgtest.Pool(t, postgres.Options{URL: url, MaxConns: 1}).Exec(t.Context(), `UPDATE v2_identity SET id = gen_random_uuid()`)
	require.NoError(t, err)
	assert.Equal(t, http.StatusServiceUnavailable, s.status(t, "GET", "/v2/user/"+uuid.NewString(), ""))
	require.Error(t, s.WaitToEnd(t))
	assert.Contains(t, s.Log.String(), "server: the database is not the one that this process began with: its identity has changed")
}

func TestOnAnotherDatabaseAFunctionEnds(t *testing.T) {
	t.Parallel()
	s := launch(t, "FUNCTION_TARGET=PutUser", "DATABASE_URL="+pgtest.EmptyURL(t))
	require.Error(t, s.WaitToEnd(t))
	assert.Contains(t, s.Log.String(), "server: the database lacks the tables __EFMigrationsHistory, users,")
}

func TestSIGTERMLetsRunningRequestsEnd(t *testing.T) {
	t.Parallel()
	s := start(t, "GetUsers", pgtest.URL(t))
	body, sender := io.Pipe()
	r := s.request(t, "POST", "/v2/users", body)
	r.Header.Set("Expect", "100-continue") // the body goes out when the handler reads it
	answered := make(chan int, 1)
	go func() {
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			answered <- 0
			return
		}
		_ = response.Body.Close()
		answered <- response.StatusCode
	}()
	_, err := io.WriteString(sender, `{"ids":`)
	require.NoError(t, err)
	require.NoError(t, s.Cmd.Process.Signal(syscall.SIGTERM))
	require.Eventually(t, func() bool { return s.status(t, "GET", web.LivePath, "") == 0 }, time.Minute, 5*time.Millisecond, "it still takes requests")
	_, err = fmt.Fprintf(sender, `[%q]}`, uuid.New())
	require.NoError(t, err)
	require.NoError(t, sender.Close())
	assert.Equal(t, http.StatusOK, <-answered)
	require.NoError(t, s.WaitToEnd(t), "%s", s.Log)
}

func TestSIGTERMEndsItInTimeWhateverRuns(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	db := pgtest.Pool(t, postgres.Options{URL: url, MaxConns: 2, Application: "test"})
	body := newFeed(t, db, 500)
	t.Run("a long answer", func(t *testing.T) {
		t.Parallel()
		s := start(t, "GetEvents", url)
		response, err := http.DefaultClient.Do(s.request(t, "POST", "/v2/events", strings.NewReader(body)))
		require.NoError(t, err)
		defer func() { _ = response.Body.Close() }()
		require.NoError(t, s.Cmd.Process.Signal(syscall.SIGTERM))
		require.NoError(t, s.WaitToEnd(t), "%s", s.Log) // though nobody reads on
		_, err = io.Copy(io.Discard, response.Body)
		require.Error(t, err, "half an answer must not pass for a whole one")
	})
	t.Run("a statement that waits for a lock", func(t *testing.T) {
		t.Parallel()
		s := start(t, "GetUser", url)
		tx, err := db.Begin(t.Context())
		require.NoError(t, err)
		defer func() { _ = tx.Rollback(t.Context()) }()
		_, err = tx.Exec(t.Context(), `LOCK TABLE users`)
		require.NoError(t, err)
		answered := make(chan *http.Response, 1)
		get := s.request(t, "GET", "/v2/user/somebody", nil)
		go func() {
			response, err := http.DefaultClient.Do(get)
			if assert.NoError(t, err) {
				_ = response.Body.Close()
			}
			answered <- response
		}()
		require.Eventually(t, func() bool {
			var waiting bool
			err := db.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM pg_stat_activity
				WHERE application_name = 'GetUser' AND datname = current_database() AND wait_event_type = 'Lock')`).Scan(&waiting)
			return err == nil && waiting
		}, time.Minute, 5*time.Millisecond)
		require.NoError(t, s.Cmd.Process.Signal(syscall.SIGTERM))
		require.NoError(t, s.WaitToEnd(t), "%s", s.Log)
		response := <-answered
		require.NotNil(t, response)
		assert.Equal(t, http.StatusServiceUnavailable, response.StatusCode)
		assert.NotEmpty(t, response.Header.Get("Retry-After"))
	})
}

// trickle sends the text piece by piece, until there is an answer or the text's end, and returns the answer's status, or 0.
func (s *server) trickle(t *testing.T, text string, piece int, every time.Duration) (status int, took time.Duration) {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", s.Address)
	if !assert.NoError(t, err) {
		return 0, 0
	}
	defer func() { _ = conn.Close() }()
	begun := time.Now()
	answered := make(chan int, 1)
	go func() {
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			answered <- 0
			return
		}
		_ = response.Body.Close()
		answered <- response.StatusCode
	}()
	for len(text) > 0 {
		n := min(piece, len(text))
		_, _ = io.WriteString(conn, text[:n])
		text = text[n:]
		select {
		case status = <-answered:
			return status, time.Since(begun)
		case <-time.After(every):
		}
	}
	return <-answered, time.Since(begun)
}

func TestSlowSenders(t *testing.T) {
	t.Parallel()
	s := start(t, "PutUser", pgtest.URL(t))
	body := fmt.Sprintf(`{"id":%q,"password":"x","encryptionIV":"","rsaPublicKey":"","filler":"%s"}`, uuid.New(), strings.Repeat("x", 200<<10))
	request := fmt.Sprintf("PUT /v2/user HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	var group sync.WaitGroup
	group.Go(func() {
		status, took := s.trickle(t, request, 1000, 200*time.Millisecond) // 5 KB a second
		assert.Equal(t, http.StatusNotFound, status, "an honest one, though it takes longer than a handler may")
		assert.Greater(t, took, 30*time.Second)
	})
	group.Go(func() {
		status, _ := s.trickle(t, request, 100, 200*time.Millisecond) // 500 bytes a second
		assert.Equal(t, http.StatusRequestTimeout, status, "one who holds a place for nothing")
	})
	group.Go(func() {
		status, _ := s.trickle(t, request[:1000], 1000, time.Millisecond)
		assert.Equal(t, http.StatusRequestTimeout, status, "one who has stopped")
	})
	group.Wait()
	assert.NotContains(t, s.Log.String(), "database")
	assert.NotContains(t, s.Log.String(), `"severity":"WARNING"`)
	assert.NotContains(t, s.Log.String(), `"severity":"ERROR"`)
}

func TestAReaderWhoLeavesIsNoFault(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	body := newFeed(t, pgtest.Pool(t, postgres.Options{URL: url, MaxConns: 1}), 500)
	s := start(t, "GetEvents", url)
	for _, linger := range []int{0, -1} { // a reset, and an end
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", s.Address)
		require.NoError(t, err)
		_, err = fmt.Fprintf(conn, "POST /v2/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		require.NoError(t, err)
		_, err = io.ReadFull(conn, make([]byte, 100))
		require.NoError(t, err)
		tcp, ok := conn.(*net.TCPConn)
		require.True(t, ok)
		require.NoError(t, tcp.SetLinger(linger))
		require.NoError(t, conn.Close())
		require.Eventually(t, func() bool { return strings.Contains(s.Log.String(), "POST /v2/events") }, time.Minute, 5*time.Millisecond)
		assert.Contains(t, s.Log.Take(), `"severity":"INFO","message":"POST /v2/events"`)
	}
}

// lock keeps everybody from the table until unlock is called.
func lock(t *testing.T, db *postgres.DB, table string) (unlock func()) {
	t.Helper()
	tx, err := db.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), `LOCK TABLE `+table)
	require.NoError(t, err)
	return func() { require.NoError(t, tx.Rollback(t.Context())) }
}

func TestAFailureHalfWayBreaksTheConnection(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	db := pgtest.Pool(t, postgres.Options{URL: url, MaxConns: 1, Application: "test"})
	ids := newUsers(t, db, 30, 2000<<10)
	s := start(t, "GetUsers", url)
	response, err := http.DefaultClient.Do(s.request(t, "POST", "/v2/users", strings.NewReader(idsBody(ids))))
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	require.Equal(t, http.StatusOK, response.StatusCode)
	reader := bufio.NewReader(response.Body)
	_, err = reader.Peek(100)
	require.NoError(t, err)
	unlock := lock(t, db, "users")
	_, err = io.Copy(io.Discard, reader)
	require.Error(t, err, "half an answer must not pass for a whole one")
	unlock()
	assert.Equal(t, http.StatusOK, s.status(t, "POST", "/v2/users", idsBody(ids[:1])), "it works on")
}

// eventSize is that of each event of a feed, in bytes.
const eventSize = 64 << 10

// newFeed stores events of a user, and returns the request of a follower.
func newFeed(tb testing.TB, db *postgres.DB, events int) (body string) {
	tb.Helper()
	owner := newUsers(tb, db, 1, 64)[0]
	_, err := db.Exec(tb.Context(), fmt.Sprintf(`
		INSERT INTO user_follow_secrets SELECT gen_random_uuid(), id, 's' FROM users;
		INSERT INTO user_events (id, user_id, "timestamp", last_accessed, expiry, encrypted_event)
			SELECT gen_random_uuid(), u.id, now(), now(), 'infinity', (SELECT string_agg(sha512((n * m)::text::bytea), '') FROM generate_series(1, %d) m)
			FROM users u, generate_series(1, %d) n`, eventSize/64, events))
	require.NoError(tb, err)
	return fmt.Sprintf(`{"users":[{"userId":%q,"followSecret":"s","since":"2000-01-01"}]}`, owner)
}

func TestALongFeedIsAnsweredInLittleMemoryAndSlowReadersHoldNoConnection(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	db := pgtest.Pool(t, postgres.Options{URL: url, MaxConns: 1})
	const events = 240 // more than the sockets' buffers hold
	body := newFeed(t, db, events)
	s := start(t, "GetEvents", url)
	idle := s.resident(t, "VmRSS")
	// All readers but one that an instance takes, who read slowly: whoever takes nothing would be cut off.
	route, _ := functions.Manifest().Find("GetEvents")
	hurry := make(chan struct{})
	goOn := sync.OnceFunc(func() { close(hurry) })
	defer goOn()
	var group sync.WaitGroup
	for range route.Concurrency - 1 {
		request := s.request(t, "POST", "/v2/events", strings.NewReader(body))
		request.Header.Set("Accept-Encoding", "identity")
		response, err := http.DefaultClient.Do(request)
		require.NoError(t, err)
		defer func() { _ = response.Body.Close() }()
		require.Equal(t, http.StatusOK, response.StatusCode)
		group.Go(func() {
			size, err := int64(0), error(nil)
			for slow := true; slow && err == nil; {
				select {
				case <-hurry:
					slow = false
				case <-time.After(time.Second):
					var n int64
					n, err = io.CopyN(io.Discard, response.Body, eventSize)
					size += n
				}
			}
			rest, readErr := io.Copy(io.Discard, response.Body)
			assert.NoError(t, errors.Join(err, readErr), "%s", s.Log)
			assert.Greater(t, size+rest, int64(events*eventSize))
		})
	}
	require.Eventually(t, func() bool { return busy(t, db, "GetEvents") == 0 }, 30*time.Second, 10*time.Millisecond, "they hold connections")
	assert.Equal(t, http.StatusOK, s.status(t, "POST", "/v2/events", body), "one more is served")
	goOn()
	group.Wait()
	grown := s.resident(t, "VmHWM") - idle
	t.Logf("grew by %d MiB", grown>>20)
	if !raced() {
		assert.Less(t, grown, int64(128<<20))
	}
}

// busy counts the connections of a function's that are in a statement or a transaction.
func busy(t *testing.T, db *postgres.DB, function string) (n int) {
	t.Helper()
	require.NoError(t, db.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity
		WHERE application_name = $1 AND datname = current_database() AND state <> 'idle'`, function).Scan(&n))
	return n
}

func TestAReaderWhoTakesNothingIsCutOff(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	db := pgtest.Pool(t, postgres.Options{URL: url, MaxConns: 1})
	body := newFeed(t, db, 500)
	s := start(t, "GetEvents", url)
	response, err := http.DefaultClient.Do(s.request(t, "POST", "/v2/events", strings.NewReader(body)))
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	require.Eventually(t, func() bool { return strings.Contains(s.Log.String(), "answer broken off") }, 3*time.Minute, 50*time.Millisecond)
	_, err = io.Copy(io.Discard, response.Body)
	require.Error(t, err)
}

func TestAFeedThatFailsHalfWayBreaksTheConnection(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	db := pgtest.Pool(t, postgres.Options{URL: url, MaxConns: 1})
	body := newFeed(t, db, 500)
	s := start(t, "GetEvents", url)
	for _, encoding := range []string{"identity", "gzip"} {
		r := s.request(t, "POST", "/v2/events", strings.NewReader(body))
		r.Header.Set("Accept-Encoding", encoding)
		response, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		_, err = io.ReadFull(response.Body, make([]byte, 1000))
		require.NoError(t, err)
		unlock := lock(t, db, "user_events")
		_, err = io.Copy(io.Discard, response.Body)
		require.Error(t, err, "half an answer must not pass for a whole one")
		require.NoError(t, response.Body.Close())
		unlock()
	}
}

// raced reports whether the binary was built with the race detector, which costs memory.
func raced() bool {
	info, _ := debug.ReadBuildInfo()
	return slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// resident reads a number of the process's memory, in bytes, from the kernel.
func (s *server) resident(tb testing.TB, name string) int64 {
	tb.Helper()
	file, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.Cmd.Process.Pid))
	if errors.Is(err, os.ErrNotExist) {
		tb.Skip("only Linux tells the memory of a process")
	}
	require.NoError(tb, err)
	_, rest, _ := strings.Cut(string(file), name+":")
	var kilobytes int64
	_, err = fmt.Sscan(rest, &kilobytes)
	require.NoError(tb, err)
	return kilobytes << 10
}

func TestManyPicturesAreAnsweredInLittleMemory(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	users := 40
	if raced() {
		users = 8 // compressing takes long then, and memory tells nothing
	}
	ids := newUsers(t, pgtest.Pool(t, postgres.Options{URL: url, MaxConns: 1}), users, 2000<<10)
	s := start(t, "GetUsers", url)
	idle := s.resident(t, "VmRSS")
	var group sync.WaitGroup
	for range 3 {
		group.Go(func() {
			response, err := http.DefaultClient.Do(s.request(t, "POST", "/v2/users", strings.NewReader(idsBody(ids))))
			if !assert.NoError(t, err) {
				return
			}
			defer func() { _ = response.Body.Close() }()
			size, err := io.Copy(io.Discard, response.Body)
			assert.NoError(t, err)
			assert.Greater(t, size, int64(users*2000<<10))
		})
	}
	group.Wait()
	grown := s.resident(t, "VmHWM") - idle
	t.Logf("grew by %d MiB", grown>>20)
	if !raced() {
		assert.Less(t, grown, int64(64<<20))
	}
}

func TestTheLargestBodiesFitTheMemoryOfPutUser(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	route, _ := functions.Manifest().Find("PutUser")
	s := start(t, "PutUser", url)
	filler := strings.Repeat("x", int(route.MaxBody)-200)
	body := fmt.Sprintf(`{"id":%q,"password":"wrong","encryptionIV":"","rsaPublicKey":"","filler":"%s"}`, uuid.New(), filler)
	var group sync.WaitGroup
	for range route.Concurrency {
		group.Go(func() {
			for range 5 {
				assert.Equal(t, http.StatusNotFound, s.status(t, "PUT", "/v2/user", body))
			}
		})
	}
	group.Wait()
	peak := s.resident(t, "VmHWM")
	t.Logf("peak of %d MiB", peak>>20)
	if !raced() {
		assert.Less(t, peak, route.MemoryBytes())
	}
}
