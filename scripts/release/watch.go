package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/liftlog/liftlog-api/scripts/gcloud"
)

// What to do when too few requests came to judge a release by.
const (
	goBack  = "back"
	promote = "promote"
)

// rules say when a release that has a part of the traffic may have more.
type rules struct {
	limit      float64       // the share of requests answered with 5xx that is too much, in percent
	least      float64       // requests below which a share means nothing
	window     time.Duration // how long a stage is watched at least
	wait       time.Duration // how long requests are waited for at most
	poll       time.Duration // between two looks
	onQuiet    string
	monitoring string // its address
}

func (r *rules) define(flags *flag.FlagSet) {
	flags.Float64Var(&r.limit, "limit", 1, "")
	flags.Float64Var(&r.least, "least", 200, "")
	flags.DurationVar(&r.window, "watch", 10*time.Minute, "")
	flags.DurationVar(&r.wait, "wait", time.Hour, "")
	flags.StringVar(&r.onQuiet, "on-quiet", goBack, "")
	flags.StringVar(&r.monitoring, "monitoring", gcloud.MonitoringAddress, "")
	r.poll = 30 * time.Second
}

func (r *rules) check() error {
	switch {
	case r.onQuiet != goBack && r.onQuiet != promote:
		return fmt.Errorf("--on-quiet=%s: it has to be back or promote", r.onQuiet)
	case r.limit <= 0 || r.limit >= 100 || r.least < 1:
		return errors.New("--limit has to be more than 0 and less than 100 percent, and --least a number of requests")
	case r.window <= 0 || r.wait < r.window:
		return errors.New("--watch has to be a time, and --wait no less")
	}
	return nil
}

// watch returns nil when the services' new revisions, taken together, have been well for the time and the requests that the rules
// ask for, and else why to go back.
func (t *tool) watch(ctx context.Context, r rules, services []target, of record) error {
	revisions := make([]string, len(services))
	for i, one := range services {
		revisions[i] = of.Steps[one.name].After
	}
	slices.Sort(revisions)
	for begun := t.now(); ; {
		if err := t.sleep(ctx, r.poll); err != nil {
			return err
		}
		elapsed := t.now().Sub(begun)
		requests, errs, err := t.count(ctx, r, revisions, elapsed)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		share := 0.0
		if requests > 0 {
			share = 100 * errs / requests
		}
		if err != nil {
			t.say("Cloud Monitoring cannot be asked: %v", err)
		} else {
			t.say("%s: %.0f requests, %.2f %% of them answered with 5xx", elapsed.Round(time.Second), requests, share)
		}
		switch {
		case err == nil && requests >= r.least && share > r.limit:
			return fmt.Errorf("%.2f %% of %.0f requests to the new revisions were answered with 5xx, and %g %% is the limit", share, requests, r.limit)
		case err == nil && requests >= r.least && elapsed >= r.window:
			return nil
		case elapsed < r.wait:
		case err != nil:
			return fmt.Errorf("how the release does is not known: Cloud Monitoring cannot be asked: %w", err)
		case share > r.limit:
			return fmt.Errorf("%.2f %% of only %.0f requests were answered with 5xx", share, requests)
		case r.onQuiet == promote:
			t.say("only %.0f requests came within %s, and --on-quiet=promote goes on", requests, r.wait)
			return nil
		default:
			return fmt.Errorf("only %.0f requests came to the new revisions within %s, and %.0f are needed to judge it: deploy at a busier time, or with "+
				"--on-quiet=promote", requests, r.wait, r.least)
		}
	}
}

// requestsOf are the requests of revisions within a range, by class of response.
const requestsOf = `sum by (response_code_class) ` +
	`(increase(run_googleapis_com:request_count{monitored_resource="cloud_run_revision",revision_name=~"%s"}[%ds]))`

// leastRange is the shortest range of a query: Cloud Run's metrics have a point a minute, and an increase needs two.
const leastRange = 2 * time.Minute

// count asks Cloud Monitoring for the revisions' requests since a while ago, and for those of them that were answered with 5xx.
func (t *tool) count(ctx context.Context, r rules, revisions []string, since time.Duration) (requests, errs float64, err error) {
	monitoring, err := gcloud.CLI{Project: t.Project, Limit: t.limit, Exec: t.exec}.Monitoring(ctx, r.monitoring, t.answer)
	if err != nil {
		return 0, 0, err
	}
	query := fmt.Sprintf(requestsOf, strings.Join(revisions, "|"), int(max(since, leastRange).Seconds()))
	samples, err := monitoring.Query(ctx, query, t.now())
	if err != nil {
		return 0, 0, err
	}
	for _, sample := range samples {
		requests += float64(sample.Value)
		if sample.Metric["response_code_class"] == "5xx" {
			errs += float64(sample.Value)
		}
	}
	return requests, errs, nil
}
