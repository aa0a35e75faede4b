package planner

import (
	"context"
	"fmt"

	"github.com/go-json-experiment/json"
)

// Planner makes plans. It is safe for concurrent use.
type Planner struct{ model Model }

// New returns a Planner that asks the model.
func New(model Model) *Planner { return &Planner{model} }

// PlanRequest is what a plan is made from. Its texts are the person's own.
type PlanRequest struct {
	Gender         string   `json:"gender,omitzero"` // empty: nothing is said of it
	Age            int      `json:"age"`
	WeightRange    string   `json:"weightRange"` // such as 70-80
	WeightUnit     Unit     `json:"weightUnit"`
	Goals          []string `json:"goals"`
	DaysPerWeek    int      `json:"daysPerWeek"`
	Experience     string   `json:"experience"`
	AdditionalInfo string   `json:"additionalInfo,omitzero"`
}

// Unit is one of weight.
type Unit string

// The units of weight.
const (
	Kilograms Unit = "kilograms"
	Pounds    Unit = "pounds"
)

// Plan makes a whole plan. See [Model.Answer] for its failures.
func (p *Planner) Plan(ctx context.Context, r PlanRequest) (Plan, error) {
	answer, err := ask[planAnswer](ctx, p.model, planForm, "prompts/plan.txt", r)
	return answer.plan(), err
}

// SessionRequest is what a session is made from. Its texts are the person's own.
type SessionRequest struct {
	Areas            []string           `json:"areasToTrain"`
	MinimumExercises int                `json:"minimumExercises"`
	KnownExercises   map[string]float64 `json:"knownExercises"` // with the weights lifted
	WeightUnit       Unit               `json:"weightUnit"`
	AdditionalInfo   string             `json:"additionalInfo,omitzero"`
}

// Session makes one session. See [Model.Answer] for its failures.
func (p *Planner) Session(ctx context.Context, r SessionRequest) (Session, error) {
	answer, err := ask[sessionAnswer](ctx, p.model, sessionForm, "prompts/session.txt", r)
	return answer.session(), err
}

// ask has one request answered in the form.
func ask[A interface{ check() error }](ctx context.Context, model Model, f form, prompt string, request any) (answer A, err error) {
	data, err := json.Marshal(request, json.Deterministic(true))
	if err != nil {
		return answer, fmt.Errorf("write request to the model: %w", err)
	}
	messages := []Message{{Role: System, Text: string(read(prompt))}, {Role: User, Text: string(data)}}
	_, answer, err = answered(ctx, model, Request{messages, f.Shape}, nil, func(a Answer) (answer A, err error) {
		if err := f.parse(a.Call.Input, &answer); err != nil {
			return answer, err
		}
		return answer, answer.check()
	})
	return answer, err
}
