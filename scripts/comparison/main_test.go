package main

import (
	"bytes"
	"context"
	"encoding/xml"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/scripts/emulatortest"
	"github.com/liftlog/liftlog-api/shared/postgres/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }

func compare(ctx context.Context, args ...string) (string, error) {
	var output bytes.Buffer
	err := run(ctx, args, "../..", &output)
	return output.String(), err
}

// wait answers nothing until nobody waits any more, which a server knows once it has read the body.
func wait(_ http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
}

// own are a few requests of one's own.
const own = `[
	{"case": "make", "request": "POST /user/create", "sent": {"json": {}}, "v1": {"status": 200, "body": {"id": "{{me.id}}", "lookup": "{{me.lookup}}", "password": "{{me.password}}"}}},
	{"case": "read", "request": "GET /user/{{me.id}}"},
	{"case": "refused", "request": "PUT /user", "sent": {"json": {}}, "v2": {"status": [418], "why": "a teapot on purpose"}},
	{"case": "remove", "request": "POST /user/delete", "sent": {"json": {"id": "{{me.id}}", "password": "{{me.password}}"}}}
]`

func TestBothSidesAreCompared(t *testing.T) {
	base := emulatortest.Start(t, pgtest.EmptyURL(t)).Base
	file := filepath.Join(t.TempDir(), "own.json")
	require.NoError(t, os.WriteFile(file, []byte(own), 0o600))
	page := filepath.Join(t.TempDir(), "report.html")

	said, err := compare(t.Context(), "--html", page, base, base+"/v2/")
	require.NoError(t, err, said)
	assert.Regexp(t, `\n\d\d+ alike, \d+ otherwise on purpose, 0 different, \d+ left out\n`, said)
	assert.Contains(t, said, "a 404 is said only by code that looked for a row")
	assert.Regexp(t, `latency of v2: p50 [0-9.]+, p90 [0-9.]+, p99 [0-9.]+, longest [0-9.]+ ms of \d+ answers`, said)
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	picture := regexp.MustCompile(`(?s)<svg.*</svg>`).Find(text)
	require.NoError(t, xml.Unmarshal(picture, new(any)))
	assert.Equal(t, 2, bytes.Count(picture, []byte("<polyline points=\"")))
	assert.NotRegexp(t, `(src|href)=|url\(|@import`, string(text), "it needs no network")

	teapot := emulatortest.Behind(t, base, func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case r.Method == http.MethodPut:
			w.WriteHeader(http.StatusTeapot)
		case r.Method == http.MethodGet && strings.HasPrefix(r.URL.Path, "/user/"):
			w.Header().Set("Content-Type", "application/json; charset=utf-8")
			_, _ = w.Write([]byte(`{"id": null, "lookup": "x"}`))
		default:
			return false
		}
		return true
	})
	said, err = compare(t.Context(), "--all", "--file", file, base, teapot)
	require.ErrorContains(t, err, "1 answers differ, and nothing says that they may")
	for _, want := range []string{
		`make +POST /user/create +200 +200 +alike`, `read +GET /user/{{me.id}} +200 +200 +DIFFERENT`, `body.id: "{{me.id}}" \| null`, `body.lookup: "{{me.lookup}}" \| "x"`,
		`refused +PUT /user +400 +418 +on purpose`, `a teapot on purpose`,
	} {
		assert.Regexp(t, want, said)
	}

	// What is there at first and then is not, is slow, or is a page.
	for name, c := range map[string]struct {
		odd  func(w http.ResponseWriter, r *http.Request)
		want string
	}{
		"broken": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "v2 has left 3 requests in a row without an answer"},
		"slow":   {wait, "no answer within 300ms"},
		"a page": {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<!DOCTYPE html><p>Welcome")) }, "answers differ"},
	} {
		var asked atomic.Int32
		side := emulatortest.Behind(t, base, func(w http.ResponseWriter, r *http.Request) bool {
			if asked.Add(1) == 1 {
				return false
			}
			c.odd(w, r)
			return true
		})
		timeout := "30s"
		if name == "slow" {
			timeout = "300ms"
		}
		said, err := compare(t.Context(), "--timeout", timeout, base, side)
		require.ErrorContains(t, err, c.want, name)
		if name == "a page" {
			assert.Contains(t, said, "v2 answers with a page: something stands before it")
		}
	}
}

func TestASideThatIsNoAPI(t *testing.T) {
	well := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte("healthy"))
	}))
	t.Cleanup(well.Close)
	page := emulatortest.Behind(t, well.URL, func(w http.ResponseWriter, _ *http.Request) bool {
		_, _ = w.Write([]byte("<!DOCTYPE html>"))
		return true
	})
	ill := emulatortest.Behind(t, well.URL, func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	})
	slow := emulatortest.Behind(t, well.URL, func(w http.ResponseWriter, r *http.Request) bool {
		wait(w, r)
		return true
	})
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{well.URL}, "two base URLs are needed"},
		{[]string{"ftp://x", well.URL}, "v1's base URL is not http(s)://HOST"},
		{[]string{well.URL, "http://127.0.0.1:1"}, "v2 at http://127.0.0.1:1 does not answer (connect: connection refused): see that it runs"},
		{[]string{page, well.URL}, "answers with a page (text/html): give the base URL of the API"},
		{[]string{well.URL, ill}, "answers 503 to GET /health"},
		{[]string{"--timeout", "100ms", slow, well.URL}, "does not answer (no answer within 100ms)"},
		{[]string{"--file", "/nowhere", well.URL, well.URL}, "/nowhere"},
		{[]string{"--file", "scripts/comparison/main.go", well.URL, well.URL}, "read a recording"},
	} {
		_, err := compare(t.Context(), c.args...)
		require.ErrorContains(t, err, c.want)
	}
}
