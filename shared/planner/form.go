package planner

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/jsonschema-go/jsonschema"

	"github.com/liftlog/liftlog-api/shared/apierr"
	"github.com/liftlog/liftlog-api/shared/logging"
)

//go:embed schemas/*.json prompts/*.txt
var files embed.FS

// read returns an embedded file, which has to exist.
func read(name string) []byte {
	data, err := files.ReadFile(name)
	if err != nil {
		panic(err)
	}
	return data
}

// form is the shape of an answer, with the schema that answers are validated by. The schemas hold all bounds: a model's service
// enforces a strict subset of them at most, and what it lets through is found here.
type form struct {
	Shape
	resolved func() *jsonschema.Resolved
}

// newForm is the form of an embedded schema. The schema is read when it is first needed.
func newForm(way Way, name, description, file string) form {
	text := read(file)
	return form{
		Shape{Way: way, Name: name, Description: description, Schema: jsontext.Value(text), Strict: true},
		sync.OnceValue(func() *jsonschema.Resolved {
			resolved, err := resolve(text)
			if err != nil {
				panic(err) // a test resolves all of them
			}
			return resolved
		}),
	}
}

// resolve makes a schema ready to validate answers. Members that it does not know are no fault: a service that could not
// be held to the schema sends them.
func resolve(text []byte) (*jsonschema.Resolved, error) {
	var document any
	if err := json.Unmarshal(text, &document); err != nil {
		return nil, err
	}
	if err := loosen(document); err != nil {
		return nil, err
	}
	text, err := json.Marshal(document)
	if err != nil {
		return nil, err
	}
	var schema jsonschema.Schema
	if err := json.Unmarshal(text, &schema); err != nil {
		return nil, err
	}
	return schema.Resolve(nil)
}

// loosen removes from a schema what forbids unknown members, and refuses unknown types: the library would take them for types
// that no value has.
func loosen(schema any) error {
	switch s := schema.(type) {
	case map[string]any:
		for keyword, part := range s {
			switch keyword {
			case "const", "enum", "default", "examples": // values, not schemas
				continue
			case "additionalProperties", "unevaluatedProperties":
				if part == false {
					delete(s, keyword)
				}
			case "type":
				if name, ok := part.(string); ok && !slices.Contains(types, name) {
					return errors.New("a type is none of JSON's")
				}
			}
			if err := loosen(part); err != nil {
				return err
			}
		}
	case []any:
		for _, part := range s {
			if err := loosen(part); err != nil {
				return err
			}
		}
	}
	return nil
}

// types are those of JSON schemas.
var types = []string{"string", "number", "integer", "boolean", "object", "array", "null"}

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

// errUnusable is what a person is told when the model's answer is malformed, and so is its second attempt.
var errUnusable = &apierr.Error{
	Kind: apierr.Upstream, Detail: "The planner did not come up with a plan that works. Please try again.",
	Err: errors.New("the answer does not fit what was asked for, nor does its repair"),
}

// answered asks the model and reads its answer. When that finds a fault it asks the model, once, to put the answer right. The
// pieces of the first answer go to yield, unless it is nil; when yield fails with a [faultError], the answer counts as one with
// that fault.
func answered[T any](
	ctx context.Context, model Model, request Request, yield func(Piece) error, finish func(Answer) (T, error),
) (answer Answer, result T, err error) {
	for attempt := 0; ; attempt++ {
		var usage Usage
		answer, usage, err = model.Answer(ctx, request, yield)
		logging.AddModelUse(ctx, usage.In, usage.Out, usage.Cached)
		fault, broken := err.(*faultError) //nolint:errorlint // yield's error comes back unwrapped
		switch {
		case broken:
			answer = fault.answer
		case err != nil:
			return answer, result, err
		default:
			if result, err = finish(answer); err == nil {
				return answer, result, nil
			}
		}
		if attempt > 0 {
			return answer, result, errUnusable
		}
		request.Messages = append(request.Messages, repair(answer, err)...)
		if yield != nil {
			yield = func(Piece) error { return nil } // a stream all the same, but the first plan stays on the screen
		}
	}
}

// faultError says that an answer under way cannot become what was asked for.
type faultError struct {
	answer Answer // as far as it has come
	err    error
}

func (e *faultError) Error() string { return e.err.Error() }

// repair are the messages that have an answer put right.
func repair(a Answer, fault error) []Message {
	const words = "That does not fit. Give the same answer again, with everything put right:\n"
	text := words + fault.Error()
	if a.Call == nil {
		return []Message{{Role: Assistant, Text: a.Text}, {Role: User, Text: text}}
	}
	call := *a.Call
	if !jsontext.Value(call.Input).IsValid() {
		call.Input = "{}" // services refuse a call without JSON
	}
	return []Message{{Role: Assistant, Text: a.Text, Call: &call}, {Role: Tool, Text: text}}
}
