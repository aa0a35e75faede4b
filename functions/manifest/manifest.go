// Package manifest reads routes.json, the one list of what v2 serves, and programs.json, the list of what runs beside the
// functions. It imports no handler, so that tools can read the lists without building the service.
package manifest

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
)

// Auth says what a caller has to prove.
type Auth string

// What a caller may have to prove.
const (
	AuthNone     Auth = "none"
	AuthPassword Auth = "password" // a user's id and password in the body
	AuthPurchase Auth = "purchase" // a purchase token in the Authorization header
)

// The databases that a function may need.
const (
	DatabaseUser      = "user"
	DatabaseRateLimit = "ratelimit"
)

// Route is one entry: an endpoint and how its service is sized.
type Route struct {
	Function string `json:"function"`
	Method   string `json:"method"`
	Path     string `json:"path"` // a pattern of net/http.ServeMux without a method
	Summary  string `json:"summary"`
	Auth     Auth   `json:"auth"`
	// Refusals are the statuses that come of what the function does, each with a sentence that says when. [Route.Statuses] adds
	// those that come of how every function is served.
	Refusals     map[int]string `json:"refusals"`
	Writes       bool           `json:"writes"` // it changes what is stored, so it is moved with the writes while v1 serves as well
	Databases    []string       `json:"databases"`
	Memory       string         `json:"memory"` // in Mi, as Cloud Run writes it
	CPU          string         `json:"cpu"`
	Concurrency  int            `json:"concurrency"`       // requests at a time in one instance
	TimeoutS     int            `json:"timeout_s"`         // the platform's limit for a whole request, at its caller's pace
	HandlerS     int            `json:"handler_timeout_s"` // the function's own time, from the body's end to its answer or a stream's first byte
	MinInstances int            `json:"min_instances"`     // kept running though nobody asks; most are left out
	MaxInstances int            `json:"max_instances"`     // left out: the most that a function may have
	Pool         int            `json:"pool"`              // connections of one instance to each of its databases
	MaxBody      int64          `json:"max_body"`          // bytes; 0: takes no body
	Secrets      []string       `json:"secrets"`           // environment variables that hold secrets
	Settings     []string       `json:"settings"`          // the others that the function reads beside those of every function and of its databases
}

// Timeout bounds one request on the platform.
func (r Route) Timeout() time.Duration { return time.Duration(r.TimeoutS) * time.Second }

// HandlerTimeout bounds what the function does between the body's end and its answer.
func (r Route) HandlerTimeout() time.Duration { return time.Duration(r.HandlerS) * time.Second }

// Needs reports whether the function uses the database.
func (r Route) Needs(database string) bool { return slices.Contains(r.Databases, database) }

// MemoryBytes is the memory of one instance, past which the platform ends it.
func (r Route) MemoryBytes() int64 { return memoryBytes(r.Memory) }

// MemoryLimit is what Go's runtime of the function is told to stay below, in bytes.
func (r Route) MemoryLimit() int64 { return memoryLimit(r.Memory) }

func memoryBytes(memory string) int64 {
	var mi int64
	if _, err := fmt.Sscanf(memory, "%dMi", &mi); err != nil {
		return 0 // Parse does not let this through
	}
	return mi << 20
}

// memoryLimit leaves a fifth to what the runtime does not count, and lets the collector work harder before the platform ends the
// instance.
func memoryLimit(memory string) int64 { return memoryBytes(memory) / 10 * 8 }

// Service is the name of the function's service in the cloud: put-event for PutEvent.
func (r Route) Service() string {
	return strings.ToLower(wordEnd.ReplaceAllString(r.Function, "$1-$2"))
}

// Statuses are those that the route refuses requests with, each with a sentence that says when. Beside them every program
// answers another path by 421 and another method by 405, and a fault of its own by 500.
func (r Route) Statuses() map[int]string {
	statuses := maps.Clone(r.Refusals)
	add := func(applies bool, status int, when string) {
		if applies {
			statuses[status] = when
		}
	}
	if statuses == nil {
		statuses = map[int]string{}
	}
	takesBody := r.MaxBody > 0
	add(takesBody, http.StatusBadRequest, "The body is not well-formed, or a member is missing or out of bounds: errors says which.")
	add(strings.Contains(r.Path, "{"), http.StatusBadRequest, "The path is out of bounds: errors says how.")
	add(takesBody, http.StatusRequestTimeout, "The body came too slowly.")
	add(takesBody, http.StatusRequestEntityTooLarge, fmt.Sprintf("The body has more than %d bytes.", r.MaxBody))
	add(takesBody, http.StatusUnsupportedMediaType, "The body is not JSON by its Content-Type, or is compressed.")
	add(len(r.Databases) > 0, http.StatusServiceUnavailable, "The service, or something that it needs, is busy, restarting or away.")
	return statuses
}

// V1Path is the path under which v1's apps know the route: the same without /v2.
func (r Route) V1Path() string { return strings.TrimPrefix(r.Path, "/v2") }

// Manifest is the list of routes.
type Manifest []Route

// Parse reads and validates a manifest and reports every fault at once.
func Parse(data []byte) (Manifest, error) {
	var m Manifest
	if err := json.Unmarshal(data, &m, json.RejectUnknownMembers(true)); err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	var faults []error
	functions, routes := map[string]bool{}, map[string]bool{}
	for i, r := range m {
		if r.MaxInstances == 0 {
			r.MaxInstances = maxInstances
			m[i] = r
		}
		for _, fault := range r.faults() {
			faults = append(faults, fmt.Errorf("route %d (%s): %s", i, r.Function, fault))
		}
		if functions[r.Function] || routes[r.Method+" "+r.Path] {
			faults = append(faults, fmt.Errorf("route %d (%s): is there twice", i, r.Function))
		}
		functions[r.Function], routes[r.Method+" "+r.Path] = true, true
	}
	if len(faults) > 0 {
		return nil, fmt.Errorf("read manifest: %w", errors.Join(faults...))
	}
	return m, nil
}

// Find returns the route of the function.
func (m Manifest) Find(function string) (Route, bool) {
	i := slices.IndexFunc(m, func(r Route) bool { return r.Function == function })
	if i < 0 {
		return Route{}, false
	}
	return m[i], true
}

// Functions lists the functions' names in the manifest's order.
func (m Manifest) Functions() []string {
	names := make([]string, len(m))
	for i, r := range m {
		names[i] = r.Function
	}
	return names
}

var (
	functionName = regexp.MustCompile(`^[A-Z][A-Za-z]{2,39}$`)
	wordEnd      = regexp.MustCompile(`([a-z])([A-Z])`)
	pathForm     = regexp.MustCompile(`^(/v2)?(/[a-z-]+)+(/\{[a-zA-Z]+\})?$`)
	memoryForm   = regexp.MustCompile(`^(128|256|512|1024|2048)Mi$`)
)

// maxConcurrency is Cloud Run's ceiling of requests at a time in one instance.
const maxConcurrency = 1000

// maxInstances bounds each function, because each instance has connections to the database.
const maxInstances = 10

// maxServiceName keeps the login of a function's account, run-NAME@PROJECT.iam with a project's 30 characters, within the
// 63 that PostgreSQL has for a name.
const maxServiceName = 24

// maxTimeoutS is Cloud Run's ceiling for one request.
const maxTimeoutS = 3600

func (r Route) faults() (faults []string) {
	check := func(ok bool, fault string) {
		if !ok {
			faults = append(faults, fault)
		}
	}
	check(functionName.MatchString(r.Function), "function is not a Go name")
	check(len(r.Service()) <= maxServiceName, "function has a name too long for its login: 24 characters with a hyphen between words")
	check(slices.Contains([]string{"GET", "POST", "PUT", "DELETE"}, r.Method), "method is unknown")
	check(pathForm.MatchString(r.Path), "path is malformed")
	check(!strings.HasSuffix(r.Path, "z"), "path ends in z, which the platform may reserve")
	check(strings.HasSuffix(r.Summary, "."), "summary is no sentence")
	for status, when := range r.Refusals {
		check(status >= 400 && status <= 599 && strings.HasSuffix(when, "."), "a refusal is no status with a sentence")
	}
	check(slices.Contains([]Auth{AuthNone, AuthPassword, AuthPurchase}, r.Auth), "auth is unknown")
	for _, d := range r.Databases {
		check(d == DatabaseUser || d == DatabaseRateLimit, "a database is unknown")
	}
	check(memoryForm.MatchString(r.Memory), "memory is not one of the sizes in use")
	check(r.CPU == "1" || r.CPU == "2", "cpu is not 1 or 2")
	check(r.Concurrency > 0 && r.Concurrency <= maxConcurrency, "concurrency is out of range")
	check(r.TimeoutS > 0 && r.TimeoutS <= maxTimeoutS, "timeout_s is out of range")
	check(r.HandlerS > 0 && r.HandlerS < r.TimeoutS, "handler_timeout_s is not from 1 to less than timeout_s")
	check(r.MaxInstances > 0 && r.MaxInstances <= maxInstances, "max_instances is not from 1 to 10")
	check(r.MinInstances >= 0 && r.MinInstances <= r.MaxInstances, "min_instances is not from 0 to max_instances")
	check(r.Pool > 0 == (len(r.Databases) > 0), "pool and databases do not agree")
	check(r.MaxBody > 0 == (r.Method == "POST" || r.Method == "PUT"), "max_body and method do not agree")
	return faults
}
