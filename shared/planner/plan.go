// Package planner makes workout plans with a language model: whole ones by function call, and ones that grow in a
// conversation. It knows neither HTTP nor SignalR: durations are durations here, and steps of an answer go to a callback.
package planner

import "time"

// Plan is a workout plan.
type Plan struct {
	Name        string
	Description string
	Sessions    []Session
}

// Session is one day of a plan.
type Session struct {
	Name        string
	Description string
	Exercises   []Exercise
}

// Exercise is one of a session's.
type Exercise struct {
	Name                    string
	Sets                    int
	RepsPerSet              int
	WeightIncreaseOnSuccess float64
	Notes                   string
	Rest                    Rest
}

// Rest is how long to rest between sets: after an easy one, after a hard one, and after one that failed.
type Rest struct{ Min, Max, Failure time.Duration }

// Step is how far an answer has come: always the whole answer so far. Exactly one of the two counts: Plan when it is not
// nil. A step is never changed after it was handed out.
type Step struct {
	Message string
	Plan    *Plan
}
