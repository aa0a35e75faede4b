package tests

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/functions/manifest"
)

// The load balancer's map, as far as it is used.
type urlMap struct {
	ID             string        `json:"id"`
	DefaultService string        `json:"default_service"`
	HostRule       []hostRule    `json:"host_rule"`
	PathMatcher    []pathMatcher `json:"path_matcher"`
	Redirect       []redirect    `json:"default_url_redirect"`
}

type hostRule struct {
	Hosts       []string `json:"hosts"`
	PathMatcher string   `json:"path_matcher"`
}

type pathMatcher struct {
	Name           string      `json:"name"`
	DefaultService string      `json:"default_service"`
	RouteRules     []routeRule `json:"route_rules"`
	PathRule       []any       `json:"path_rule"`
}

type routeRule struct {
	Priority    int         `json:"priority"`
	Service     string      `json:"service"`
	MatchRules  []matchRule `json:"match_rules"`
	RouteAction []struct {
		Weighted []struct {
			Service string `json:"backend_service"`
			Weight  int    `json:"weight"`
		} `json:"weighted_backend_services"`
		URLRewrite     []any `json:"url_rewrite"`
		FaultInjection []any `json:"fault_injection_policy"`
	} `json:"route_action"`
}

type matchRule struct {
	Full       string `json:"full_path_match"`
	Template   string `json:"path_template_match"`
	Prefix     string `json:"prefix_match"`
	Regex      string `json:"regex_match"`
	IgnoreCase bool   `json:"ignore_case"`
	Headers    []struct {
		Name  string `json:"header_name"`
		Exact string `json:"exact_match"`
	} `json:"header_matches"`
	Queries []any `json:"query_parameter_matches"`
}

type redirect struct {
	HTTPS bool   `json:"https_redirect"`
	Code  string `json:"redirect_response_code"`
}

// matches is how the load balancer compares a request with one rule: all conditions have to hold.
func (m matchRule) matches(method, path string) bool {
	full := m.Full
	if m.IgnoreCase {
		full, path = strings.ToLower(full), strings.ToLower(path)
	}
	switch {
	case m.Full != "" && full != path,
		m.Prefix != "" && !strings.HasPrefix(path, m.Prefix),
		m.Template != "" && !matchesTemplate(m.Template, path):
		return false
	}
	for _, header := range m.Headers {
		if header.Name != ":method" || header.Exact != method {
			return false
		}
	}
	return true
}

// matchesTemplate compares segment by segment; a star is one that is not empty.
func matchesTemplate(template, path string) bool {
	want, got := strings.Split(template, "/"), strings.Split(path, "/")
	return slices.EqualFunc(want, got, func(want, got string) bool { return want == got || want == "*" && got != "" })
}

// shares are where requests go: percent by backend.
type shares map[string]int

// lookup finds the first rule that matches.
func (m urlMap) lookup(method, path string) shares {
	matcher := m.PathMatcher[0]
	rules := slices.SortedFunc(slices.Values(matcher.RouteRules), func(a, b routeRule) int { return a.Priority - b.Priority })
	for _, rule := range rules {
		if !slices.ContainsFunc(rule.MatchRules, func(m matchRule) bool { return m.matches(method, path) }) {
			continue
		}
		if rule.Service != "" {
			return shares{rule.Service: 100}
		}
		found := shares{}
		for _, part := range rule.RouteAction[0].Weighted {
			if part.Weight > 0 {
				found[part.Service] += part.Weight
			}
		}
		return found
	}
	return shares{matcher.DefaultService: 100}
}

// faults are what the API would refuse, or what makes a difference in every plan.
func (m urlMap) faults() (faults []string) {
	predicates, last := 0, 0
	afterTemplate := false
	for _, rule := range m.PathMatcher[0].RouteRules {
		if rule.Priority <= last {
			faults = append(faults, fmt.Sprintf("priority %d follows %d", rule.Priority, last))
		}
		last = rule.Priority
		weighted := len(rule.RouteAction) > 0
		if weighted == (rule.Service != "") {
			faults = append(faults, fmt.Sprintf("rule %d needs a service or weights, and not both", rule.Priority))
		}
		for _, action := range rule.RouteAction {
			if len(action.URLRewrite) > 0 || len(action.FaultInjection) > 0 {
				faults = append(faults, fmt.Sprintf("rule %d rewrites or aborts, for v1 as well", rule.Priority))
			}
		}
		for _, match := range rule.MatchRules {
			conditions := 0
			for _, path := range []string{match.Full, match.Template, match.Prefix} {
				if path != "" {
					conditions++
				}
				if len(path) > 255 {
					faults = append(faults, fmt.Sprintf("rule %d has a path of %d characters", rule.Priority, len(path)))
				}
			}
			if conditions != 1 || match.Regex != "" || len(match.Queries) > 0 {
				faults = append(faults, fmt.Sprintf("rule %d has not exactly one kind of path", rule.Priority))
			}
			if match.Full != "" && afterTemplate && strings.Count(match.Full, "/") > 1 {
				faults = append(faults, fmt.Sprintf("rule %d is literal and comes after a template", rule.Priority))
			}
			afterTemplate = afterTemplate || match.Template != ""
			predicates += 1 + len(match.Headers)
		}
	}
	if predicates > 1000 {
		faults = append(faults, fmt.Sprintf("%d predicates", predicates))
	}
	if len(m.PathMatcher) != 1 || len(m.PathMatcher[0].PathRule) > 0 ||
		!slices.EqualFunc(m.HostRule, []hostRule{{[]string{"*"}, m.PathMatcher[0].Name}}, func(a, b hostRule) bool {
			return slices.Equal(a.Hosts, b.Hosts) && a.PathMatcher == b.PathMatcher
		}) {
		faults = append(faults, "another host has other rules")
	}
	return faults
}

// balancer is a map with names for its backends.
type balancer struct {
	urlMap
	names map[string]string // by id
}

// newBalancer takes the map, and the names of functions by what their services serve. That a backend leads to the service of
// its name is for the test of services.
func newBalancer(s state) (b balancer, err error) {
	if b.urlMap, err = one[urlMap](s, "google_compute_url_map.main"); err != nil {
		return b, err
	}
	services, err := each[service](s, "google_cloud_run_v2_service")
	if err != nil {
		return b, err
	}
	b.names = map[string]string{"projects/liftlog-production/global/backendServices/v1": "v1"}
	for _, svc := range services {
		b.names["projects/liftlog-production/global/backendServices/"+svc.Name] = svc.serves()
	}
	return b, nil
}

func (b balancer) named(found shares) shares {
	named := shares{}
	for id, share := range found {
		name := b.names[id]
		if name == "" {
			name = "unknown backend " + id
		}
		named[name] += share
	}
	return named
}

var methods = []string{
	http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodPatch, http.MethodOptions,
}

// situation is what is set while requests are looked up.
type situation struct {
	reads, writes int
	chatOnV2      bool
	v1            bool
}

var situations = map[string]situation{
	"nothing_is_ours":     {0, 0, false, true},
	"some_reads_are_ours": {10, 0, true, true},
	"all_is_ours":         {100, 100, false, true},
	"v1_is_gone":          {10, 10, false, false},
}

// split is what an un-prefixed path of the function should get.
func (s situation) split(route manifest.Route) shares {
	if !s.v1 {
		return shares{route.Function: 100}
	}
	weight := s.reads
	if route.Writes {
		weight = s.writes
	}
	found := shares{route.Function: weight, "v1": 100 - weight}
	maps.DeleteFunc(found, func(_ string, share int) bool { return share == 0 })
	return found
}

func (s situation) others() shares {
	if s.v1 {
		return shares{"v1": 100}
	}
	return shares{"Health": 100}
}

func (s situation) chat() shares {
	if s.v1 && !s.chatOnV2 {
		return shares{"v1": 100}
	}
	return shares{"chat-service": 100}
}

// responsible are the functions that may be asked with the method at the path: the one that has the method (HEAD is GET's), or
// else any of the path, which refuses the method and answers preflights.
func responsible(routes manifest.Manifest, method, path string) (candidates []manifest.Route) {
	for _, r := range routes {
		if r.Path == path && (r.Method == method || r.Method == http.MethodGet && method == http.MethodHead) {
			return []manifest.Route{r}
		}
		if r.Path == path {
			candidates = append(candidates, r)
		}
	}
	return candidates
}

// example is a path of the pattern.
func example(pattern string) string {
	open := strings.IndexByte(pattern, '{')
	if open < 0 {
		return pattern
	}
	return pattern[:open] + "0e000000-0000-4000-8000-000000000001"
}

func readManifest() (manifest.Manifest, error) {
	file, err := os.ReadFile(root + "/functions/routes.json")
	if err != nil {
		return nil, err
	}
	return manifest.Parse(file)
}

// checkRoutes looks up every route with every method, the hubs, and strangers, in every situation.
func checkRoutes(ctx context.Context, w workspace) error {
	routes, err := readManifest()
	if err != nil {
		return err
	}
	states, err := w.test(ctx, "routes")
	if err != nil {
		return err
	}
	var faults []error
	for name, s := range situations {
		b, err := newBalancer(states[name])
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		for _, fault := range b.faults() {
			faults = append(faults, fmt.Errorf("%s: %s", name, fault))
		}
		expect := func(method, path string, want ...shares) {
			got := b.named(b.lookup(method, path))
			if !slices.ContainsFunc(want, func(w shares) bool { return maps.Equal(w, got) }) {
				faults = append(faults, fmt.Errorf("%s: %s %s leads to %v, want %v", name, method, path, got, want))
			}
		}
		for _, method := range methods {
			for _, route := range routes {
				if route.Path == "/health" {
					expect(method, route.Path, shares{"Health": 100})
					continue
				}
				var ours, split []shares
				for _, r := range responsible(routes, method, route.Path) {
					ours, split = append(ours, shares{r.Function: 100}), append(split, s.split(r))
				}
				expect(method, example(route.Path), ours...)
				expect(method, example(route.V1Path()), split...)
			}
			for _, hub := range []string{"/ai-chat", "/ai-chat-v2", "/AI-Chat", "/Ai-Chat-V2"} {
				for _, rest := range []string{"", "/", "/negotiate", "/negotiate/", "/Negotiate"} {
					expect(method, "/v2"+hub+rest, shares{"chat-service": 100})
					expect(method, hub+rest, s.chat())
				}
			}
			// A function refuses these by 421.
			for _, path := range []string{
				"/v2", "/v2/", "/v2/unknown", "/v2/user/", "/v2/user/one/two", "/v2/users/one", "/v2/inbox/", "/v2/health", "/v2/USER", "/v2/ai-chat-v3",
				"/v2/ai-chatter", "/v2/ai-chat/negotiate/more", "/v2//user", "/v2/v2/user",
			} {
				expect(method, path, shares{"Health": 100})
			}
			for _, path := range []string{
				"/", "/unknown", "/user/one/two", "/users/", "/ai-chat-v3", "/ai-chat/more", "/ai-chatter", "/health/", "/health/ready", "/v20/user", "/V2/user",
				"/eventlog", "/.well-known/assetlinks.json",
			} {
				expect(method, path, s.others())
			}
		}
		if found := b.named(shares{b.DefaultService: 100}); !maps.Equal(found, shares{"Health": 100}) {
			faults = append(faults, fmt.Errorf("%s: another host leads to %v", name, found))
		}
	}
	if len(faults) > mostFaults {
		faults = append(faults[:mostFaults], fmt.Errorf("and %d more", len(faults)-mostFaults))
	}
	return errors.Join(faults...)
}

// mostFaults is how many of a map's faults are told.
const mostFaults = 12

func TestRoutes(t *testing.T) {
	t.Parallel()
	require.NoError(t, checkRoutes(t.Context(), newWorkspace(t)))
}

func TestTheEvaluator(t *testing.T) {
	t.Parallel()
	rule := func(priority int, service string, match matchRule) routeRule {
		return routeRule{Priority: priority, Service: service, MatchRules: []matchRule{match}}
	}
	byMethod := matchRule{Full: "/a"}
	byMethod.Headers = append(byMethod.Headers, struct {
		Name  string `json:"header_name"`
		Exact string `json:"exact_match"`
	}{":method", "PUT"})
	m := urlMap{PathMatcher: []pathMatcher{{DefaultService: "default", RouteRules: []routeRule{
		rule(2, "full", matchRule{Full: "/a"}), rule(1, "method", byMethod), rule(3, "case", matchRule{Full: "/Hub", IgnoreCase: true}),
		rule(4, "template", matchRule{Template: "/b/*"}), rule(5, "prefix", matchRule{Prefix: "/b/"}),
	}}}}
	for request, want := range map[string]string{
		"PUT /a": "method", "GET /a": "full", "GET /a/": "default", "GET /A": "default", "GET /hUB": "case", "GET /b/c": "template", "GET /b/": "prefix",
		"GET /b/c/d": "prefix", "GET /b": "default",
	} {
		method, path, _ := strings.Cut(request, " ")
		require.Equal(t, shares{want: 100}, m.lookup(method, path), request)
	}
	require.NotEmpty(t, m.faults(), "priorities are not in order")
}
