package functions_test

import (
	"bufio"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/functions/feed"
	"github.com/liftlog/liftlog-api/functions/functionstest"
	"github.com/liftlog/liftlog-api/functions/user"
	"github.com/liftlog/liftlog-api/shared/postgres"
	"github.com/liftlog/liftlog-api/shared/postgres/pgtest"
)

// clients is how many callers the benchmarks have at a time.
const clients = 64

// load sends the same request from all clients.
func load(b *testing.B, handler http.Handler, method, path, body string) {
	b.Helper()
	b.ReportAllocs()
	b.SetParallelism(max(1, clients/runtime.GOMAXPROCS(0)))
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if w := functionstest.Call(b, handler, method, path, body); w.Code != http.StatusOK {
				b.Errorf("status %d: %s", w.Code, w.Body)
				return
			}
		}
	})
}

// BenchmarkGetUser compares the whole handler with a bare one that runs the same SQL.
func BenchmarkGetUser(b *testing.B) {
	deps := functionstest.NewDeps(b, postgres.Options{URL: pgtest.URL(b), MaxConns: 4})
	handler := functionstest.Handler(deps)
	a := functionstest.NewAccount(b, handler)
	bare := http.NewServeMux()
	bare.HandleFunc("GET /v2/user/{id}", func(w http.ResponseWriter, r *http.Request) {
		id, err := uuid.Parse(r.PathValue("id"))
		if err != nil {
			http.Error(w, "bad id", http.StatusBadRequest)
			return
		}
		var p user.Profile
		err = deps.DB.QueryRow(r.Context(), `
			SELECT id, user_lookup, encrypted_current_plan, encrypted_profile_picture, encrypted_name, encryption_iv, rsa_public_key
			FROM users WHERE id = $1`, id).Scan(&p.ID, &p.Lookup, &p.EncryptedCurrentPlan, &p.EncryptedProfilePicture, &p.EncryptedName,
			&p.EncryptionIV, &p.RSAPublicKey)
		if err != nil {
			http.Error(w, "failed", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(p) // the benchmark checks the status
	})
	for name, h := range map[string]http.Handler{"whole": handler, "bare": bare} {
		b.Run(name, func(b *testing.B) { load(b, h, http.MethodGet, "/v2/user/"+a.ID.String(), "") })
	}
}

// BenchmarkPutUser compares an authenticated write, with a tag, with a request that writes the same row unasked.
func BenchmarkPutUser(b *testing.B) {
	deps := functionstest.NewDeps(b, postgres.Options{URL: pgtest.URL(b), MaxConns: 4})
	handler := functionstest.Handler(deps)
	a := functionstest.NewAccount(b, handler)
	iv := []byte("0123456789abcdef")
	bare := http.NewServeMux()
	bare.HandleFunc("PUT /v2/user", func(w http.ResponseWriter, r *http.Request) {
		var p user.PutRequest
		if err := json.NewDecoder(r.Body).Decode(&p); err != nil {
			http.Error(w, "bad body", http.StatusBadRequest)
			return
		}
		_, err := deps.DB.Exec(r.Context(), `
			UPDATE users SET encrypted_current_plan = $2, encrypted_profile_picture = $3, encrypted_name = $4, encryption_iv = $5, rsa_public_key = $6
			WHERE id = $1`, p.ID, p.EncryptedCurrentPlan, p.EncryptedProfilePicture, p.EncryptedName, p.EncryptionIV, p.RSAPublicKey)
		if err != nil {
			http.Error(w, "failed", http.StatusInternalServerError)
		}
	})
	encoded, err := json.Marshal(user.PutRequest{ID: a.ID, Password: a.Password, EncryptedName: iv, EncryptionIV: iv, RSAPublicKey: iv})
	require.NoError(b, err)
	for name, h := range map[string]http.Handler{"authenticated": handler, "bare": bare} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() { // one row takes one writer at a time
				require.Equal(b, http.StatusOK, functionstest.Call(b, h, http.MethodPut, "/v2/user", string(encoded)).Code)
			}
		})
	}
	b.Run("without a tag", func(b *testing.B) {
		for b.Loop() {
			_, err := deps.DB.Exec(b.Context(), `DELETE FROM v2_password_proofs`)
			require.NoError(b, err)
			require.Equal(b, http.StatusOK, functionstest.Call(b, handler, http.MethodPut, "/v2/user", string(encoded)).Code)
		}
	})
}

// BenchmarkGetUsers measures answers with many users' pictures.
func BenchmarkGetUsers(b *testing.B) {
	deps := functionstest.NewDeps(b, postgres.Options{URL: pgtest.URL(b), MaxConns: 4})
	handler := functionstest.Handler(deps)
	ids := make([]string, 100)
	for i := range ids {
		ids[i] = functionstest.NewAccount(b, handler).ID.String()
	}
	_, err := deps.DB.Exec(b.Context(), `UPDATE users SET encrypted_profile_picture = decode(repeat('ab', 20000), 'hex')`)
	require.NoError(b, err)
	body := `{"ids":["` + strings.Join(ids, `","`) + `"]}`
	b.SetBytes(100 * 20000)
	b.ReportAllocs()
	for b.Loop() {
		require.Equal(b, http.StatusOK, functionstest.Call(b, handler, http.MethodPost, "/v2/users", body).Code)
	}
}

// BenchmarkGetEvents compares the whole handler, which reads pages, with one statement for all, run by bare pgx. "bare" is what
// the handler is held to: it turns rows into the same JSON with the standard library and checks nothing. "rows" makes no answer
// at all, so it shows what the database and the driver leave to gain. All answers go nowhere, because keeping them would cost
// as much as making them.
func BenchmarkGetEvents(b *testing.B) {
	const followed, each, size = 200, 50, 5 << 10
	deps := functionstest.NewDeps(b, postgres.Options{URL: pgtest.URL(b), MaxConns: 4})
	handler := functionstest.Handler(deps)
	exec := func(statement string, args ...any) {
		_, err := deps.DB.Exec(b.Context(), statement, args...)
		require.NoError(b, err)
	}
	exec(`INSERT INTO users (id, user_lookup, hashed_password, salt) SELECT gen_random_uuid(), n, '', '' FROM generate_series(1, $1::int) n`, followed)
	exec(`INSERT INTO user_follow_secrets (id, user_id, value) SELECT gen_random_uuid(), id, user_lookup FROM users`)
	exec(`
		INSERT INTO user_events (user_id, id, "timestamp", last_accessed, expiry, encrypted_event, encryption_iv)
		SELECT u.id, gen_random_uuid(), now() + n * interval '1 second', now(), now() + interval '1 day', (
			SELECT string_agg(sha512((n + m + random())::text::bytea), '') FROM generate_series(1, $2::int / 64) m
		), '0123456789abcdef' FROM generate_series(1, $1::int) n CROSS JOIN users u`, each, size)
	exec(`VACUUM ANALYZE user_events`)
	rows, _ := deps.DB.Query(b.Context(), `SELECT user_id, TIMESTAMPTZ '2020-01-01', value FROM user_follow_secrets`) // CollectRows tells
	asked, err := pgx.CollectRows(rows, pgx.RowToStructByPos[feed.FollowedUser])
	require.NoError(b, err)
	encoded, err := json.Marshal(feed.GetEventsRequest{Users: asked})
	require.NoError(b, err)
	body := string(encoded)

	w := functionstest.Call(b, handler, http.MethodPost, "/v2/events", body)
	var answer feed.GetEventsResponse
	require.NoError(b, json.Unmarshal(w.Body.Bytes(), &answer))
	require.Len(b, answer.Events, followed*each)

	users := make([]uuid.UUID, len(asked))
	for i, a := range asked {
		users[i] = a.UserID
	}
	// read runs the statement and nothing else.
	read := func(w http.ResponseWriter, r *http.Request, fn func(feed.FollowedEvent)) {
		rows, err := deps.DB.Query(r.Context(), `
			SELECT e.* FROM unnest($1::uuid[]) AS u CROSS JOIN LATERAL (
				SELECT user_id, id, "timestamp", expiry, encrypted_event, encryption_iv
				FROM user_events WHERE user_id = u AND expiry > now() ORDER BY "timestamp"
			) e`, users)
		if err == nil {
			var e feed.FollowedEvent
			columns := []any{&e.UserID, &e.EventID, &e.Timestamp, &e.Expiry, &e.EncryptedEventPayload, &e.EncryptedEventIV}
			_, err = pgx.ForEachRow(rows, columns, func() error {
				fn(e)
				return nil
			})
		}
		if err != nil {
			http.Error(w, "failed", http.StatusInternalServerError)
		}
	}
	bare := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		buffered := bufio.NewWriterSize(w, 32<<10)
		encoder := json.NewEncoder(buffered)
		separator := `{"events":[`
		read(w, r, func(e feed.FollowedEvent) {
			_, _ = buffered.WriteString(separator) // the benchmark checks the status
			_ = encoder.Encode(e)
			separator = ","
		})
		_, _ = buffered.WriteString(`],"invalidFollowSecrets":[]}`)
		_ = buffered.Flush()
	}
	for name, h := range map[string]http.Handler{
		"whole": handler, "bare": http.HandlerFunc(bare),
		"rows": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { read(w, r, func(feed.FollowedEvent) {}) }),
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(followed * each * size)
			b.ReportAllocs()
			for b.Loop() {
				w := httptest.NewRecorder()
				w.Body = nil
				h.ServeHTTP(w, functionstest.NewRequest(b, http.MethodPost, "/v2/events", body))
				require.Equal(b, http.StatusOK, w.Code)
			}
		})
	}
}
