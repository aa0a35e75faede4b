package planner

import (
	"embed"
	"fmt"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/jsonschema-go/jsonschema"
)

//go:embed schemas/*.json prompts/*.txt
var files embed.FS

// read returns an embedded file, which is there.
func read(name string) []byte {
	data, err := files.ReadFile(name)
	if err != nil {
		panic(err)
	}
	return data
}

// form is a shape of answers with its schema, which decides whether an answer has it. The schemas hold the bounds: a
// model's service keeps to their strict subset, and what it does not enforce is found here.
type form struct {
	Shape
	resolved func() *jsonschema.Resolved
}

func newForm(name, description string, call bool, file string) form {
	text := read(file)
	return form{
		Shape{Name: name, Description: description, Schema: jsontext.Value(text), Call: call},
		sync.OnceValue(func() *jsonschema.Resolved {
			var schema jsonschema.Schema
			if err := json.Unmarshal(text, &schema); err != nil {
				panic(err) // a test resolves all of them
			}
			resolved, err := schema.Resolve(nil)
			if err != nil {
				panic(err)
			}
			return resolved
		}),
	}
}

var (
	planForm    = newForm("GetGymPlan", "Hands the plan over to the person.", true, "schemas/plan.json")
	sessionForm = newForm("GetSession", "Hands the session over to the person.", true, "schemas/session.json")
	chatForm    = newForm("Answer", "", false, "schemas/chat.json")
)

// parse reads an answer of the form into dst. Its error says what is wrong with the answer, and is for the model only.
func (f form) parse(text string, dst any) error {
	var document any
	if err := json.Unmarshal([]byte(text), &document); err != nil {
		return fmt.Errorf("it is not JSON: %w", err)
	}
	if err := f.resolved().Validate(document); err != nil {
		return err
	}
	return json.Unmarshal([]byte(text), dst)
}

// The answers as the model writes them.
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
		Sets                    int
		RepsPerSet              int
		WeightIncreaseOnSuccess float64
		Notes                   string
		RestBetweenSets         restAnswer
	}
	restAnswer struct {
		MinRestSeconds     int
		MaxRestSeconds     int
		FailureRestSeconds int
	}
	// chatAnswer is a message or a plan, as Type says.
	chatAnswer struct {
		Response struct {
			Type    string      `json:"type"`
			Message string      `json:",omitzero"`
			Plan    *planAnswer `json:",embed"`
		}
	}
)

// The types of a chat's answer.
const (
	typeMessage = "messageResponse"
	typePlan    = "chatPlan"
)

func (p planAnswer) plan() (Plan, error) {
	plan := Plan{p.Name, p.Description, make([]Session, len(p.Sessions))}
	for i, s := range p.Sessions {
		session, err := s.session()
		if err != nil {
			return Plan{}, err
		}
		plan.Sessions[i] = session
	}
	return plan, nil
}

func (s sessionAnswer) session() (Session, error) {
	session := Session{s.Name, s.Description, make([]Exercise, len(s.Exercises))}
	for i, e := range s.Exercises {
		rest := e.RestBetweenSets
		if rest.MinRestSeconds > rest.MaxRestSeconds || rest.MaxRestSeconds > rest.FailureRestSeconds {
			return Session{}, fmt.Errorf("the rests of exercise %d of a session do not grow from minimum to maximum to failure", i+1)
		}
		session.Exercises[i] = Exercise{
			Name: e.Name, Sets: e.Sets, RepsPerSet: e.RepsPerSet, WeightIncreaseOnSuccess: e.WeightIncreaseOnSuccess, Notes: e.Notes,
			Rest: Rest{seconds(rest.MinRestSeconds), seconds(rest.MaxRestSeconds), seconds(rest.FailureRestSeconds)},
		}
	}
	return session, nil
}

func fromPlan(p Plan) *planAnswer {
	answer := &planAnswer{p.Name, p.Description, make([]sessionAnswer, len(p.Sessions))}
	for i, s := range p.Sessions {
		session := sessionAnswer{s.Name, s.Description, make([]exerciseAnswer, len(s.Exercises))}
		for j, e := range s.Exercises {
			session.Exercises[j] = exerciseAnswer{
				e.Name, e.Sets, e.RepsPerSet, e.WeightIncreaseOnSuccess, e.Notes,
				restAnswer{int(e.Rest.Min / time.Second), int(e.Rest.Max / time.Second), int(e.Rest.Failure / time.Second)},
			}
		}
		answer.Sessions[i] = session
	}
	return answer
}

func seconds(n int) time.Duration { return time.Duration(n) * time.Second }
