package tests

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// policy is an alert by a query.
type policy struct {
	Conditions []struct {
		Name   string `json:"display_name"`
		PromQL []struct {
			Query    string `json:"query"`
			Duration string `json:"duration"`
		} `json:"condition_prometheus_query_language"`
	} `json:"conditions"`
}

// series is one made up of a value a minute, in promtool's notation.
type series struct {
	Series string `json:"series"`
	Values string `json:"values"`
}

// alertCase says whether an alert fires in some minutes.
type alertCase struct {
	alert  string
	why    string
	series []series
	at     []string          // when it is asked
	fires  map[string]string // labels of what fires; nil: nothing
}

// requests are a service's, with errors among them.
func requests(service, fine, failed string) []series {
	const metric = `run_googleapis_com:request_count{monitored_resource="cloud_run_revision",service_name=%q,response_code_class=%q}`
	return []series{{fmt.Sprintf(metric, service, "2xx"), fine}, {fmt.Sprintf(metric, service, "5xx"), failed}}
}

// latencies are a service's requests, in buckets: the fine ones take half of the limit at most, and the slow ones up to four times as long as it.
func latencies(service string, limitMS, fine, slow int, minutes string) []series {
	const metric = `run_googleapis_com:request_latencies_bucket{monitored_resource="cloud_run_revision",service_name=%q,le=%q}`
	counting := func(n int) string { return fmt.Sprintf("0+%d%s", n, minutes) }
	bucket := func(ms, n int) series { return series{fmt.Sprintf(metric, service, strconv.Itoa(ms)), counting(n)} }
	return append(requests(service, counting(fine+slow), "0+0"+minutes),
		bucket(limitMS/2, fine), bucket(limitMS, fine), bucket(4*limitMS, fine+slow), series{fmt.Sprintf(metric, service, "+Inf"), counting(fine + slow)})
}

// checks are those of the uptime check from six places, of which some fail in some minutes.
func checks(id, failing string, n int) (all []series) {
	for i := range 6 {
		values := "1+0x40"
		if i < n {
			values = failing
		}
		all = append(all, series{fmt.Sprintf(`monitoring_googleapis_com:uptime_check_check_passed{monitored_resource="uptime_url",check_id=%q,checker_location="place-%d"}`, id, i), values})
	}
	return all
}

func alertCases(checkID string) []alertCase {
	const every = "x40" // forty minutes of the same
	cleanups := func(values string) []series {
		return []series{{`run_googleapis_com:job_completed_execution_count{monitored_resource="cloud_run_job",job_name="cleanup",result="succeeded"}`, values}}
	}
	connections := func(n string) []series {
		return []series{
			{`cloudsql_googleapis_com:database_postgresql_num_backends{monitored_resource="cloudsql_database",database_id="liftlog-production:liftlog",database="liftlog_user_data"}`, n + "+0" + every},
			{`cloudsql_googleapis_com:database_postgresql_num_backends{monitored_resource="cloudsql_database",database_id="liftlog-production:liftlog",database="liftlog_rate_limit"}`, "20+0" + every},
			{`cloudsql_googleapis_com:database_postgresql_num_backends{monitored_resource="cloudsql_database",database_id="liftlog-production:other",database="x"}`, "500+0" + every},
		}
	}
	return []alertCase{
		{"errors-functions", "2 % for 15 minutes", requests("get-user", "0+588x40", "0+0x9 0+12x15 180+0x20"), []string{"25m"}, map[string]string{"service_name": "get-user"}},
		{"errors-functions", "2 % for 2 minutes", requests("get-user", "0+588x40", "0+0x9 0+12x2 24+0x30"), []string{"11m", "13m", "15m", "17m", "20m"}, nil},
		{"errors-functions", "0.5 % for long", requests("get-user", "0+597x40", "0+3x40"), []string{"10m", "20m", "40m"}, nil},
		{"errors-functions", "one failure of three requests at night", requests("get-user", "0+0x9 1+0x9 2+0x20", "0+0x14 1+0x30"), []string{"15m", "17m", "19m", "21m", "25m"}, nil},
		{"errors-functions", "a few failures of a few requests at night", requests("get-user", "0+1x20 20+0x20", "0+0x11 1+0x2 2+0x2 3+0x2 4+0x30"), []string{"15m", "18m", "20m", "22m"}, nil},
		{"errors-functions", "the chat has an alert of its own", requests("chat-service", "0+500x40", "0+100x40"), []string{"20m"}, nil},
		{"errors-functions", "so have plans", requests("plan-workout", "0+500x40", "0+100x40"), []string{"20m"}, nil},
		{"errors-plans", "10 % for long", requests("plan-workout", "0+90x40", "0+10x40"), []string{"30m"}, map[string]string{"service_name": "plan-workout"}},
		{"errors-plans", "the model fails now and then", requests("plan-workout", "0+97x40", "0+3x40"), []string{"30m"}, nil},
		{"errors-chat", "10 % for long", requests("chat-service", "0+90x40", "0+10x40"), []string{"30m"}, map[string]string{"service_name": "chat-service"}},
		{"latency-functions", "a tenth takes 2 s for 20 minutes", latencies("put-event", 500, 90, 10, every), []string{"20m"}, map[string]string{"service_name": "put-event"}},
		{"latency-functions", "one of twenty-five takes 2 s", latencies("put-event", 500, 96, 4, every), []string{"20m", "40m"}, nil},
		{"latency-functions", "a tenth takes 2 s, and nine minutes have gone by", latencies("put-event", 500, 90, 10, every), []string{"5m", "9m"}, nil},
		{"latency-functions", "one cold start at night", latencies("put-event", 500, 1, 1, "x1"), []string{"5m", "11m", "12m"}, nil},
		{"latency-functions", "the chat's requests last as long as its connections", latencies("chat-service", 500, 0, 100, every), []string{"30m"}, nil},
		{"latency-plans", "the model takes its seconds", latencies("plan-workout", 500, 50, 50, every), []string{"30m"}, nil},
		{"latency-plans", "a tenth takes minutes", latencies("plan-workout", 90000, 90, 10, every), []string{"30m"}, map[string]string{"service_name": "plan-workout"}},
		{"health", "two places fail three times", checks(checkID, "1+0x9 0+0x4 1+0x20", 2), []string{"13m"}, map[string]string{}},
		{"health", "two places fail twice", checks(checkID, "1+0x9 0+0x1 1+0x20", 2), []string{"11m", "12m", "13m", "15m"}, nil},
		{"health", "one place fails for long", checks(checkID, "0+0x40", 1), []string{"20m", "40m"}, nil},
		{"health", "another check fails", checks("another", "0+0x40", 6), []string{"20m", "40m"}, nil},
		{"connections", "330 of 400", connections("310"), []string{"10m"}, map[string]string{"database_id": "liftlog-production:liftlog"}},
		{"connections", "310 of 400", connections("290"), []string{"10m", "40m"}, nil},
		{"pool-waits", "waits go on", []series{{`logging_googleapis_com:user_pool_waits{monitored_resource="cloud_run_revision",service="get-users"}`, "0+3x40"}}, []string{"20m"}, map[string]string{"service": "get-users"}},
		{"pool-waits", "a wait now and then", []series{{`logging_googleapis_com:user_pool_waits{monitored_resource="cloud_run_revision",service="get-users"}`, "0+0x5 1+0x20 2+0x20"}}, []string{"8m", "28m"}, nil},
		{"cleanup", "every hour", cleanups("0+0x16 1+0x59 2+0x59 3+0x59 4+0x59"), []string{"100m", "120m", "160m", "220m"}, nil},
		{"cleanup", "not for 2 hours and 5 minutes", cleanups("0+0x16 1+0x300"), []string{"142m"}, map[string]string{}},
		{"cleanup", "not for an hour and three quarters", cleanups("0+0x16 1+0x300"), []string{"120m"}, nil},
		{"cleanup", "never, in an environment that is two hours old", nil, []string{"125m"}, map[string]string{}},
		{"certificate", "ends in ten days", []series{{fmt.Sprintf(`monitoring_googleapis_com:uptime_check_time_until_ssl_cert_expires{monitored_resource="uptime_url",check_id=%q}`, checkID), "10+0x100"}}, []string{"70m"}, map[string]string{}},
		{"certificate", "ends in thirty days", []series{{fmt.Sprintf(`monitoring_googleapis_com:uptime_check_time_until_ssl_cert_expires{monitored_resource="uptime_url",check_id=%q}`, checkID), "30+0x100"}}, []string{"70m"}, nil},
	}
}

var duration = regexp.MustCompile(`^(\d+)s$`)

// checkAlerts runs the alerts' queries, as planned, in Prometheus' own test tool.
func checkAlerts(ctx context.Context, w workspace, promtool string) error {
	states, err := w.test(ctx, "alerts")
	if err != nil {
		return err
	}
	s := states["production"]
	policies, err := each[policy](s, "google_monitoring_alert_policy")
	if err != nil {
		return err
	}
	uptime, err := one[struct {
		CheckID string `json:"uptime_check_id"`
	}](s, "google_monitoring_uptime_check_config.health")
	if err != nil {
		return err
	}
	type rule struct {
		Alert string `json:"alert"`
		Expr  string `json:"expr"`
		For   string `json:"for"`
	}
	var rules []rule
	tested := map[string]bool{}
	for address, p := range policies {
		c := p.Conditions[0]
		if len(c.PromQL) == 0 {
			continue // of what the platform logs
		}
		if !duration.MatchString(c.PromQL[0].Duration) {
			return fmt.Errorf("%s lasts %q", address, c.PromQL[0].Duration)
		}
		rules = append(rules, rule{c.Name, c.PromQL[0].Query, c.PromQL[0].Duration})
		tested[c.Name] = false
	}
	type expectation struct {
		Time   string           `json:"eval_time"`
		Alert  string           `json:"alertname"`
		Expect []map[string]any `json:"exp_alerts"`
	}
	type test struct {
		Name     string        `json:"name"`
		Interval string        `json:"interval"`
		Input    []series      `json:"input_series"`
		Tests    []expectation `json:"alert_rule_test"`
	}
	var tests []test
	for _, c := range alertCases(uptime.CheckID) {
		one := test{Name: c.alert + ": " + c.why, Interval: "1m", Input: c.series}
		for _, at := range c.at {
			expected := []map[string]any{}
			if c.fires != nil {
				expected = append(expected, map[string]any{"exp_labels": c.fires})
				tested[c.alert] = true
			}
			one.Tests = append(one.Tests, expectation{at, c.alert, expected})
		}
		tests = append(tests, one)
	}
	for name, fired := range tested {
		if !fired {
			return fmt.Errorf("no case makes %s fire", name)
		}
	}
	// JSON is YAML.
	rulesFile, testsFile := filepath.Join(w.dir, "rules.yml"), filepath.Join(w.dir, "alerts.yml")
	for file, content := range map[string]any{
		rulesFile: map[string]any{"groups": []map[string]any{{"name": "alerts", "rules": rules}}},
		testsFile: map[string]any{"rule_files": []string{rulesFile}, "evaluation_interval": "1m", "tests": tests},
	} {
		encoded, err := json.MarshalIndent(content, "", " ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(file, encoded, 0o600); err != nil {
			return err
		}
	}
	if said, err := exec.CommandContext(ctx, promtool, "test", "rules", testsFile).CombinedOutput(); err != nil {
		return fmt.Errorf("promtool test rules: %w\n%s", err, said)
	}
	return nil
}

// promtool is Prometheus' tool, in Debian's package of that name.
func promtool(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("promtool is not installed: apt-get install prometheus")
		}
		t.Skip("promtool is not installed (apt-get install prometheus): the alerts' queries are not run")
	}
	return path
}

func TestAlerts(t *testing.T) {
	t.Parallel()
	w := newWorkspace(t)
	require.NoError(t, checkAlerts(t.Context(), w, promtool(t)))
}

// TestEveryAlertHasItsPage needs no Terraform: the names of alerts are those of the pages that the configuration reads.
func TestEveryAlertHasItsPage(t *testing.T) {
	t.Parallel()
	pages, err := filepath.Glob(root + "/terraform/runbooks/*.md")
	require.NoError(t, err)
	require.Greater(t, len(pages), 10)
	for _, page := range pages {
		content, err := os.ReadFile(page)
		require.NoError(t, err)
		text := string(content)
		for _, part := range []string{"# ", "\n## Look here first\n", "\n## Undo by this\n"} {
			require.Contains(t, text, part, page)
		}
		require.Less(t, len(text), 8<<10, "%s: Monitoring takes 8 KiB", page)
		for line := range strings.Lines(text) {
			require.LessOrEqual(t, len(line), 250, "%s: %s", page, strconv.Quote(line))
		}
	}
}
