package tests

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// environment is what staging has to have in common with production, by address.
type environment struct {
	Addresses []string
	Rules     []routeRule
	Probes    map[string][]probe
	Variables map[string][]string
	Alerts    map[string]string
}

// ownNumbers are what differs between alerts because one database is larger.
var ownNumbers = regexp.MustCompile(`database_id="liftlog-[a-z]+:liftlog"\}\) > \d+$`)

func environmentOf(s state) (e environment, err error) {
	e = environment{Probes: map[string][]probe{}, Variables: map[string][]string{}, Alerts: map[string]string{}}
	for _, r := range s {
		e.Addresses = append(e.Addresses, r.Address)
	}
	slices.Sort(e.Addresses)
	m, err := one[urlMap](s, "google_compute_url_map.main")
	if err != nil {
		return e, err
	}
	e.Rules = m.PathMatcher[0].RouteRules
	services, err := each[service](s, "google_cloud_run_v2_service")
	if err != nil {
		return e, err
	}
	for address, svc := range services {
		c := svc.Template[0].Containers[0]
		e.Probes[address] = append(slices.Clone(c.Startup), c.Liveness...)
		for _, variable := range c.Env {
			e.Variables[address] = append(e.Variables[address], variable.Name)
		}
		slices.Sort(e.Variables[address])
	}
	policies, err := each[policy](s, "google_monitoring_alert_policy")
	if err != nil {
		return e, err
	}
	for address, p := range policies {
		text := ""
		for _, q := range p.Conditions[0].PromQL {
			text = q.Duration + " " + ownNumbers.ReplaceAllString(q.Query, "its own")
		}
		e.Alerts[address] = text
	}
	return e, nil
}

// checkEnvironments plans all environments and compares staging with production.
func checkEnvironments(ctx context.Context, w workspace) error {
	plans := map[string]environment{}
	for _, name := range []string{"dev", "staging", "production"} {
		s, err := w.plan(ctx, name)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if plans[name], err = environmentOf(s); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	staging, production := plans["staging"], plans["production"]
	var faults []error
	for what, pair := range map[string][2]any{
		"addresses": {staging.Addresses, production.Addresses}, "rules": {staging.Rules, production.Rules}, "probes": {staging.Probes, production.Probes},
		"variables' names": {staging.Variables, production.Variables}, "alerts": {staging.Alerts, production.Alerts},
	} {
		a, errA := json.Marshal(pair[0])
		b, errB := json.Marshal(pair[1])
		if err := errors.Join(errA, errB); err != nil {
			return err
		}
		if a, b := strings.ReplaceAll(string(a), "liftlog-staging", "liftlog-production"), string(b); a != b {
			faults = append(faults, fmt.Errorf("staging and production have other %s: %s", what, firstDifference(a, b)))
		}
	}
	if len(production.Addresses) < 100 || len(production.Alerts) < 10 || len(production.Rules) < 30 {
		faults = append(faults, errors.New("there is next to nothing to compare"))
	}
	return errors.Join(faults...)
}

// firstDifference shows where two texts part.
func firstDifference(a, b string) string {
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	from := strings.LastIndexAny(a[:i], ",{[") + 1
	return fmt.Sprintf("…%.120s… and …%.120s…", a[from:], b[from:])
}

func TestEnvironments(t *testing.T) {
	t.Parallel()
	require.NoError(t, checkEnvironments(t.Context(), newWorkspace(t)))
}
