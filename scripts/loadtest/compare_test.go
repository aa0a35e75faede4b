package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const wrkSaid = `Running 3s test @ http://127.0.0.1:36263
  1 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     2.96ms    2.87ms  25.14ms   83.17%
    Req/Sec     6.18k     1.28k    7.89k    50.00%
  18482 requests in 3.01s, 4.25MB read
Requests/sec:   6140.21
Transfer/sec:      1.41MB
`

func TestRatesAreReadFromWhatToolsSay(t *testing.T) {
	t.Parallel()
	rate, err := wrkRate(wrkSaid)
	require.NoError(t, err)
	assert.InDelta(t, 6140.21, rate, 1e-9)
	for _, failed := range []string{
		strings.Replace(wrkSaid, "Requests/sec", "  Non-2xx or 3xx responses: 1\nRequests/sec", 1),
		strings.Replace(wrkSaid, "Requests/sec", "  Socket errors: connect 0, read 1, write 0, timeout 0\nRequests/sec", 1),
		"unable to connect to 127.0.0.1:1 Connection refused\n",
	} {
		_, err := wrkRate(failed)
		require.Error(t, err, "a refusal is no request")
	}

	rate, err = pgbenchRate("number of failed transactions: 0 (0.000%)\nlatency average = 4.2 ms\ninitial connection time = 200.1 ms\n" +
		"tps = 3786.213377 (without initial connection time)\n")
	require.NoError(t, err)
	assert.InDelta(t, 3786.213377, rate, 1e-9)
	_, err = pgbenchRate("number of transactions actually processed: 0\n")
	require.Error(t, err)
}

func TestRowsHaveMediansAndGoals(t *testing.T) {
	t.Parallel()
	cells := func(row string) (cells []string) {
		for cell := range strings.SplitSeq(strings.Trim(row, "|"), "|") {
			cells = append(cells, strings.TrimSpace(cell))
		}
		return cells
	}
	c := comparison{function: "PutEvent", what: "2 KB", goal: 0.7}
	row1 := row(c, "durable", 16, []float64{700, 900, 100}, []float64{1000, 900, 1000})
	assert.Equal(t, []string{"PutEvent, 2 KB", "durable", "16", "700", "1000", "0.70", "0.70"}, cells(row1), "the median of ratios, not the ratio of medians")
	c = comparison{function: "CreateUser", goal: 1 / 1.05}
	row2 := row(c, "default", 8, []float64{5, 6}, []float64{6.25, 6.25})
	assert.Equal(t, []string{"CreateUser", "default", "8", "5.50", "6.25", "0.88", "0.95, missed"}, cells(row2))
	for line := range strings.Lines(tableHead + row1 + "\n" + row2 + "\n") {
		assert.Len(t, line, strings.Index(tableHead, "\n")+1, line)
		assert.Equal(t, 8, strings.Count(line, "|"))
	}
}

func TestWhatCannotBeMeasuredIsSaid(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"--rounds", "0"}, {"--seconds", "-1"}, {"--route", "Nothing"}, {"--nothing"}} {
		require.Error(t, runUsers(t.Context(), &bench{}, args), args)
	}
}
