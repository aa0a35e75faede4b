package planner

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/jsonschema-go/jsonschema"
)

// PlanContract is what the app and the model have agreed on about plans: a JSON schema, whose version the app knows.
type PlanContract struct {
	form    form
	version int
}

// maxContract bounds the file of a contract, in bytes.
const maxContract = 1 << 20

// LoadPlanContract reads the contract in the file, or the one that is built in if file is empty. The error says what has to
// be put right.
func LoadPlanContract(file string) (*PlanContract, error) {
	if file == "" {
		return newPlanContract(read("schemas/blueprint.json"))
	}
	info, err := os.Stat(file)
	if err == nil && info.Size() > maxContract {
		err = fmt.Errorf("it is larger than %d bytes", maxContract)
	}
	var text []byte
	if err == nil {
		text, err = os.ReadFile(file) //nolint:gosec // whoever starts the program names it
	}
	if err != nil {
		return nil, fmt.Errorf("read the plan's schema: %w", err)
	}
	return newPlanContract(text)
}

func newPlanContract(text []byte) (*PlanContract, error) {
	resolved, err := resolve(text)
	if err != nil {
		return nil, fmt.Errorf("the plan's schema is not a valid JSON schema: %w", err)
	}
	version, err := versionOf(resolved.Schema())
	if err != nil {
		return nil, err
	}
	var members map[string]jsontext.Value
	if err := json.Unmarshal(text, &members); err != nil {
		return nil, fmt.Errorf("the plan's schema is not a JSON object: %w", err)
	}
	delete(members, "$schema") // services refuse it
	text, err = json.Marshal(members, json.Deterministic(true))
	if err != nil {
		return nil, fmt.Errorf("write the plan's schema: %w", err)
	}
	shape := Shape{
		Way: Offered, Name: "create_workout_plan", Description: "Hands the whole plan over to the person, whose app shows it.", Schema: text,
	}
	return &PlanContract{form{shape, func() *jsonschema.Resolved { return resolved }}, version}, nil
}

// versionOf is what the schema of a plan says its version is.
func versionOf(s *jsonschema.Schema) (int, error) {
	const wanted = `the plan's schema has to be of an object with "properties": {"version": {"const": …}}, a whole number from 1 on`
	property := s.Properties["version"]
	if s.Type != "object" || property == nil || property.Const == nil {
		return 0, errors.New(wanted)
	}
	number, ok := (*property.Const).(float64)
	if !ok || number < 1 || number > 1<<31-1 || number != float64(int(number)) {
		return 0, errors.New(wanted)
	}
	return int(number), nil
}

// Version is the contract's. Apps that know an older one have to be renewed.
func (c *PlanContract) Version() int { return c.version }

// blueprint is the dialect of today's hub: the model answers in words, and calls a function whose input is the plan.
type blueprint struct{ contract *PlanContract }

// NewBlueprintConversation returns a conversation in which nothing was said, and whose plans keep to the contract.
func (p *Planner) NewBlueprintConversation(c *PlanContract) *Conversation[BlueprintStep] {
	return &Conversation[BlueprintStep]{model: p.model, dialect: blueprint{c}}
}

func (b blueprint) begin() (string, Shape) {
	return fmt.Sprintf(string(read("prompts/blueprint.txt")), time.Now().UTC().Format(time.DateOnly)), b.contract.form.Shape
}

func (b blueprint) introduction(locale, weightUnit string) string {
	text := chat{}.introduction(locale, "")
	switch strings.ToLower(strings.TrimSpace(weightUnit)) {
	case "kg", "kgs", "kilogram", "kilograms":
		return text + " I prefer weights in kilograms."
	case "lb", "lbs", "pound", "pounds":
		return text + " I prefer weights in pounds."
	default:
		return text
	}
}

// blueprintAnswer is the input of the call, as far as it has come: anything may stand anywhere.
type blueprintAnswer struct {
	Name        jsontext.Value `json:"name"`
	Description jsontext.Value `json:"description"`
	Blueprint   jsontext.Value `json:"blueprint"`
	Version     jsontext.Value `json:"version"`
}

func (b blueprint) step(d draft) (BlueprintStep, bool) {
	text := d.json.Complete()
	if text[0] != '{' {
		return BlueprintStep{Message: d.text}, d.text != ""
	}
	var answer blueprintAnswer
	if json.Unmarshal(text, &answer) != nil { // found again by finish, at the end
		return BlueprintStep{}, false
	}
	return BlueprintStep{Plan: answer.plan()}, true
}

func (b blueprint) finish(a Answer) (BlueprintStep, error) {
	if a.Call == nil {
		return BlueprintStep{Message: a.Text}, nil
	}
	var answer blueprintAnswer
	if err := b.contract.form.parse(a.Call.Input, &answer); err != nil {
		return BlueprintStep{}, err
	}
	return BlueprintStep{Plan: answer.plan()}, nil
}

func (a *blueprintAnswer) plan() *BlueprintPlan {
	plan := &BlueprintPlan{Version: UnknownVersion}
	_ = json.Unmarshal(a.Name, &plan.Name) // what is not a text has not come
	_ = json.Unmarshal(a.Description, &plan.Description)
	if a.Blueprint.Kind() == '{' {
		plan.Blueprint = a.Blueprint
	}
	var version whole
	if json.Unmarshal(a.Version, &version) == nil {
		plan.Version = int(version)
	}
	return plan
}
