package planner

import (
	"fmt"
	"math"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

var (
	planForm    = newForm(Called, "GetGymPlan", "Hands the plan over to the person.", "schemas/plan.json")
	sessionForm = newForm(Called, "GetSession", "Hands the session over to the person.", "schemas/session.json")
	chatForm    = newForm(Object, "Answer", "", "schemas/chat.json")
)

// The answers as the model writes them, whole or as far as they have come.
type (
	planAnswer struct {
		Name        string
		Description string
		Sessions    []sessionAnswer
	}
	sessionAnswer struct {
		Name        string
		Description string
		Exercises   []exerciseAnswer
	}
	exerciseAnswer struct {
		Name                    string
		Sets                    whole
		RepsPerSet              whole
		WeightIncreaseOnSuccess float64
		Notes                   string
		RestBetweenSets         restAnswer
	}
	restAnswer struct {
		MinRestSeconds     whole
		MaxRestSeconds     whole
		FailureRestSeconds whole
	}
	// chatAnswer is a message or a plan, as Type says.
	chatAnswer struct {
		Response struct {
			Type       string `json:"type"`
			Message    string
			planAnswer `json:",embed"`
		}
	}
)

// The types of a chat's answer.
const (
	typeMessage = "messageResponse"
	typePlan    = "chatPlan"
)

// whole is a whole number, which may be written as 3.0: a schema takes that for an integer.
type whole int

// UnmarshalJSONFrom reads a number.
func (w *whole) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	var number float64
	if err := json.UnmarshalDecode(dec, &number); err != nil {
		return err
	}
	if number != math.Trunc(number) || math.Abs(number) > math.MaxInt32 {
		return fmt.Errorf("%g is not a whole number within bounds", number)
	}
	*w = whole(number)
	return nil
}

func (p planAnswer) plan() Plan {
	plan := Plan{p.Name, p.Description, make([]Session, len(p.Sessions))}
	for i, s := range p.Sessions {
		plan.Sessions[i] = s.session()
	}
	return plan
}

func (s sessionAnswer) session() Session {
	session := Session{s.Name, s.Description, make([]Exercise, len(s.Exercises))}
	for i, e := range s.Exercises {
		rest := e.RestBetweenSets
		session.Exercises[i] = Exercise{
			Name: e.Name, Sets: int(e.Sets), RepsPerSet: int(e.RepsPerSet), WeightIncreaseOnSuccess: e.WeightIncreaseOnSuccess, Notes: e.Notes,
			Rest: Rest{seconds(rest.MinRestSeconds), seconds(rest.MaxRestSeconds), seconds(rest.FailureRestSeconds)},
		}
	}
	return session
}

func seconds(n whole) time.Duration { return time.Duration(n) * time.Second }

// check finds what a schema cannot say.
func (p planAnswer) check() error {
	for _, s := range p.Sessions {
		if err := s.check(); err != nil {
			return err
		}
	}
	return nil
}

func (s sessionAnswer) check() error {
	for i, e := range s.Exercises {
		rest := e.RestBetweenSets
		if rest.MinRestSeconds > rest.MaxRestSeconds || rest.MaxRestSeconds > rest.FailureRestSeconds {
			return fmt.Errorf("the rests of exercise %d of a session do not grow from minimum to maximum to failure", i+1)
		}
	}
	return nil
}
