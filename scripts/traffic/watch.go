package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/liftlog/liftlog-api/scripts/gcloud"
)

// rules say when traffic goes back.
type rules struct {
	limit      float64       // the share of requests answered with 5xx that is too much, in percent
	latency    time.Duration // the 95th percentile that is too much
	least      float64       // requests below which a side is not judged
	window     time.Duration // how long a step is watched
	wait       time.Duration // how long v2's requests are waited for at most
	poll       time.Duration // between two looks
	onQuiet    string
	monitoring string // its address
}

func (r *rules) define(flags *flag.FlagSet) {
	flags.Float64Var(&r.limit, "limit", 1, "")
	flags.DurationVar(&r.latency, "latency", time.Second, "")
	flags.Float64Var(&r.least, "least", 200, "")
	flags.DurationVar(&r.window, "watch", 15*time.Minute, "")
	flags.DurationVar(&r.wait, "wait", time.Hour, "")
	flags.DurationVar(&r.poll, "poll", 30*time.Second, "")
	flags.StringVar(&r.onQuiet, "on-quiet", "back", "")
	flags.StringVar(&r.monitoring, "monitoring", gcloud.MonitoringAddress, "")
}

func (r *rules) check() error {
	switch {
	case r.limit <= 0 || r.limit >= 100 || r.latency <= 0 || r.least < 1:
		return errors.New("--limit has to be more than 0 and less than 100 percent, --latency a time, and --least a number of requests")
	case r.window <= 0 || r.wait < r.window || r.poll <= 0:
		return errors.New("--watch has to be a time, and --wait no less")
	case r.onQuiet != "back" && r.onQuiet != "stay":
		return errors.New("--on-quiet has to be back or stay")
	}
	return nil
}

// The load balancer measures both sides alike: a request belongs to the backend that it went to, which is v1, or one of v2's
// services. The chat's requests last as long as its connections, so their latency says nothing.
const (
	requestsOf = `sum by (backend_target_name, response_code_class) ` +
		`(increase(loadbalancing_googleapis_com:https_backend_request_count{monitored_resource="https_lb_rule"}[%ds]))`
	latencyOf = `histogram_quantile(0.95, sum by (le) ` +
		`(increase(loadbalancing_googleapis_com:https_backend_latencies_bucket{monitored_resource="https_lb_rule",backend_target_name%s}[%ds])))`
	routesOf = `sum by (backend_target_name, matched_url_path_rule) ` +
		`(increase(loadbalancing_googleapis_com:https_backend_request_count{monitored_resource="https_lb_rule"}[3600s]))`
	isV1   = `="v1"`
	isOurs = `!~"v1|chat-service"`
	// leastRange is the shortest range of a query: metrics have a point a minute, and an increase needs two.
	leastRange = 2 * time.Minute
)

// health is how one side did.
type health struct {
	requests, errors float64
	p95              time.Duration
}

func (h health) share() float64 {
	if h.requests == 0 {
		return 0
	}
	return 100 * h.errors / h.requests
}

func (h health) String() string {
	return fmt.Sprintf("%.0f requests, %.2f %% with 5xx, p95 %s", h.requests, h.share(), h.p95.Round(time.Millisecond))
}

// judge looks back this far, and says what is past a limit, of v2 or of v1.
func (t *tool) judge(ctx context.Context, back time.Duration, at shares) (fault string, v2 health, err error) {
	sides := map[string]*health{"v1": {}, "v2": {}}
	seconds := int(max(back, leastRange).Seconds())
	monitoring, err := t.monitoring(ctx)
	if err != nil {
		return "", v2, err
	}
	counts, err := monitoring.Query(ctx, fmt.Sprintf(requestsOf, seconds), t.now())
	if err != nil {
		return "", v2, err
	}
	for _, sample := range counts {
		side := sides["v2"]
		if sample.Metric["backend_target_name"] == "v1" {
			side = sides["v1"]
		}
		side.requests += float64(sample.Value)
		if class := sample.Metric["response_code_class"]; class == "5xx" || class == "500" {
			side.errors += float64(sample.Value)
		}
	}
	for name, matcher := range map[string]string{"v1": isV1, "v2": isOurs} {
		found, err := monitoring.Query(ctx, fmt.Sprintf(latencyOf, matcher, seconds), t.now())
		if err != nil {
			return "", v2, err
		}
		for _, sample := range found {
			if ms := float64(sample.Value); !math.IsNaN(ms) && !math.IsInf(ms, 0) {
				sides[name].p95 = time.Duration(ms * float64(time.Millisecond))
			}
		}
	}
	t.say("at %s: v1 %s; v2 %s", at, *sides["v1"], *sides["v2"])
	for _, name := range slices.Sorted(maps.Keys(sides)) {
		side := *sides[name]
		switch {
		case side.requests < t.rules.least:
		case side.share() > t.rules.limit:
			return fmt.Sprintf("%.2f %% of %s's requests are answered with 5xx, and %g %% is the limit",
				side.share(), name, t.rules.limit), side, nil
		case side.p95 > t.rules.latency:
			return fmt.Sprintf("the 95th percentile of %s's latency is %s, and %s is the limit",
				name, side.p95.Round(time.Millisecond), t.rules.latency), side, nil
		}
	}
	return "", *sides["v2"], nil
}

// watch returns nil when both sides have been well for the time, and else why to go back.
func (t *tool) watch(ctx context.Context, at shares) error {
	for begun := t.now(); ; {
		if err := t.sleep(ctx, t.rules.poll); err != nil {
			return errors.New("it was interrupted")
		}
		elapsed := t.now().Sub(begun)
		fault, v2, err := t.judge(ctx, elapsed, at)
		switch {
		case ctx.Err() != nil:
			return errors.New("it was interrupted")
		case err != nil:
			t.say("Cloud Monitoring cannot be asked: %v", err)
			if elapsed >= t.rules.wait {
				return fmt.Errorf("how both sides are is not known: %w", err)
			}
		case fault != "":
			return errors.New(fault)
		case elapsed >= t.rules.window && v2.requests >= t.rules.least:
			return nil
		case elapsed < t.rules.wait:
		case t.rules.onQuiet == "stay":
			t.say("only %.0f requests came to v2 within %s, and --on-quiet=stay stays", v2.requests, t.rules.wait)
			return nil
		default:
			return fmt.Errorf("only %.0f requests came to v2 within %s, and %.0f are needed to judge it: go on at a busier time, or with --on-quiet=stay",
				v2.requests, t.rules.wait, t.rules.least)
		}
	}
}

// status says where things stand.
func (t *tool) status(ctx context.Context, written shares, applied *shares) error {
	switch {
	case applied == nil:
		t.say("%s: Terraform has not applied any weights yet; %s says %s", t.Name, t.path(), written)
	case *applied != written:
		t.say("%s: applied is %s. A rollout was broken off: %s says %s", t.Name, *applied, t.path(), written)
	default:
		t.say("%s: %s", t.Name, written)
	}
	monitoring, err := t.monitoring(ctx)
	if err != nil {
		return err
	}
	found, err := monitoring.Query(ctx, routesOf, t.now())
	if err != nil {
		return fmt.Errorf("how much traffic there is is not known: %w", err)
	}
	type key struct{ version, route string }
	table := map[key][2]float64{}
	for _, sample := range found {
		route := string(sample.Metric["matched_url_path_rule"])
		k := key{"v1's paths", route}
		if route == "/v2" || strings.HasPrefix(route, "/v2/") {
			k.version = "v2's paths"
		}
		counts := table[k]
		if sample.Metric["backend_target_name"] == "v1" {
			counts[0] += float64(sample.Value)
		} else {
			counts[1] += float64(sample.Value)
		}
		table[k] = counts
	}
	w := tabwriter.NewWriter(t.output, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "version\troute\tto v1\tto v2\tv2's share, %") // a tabwriter tells of failures by Flush
	for _, k := range slices.SortedFunc(maps.Keys(table), func(a, b key) int {
		return strings.Compare(a.version+a.route, b.version+b.route)
	}) {
		counts := table[k]
		if sum := counts[0] + counts[1]; sum > 0 {
			_, _ = fmt.Fprintf(w, "%s\t%s\t%.0f\t%.0f\t%.0f\n", k.version, k.route, counts[0], counts[1], 100*counts[1]/sum)
		}
	}
	return w.Flush()
}

// patience is how long Cloud Monitoring may take for one answer.
const patience = 30 * time.Second

func (t *tool) monitoring(ctx context.Context) (*gcloud.Monitoring, error) {
	return gcloud.CLI{Project: t.Project, Limit: patience}.Monitoring(ctx, t.rules.monitoring, patience)
}
