package planner

import (
	"context"
	"fmt"

	"github.com/go-json-experiment/json"

	"github.com/liftlog/liftlog-api/shared/apierr"
	"github.com/liftlog/liftlog-api/shared/logging"
)

// Planner makes plans. It is safe for concurrent use.
type Planner struct{ model Model }

// New returns a Planner that asks the model.
func New(model Model) *Planner { return &Planner{model} }

// answerTokens bounds one answer of the model's. The longest plans take about half of it.
const answerTokens = 16_000

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
	return ask(ctx, p.model, planForm, "prompts/plan.txt", r, planAnswer.plan)
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
	return ask(ctx, p.model, sessionForm, "prompts/session.txt", r, sessionAnswer.session)
}

// ask has one request answered in the form, and once more when the answer does not have it.
func ask[A, T any](ctx context.Context, model Model, f form, prompt string, request any, convert func(A) (T, error)) (result T, err error) {
	data, err := json.Marshal(request, json.Deterministic(true))
	if err != nil {
		return result, fmt.Errorf("write request to the model: %w", err)
	}
	messages := []Message{{System, string(read(prompt))}, {User, string(data)}}
	for attempt := 0; ; attempt++ {
		text, usage, err := model.Answer(ctx, Request{messages, f.Shape, answerTokens}, nil)
		record(ctx, usage)
		if err != nil {
			return result, err
		}
		var answer A
		fault := f.parse(text, &answer)
		if fault == nil {
			result, fault = convert(answer)
		}
		if fault == nil {
			return result, nil
		}
		if attempt > 0 {
			return result, useless
		}
		messages = append(messages, Message{Assistant, text}, Message{User, repair + fault.Error()})
	}
}

// repair goes before what was found to be wrong with an answer.
const repair = "That call does not fit the function. Call it again with everything put right:\n"

var useless = &apierr.Error{Kind: apierr.Upstream, Detail: "The planner did not come up with a plan that works. Please try again."}

func record(ctx context.Context, u Usage) { logging.AddModelUse(ctx, u.In, u.Out, u.Cached) }
