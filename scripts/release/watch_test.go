package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// What the query counts, as Prometheus's own engine sees it: ten requests a minute of a revision, one of them a failure, and two of
// another; not the revision before, nor one whose name only begins alike.
const series = `
tests:
  - interval: 1m
    input_series:
      - series: 'run_googleapis_com:request_count{monitored_resource="cloud_run_revision",revision_name="a-2",response_code_class="2xx"}'
        values: 0+9x10
      - series: 'run_googleapis_com:request_count{monitored_resource="cloud_run_revision",revision_name="a-2",response_code_class="5xx"}'
        values: 0+1x10
      - series: 'run_googleapis_com:request_count{monitored_resource="cloud_run_revision",revision_name="b-7",response_code_class="2xx"}'
        values: 0+2x10
      - series: 'run_googleapis_com:request_count{monitored_resource="cloud_run_revision",revision_name="a-1",response_code_class="5xx"}'
        values: 0+500x10
      - series: 'run_googleapis_com:request_count{monitored_resource="cloud_run_revision",revision_name="a-21",response_code_class="5xx"}'
        values: 0+500x10
    promql_expr_test:
      - expr: %s
        eval_time: 10m
        exp_samples:
          - labels: '{response_code_class="2xx"}'
            value: 110
          - labels: '{response_code_class="5xx"}'
            value: 10
`

func TestTheQueryCountsTheRevisionsAlone(t *testing.T) {
	t.Parallel()
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed (Debian's package prometheus)")
	}
	file := filepath.Join(t.TempDir(), "series.yaml")
	query := fmt.Sprintf(requestsOf, "a-2|b-7", 600)
	require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, series, query), 0o600))
	said, err := exec.CommandContext(t.Context(), promtool, "test", "rules", file).CombinedOutput()
	require.NoError(t, err, "%s", said)
}
