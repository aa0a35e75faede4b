package planner

import (
	"context"
	"regexp"
	"strings"

	"github.com/liftlog/liftlog-api/shared/planner/partialjson"
)

// A conversation remembers this much; older turns are forgotten. The system prompt is not counted.
const (
	maxKeptMessages = 20 // as in v1
	maxKeptBytes    = 128 << 10
)

// Conversation is a person's chat with the planner. Only one of its methods may be called at a time. To begin anew is to
// take a new one: an answer under way stays in the one that it was asked in.
type Conversation[S any] struct {
	model    Model
	dialect  dialect[S]
	messages []Message // without the system prompt; the user's and the assistant's, calls with their results, alternate
}

// dialect is what kinds of conversation differ in.
type dialect[S any] interface {
	// begin returns the system prompt and the shape of answers.
	begin() (prompt string, shape Shape)
	// introduction is the message that has the model introduce itself.
	introduction(locale, weightUnit string) string
	// step reads an answer under way. ok is false while there is nothing to show.
	step(d draft) (step S, ok bool)
	// finish reads a whole answer. Its error says what is wrong with it, and is for the model only.
	finish(a Answer) (S, error)
}

// Yield is told that an answer has grown. It calls read, once, when it wants to show the answer so far: right away, later from any
// goroutine, or never. Reading takes time in proportion to the answer, so a receiver that is busy had better skip steps than
// read them all. What read returns is the answer at the time of the call to Yield; ok is false when there is nothing to show yet.
type Yield[S any] func(read func() (step S, ok bool)) error

var localeForm = regexp.MustCompile(`^[a-zA-Z]{2}-[a-zA-Z]{2}$`)

// Introduce asks the model to introduce itself in the language of locale, such as en-AU; any other text counts as en-AU.
// A weight unit other than kilograms or pounds, in one of their usual names, is none. yield gets the answer as soon as
// something of it can be told, and a failure of it ends the answer.
func (c *Conversation[S]) Introduce(ctx context.Context, locale, weightUnit string, yield Yield[S]) error {
	if !localeForm.MatchString(locale) {
		locale = "en-AU"
	}
	return c.Send(ctx, c.dialect.introduction(locale, weightUnit), yield)
}

// Send adds the message to the conversation and has it answered; yield is as with Introduce. When ctx ends, what was
// said so far stays in the conversation as the answer, and ctx's error is returned; after any other failure, an
// [apierr.Error] whose detail is fit to be shown, the message is taken back.
func (c *Conversation[S]) Send(ctx context.Context, message string, yield Yield[S]) error {
	prompt, shape := c.dialect.begin()
	user := Message{Role: User, Text: message}
	messages := make([]Message, 0, len(c.messages)+2)
	messages = append(messages, Message{Role: System, Text: prompt})
	messages = append(messages, kept(c.messages, len(message))...)
	request := Request{append(messages, user), shape}

	w := writer{shape: shape}
	answer, final, err := answered(ctx, c.model, request, func(piece Piece) error {
		d, changed, err := w.write(piece)
		if err != nil || !changed {
			return err
		}
		return yield(func() (S, bool) { return c.dialect.step(d) })
	}, c.dialect.finish)
	if err == nil {
		err = yield(func() (S, bool) { return final, true })
	}
	switch {
	case ctx.Err() != nil:
		if _, shown := c.dialect.step(w.draft); shown {
			c.keep(user, w.stopped(), "The person stopped this before it was whole.")
		}
		return ctx.Err()
	case err != nil:
		return err
	}
	c.keep(user, answer, "The plan was handed over to the person.")
	return nil
}

// keep adds a turn to what is remembered: the person's message and the answer. An answer that is a call is followed by the
// call's result, as the protocol wants it.
func (c *Conversation[S]) keep(user Message, answer Answer, result string) {
	c.messages = append(c.messages, user, Message{Role: Assistant, Text: answer.Text, Call: answer.Call})
	if answer.Call != nil {
		c.messages = append(c.messages, Message{Role: Tool, Text: result})
	}
	c.messages = kept(c.messages, 0)
}

// kept forgets the oldest turns until the rest, with this many bytes more, is within the bounds. A turn begins with the person's
// message and is forgotten whole.
func kept(messages []Message, more int) []Message {
	bytes := size(messages) + more
	for len(messages) > 0 && (len(messages) > maxKeptMessages || bytes > maxKeptBytes) {
		turn := 1
		for turn < len(messages) && messages[turn].Role != User {
			turn++
		}
		bytes -= size(messages[:turn])
		messages = messages[turn:]
	}
	return messages
}

// Size is how many bytes of the conversation are remembered.
func (c *Conversation[S]) Size() int { return size(c.messages) }

func size(messages []Message) (bytes int) {
	for _, m := range messages {
		bytes += len(m.Text)
		if m.Call != nil {
			bytes += len(m.Call.Input) + len(m.Call.Extra)
		}
	}
	return bytes
}

// draft is an answer under way. It does not change when the answer goes on.
type draft struct {
	text string           // without the JSON
	json partialjson.Text // the object, or the input of the call
}

// writer gathers an answer's pieces.
type writer struct {
	shape Shape
	text  strings.Builder
	input strings.Builder
	json  partialjson.Reader
	draft draft // the newest one
}

// write takes the next piece. changed says whether something was added to what can be shown. The error is a [faultError].
func (w *writer) write(piece Piece) (d draft, changed bool, err error) {
	w.text.WriteString(piece.Text)
	w.input.WriteString(piece.Input)
	next := w.draft
	if w.shape.Way == Object {
		err = w.json.Write(piece.Text)
	} else {
		err = w.json.Write(piece.Input)
		next.text = w.text.String()
	}
	if err != nil {
		return d, false, &faultError{w.answer(w.input.String()), err}
	}
	next.json = w.json.Text()
	changed = len(next.text) != len(w.draft.text) || !next.json.Equal(w.draft.json)
	w.draft = next
	return next, changed, nil
}

// answer is as much of an answer as has come, with this input of its call if there is one.
func (w *writer) answer(input string) Answer {
	if w.input.Len() == 0 {
		return Answer{Text: w.text.String()}
	}
	return Answer{Text: w.text.String(), Call: &Call{ID: "stopped01", Name: w.shape.Name, Input: input}}
}

// stopped is the answer as the model would have written it, had it ended here.
func (w *writer) stopped() Answer {
	complete := string(w.draft.json.Complete())
	switch {
	case w.shape.Way == Object:
		return Answer{Text: complete}
	case complete[0] != '{': // of the call's input nothing has come
		return Answer{Text: w.text.String()}
	default:
		return w.answer(complete)
	}
}
