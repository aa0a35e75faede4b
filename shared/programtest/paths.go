package programtest

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"
)

// strange are paths that no program serves, though some look like paths that are served.
var strange = []string{
	"/", "//", "/v2", "/v2/", "/nope", "/index.html", "/healthz", "/health/", "/v2/health", "/GetUsers", "/favicon.ico",
	"/openapi.json", "/docs", "/docs/swagger-ui.css",
	"//v2/users", "/v2//users", "/v2/./users", "/./users", "/v2/../v2/users", "/v2/x/../users", "/v2/users/", "/v2/users/.", "/users/..",
	"/users/x", "/V2/users", "/v2/Users", "/v2/users;x", "/v2/users%2F", "/v2%2Fusers", "/%2Fv2/users", "/v2/%2e/users", "/%2e%2e/v2/users",
	"/v2/users%00", "/v2/users%20", "/v2/user/", "/v2/user//", "/v2//user/x", "/v2/user/x/", "/v2/user/x/y", "/v2/user/x/..",
	"/v2/user/%2e%2e", "/v2/event/x", "/v3/users", "/v2/v2/users",
}

var methods = []string{
	http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions,
}

// WalkPaths sends every method to every path of the API, and to strange ones, and fails the test unless the program at base
// serves its own patterns alone: another method of one of its paths is 405, and everything else is 421, as a problem that
// browsers may read. All patterns have the form of [http.ServeMux]; of its own, those without a method take all of them.
// Nothing may be 404 or redirected, so that the program's database has to be out of reach.
func WalkPaths(tb testing.TB, base string, own, api []string) {
	tb.Helper()
	paths := strange
	for _, pattern := range api {
		_, path := cut(pattern)
		segments := strings.Split(path, "/")
		for i, segment := range segments {
			if strings.HasPrefix(segment, "{") {
				segments[i] = uuid.NewString()
			}
		}
		paths = append(paths, strings.Join(segments, "/"))
	}
	for _, path := range paths {
		known, allowed := matching(own, path)
		for _, method := range methods {
			status, header := ask(tb, method, base+path)
			switch {
			case allowed[""] || allowed[method] || method == http.MethodHead && allowed[http.MethodGet]:
				if status == 0 || status >= 300 && status < 400 || status == http.StatusNotFound || status == http.StatusMisdirectedRequest ||
					status == http.StatusMethodNotAllowed && !allowed[""] {
					tb.Errorf("%s %s: %d, though it is served here", method, path, status)
				}
				continue
			case known && (status != http.StatusMethodNotAllowed || header.Get("Allow") == ""):
				tb.Errorf("%s %s: %d with Allow %q, want 405 with the path's methods", method, path, status, header.Get("Allow"))
			case !known && status != http.StatusMisdirectedRequest:
				tb.Errorf("%s %s: %d, want 421", method, path, status)
			}
			if header.Get("X-Request-Id") == "" || header.Get("Access-Control-Allow-Origin") != "*" ||
				!strings.HasPrefix(header.Get("Content-Type"), "application/problem+json") {
				tb.Errorf("%s %s: the answer is not one of the program's own: %v", method, path, header)
			}
		}
	}
}

// matching returns which methods the patterns have for the path, and whether they know the path.
func matching(patterns []string, path string) (known bool, methods map[string]bool) {
	methods = map[string]bool{}
	for _, pattern := range patterns {
		method, of := cut(pattern)
		if matches(of, path) {
			known, methods[method] = true, true
		}
	}
	return known, methods
}

// cut returns a pattern's method, which may be empty, and its path.
func cut(pattern string) (method, path string) {
	if method, path, ok := strings.Cut(pattern, " "); ok {
		return method, path
	}
	return "", pattern
}

func matches(pattern, path string) bool {
	want, got := strings.Split(pattern, "/"), strings.Split(path, "/")
	if len(want) != len(got) {
		return false
	}
	for i := range want {
		parameter := strings.HasPrefix(want[i], "{") && got[i] != "" && !strings.Contains(got[i], "%2e") && got[i] != ".."
		if want[i] != got[i] && !parameter {
			return false
		}
	}
	return true
}

// ask returns an answer's status and header, and follows no redirect.
func ask(tb testing.TB, method, url string) (status int, header http.Header) {
	tb.Helper()
	r, err := http.NewRequestWithContext(context.WithoutCancel(tb.Context()), method, url, http.NoBody)
	if err != nil {
		tb.Fatal(err)
	}
	r.Header.Set("Origin", "https://app.example")
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		tb.Errorf("%s %s: %v", method, url, err)
		return 0, nil
	}
	_ = response.Body.Close()
	return response.StatusCode, response.Header
}
