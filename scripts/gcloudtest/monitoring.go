package gcloudtest

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
)

// Health says what state Cloud Monitoring is in.
type Health string

// The states there are.
const (
	Answering Health = "answering"
	Failing   Health = "failing" // 500 for everything
	Slow      Health = "slow"    // no answer, for as long as the caller waits
	Nonsense  Health = "nonsense"
)

// Counts are a revision's requests, and those of them that were answered with 5xx.
type Counts struct{ Requests, Errors float64 }

// Monitoring stands in for Cloud Monitoring's Prometheus API: it answers instant queries for sums of request counts of the
// revisions that the query names, by class of response. It takes the query's range for granted.
type Monitoring struct {
	URL string // of the API, up to and without /v1

	mu      sync.Mutex
	health  Health
	counts  map[string]Counts
	queries []string
}

var (
	queryPath    = regexp.MustCompile(`^/v1/projects/[a-z0-9-]+/location/global/prometheus/api/v1/query$`)
	revisionsOf  = regexp.MustCompile(`revision_name=~"([^"]*)"`)
	requestCount = "run_googleapis_com:request_count{"
)

// NewMonitoring starts one, without any requests counted.
func NewMonitoring(tb testing.TB) *Monitoring {
	tb.Helper()
	m := &Monitoring{health: Answering}
	server := httptest.NewServer(m)
	tb.Cleanup(server.Close)
	m.URL = server.URL
	return m
}

// Set changes what it answers from now on.
func (m *Monitoring) Set(health Health, counts map[string]Counts) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.health, m.counts = health, counts
}

// Queries returns the queries so far.
func (m *Monitoring) Queries() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]string(nil), m.queries...)
}

func (m *Monitoring) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	query := r.FormValue("query")
	m.mu.Lock()
	health, counts := m.health, m.counts
	m.queries = append(m.queries, query)
	m.mu.Unlock()
	named := revisionsOf.FindStringSubmatch(query)
	switch {
	case health == Slow:
		<-r.Context().Done()
		return
	case health == Failing:
		http.Error(w, "backend error", http.StatusInternalServerError)
		return
	case health == Nonsense:
		_, _ = w.Write([]byte("<html>Sign in</html>"))
		return
	case r.Header.Get("Authorization") != "Bearer "+Token:
		http.Error(w, `{"error": {"code": 401}}`, http.StatusUnauthorized)
		return
	case !queryPath.MatchString(r.URL.Path):
		http.NotFound(w, r)
		return
	case named == nil || !strings.Contains(query, requestCount) || !strings.Contains(query, "by (response_code_class)"):
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"status": "error", "errorType": "bad_data", "error": "the stand-in does not know the query"}`))
		return
	}
	pattern := regexp.MustCompile("^(?:" + strings.ReplaceAll(named[1], `\\`, `\`) + ")$")
	var all Counts
	for revision, c := range counts {
		if pattern.MatchString(revision) {
			all.Requests += c.Requests
			all.Errors += c.Errors
		}
	}
	result := []object{}
	for class, n := range map[string]float64{"2xx": all.Requests - all.Errors, "5xx": all.Errors} {
		if n > 0 { // a class that never occurred has no series
			value := []any{float64(time.Now().UnixMilli()) / 1000, strconv.FormatFloat(n, 'f', -1, 64)}
			result = append(result, object{"metric": object{"response_code_class": class}, "value": value})
		}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.MarshalWrite(w, object{"status": "success", "data": object{"resultType": "vector", "result": result}})
}
