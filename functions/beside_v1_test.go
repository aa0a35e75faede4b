package functions_test

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/liftlog/liftlog-api/functions"
	"github.com/liftlog/liftlog-api/functions/feed"
	"github.com/liftlog/liftlog-api/functions/functionstest"
	"github.com/liftlog/liftlog-api/functions/inbox"
	"github.com/liftlog/liftlog-api/functions/manifest"
	"github.com/liftlog/liftlog-api/shared/cleanup"
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

// ownWrites are requests for everything that changes what is stored of a user, except for deleting the user: its cascade locks
// rows in no fixed order, and a victim of its deadlocks is run again.
var ownWrites = map[string]func(a functionstest.Account, event uuid.UUID) string{
	"CreateUser": func(functionstest.Account, uuid.UUID) string { return "{}" },
	"PutUser": func(a functionstest.Account, _ uuid.UUID) string {
		return a.Login("id") + `,"encryptionIV":"","rsaPublicKey":""}`
	},
	"PutEvent": func(a functionstest.Account, event uuid.UUID) string {
		return a.Login("userId") + fmt.Sprintf(
			`,"eventId":%q,"encryptedEventPayload":%q,"encryptedEventIV":"QQ==","expiry":"2099-01-01"}`, event, ownPayload)
	},
	"PutFollowSecret": func(a functionstest.Account, _ uuid.UUID) string {
		return a.Login("userId") + fmt.Sprintf(`,"followSecret":"s%d"}`, rand.IntN(3)) //nolint:gosec // a name, and no secret
	},
	"DeleteFollowSecret": func(a functionstest.Account, _ uuid.UUID) string {
		return a.Login("userId") + fmt.Sprintf(`,"followSecret":"s%d"}`, rand.IntN(3)) //nolint:gosec // a name, and no secret
	},
	"PutInboxMessage": func(a functionstest.Account, _ uuid.UUID) string {
		return fmt.Sprintf(`{"toUserId":%q,"encryptedMessage":["QQ=="]}`, a.ID)
	},
	"GetInboxMessages": func(a functionstest.Account, _ uuid.UUID) string { return a.Login("userId") + "}" },
	"CreateSharedItem": func(a functionstest.Account, _ uuid.UUID) string {
		return a.Login("userId") + `,"encryptedPayload":{"encryptedPayload":"QQ==","iv":{"value":"QUJDREVGR0hJSktMTU5PUA=="}},"expiry":"2099-01-01"}`
	},
}

// ownPayload is that of an event of ours.
const ownPayload = "b3Vycw=="

// bothRounds is how many times v1 and ours write together.
const bothRounds = 10_000

// v1Tx runs what v1 does in one transaction. It returns errV1Counted when a row is gone that v1 counts on, for which v1 answers
// 500.
func v1Tx(ctx context.Context, conn *pgx.Conn, fn func(pgx.Tx) error) error {
	return pgx.BeginFunc(ctx, conn, fn)
}

var errV1Counted = errors.New("a row that v1 counted on is gone")

// v1Counts runs a statement of v1's that has to hit one row.
func v1Counts(ctx context.Context, tx pgx.Tx, sql string, args ...any) error {
	done, err := tx.Exec(ctx, sql, args...)
	if err == nil && done.RowsAffected() != 1 {
		return errV1Counted
	}
	return err
}

// touchUser is what v1 ends with, its strongest lock of a user's row.
func touchUser(ctx context.Context, tx pgx.Tx, user uuid.UUID) error {
	return v1Counts(ctx, tx, `UPDATE users SET last_accessed = now() WHERE id = $1`, user)
}

// deleteEach is how v1 removes rows: it reads them, deletes each by its key, and counts on one for each.
func deleteEach[K any](ctx context.Context, tx pgx.Tx, read, remove string, args ...any) (keys []K, err error) {
	rows, _ := tx.Query(ctx, read, args...) // a failed Query is reported by the next line
	if keys, err = pgx.CollectRows(rows, pgx.RowTo[K]); err != nil {
		return nil, err
	}
	for _, key := range keys {
		if err := v1Counts(ctx, tx, remove, key); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

// written is one event, from before it was sent until it was known to be stored.
type written struct{ begun, ended time.Time }

// both is one user whose rows v1 and v2 write at the same time, and what has to be true of them.
type both struct {
	functionstest.Account
	shared  []uuid.UUID // events that either side stores
	expired []uuid.UUID // events of ours that are over, which either side's clean-up removes

	mu       sync.Mutex
	events   map[uuid.UUID]written // each stored once
	messages map[uuid.UUID]int     // how often each was handed over
}

func (b *both) store(event uuid.UUID, begun time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.events[event] = written{begun, time.Now()}
}

func (b *both) put(message uuid.UUID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.messages[message] += 0
}

func (b *both) take(messages ...uuid.UUID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, message := range messages {
		b.messages[message]++
	}
}

// v1Writes makes the n-th of the changes that v1 makes to a user.
func (b *both) v1Writes(t *testing.T, conn *pgx.Conn, worker, n int) error {
	t.Helper()
	ctx := t.Context()
	secret := fmt.Sprintf("s%d", n%3)
	switch n % 8 {
	default:
		event := b.shared[n%len(b.shared)]
		if n%2 == 0 {
			event = uuid.New()
		}
		begun := time.Now()
		for _, statement := range v1PutEvent(t, b.ID, event) {
			if _, err := conn.Exec(ctx, statement, pgx.QueryExecModeSimpleProtocol); err != nil {
				return fmt.Errorf("store an event: %s: %w", statement, err)
			}
		}
		if n%2 == 0 {
			b.store(event, begun)
		}
		return nil
	case 3:
		return v1Tx(ctx, conn, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, `INSERT INTO user_follow_secrets (id, user_id, value) VALUES ($1, $2, $3)`, uuid.New(), b.ID, secret); err != nil {
				return err
			}
			return touchUser(ctx, tx, b.ID)
		})
	case 4:
		return v1Tx(ctx, conn, func(tx pgx.Tx) error {
			_, err := deleteEach[uuid.UUID](ctx, tx, `SELECT id FROM user_follow_secrets WHERE user_id = $1 AND value = $2 ORDER BY id LIMIT 1`,
				`DELETE FROM user_follow_secrets WHERE id = $1`, b.ID, secret)
			return err
		})
	case 5:
		message := uuid.New()
		b.put(message)
		_, err := conn.Exec(ctx, `INSERT INTO user_inbox_items (id, user_id, encrypted_message) VALUES ($1, $2, ARRAY[$3::bytea])`,
			uuid.New(), b.ID, message[:])
		return err
	case 6:
		if worker > 0 {
			return nil // two takers of v1's own get in each other's way
		}
		var taken []uuid.UUID
		err := v1Tx(ctx, conn, func(tx pgx.Tx) (err error) {
			rows, _ := tx.Query(ctx, `SELECT encode(encrypted_message[1], 'hex')::uuid FROM user_inbox_items WHERE user_id = $1 ORDER BY id`, b.ID)
			if taken, err = pgx.CollectRows(rows, pgx.RowTo[uuid.UUID]); err != nil {
				return err
			}
			for _, message := range taken {
				if err := v1Counts(ctx, tx, `DELETE FROM user_inbox_items WHERE user_id = $1 AND encrypted_message[1] = $2`, b.ID, message[:]); err != nil {
					return err
				}
			}
			return touchUser(ctx, tx, b.ID)
		})
		if err == nil {
			b.take(taken...)
		}
		return err
	case 7:
		return v1Tx(ctx, conn, func(tx pgx.Tx) error {
			return v1Counts(ctx, tx, `UPDATE users SET encrypted_name = $2, last_accessed = '-infinity' WHERE id = $1`, b.ID, []byte{byte(n)})
		})
	}
}

// v1Cleans removes expired events as v1 does every hour: what is gone by then, because something came between, ends its process.
func v1Cleans(ctx context.Context, conn *pgx.Conn, between func() error) error {
	type key struct{ UserID, ID uuid.UUID }
	return v1Tx(ctx, conn, func(tx pgx.Tx) error {
		rows, _ := tx.Query(ctx, `SELECT user_id, id FROM user_events WHERE expiry < now() ORDER BY user_id, id`)
		keys, err := pgx.CollectRows(rows, pgx.RowToStructByPos[key])
		if err != nil {
			return err
		}
		if err := between(); err != nil {
			return err
		}
		for _, k := range keys {
			if err := v1Counts(ctx, tx, `DELETE FROM user_events WHERE user_id = $1 AND id = $2`, k.UserID, k.ID); err != nil {
				return err
			}
		}
		return nil
	})
}

// oursWrite makes the n-th of the changes that the function makes to a user.
func (b *both) oursWrite(t *testing.T, handler http.Handler, route manifest.Route, n int) error {
	t.Helper()
	event, message, begun := b.shared[n%len(b.shared)], uuid.New(), time.Now()
	var body string
	switch {
	case route.Function == "PutEvent" && n%4 == 1:
		body = b.Login("userId") + fmt.Sprintf(`,"eventId":%q,"encryptedEventPayload":"QQ==","encryptedEventIV":"QQ==","expiry":"2001-01-01"}`, b.expired[n%len(b.expired)])
	case route.Function == "PutInboxMessage":
		b.put(message)
		body = fmt.Sprintf(`{"toUserId":%q,"encryptedMessage":[%q]}`, b.ID, base64.StdEncoding.EncodeToString(message[:]))
	case route.Function == "PutEvent" && n%2 == 0:
		event = uuid.New()
		fallthrough
	default:
		body = ownWrites[route.Function](b.Account, event)
	}
	w := functionstest.Call(t, handler, route.Method, route.Path, body)
	if w.Code != http.StatusOK {
		return fmt.Errorf("%s: %d: %s", route.Function, w.Code, w.Body)
	}
	switch {
	case route.Function == "PutEvent" && n%2 == 0:
		b.store(event, begun)
	case route.Function == "GetInboxMessages":
		return b.taken(w)
	}
	return nil
}

// taken notes the messages of an answer.
func (b *both) taken(w *httptest.ResponseRecorder) error {
	var answer inbox.GetResponse
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
		return err
	}
	for _, m := range answer.InboxMessages {
		message, err := uuid.FromBytes(m.EncryptedMessage[0])
		if err != nil {
			return err
		}
		b.take(message)
	}
	return nil
}

// look is a reader's look at the feed: when it began, and the newest time that was seen by its end.
type look struct{ begun, since time.Time }

// reader is what somebody has seen who follows the user.
type reader struct {
	seen  map[uuid.UUID]bool
	looks []look
}

// read goes on from the newest event that it has seen, until it is told that the next look is the last.
func (b *both) read(t *testing.T, handler http.Handler, isLast func() bool) (r reader, err error) {
	t.Helper()
	r.seen = map[uuid.UUID]bool{}
	since := postgres.Never.Add(time.Hour)
	for last := false; !last; {
		last = isLast()
		begun := time.Now()
		w := functionstest.Call(t, handler, http.MethodPost, "/v2/events",
			fmt.Sprintf(`{"users":[{"userId":%q,"followSecret":"kept","since":%q}]}`, b.ID, since.Format(time.RFC3339Nano)))
		var answer feed.GetEventsResponse
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != http.StatusOK {
			return r, fmt.Errorf("read: %d: %w", w.Code, err)
		}
		for _, e := range answer.Events {
			r.seen[e.EventID] = true
			if e.Timestamp.After(since) {
				since = e.Timestamp
			}
		}
		r.looks = append(r.looks, look{begun, since})
	}
	return r, nil
}

// TestOursBesideV1 lets v1 and v2 write the same rows at once, from several connections each. Neither is ever ended as a
// deadlock's victim, v1's clean-up misses no row, each message is handed over once, and times are in the order of storing, so
// that a reader who goes on from the newest event passes over none.
func TestOursBesideV1(t *testing.T) {
	t.Parallel()
	url := pgtest.DurableURL(t)
	deps := functionstest.NewDeps(t, postgres.Options{URL: url, MaxConns: 12})
	deps.Feed = config.Feed{MaxEvents: 100_000, MaxSecrets: 1_000_000}
	deps.Share, deps.Inbox = config.Share{MaxItems: 100_000}, config.Inbox{MaxWaiting: 100_000, MaxBytes: 1 << 30}
	handler := functionstest.Handler(deps)
	const users, ofV1 = 2, 3
	all := make([]*both, users)
	for i := range all {
		all[i] = &both{
			Account: functionstest.NewAccount(t, handler), shared: []uuid.UUID{uuid.New(), uuid.New()}, expired: []uuid.UUID{uuid.New(), uuid.New(), uuid.New()},
			events: map[uuid.UUID]written{}, messages: map[uuid.UUID]int{},
		}
		w := functionstest.Call(t, handler, http.MethodPut, "/v2/follow-secret", all[i].Login("userId")+`,"followSecret":"kept"}`)
		require.Equal(t, http.StatusOK, w.Code)
	}

	var writing, reading errgroup.Group
	var rounds, ofOurs, cleaned atomic.Int32
	var written atomic.Bool
	goOn := func() bool { return rounds.Add(1) <= bothRounds && !t.Failed() }
	connect := func() *pgx.Conn {
		conn, err := pgx.Connect(t.Context(), url)
		require.NoError(t, err)
		return conn
	}
	for _, b := range all {
		for worker := range ofV1 {
			conn := connect()
			writing.Go(func() error {
				defer func() { _ = conn.Close(t.Context()) }()
				for n := worker; goOn(); n++ {
					if err := b.v1Writes(t, conn, worker, n); err != nil && !errors.Is(err, errV1Counted) {
						rounds.Store(bothRounds)
						return fmt.Errorf("v1: %w", err)
					}
				}
				return nil
			})
		}
	}
	for _, route := range functions.Manifest() {
		if !route.Writes || !route.Needs(manifest.DatabaseUser) || route.Function == "DeleteUser" {
			continue
		}
		_, ok := ownWrites[route.Function]
		require.True(t, ok, "%s has no request", route.Function)
		for _, b := range all {
			writing.Go(func() error {
				for n := 0; goOn() && (route.Function != "CreateUser" || n < 2); n++ {
					ofOurs.Add(1)
					if err := b.oursWrite(t, handler, route, n); err != nil {
						rounds.Store(bothRounds)
						return err
					}
				}
				return nil
			})
		}
	}
	cleaner := connect()
	reading.Go(func() error {
		defer func() { _ = cleaner.Close(t.Context()) }()
		databases := postgres.Databases{User: deps.DB, RateLimit: deps.DB}
		for !written.Load() {
			err := v1Cleans(t.Context(), cleaner, func() error {
				options := cleanup.Options{Now: time.Now(), EventGrace: 24 * time.Hour}
				return cleanup.Run(t.Context(), databases, options, slog.New(slog.DiscardHandler))
			})
			if err != nil {
				return fmt.Errorf("v1's clean-up: %w", err)
			}
			cleaned.Add(1)
		}
		return nil
	})
	readers := make([]reader, users)
	for i, b := range all {
		reading.Go(func() (err error) {
			readers[i], err = b.read(t, handler, written.Load)
			return err
		})
	}
	assert.NoError(t, writing.Wait())
	written.Store(true)
	assert.NoError(t, reading.Wait())
	assert.NotZero(t, cleaned.Load())
	t.Logf("%d rounds, of which %d ours; %d clean-ups", rounds.Load(), ofOurs.Load(), cleaned.Load())
	conn := connect()
	for i, b := range all {
		w := functionstest.Call(t, handler, http.MethodPost, "/v2/inbox", b.Login("userId")+"}")
		for w.Code == http.StatusOK && strings.Contains(w.Body.String(), "id") {
			require.NoError(t, b.taken(w))
			w = functionstest.Call(t, handler, http.MethodPost, "/v2/inbox", b.Login("userId")+"}")
		}
		for message, times := range b.messages {
			assert.Equal(t, 1, times, "message %s was handed over so often", message)
		}
		b.requireOrder(t, conn, readers[i])
	}
	require.NoError(t, conn.Close(t.Context()))
	deps.DB.Close() // a connection tells what it counted when it ends
	assert.Zero(t, deadlocks(t, url))
}

// requireOrder checks that the times of both sides are in the order of storing: what was stored before the storing of another
// event began is the older one. And a reader passes over no event that was stored before it looked.
func (b *both) requireOrder(t *testing.T, conn *pgx.Conn, r reader) {
	t.Helper()
	type event struct {
		ID        uuid.UUID
		Timestamp time.Time
	}
	rows, _ := conn.Query(t.Context(), `SELECT id, "timestamp" FROM user_events WHERE user_id = $1`, b.ID)
	stored, err := pgx.CollectRows(rows, pgx.RowToStructByPos[event])
	require.NoError(t, err)
	stored = slices.DeleteFunc(stored, func(e event) bool { _, once := b.events[e.ID]; return !once })
	require.Len(t, stored, len(b.events), "all are there")
	ended := slices.SortedFunc(slices.Values(stored), func(x, y event) int { return b.events[x.ID].ended.Compare(b.events[y.ID].ended) })
	slices.SortFunc(stored, func(x, y event) int { return b.events[x.ID].begun.Compare(b.events[y.ID].begun) })
	var newest time.Time
	for _, e := range stored {
		for len(ended) > 0 && b.events[ended[0].ID].ended.Before(b.events[e.ID].begun) {
			if ended[0].Timestamp.After(newest) {
				newest = ended[0].Timestamp
			}
			ended = ended[1:]
		}
		assert.True(t, e.Timestamp.After(newest), "an event has an earlier time than one that was there before")
		if r.seen[e.ID] {
			continue
		}
		past := slices.IndexFunc(r.looks, func(l look) bool { return !l.since.Before(e.Timestamp) })
		require.GreaterOrEqual(t, past, 0, "the last look missed an event")
		assert.False(t, r.looks[past].begun.After(b.events[e.ID].ended), "a reader passed over an event that was there")
	}
}

// TestV1ChangesUsersOfOurs has v1 make, change and delete a user whose rows v2 writes as well: tags and clocks are never those of
// a user who is gone.
func TestV1ChangesUsersOfOurs(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	handler := functionstest.Handler(functionstest.NewDeps(t, postgres.Options{URL: url, MaxConns: 4}))
	text, err := os.ReadFile("../shared/auth/testdata/v1/passwords.json")
	require.NoError(t, err)
	var passwords []struct {
		Password string `json:"password"`
		Salt     string `json:"salt_hex"`
		Hash     string `json:"hashed_password"`
	}
	require.NoError(t, json.Unmarshal(text, &passwords))
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer func() { _ = conn.Close(t.Context()) }()
	v1 := func(sql string, args ...any) {
		t.Helper()
		_, err := conn.Exec(t.Context(), sql, args...)
		require.NoError(t, err)
	}
	a := functionstest.Account{ID: uuid.New(), Lookup: "abcdefghijkl"}
	requireStatus := func(want int, method, path, body string) *httptest.ResponseRecorder {
		t.Helper()
		w := functionstest.Call(t, handler, method, path, body)
		require.Equal(t, want, w.Code, w.Body)
		return w
	}
	for _, p := range passwords[:2] {
		old := a
		a.Password = p.Password
		salt, err := hex.DecodeString(p.Salt)
		require.NoError(t, err)
		requireStatus(http.StatusNotFound, http.MethodGet, "/v2/user/"+a.ID.String(), "")
		v1(`INSERT INTO users (id, hashed_password, salt, user_lookup, created, last_accessed) VALUES ($1, $2, $3, $4, now(), now())`,
			a.ID.String(), p.Hash, salt, a.Lookup)
		if old.Password != "" {
			requireStatus(http.StatusUnauthorized, http.MethodPut, "/v2/user", ownWrites["PutUser"](old, uuid.Nil))
		}
		for range 2 { // slowly, and by its tag
			requireStatus(http.StatusOK, http.MethodPut, "/v2/user", ownWrites["PutUser"](a, uuid.Nil))
		}
		v1(`UPDATE users SET encrypted_name = 'v1', rsa_public_key = 'k' WHERE id = $1`, a.ID.String())
		w := requireStatus(http.StatusOK, http.MethodGet, "/v2/user/"+a.Lookup, "")
		assert.Contains(t, w.Body.String(), `"encryptedName":"djE="`)

		requireStatus(http.StatusOK, http.MethodPut, "/v2/event", ownWrites["PutEvent"](a, uuid.New()))
		for _, statement := range v1PutEvent(t, a.ID, uuid.New()) {
			v1(statement, pgx.QueryExecModeSimpleProtocol)
		}
		v1(`UPDATE user_events SET "timestamp" = now() + interval '1 hour' WHERE user_id = $1 AND encrypted_event = '\x01'`, a.ID.String()) // its clock is ahead
		requireStatus(http.StatusOK, http.MethodPut, "/v2/event", ownWrites["PutEvent"](a, uuid.New()))
		var inOrder bool
		require.NoError(t, conn.QueryRow(t.Context(), `
			SELECT array_agg(encrypted_event ORDER BY "timestamp") = ARRAY['ours', '\x01', 'ours']::bytea[] FROM user_events WHERE user_id = $1`, a.ID.String()).Scan(&inOrder))
		assert.True(t, inOrder, "ours are later than what v1 stored before")

		v1(`INSERT INTO user_follow_secrets (id, user_id, value) VALUES (gen_random_uuid(), $1, 'twice'), (gen_random_uuid(), $1, 'twice')`, a.ID.String())
		asked := fmt.Sprintf(`{"users":[{"userId":%q,"followSecret":"twice","since":"2000-01-01"}]}`, a.ID)
		assert.Contains(t, requireStatus(http.StatusOK, http.MethodPost, "/v2/events", asked).Body.String(), `"invalidFollowSecrets":[]`)
		requireStatus(http.StatusOK, http.MethodPost, "/v2/follow-secret/delete", a.Login("userId")+`,"followSecret":"twice"}`)
		assert.Contains(t, requireStatus(http.StatusOK, http.MethodPost, "/v2/events", asked).Body.String(), `"invalidFollowSecrets":["twice"]`)

		v1(`DELETE FROM users WHERE id = $1`, a.ID.String())
		requireStatus(http.StatusNotFound, http.MethodPut, "/v2/event", ownWrites["PutEvent"](a, uuid.New()))
		requireNothingLeft(t, conn, a.ID)
	}
}

// requireNothingLeft looks for rows of a user who is gone, in v1's tables and ours.
func requireNothingLeft(t *testing.T, conn *pgx.Conn, user uuid.UUID) {
	t.Helper()
	var left int
	require.NoError(t, conn.QueryRow(t.Context(), `
		SELECT count(*) FROM (
			SELECT id FROM users UNION ALL SELECT user_id FROM user_events UNION ALL SELECT user_id FROM user_follow_secrets
			UNION ALL SELECT user_id FROM user_inbox_items UNION ALL SELECT user_id FROM shared_items
			UNION ALL SELECT user_id FROM v2_password_tags UNION ALL SELECT user_id FROM v2_password_proofs UNION ALL SELECT user_id FROM v2_feed_clocks
		) rows WHERE id = $1`, user.String()).Scan(&left))
	require.Zero(t, left)
}

// TestAUserIsDeletedBesideV1 deletes users whose rows v1 is writing: what becomes a deadlock's victim is done again, and what v1
// writes afterwards is refused by the keys.
func TestAUserIsDeletedBesideV1(t *testing.T) {
	t.Parallel()
	url := pgtest.DurableURL(t)
	handler := functionstest.Handler(functionstest.NewDeps(t, postgres.Options{URL: url, MaxConns: 4}))
	for range 3 {
		b := &both{Account: functionstest.NewAccount(t, handler), shared: []uuid.UUID{uuid.New()}, events: map[uuid.UUID]written{}, messages: map[uuid.UUID]int{}}
		var v1 errgroup.Group
		var begun sync.WaitGroup
		for worker := range 3 {
			conn, err := pgx.Connect(t.Context(), url)
			require.NoError(t, err)
			begun.Add(1)
			v1.Go(func() error {
				defer func() { _ = conn.Close(t.Context()) }()
				for n := worker; ; n++ {
					if n == worker+16 {
						begun.Done()
					}
					err := b.v1Writes(t, conn, worker, n)
					switch {
					case err == nil:
					case postgres.HasCode(err, "23503"), postgres.HasCode(err, "40P01"), errors.Is(err, errV1Counted) && n > worker+16:
						if n < worker+16 {
							begun.Done()
						}
						return nil // v1's own 500
					case errors.Is(err, errV1Counted):
					default:
						return err
					}
				}
			})
		}
		begun.Wait()
		w := functionstest.Call(t, handler, http.MethodPost, "/v2/user/delete", b.Login("id")+"}")
		require.Equal(t, http.StatusOK, w.Code, w.Body)
		require.NoError(t, v1.Wait())
		conn, err := pgx.Connect(t.Context(), url)
		require.NoError(t, err)
		requireNothingLeft(t, conn, b.ID)
		require.NoError(t, conn.Close(t.Context()))
	}
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
