package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// report is all that a run has found out; --json writes it.
type report struct {
	URL          string          `json:"url,omitempty"` // empty: the programs of this machine
	Phones       int             `json:"phones"`
	Accounts     int             `json:"accounts,omitempty"` // fewer than phones, with a URL
	Overload     int             `json:"overload,omitempty"` // phones beside them that never waited
	ThinkSeconds float64         `json:"think_seconds"`
	SignUps      *signUpReport   `json:"sign_ups,omitempty"`
	Stages       []stageReport   `json:"stages"`
	Programs     []programReport `json:"programs,omitempty"`
	Pgbench      []pgbenchReport `json:"pgbench,omitempty"`
	Faults       []string        `json:"faults"` // why the run fails
}

// stageReport is what came of the requests that began in a stage.
type stageReport struct {
	Stage   string        `json:"stage"`
	Seconds float64       `json:"seconds"`
	All     routeReport   `json:"all"`
	Routes  []routeReport `json:"routes"`
}

// signUpReport is what sign-ups took, by themselves.
type signUpReport struct {
	routeReport

	CPUSecondsEach float64 `json:"cpu_seconds_each,omitempty"`
}

// programReport is what a program took at most, and of what.
type programReport struct {
	Program        string  `json:"program"`
	MemoryMiB      float64 `json:"memory_mib"` // VmHWM
	MemoryLimitMiB float64 `json:"memory_limit_mib"`
	Connections    int     `json:"connections"` // to the database
	Pool           int     `json:"pool"`
	Concurrency    int     `json:"concurrency"`
	CPUSeconds     float64 `json:"cpu_seconds"`
}

// pgbenchReport is what PostgreSQL does by itself.
type pgbenchReport struct {
	Arguments string  `json:"arguments"`
	PerSecond float64 `json:"per_second"`
}

// fault notes why the run fails.
func (r *report) fault(format string, args ...any) {
	r.Faults = append(r.Faults, fmt.Sprintf(format, args...))
}

// pgbenchClients is the most that a run of pgbench has.
const pgbenchClients = 32

// runPgbench measures the server that the programs have used, while they are idle.
func (p *phones) runPgbench(ctx context.Context) error {
	if p.pgbench == 0 {
		return nil
	}
	if err := p.database.CreateDatabase(ctx, "pgbench"); err != nil {
		return err
	}
	at := p.database.URL("pgbench")
	if _, err := output(ctx, "pgbench", "-i", "-q", "-s", "10", at); err != nil {
		return err
	}
	seconds := max(1, int(p.pgbench.Seconds()))
	for _, arguments := range [][]string{
		{"-N", "-M", "prepared", "-c", "16", "-j", "1"},
		{"-S", "-M", "prepared", "-c", strconv.Itoa(pgbenchClients), "-j", "1"},
	} {
		said, err := output(ctx, "pgbench", append(arguments, "-T", strconv.Itoa(seconds), at)...)
		if err != nil {
			return err
		}
		done, err := number(said, `transactions actually processed: (\d+)`)
		if err != nil {
			return err
		}
		p.report.Pgbench = append(p.report.Pgbench, pgbenchReport{strings.Join(arguments, " "), done / float64(seconds)})
	}
	return nil
}

// tell prints what was measured, writes the files that were asked for, and returns why the run fails.
func (p *phones) tell() error {
	p.summarize()
	p.report.judge()
	p.report.print(os.Stdout)
	var failed error
	if p.json != "" {
		text, err := json.MarshalIndent(p.report, "", "  ")
		if err == nil {
			err = os.WriteFile(p.json, append(text, '\n'), 0o600)
		}
		failed = errors.Join(failed, err)
	}
	if p.svg != "" {
		failed = errors.Join(failed, p.draw(p.svg))
	}
	for _, fault := range p.report.Faults {
		failed = errors.Join(failed, errors.New(fault))
	}
	return failed
}

func (p *phones) summarize() {
	p.seen.end()
	p.report.Stages = []stageReport{}
	for _, s := range p.seen.stages {
		samples, seconds := p.seen.in(s), (s.ended - s.began).Seconds()
		p.report.Stages = append(p.report.Stages, stageReport{
			Stage: s.name, Seconds: seconds, All: summarize("all", samples, seconds), Routes: byRoute(samples, seconds),
		})
	}
}

// asBefore is how much longer requests may take after an overload, at the 95th percentile: a multiple of what they took
// before, and some milliseconds, which a machine loses by itself.
const asBefore, asBeforeMillis = 2, 50

// slower begins the fault of requests that take longer.
const slower = "after the overload requests take"

// judge finds what makes the run fail: everything that was answered neither by 200 nor by a refusal; a refusal by 503 where there
// was no overload; and that after one all is not as before.
func (r *report) judge() {
	if r.Faults == nil {
		r.Faults = []string{}
	}
	for _, s := range r.Stages {
		if s.All.Failed > 0 {
			r.fault("%d of %d requests failed (%s): %s", s.All.Failed, s.All.Requests, s.Stage, list(s.All.Errors))
		}
		if refused := s.All.Errors["503"]; refused > 0 && s.Stage != stageOverload {
			r.fault("%d of %d requests were answered by 503 without an overload (%s)", refused, s.All.Requests, s.Stage)
		}
	}
	before, calm := r.stage(stageHold), r.stage(stageCalm)
	if before == nil || calm == nil {
		return
	}
	if calm.All.Refused != nil {
		r.fault("requests are still refused after the overload: %s", list(calm.All.Errors))
	}
	if most := asBefore*before.All.Answered.P95 + asBeforeMillis; calm.All.Answered.P95 > most {
		r.fault(slower+" %.0f ms (p95), and took %.0f before", calm.All.Answered.P95, before.All.Answered.P95)
	}
}

func (r *report) stage(name string) *stageReport {
	i := slices.IndexFunc(r.Stages, func(s stageReport) bool { return s.Stage == name })
	if i < 0 || r.Stages[i].All.Requests == 0 {
		return nil
	}
	return &r.Stages[i]
}

// print writes the tables: of the ramp only when there is nothing else.
func (r *report) print(w io.Writer) {
	if s := r.SignUps; s != nil {
		_, _ = fmt.Fprintf(w, "\nsign-ups: %d, %.1f a second, %d at a time; p50 %s, p95 %s", s.Requests-s.Failed, s.PerSecond, signUpCallers,
			millis(s.Answered.P50), millis(s.Answered.P95))
		if s.CPUSecondsEach > 0 {
			_, _ = fmt.Fprintf(w, ", %.2f s of a processor each", s.CPUSecondsEach)
		}
		_, _ = fmt.Fprintln(w)
	}
	measured := false
	for _, s := range r.Stages {
		if s.All.Requests > 0 && (s.Stage != stageRamp || r.stage(stageHold) == nil) {
			s.print(w)
			measured = true
		}
	}
	if !measured {
		_, _ = fmt.Fprintln(w, "\nno request was measured")
	}
	if len(r.Programs) > 0 {
		row := "%-20s%8s%8s%14s%6s%18s%8s\n"
		_, _ = fmt.Fprintf(w, "\n"+row, "program", "MiB", "of", "connections", "of", "requests at once", "CPU s")
		for _, p := range r.Programs {
			_, _ = fmt.Fprintf(w, row, p.Program, fmt.Sprintf("%.0f", p.MemoryMiB), fmt.Sprintf("%.0f", p.MemoryLimitMiB), strconv.Itoa(p.Connections),
				strconv.Itoa(p.Pool), strconv.Itoa(p.Concurrency), fmt.Sprintf("%.1f", p.CPUSeconds))
		}
	}
	for _, p := range r.Pgbench {
		_, _ = fmt.Fprintf(w, "\npgbench %s: %.0f a second on the same server", p.Arguments, p.PerSecond)
	}
	_, _ = fmt.Fprintln(w)
}

func (s *stageReport) print(w io.Writer) {
	_, _ = fmt.Fprintf(w, "\n%s: %d requests in %v, %.0f a second; p50 %s, p95 %s, p99 %s\n", s.Stage, s.All.Requests,
		time.Duration(s.Seconds*float64(time.Second)).Round(100*time.Millisecond), s.All.PerSecond, millis(s.All.Answered.P50),
		millis(s.All.Answered.P95), millis(s.All.Answered.P99))
	if f := s.All.Refused; f != nil {
		_, _ = fmt.Fprintf(w, "refused: p50 %s, p99 %s, at most %s\n", millis(f.P50), millis(f.P99), millis(f.Max))
	}
	row := "%-36s%10s%10s%12s%12s%12s%12s\n"
	_, _ = fmt.Fprintf(w, row, "route", "requests", "a second", "p50", "p95", "p99", "max")
	for _, r := range s.Routes {
		_, _ = fmt.Fprintf(w, row, r.Route, strconv.Itoa(r.Requests), fmt.Sprintf("%.1f", r.PerSecond), millis(r.Answered.P50), millis(r.Answered.P95),
			millis(r.Answered.P99), millis(r.Answered.Max))
	}
	for _, r := range s.Routes {
		if len(r.Errors) > 0 {
			_, _ = fmt.Fprintf(w, "errors of %s: %s\n", r.Route, list(r.Errors))
		}
	}
}

// millis is a time in milliseconds with as many digits as mean something, or nothing where there was no answer.
func millis(ms float64) string {
	if ms == 0 {
		return "-"
	}
	if ms < 10 {
		return fmt.Sprintf("%.1f ms", ms)
	}
	return fmt.Sprintf("%.0f ms", ms)
}

// list names errors with how often each came.
func list(counts map[string]int) string {
	var parts []string
	for _, what := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%d × %s", counts[what], what))
	}
	return strings.Join(parts, ", ")
}
