package main

import (
	_ "embed"
	"fmt"
	"html/template"
	"math"
	"os"
	"slices"
	"strings"
	"time"
)

// report holds all that was compared.
type report struct {
	V1, V2                           string // base URLs
	At                               time.Time
	Rows                             []row
	Same, Agreed, Different, LeftOut int

	took [2][]time.Duration
}

// add counts a row, and keeps it unless it repeats an earlier request without a difference.
func (r *report) add(row row, first bool) {
	for i, a := range row.Sides {
		if a.Fault == "" {
			r.took[i] = append(r.took[i], a.Took)
		}
	}
	if !first && row.Verdict != different {
		return
	}
	r.Rows = append(r.Rows, row)
	switch row.Verdict {
	case same:
		r.Same++
	case agreed:
		r.Agreed++
	case different:
		r.Different++
	}
}

// percentiles are one side's latencies.
type percentiles struct {
	Side                   string
	P50, P90, P99, Longest time.Duration
	Answers                int
}

// Percentiles are both sides'.
func (r *report) Percentiles() (all []percentiles) {
	for i, name := range []string{"v1", "v2"} {
		took := slices.Sorted(slices.Values(r.took[i]))
		if len(took) == 0 {
			continue
		}
		at := func(share float64) time.Duration { return took[int(math.Ceil(share*float64(len(took))))-1] }
		all = append(all, percentiles{name, at(0.5), at(0.9), at(0.99), at(1), len(took)})
	}
	return all
}

// The picture's size, and the latencies at its left and right end, on a logarithmic scale.
const (
	width, height   = 720, 240
	margin          = 40
	leastMS, mostMS = 0.1, 100_000
)

// line is one side's curve: which share of the answers took no longer than each time.
type line struct{ Side, Color, Points string }

// tick is a mark of one of the axes.
type tick struct {
	At    float64
	Label string
}

// across is where a latency is in the picture.
func across(d time.Duration) float64 {
	ms := min(max(float64(d)/float64(time.Millisecond), leastMS), mostMS)
	return margin + (width-2*margin)*math.Log10(ms/leastMS)/math.Log10(mostMS/leastMS)
}

// Lines are both sides' curves.
func (r *report) Lines() (lines []line) {
	for i, side := range []string{"v1", "v2"} {
		var points strings.Builder
		took := slices.Sorted(slices.Values(r.took[i]))
		for n, d := range took {
			for _, share := range []int{n, n + 1} { // a step
				fmt.Fprintf(&points, "%.1f,%.1f ", across(d), height-margin-(height-2*margin)*float64(share)/float64(len(took)))
			}
		}
		lines = append(lines, line{side, []string{"#b45309", "#1d4ed8"}[i], strings.TrimSpace(points.String())})
	}
	return lines
}

// Ticks mark the decades.
func (r *report) Ticks() (ticks []tick) {
	for ms := leastMS; ms <= mostMS; ms *= 10 {
		d := time.Duration(ms * float64(time.Millisecond))
		ticks = append(ticks, tick{across(d), d.String()})
	}
	return ticks
}

//go:embed page.html
var pageText string

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{"ms": milliseconds}).Parse(pageText))

// writePage writes the report as a page that loads nothing else.
func (r *report) writePage(path string) error {
	file, err := os.Create(path) //nolint:gosec // the operator names it
	if err != nil {
		return err
	}
	err = pageTemplate.Execute(file, r)
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	return err
}
