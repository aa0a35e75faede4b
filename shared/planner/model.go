package planner

import (
	"context"

	"github.com/go-json-experiment/json/jsontext"
)

// Role says who has said a message.
type Role string

// Who may speak.
const (
	System    Role = "system"
	User      Role = "user"
	Assistant Role = "assistant"
	Tool      Role = "tool" // the result of the call in the message before
)

// Message is one of a conversation.
type Message struct {
	Role Role
	Text string
	Call *Call // that the assistant made beside the text; nil: none
}

// Call is a call of a function by the model.
type Call struct {
	ID    string         // the service's, or one made for it; answers to the call refer to it
	Name  string         // of the function
	Input string         // the arguments, in JSON if the model did as it was told
	Extra jsontext.Value // what else the service wants to be given back with the call; nil: nothing
}

// Way is how an answer uses its shape.
type Way int

// The ways of an answer.
const (
	Object  Way = iota // its text is an object of the schema
	Called             // it is a call of the function
	Offered            // it is a text, a call of the function, or a text and then a call
)

// Shape is what an answer has to look like.
type Shape struct {
	Way         Way
	Name        string         // of the function or the object: a-z, A-Z, 0-9, _ and -, at most 64
	Description string         // tells the model what it is for
	Schema      jsontext.Value // a JSON schema of an object
	Strict      bool           // the schema is within the subset that services enforce
}

// Request asks a model for one answer.
type Request struct {
	Messages []Message
	Shape    Shape
}

// Usage counts tokens.
type Usage struct{ In, Out, Cached int }

// Answer is a whole one.
type Answer struct {
	Text string // an object for [Object]
	Call *Call  // there for [Called], nil for [Object]
}

// Piece is what an answer goes on with. One of the two is empty.
type Piece struct{ Text, Input string }

// Model is a language model behind a service. Implementations are safe for concurrent use.
type Model interface {
	// Answer returns the whole answer and what it cost, which counts after a failure as well. Whether its JSON fits the
	// schema, or is JSON at all, is for the caller to see. Unless yield is nil it gets the answer piece by piece while it is
	// being written, cut anywhere but within a character; an error of yield's ends the answer and is returned. An
	// [apierr.Unavailable] error says that the model never answered, an [apierr.Upstream] one that it answered something of
	// no use: a refusal, half an answer, a stream that broke off. Their details are fit to be shown to a person. When ctx
	// ends, so does the answer, with ctx's error.
	Answer(ctx context.Context, r Request, yield func(Piece) error) (Answer, Usage, error)
}
