package main

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"
)

// kind is what an answer means to the run.
type kind int

const (
	fine    kind = iota
	refused      // with a time to come back, or by the platform
	failed
)

// outcome is what came of a request.
type outcome struct {
	kind   kind
	what   string // of what is not fine
	status int    // 0: there was no answer, or it does not matter
}

// platformRefusal is the answer of the platform where no place has become free.
var platformRefusal = outcome{kind: refused, what: "429 of the platform"}

// The stages of a run.
const (
	stageRamp     = "ramp"
	stageHold     = "hold"
	stageOverload = "overload"
	stageCalm     = "calm"
)

// record keeps what became of every request. It is safe for concurrent use.
type record struct {
	mu      sync.Mutex
	began   time.Time
	stages  []stage
	samples []sample
}

// stage is a part of the run. Requests count where they begin.
type stage struct {
	name         string
	began, ended time.Duration
}

// sample is one request.
type sample struct {
	label string
	began time.Duration // since the run's beginning
	took  time.Duration // waiting for a place included
	outcome
}

func newRecord() *record { return &record{began: time.Now()} }

// begin ends the stage that there is and begins another.
func (r *record) begin(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.close()
	r.stages = append(r.stages, stage{name: name, began: time.Since(r.began)})
}

// end ends the last stage.
func (r *record) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.close()
}

func (r *record) close() {
	if last := len(r.stages) - 1; last >= 0 && r.stages[last].ended == 0 {
		r.stages[last].ended = time.Since(r.began)
	}
}

// progress is the name of the stage that there is, and how many requests of it have come to an end so far.
func (r *record) progress() (name string, requests, notFine int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.stages[len(r.stages)-1]
	for _, one := range slices.Backward(r.samples) {
		if one.began+one.took < s.began { // samples are in the order of their ends
			break
		}
		if one.began >= s.began {
			requests++
			if one.kind != fine {
				notFine++
			}
		}
	}
	return s.name, requests, notFine
}

// add records a request, unless it came to nothing because the run was ended.
func (r *record) add(ctx context.Context, label string, began time.Time, o outcome) {
	if o.kind != fine && errors.Is(ctx.Err(), context.Canceled) {
		return
	}
	s := sample{label, began.Sub(r.began), time.Since(began), o}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.samples = append(r.samples, s)
}

// in returns the requests that began in the stage.
func (r *record) in(s stage) (found []sample) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, one := range r.samples {
		if one.began >= s.began && (s.ended == 0 || one.began < s.ended) {
			found = append(found, one)
		}
	}
	return found
}

// latencies are percentiles in milliseconds.
type latencies struct {
	P50 float64 `json:"p50_ms"`
	P95 float64 `json:"p95_ms"`
	P99 float64 `json:"p99_ms"`
	Max float64 `json:"max_ms"`
}

// latenciesOf sorts what requests took.
func latenciesOf(took []time.Duration) (l latencies) {
	if len(took) == 0 {
		return l
	}
	slices.Sort(took)
	at := func(percent int) float64 {
		return took[(len(took)*percent+99)/100-1].Seconds() * 1000 // the nearest rank
	}
	return latencies{at(50), at(95), at(99), at(100)}
}

// routeReport is what is known of the requests of a route in a stage.
type routeReport struct {
	Route     string         `json:"route"`
	Requests  int            `json:"requests"`
	PerSecond float64        `json:"per_second"`
	Answered  latencies      `json:"answered"`          // by 200
	Refused   *latencies     `json:"refused,omitempty"` // by 429, or by 503 with Retry-After
	Errors    map[string]int `json:"errors,omitempty"`  // refusals and failures, by what they are
	Failed    int            `json:"failed"`            // of the errors those that are no refusals
}

// summarize makes a report of the samples, all of one route or not.
func summarize(route string, samples []sample, seconds float64) routeReport {
	r := routeReport{Route: route, Requests: len(samples), PerSecond: float64(len(samples)) / max(seconds, 1e-9)}
	var answers, refusals []time.Duration
	for _, s := range samples {
		switch s.kind {
		case fine:
			answers = append(answers, s.took)
			continue
		case refused:
			refusals = append(refusals, s.took)
		case failed:
			r.Failed++
		}
		if r.Errors == nil {
			r.Errors = map[string]int{}
		}
		r.Errors[s.what]++
	}
	r.Answered = latenciesOf(answers)
	if len(refusals) > 0 {
		l := latenciesOf(refusals)
		r.Refused = &l
	}
	return r
}

// byRoute makes a report for each route.
func byRoute(samples []sample, seconds float64) (all []routeReport) {
	routes := map[string][]sample{}
	for _, s := range samples {
		routes[s.label] = append(routes[s.label], s)
	}
	for _, label := range slices.Sorted(maps.Keys(routes)) {
		all = append(all, summarize(label, routes[label], seconds))
	}
	return all
}
