package openai

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/liftlog/liftlog-api/shared/apierr"
	"github.com/liftlog/liftlog-api/shared/planner"
)

// flaw is why an answer is of no use.
type flaw struct {
	reason string // for the log
	detail string // for a person
}

func (f *flaw) Error() string { return f.reason }

// What a person is told.
const (
	detailAway      = "The planner is not available at the moment. Please try again in a little while."
	detailBrokenOff = "The planner's answer broke off. Please try again."
	detailUnwilling = "The planner cannot help with that. Please ask it for something about your training."
	detailTooLong   = "The planner's answer became too long. Please ask for something smaller."
	detailSenseless = "The planner's answer could not be understood. Please try again."
)

var (
	errTooSlow  = &flaw{"the answer took too long", detailBrokenOff}
	errBroken   = &flaw{"the answer has no end", detailBrokenOff}
	errFinish   = &flaw{"the service ended the answer with an error", detailBrokenOff}
	errTooLong  = &flaw{"the answer is too long", detailTooLong}
	errTokens   = &flaw{"the answer reached the limit of tokens", detailTooLong}
	errRefused  = &flaw{"the model refused", detailUnwilling}
	errFiltered = &flaw{"the content filter ended the answer", detailUnwilling}
	errNoCall   = &flaw{"the model did not call the function", detailSenseless}
	errCall     = &flaw{"the model called a function that it was not offered", detailSenseless}
	errEmpty    = &flaw{"the answer is empty", detailSenseless}
	errProtocol = &flaw{"the service sent what is not Chat Completions", detailSenseless}
)

// yieldError is an error of the caller's callback.
type yieldError struct{ err error }

func (e *yieldError) Error() string { return e.err.Error() }

// completion is a whole answer, or an event of a stream, as far as it matters. Nothing else is looked at, so that nothing
// else can spoil it; what is a raw value here comes in several kinds.
type completion struct {
	Choices []struct {
		Delta        *message       `json:"delta"`
		Message      *message       `json:"message"`
		FinishReason jsontext.Value `json:"finish_reason"`
	} `json:"choices"`
	Usage jsontext.Value `json:"usage"`
	Error jsontext.Value `json:"error"`
}

// message is what a model says, or goes on with.
type message struct {
	Content      jsontext.Value `json:"content"` // a text, or a list of parts
	Refusal      jsontext.Value `json:"refusal"`
	ToolCalls    []toolCall     `json:"tool_calls"`
	FunctionCall *function      `json:"function_call"` // the older form of a call
}

type toolCall struct {
	Index        jsontext.Value `json:"index"`
	ID           jsontext.Value `json:"id"`
	Function     function       `json:"function"`
	ExtraContent jsontext.Value `json:"extra_content"` // Gemini wants it back with the call
}

type function struct {
	Name      jsontext.Value `json:"name"`
	Arguments jsontext.Value `json:"arguments"` // a text that is JSON, or a piece of one, or the JSON itself
}

// answer is what came of an answer so far.
type answer struct {
	shape   planner.Shape
	text    strings.Builder
	call    *planner.Call // the first one; nil: none began
	input   strings.Builder
	refused bool
	finish  string // the finish reason in lower case; empty: none came
	done    bool   // the service said that it has ended, with a finish reason or without
	began   bool   // something of it has come

	usage planner.Usage
	heard bool // the service took the request
	bytes int  // of the request

	content   joiner
	arguments joiner
	peeler    peeler
	index     string // of the first call, as it was written
	other     bool   // the fragments belong to another call
}

func newAnswer(shape planner.Shape) *answer {
	return &answer{shape: shape, peeler: peeler{json: shape.Way != planner.Offered}}
}

// add takes the next part of the answer, or all of it, and returns what came with it.
func (a *answer) add(c *completion) (piece planner.Piece, err error) {
	if c.Error.Kind() != 0 && c.Error.Kind() != 'n' {
		return piece, newServiceError(0, c.Error)
	}
	a.spent(c.Usage)
	if len(c.Choices) == 0 {
		return piece, nil
	}
	choice := c.Choices[0]
	m := choice.Delta
	if m == nil {
		m = choice.Message
	}
	if m != nil {
		if piece, err = a.addMessage(m); err != nil {
			return piece, err
		}
	}
	if choice.FinishReason.Kind() == '"' {
		_ = json.Unmarshal(choice.FinishReason, &a.finish, lenient)
		a.finish = strings.ToLower(a.finish)
	}
	if a.finish != "" {
		a.began, a.done = true, true
	}
	return piece, nil
}

func (a *answer) addMessage(m *message) (piece planner.Piece, err error) {
	if m.Refusal.Kind() == '"' && len(m.Refusal) > len(`""`) {
		a.refused, a.began = true, true
	}
	piece.Text = a.peeler.peel(a.contentOf(m.Content))
	if a.shape.Way != planner.Object {
		calls := m.ToolCalls
		if m.FunctionCall != nil {
			calls = []toolCall{{Function: *m.FunctionCall}}
		}
		for i := range calls {
			input, err := a.addCall(&calls[i])
			if err != nil {
				return piece, err
			}
			if a.input.Len()+len(input) > maxAnswer {
				return piece, errTooLong
			}
			a.input.WriteString(input)
			piece.Input += input
		}
	}
	if a.text.Len()+len(piece.Text) > maxAnswer {
		return piece, errTooLong
	}
	a.text.WriteString(piece.Text)
	a.began = a.began || a.call != nil || a.text.Len() > 0
	return piece, nil
}

// contentOf is the text in a content: all of it, or that of the parts that are text. Thinking is left out.
func (a *answer) contentOf(content jsontext.Value) string {
	if content.Kind() != '[' {
		return a.content.decode(content)
	}
	var parts []struct {
		Type jsontext.Value `json:"type"`
		Text jsontext.Value `json:"text"`
	}
	if json.Unmarshal(content, &parts, lenient) != nil {
		return ""
	}
	var text strings.Builder
	for _, part := range parts {
		if kind := string(part.Type); kind == "" || kind == `"text"` || kind == `"output_text"` {
			text.WriteString(a.content.decode(part.Text))
		}
	}
	return text.String()
}

// addCall takes a call, or a fragment of one, and returns the part of it that continues the first call's input. Services differ
// in how they tell calls apart: by an index, an id, both, or neither.
func (a *answer) addCall(c *toolCall) (input string, err error) {
	var name, id string
	_ = json.Unmarshal(c.Function.Name, &name, lenient) // what is not a text is not there
	_ = json.Unmarshal(c.ID, &id, lenient)
	index := string(c.Index)
	if c.Index.Kind() != '0' {
		index = ""
	}
	if a.call == nil {
		a.began = true
		if name != "" && name != a.shape.Name {
			return "", errCall
		}
		a.call = &planner.Call{ID: callID(id), Name: a.shape.Name}
		a.index = index
	} else {
		a.other = a.isOther(index, id, name)
	}
	if a.other {
		return "", nil
	}
	if extra := c.ExtraContent; extra.Kind() == '{' && extra.IsValid() {
		a.call.Extra = slices.Clone(extra)
	}
	if c.Function.Arguments.Kind() == '{' {
		return string(c.Function.Arguments), nil
	}
	return a.arguments.decode(c.Function.Arguments), nil
}

// isOther reports whether a fragment belongs to another call than the first.
func (a *answer) isOther(index, id, name string) bool {
	switch begun := strings.TrimSpace(a.input.String()) != ""; {
	case index != "" && a.index != "" && index != a.index:
		return true
	case name != "" && begun: // some say the name again with every fragment, some begin another call with the same index
		return id != "" && id != a.call.ID || id == "" && isObject(a.input.String())
	case index != "" || id != "":
		return false
	default:
		return a.other
	}
}

// callID is the service's id of a call, or one that every service takes if the service's own is of no use.
func callID(id string) string {
	const longest = 256
	if id == "" || len(id) > longest {
		return "call00001" // of nine letters and digits, as some insist
	}
	return id
}

func isObject(text string) bool {
	value := jsontext.Value(text)
	return value.Kind() == '{' && value.IsValid(jsontext.AllowDuplicateNames(true))
}

// whole reports whether what has come can be the whole answer: of JSON that can be seen.
func (a *answer) whole() bool {
	switch {
	case a.call != nil:
		return isObject(a.input.String())
	case a.shape.Way == planner.Offered:
		return false
	default:
		return isObject(a.text.String())
	}
}

// Finish reasons that say that an answer is of no use, in the words of several services. Any other is as good as stop.
var finishFlaws = map[string]*flaw{
	"length": errTokens, "max_tokens": errTokens, "model_length": errTokens,
	"content_filter": errFiltered, "safety": errFiltered, "refusal": errRefused,
	"error": errFinish, "malformed_function_call": errFinish,
}

// result returns an answer that has come to an end, or why it is of no use.
func (a *answer) result() (planner.Answer, error) {
	a.text.WriteString(a.peeler.rest())
	switch {
	case a.refused:
		return planner.Answer{}, errRefused
	case finishFlaws[a.finish] != nil:
		return planner.Answer{}, finishFlaws[a.finish]
	case !a.done && !a.whole():
		return planner.Answer{}, errBroken
	case a.shape.Way == planner.Called && a.call == nil && a.whole():
		a.call = &planner.Call{ID: callID(""), Name: a.shape.Name} // it wrote the input as a text in place of a call
		a.input = a.text
	case a.shape.Way == planner.Called && a.call == nil && a.began:
		return planner.Answer{}, errNoCall
	case a.text.Len() == 0 && a.call == nil && a.began:
		return planner.Answer{}, errEmpty
	case !a.began:
		return planner.Answer{}, errBroken
	}
	if a.call != nil {
		a.call.Input = a.input.String()
	}
	return planner.Answer{Text: a.text.String(), Call: a.call}, nil
}

// bytesPerToken is about what a token of English or of JSON has.
const bytesPerToken = 4

// spent notes what the answer has cost so far, if the service says so.
func (a *answer) spent(usage jsontext.Value) {
	var u struct {
		In      any `json:"prompt_tokens"`
		Out     any `json:"completion_tokens"`
		Details struct {
			Cached any `json:"cached_tokens"`
		} `json:"prompt_tokens_details"`
	}
	if usage.Kind() != '{' || json.Unmarshal(usage, &u, lenient) != nil {
		return
	}
	a.usage = planner.Usage{
		In: max(a.usage.In, tokens(u.In)), Out: max(a.usage.Out, tokens(u.Out)), Cached: max(a.usage.Cached, tokens(u.Details.Cached)),
	}
}

// tokens reads a number of tokens; anything else is 0.
func tokens(value any) int {
	number, _ := value.(float64)
	return int(math.Ceil(min(max(number, 0), math.MaxInt32)))
}

// cost is what the answer cost, estimated where the service told nothing of it.
func (a *answer) cost() planner.Usage {
	if !a.heard || !a.began {
		return a.usage
	}
	u := a.usage
	if u.In == 0 {
		u.In = a.bytes/bytesPerToken + 1
	}
	if u.Out == 0 {
		u.Out = (a.text.Len()+a.input.Len())/bytesPerToken + 1
	}
	return u
}

// mayRetry reports whether the same request may be sent again after err.
func (a *answer) mayRetry(err error) bool {
	if a.began {
		return false
	}
	if service, ok := errors.AsType[*serviceError](err); ok {
		return service.mayPass()
	}
	_, lost := errors.AsType[*connectionError](err)
	return lost || errors.Is(err, errBroken) || errors.Is(err, errProtocol)
}

// explain turns err into the error that the caller gets.
func (a *answer) explain(err error) error {
	if y, ok := errors.AsType[*yieldError](err); ok {
		return y.err
	}
	e := &apierr.Error{Err: fmt.Errorf("ask the model: %w", err)}
	if !a.began && !errors.Is(err, errTooLong) {
		e.Kind, e.Detail, e.RetryAt = apierr.Unavailable, detailAway, time.Now().Add(defaultRetry)
		if service, ok := errors.AsType[*serviceError](err); ok && !service.retryAt.IsZero() {
			e.RetryAt = service.retryAt
		}
		return e
	}
	e.Kind, e.Detail = apierr.Upstream, detailBrokenOff
	if f, ok := errors.AsType[*flaw](err); ok {
		e.Detail = f.detail
	}
	return e
}
