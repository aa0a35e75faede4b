// Package planner makes workout plans with a language model: whole ones by function call, and ones that grow in a
// conversation. It knows neither HTTP nor SignalR: durations are durations here, and steps of an answer go to a callback.
package planner

import (
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

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

// Step is how far an answer has come in the conversation of [Planner.NewConversation]: always the whole answer so far.
// Exactly one of the two counts: Plan when it is not nil.
type Step struct {
	Message string
	Plan    *Plan
}

// BlueprintStep is how far an answer has come in the conversation of [Planner.NewBlueprintConversation]: always the whole
// answer so far. Exactly one of the two counts: Plan when it is not nil.
type BlueprintStep struct {
	Message string
	Plan    *BlueprintPlan
}

// BlueprintPlan is a plan that the app reads by itself.
type BlueprintPlan struct {
	Name        string         // empty until it comes
	Description string         // empty until it comes
	Blueprint   jsontext.Value // an object as the model wrote it, whatever it holds; nil until it comes
	Version     int            // of the contract; [UnknownVersion] until it comes
}

// UnknownVersion is what v1 said of a plan whose version had not come.
const UnknownVersion = 2
