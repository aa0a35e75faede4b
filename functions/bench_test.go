package functions

import (
	"encoding/json"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

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
			if w := call(b, handler, method, path, body); w.Code != http.StatusOK {
				b.Errorf("status %d: %s", w.Code, w.Body)
				return
			}
		}
	})
}

// BenchmarkGetUser compares the whole handler with a bare one that runs the same SQL.
func BenchmarkGetUser(b *testing.B) {
	deps := newDeps(b, postgres.Options{URL: pgtest.URL(b), MaxConns: 4})
	handler := handlerOf(deps)
	a := newAccount(b, handler)
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
	deps := newDeps(b, postgres.Options{URL: pgtest.URL(b), MaxConns: 4})
	handler := handlerOf(deps)
	a := newAccount(b, handler)
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
				require.Equal(b, http.StatusOK, call(b, h, http.MethodPut, "/v2/user", string(encoded)).Code)
			}
		})
	}
	b.Run("without a tag", func(b *testing.B) {
		for b.Loop() {
			_, err := deps.DB.Exec(b.Context(), `DELETE FROM v2_password_tags`)
			require.NoError(b, err)
			require.Equal(b, http.StatusOK, call(b, handler, http.MethodPut, "/v2/user", string(encoded)).Code)
		}
	})
}

// BenchmarkGetUsers answers for many users with pictures.
func BenchmarkGetUsers(b *testing.B) {
	deps := newDeps(b, postgres.Options{URL: pgtest.URL(b), MaxConns: 4})
	handler := handlerOf(deps)
	ids := make([]string, 100)
	for i := range ids {
		ids[i] = newAccount(b, handler).ID.String()
	}
	_, err := deps.DB.Exec(b.Context(), `UPDATE users SET encrypted_profile_picture = decode(repeat('ab', 20000), 'hex')`)
	require.NoError(b, err)
	body := `{"ids":["` + strings.Join(ids, `","`) + `"]}`
	b.SetBytes(100 * 20000)
	b.ReportAllocs()
	for b.Loop() {
		require.Equal(b, http.StatusOK, call(b, handler, http.MethodPost, "/v2/users", body).Code)
	}
}
