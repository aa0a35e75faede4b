package session

import (
	"context"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/liftlog/liftlog-api/chat-service/signalr"
	"github.com/liftlog/liftlog-api/shared/planner"
)

// Protocol is what hubs differ in: their methods, and the form of what their clients are sent. All else is the session's and
// the same for all of them. Each is a file here, [AIChat] in ai_chat.go and [AIChatV2] in ai_chat_v2.go, that the list of the hub
// package's Endpoints names. A protocol is safe for concurrent use.
type Protocol interface {
	// Methods are those that have the model asked. RestartChat and StopInProgress are every hub's.
	Methods() []Method
	// NewConversation begins a conversation, whose steps have the form in which they are sent. It returns at once.
	NewConversation() Conversation[any]
	// Text is the form of a text that is sent in the place of an answer.
	Text(text string) any
}

// Method is one that has the model asked.
type Method struct {
	Name       string      // as completions spell it; clients may write it in any case
	Parameters []Parameter // what its arguments have to be
	// Bind makes a question of the arguments. ok is false for arguments on which v1's method fails.
	Bind func(arguments []Argument) (q Question, ok bool)
}

// Parameter is the type of an argument.
type Parameter int

// The types of arguments.
const (
	Text    Parameter = iota // or null
	Integer                  // of 32 bits, written without a fraction
)

// Argument is one that fits its parameter.
type Argument struct {
	Text    string
	Null    bool // it is a text that is null
	Integer int
}

// Question is what a call wants to be answered.
type Question struct {
	Introduction bool   // asks the model to introduce itself
	Text         string // the message, or the locale of an introduction
	WeightUnit   string // for an introduction; may be empty
	Instead      any    // is sent in place of an answer, and the model is not asked
}

// Conversation is what answers are asked of, one at a time, in steps of type S; [planner.Conversation] is one, and says what its
// methods promise.
type Conversation[S any] interface {
	Introduce(ctx context.Context, locale, weightUnit string, yield planner.Yield[S]) error
	Send(ctx context.Context, message string, yield planner.Yield[S]) error
	Size() int
}

// formed is a conversation whose steps have the form in which they are sent.
type formed[S any] struct {
	Conversation[S]
	form func(S) any
}

func (c formed[S]) Introduce(ctx context.Context, locale, weightUnit string, yield planner.Yield[any]) error {
	return c.Conversation.Introduce(ctx, locale, weightUnit, c.steps(yield))
}

func (c formed[S]) Send(ctx context.Context, message string, yield planner.Yield[any]) error {
	return c.Conversation.Send(ctx, message, c.steps(yield))
}

func (c formed[S]) steps(yield planner.Yield[any]) planner.Yield[S] {
	return func(read func() (S, bool)) error {
		return yield(func() (any, bool) {
			step, ok := read()
			if !ok {
				return nil, false
			}
			return c.form(step), true
		})
	}
}

// The methods that every hub has.
const (
	restartChat    = "RestartChat"
	stopInProgress = "StopInProgress"
)

var common = []Method{{Name: restartChat}, {Name: stopInProgress}}

// find returns the method of that name.
func find(p Protocol, target string) (Method, bool) {
	target = signalr.Lower(target)
	for _, methods := range [][]Method{common, p.Methods()} {
		for _, m := range methods {
			if signalr.Lower(m.Name) == target {
				return m, true
			}
		}
	}
	return Method{}, false
}

// bind reads arguments. ok is false when they are not as many as the parameters, or one has another type.
func bind(parameters []Parameter, from []jsontext.Value) (arguments []Argument, ok bool) {
	if len(from) != len(parameters) {
		return nil, false
	}
	arguments = make([]Argument, len(from))
	for i, a := range from {
		switch parameters[i] {
		case Text:
			arguments[i].Text, arguments[i].Null, ok = signalr.Text(a)
		case Integer:
			arguments[i].Integer, ok = signalr.Integer(a)
		}
		if !ok {
			return nil, false
		}
	}
	return arguments, true
}
