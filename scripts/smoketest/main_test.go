package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/functions"
	"github.com/liftlog/liftlog-api/scripts/emulatortest"
	"github.com/liftlog/liftlog-api/shared/postgres/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }

// front stands before the emulator and answers some requests in its stead.
type front struct {
	mu     sync.Mutex
	passed []string // methods and paths that the emulator has answered, with what for a status
	proxy  *httputil.ReverseProxy
	broken func(w http.ResponseWriter, r *http.Request) bool // answers, or says that it does not
}

func newFront(t *testing.T, base string, broken func(http.ResponseWriter, *http.Request) bool) *front {
	t.Helper()
	target, err := url.Parse(base)
	require.NoError(t, err)
	f := &front{proxy: httputil.NewSingleHostReverseProxy(target), broken: broken}
	f.proxy.ModifyResponse = func(response *http.Response) error {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.passed = append(f.passed, response.Request.Method+" "+response.Request.URL.Path+" "+response.Status[:3])
		return nil
	}
	return f
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if f.broken == nil || !f.broken(w, r) {
		f.proxy.ServeHTTP(w, r)
	}
}

// users counts those that are left.
func users(t *testing.T, database string) (n int) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), database)
	require.NoError(t, err)
	require.NoError(t, conn.QueryRow(t.Context(), `SELECT count(*) FROM users`).Scan(&n))
	require.NoError(t, conn.Close(t.Context()))
	return n
}

// with breaks one route.
func with(method, path string, status int) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != method || r.URL.Path != path {
			return false
		}
		w.WriteHeader(status)
		return true
	}
}

func TestSmoke(t *testing.T) {
	database := pgtest.EmptyURL(t)
	base := emulatortest.Start(t, database, "ENVIRONMENT=staging").Base
	smoke := func(t *testing.T, f *front, args ...string) (string, error) {
		t.Helper()
		server := httptest.NewServer(f)
		defer server.Close()
		var output bytes.Buffer
		err := run(t.Context(), append(args, server.URL), http.DefaultTransport, &output)
		return output.String(), err
	}

	t.Run("passes every route in both forms and leaves nothing", func(t *testing.T) {
		f := newFront(t, base, nil)
		said, err := smoke(t, f, "--environment", "staging")
		require.NoError(t, err, said)
		for _, route := range functions.Manifest() {
			for _, path := range []string{route.Path, route.V1Path()} {
				pattern := regexp.MustCompile(`^` + route.Method + ` ` + regexp.MustCompile(`\{\w+\}`).ReplaceAllString(path, `[\w-]+`) + ` \d+$`)
				assert.True(t, matches(f.passed, pattern), "%s %s was not tried", route.Method, path)
			}
		}
		assert.False(t, matches(f.passed, regexp.MustCompile(`/ai.* 200$`)), "a model may have been called")
		assert.Zero(t, users(t, database))
	})
	t.Run("names the environment that it is not", func(t *testing.T) {
		said, err := smoke(t, newFront(t, base, nil), "--environment", "production")
		require.ErrorContains(t, err, ": 1")
		assert.Contains(t, said, `FAILED  GET /health: it is the environment "staging" and not "production"`)
	})
	for name, broken := range map[string]struct {
		answer func(http.ResponseWriter, *http.Request) bool
		want   string
	}{
		"PUT /v2/event":           {with("PUT", "/v2/event", 500), "FAILED  PUT /v2/event: status 500 and not 200"},
		"PUT /event of v1's":      {with("PUT", "/event", 404), "FAILED  PUT /event: status 404 and not 200"},
		"POST /v2/user/delete":    {with("POST", "/v2/user/delete", 503), "FAILED  POST /v2/user/delete: status 503 and not 200"},
		"POST /inbox":             {with("POST", "/inbox", 200), "FAILED  POST /inbox: the answer lacks what was stored"},
		"a redirect":              {with("POST", "/user/create", 301), "FAILED  POST /user/create: status 301 and not 200"},
		"a plan without purchase": {with("POST", "/v2/ai/workout", 200), "FAILED  POST /v2/ai/workout: status 200 and not 401"},
	} {
		t.Run("is told by its name: "+name, func(t *testing.T) {
			said, err := smoke(t, newFront(t, base, broken.answer))
			require.ErrorContains(t, err, "cases that have failed")
			assert.Contains(t, said, broken.want)
			assert.Zero(t, users(t, database), "what failed elsewhere is deleted all the same")
		})
	}
	t.Run("deletes its account when it is ended in the middle", func(t *testing.T) {
		ctx, end := context.WithCancel(t.Context())
		server := httptest.NewServer(newFront(t, base, func(_ http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/v2/inbox" {
				end()
			}
			return false
		}))
		defer server.Close()
		require.Error(t, run(ctx, []string{server.URL}, http.DefaultTransport, &bytes.Buffer{}))
		assert.Zero(t, users(t, database))
	})
	t.Run("says which account is left", func(t *testing.T) {
		_, err := smoke(t, newFront(t, base, func(w http.ResponseWriter, r *http.Request) bool {
			return with("POST", "/v2/user/delete", 503)(w, r) || with("POST", "/user/delete", 503)(w, r)
		}))
		require.ErrorContains(t, err, "could not be deleted and is left: status 503")
		assert.Equal(t, 2, users(t, database))
	})
	t.Run("by TLS", func(t *testing.T) {
		for name, until := range map[string]time.Time{"valid": time.Now().Add(time.Hour), "expired": time.Now().Add(-time.Minute)} {
			server := httptest.NewUnstartedServer(newFront(t, base, nil))
			certificate, roots := certify(t, until)
			server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
			server.StartTLS()
			transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
			var output bytes.Buffer
			err := run(t.Context(), []string{server.URL}, transport, &output)
			transport.CloseIdleConnections()
			server.Close()
			if name == "valid" {
				require.NoError(t, err, output.String())
				continue
			}
			require.ErrorContains(t, err, "cases that have failed at "+server.URL+": 1", "and nothing else is tried")
			assert.Contains(t, output.String(), "FAILED  "+connecting+": tls: failed to verify certificate: x509: certificate has expired")
		}
	})
}

func matches(lines []string, pattern *regexp.Regexp) bool {
	for _, line := range lines {
		if pattern.MatchString(line) {
			return true
		}
	}
	return false
}

// certify makes a certificate for loopback that is valid until then, and what trusts it.
func certify(t *testing.T, until time.Time) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "loopback"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: until.Add(-2 * time.Hour), NotAfter: until, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	parsed, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	roots := x509.NewCertPool()
	roots.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}

func TestWhatIsNoBaseIsRefused(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{nil, {"staging"}, {"https://a.example/v2"}, {"ftp://a.example"}, {"https://u:p@a.example"}, {"https://a.example", "https://b.example"}} {
		require.Error(t, run(t.Context(), args, http.DefaultTransport, &bytes.Buffer{}), "%v", args)
	}
	var output bytes.Buffer
	require.NoError(t, run(t.Context(), []string{"--dry-run", "https://nowhere.invalid"}, nil, &output))
	assert.Contains(t, output.String(), "would try PUT /event\n")
}
