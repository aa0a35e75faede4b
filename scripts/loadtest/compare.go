package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// comparison is a function beside its yardstick. Both are measured as how often a second.
type comparison struct {
	function, what string
	goal           float64 // the least ratio
	connections    []int   // at each of which it is measured
	ours           func(ctx context.Context, p *process, c comparison, connections, seconds int) (float64, error)
	yardstick      func(context.Context) (float64, error)
}

const tableRow = "| %-43s | %-8s | %11s | %6s | %11s | %5s | %-12s |"

var tableHead = fmt.Sprintf(tableRow+"\n", "route", "database", "connections", "ours/s", "yardstick/s", "ratio", "goal") +
	strings.NewReplacer(" ", "-").Replace(fmt.Sprintf(tableRow+"\n", "", "", "", "", "", "", ""))

// row is a row of the table, in Markdown: the medians of the rates, and of the ratios of each round.
func row(c comparison, database string, connections int, ours, yardstick []float64) string {
	ratios := make([]float64, len(ours))
	for i := range ours {
		ratios[i] = ours[i] / yardstick[i]
	}
	route := c.function
	if c.what != "" {
		route += ", " + c.what
	}
	ratio, goal := median(ratios), fmt.Sprintf("%.2f", c.goal)
	if ratio < c.goal {
		goal += ", missed"
	}
	number := func(n float64) string {
		if n < 100 { //nolint:mnd // three digits
			return fmt.Sprintf("%.2f", n)
		}
		return fmt.Sprintf("%.0f", n)
	}
	return fmt.Sprintf(tableRow, route, database, strconv.Itoa(connections), number(median(ours)), number(median(yardstick)),
		fmt.Sprintf("%.2f", ratio), goal)
}

func median(numbers []float64) float64 {
	sorted := slices.Sorted(slices.Values(numbers))
	half := len(sorted) / 2
	if len(sorted)%2 == 0 {
		return (sorted[half-1] + sorted[half]) / 2
	}
	return sorted[half]
}

// wrkRate reads how many requests wrk made in a second. A request that failed is an error: what is refused costs less.
func wrkRate(said string) (float64, error) {
	for _, failure := range []string{"Non-2xx", "Socket errors"} {
		if strings.Contains(said, failure) {
			return 0, errors.New("wrk met failures: " + said)
		}
	}
	return number(said, `Requests/sec:\s+([\d.]+)`)
}

// pgbenchRate reads how many transactions pgbench made in a second.
func pgbenchRate(said string) (float64, error) { return number(said, `tps = ([\d.]+)`) }
