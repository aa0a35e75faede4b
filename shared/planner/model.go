package planner

import (
	"context"

	"github.com/go-json-experiment/json/jsontext"
)

// Role says who speaks a message.
type Role string

// Who may speak.
const (
	System    Role = "system"
	User      Role = "user"
	Assistant Role = "assistant"
)

// Message is one turn of a conversation.
type Message struct {
	Role Role
	Text string
}

// Shape is what an answer has to look like.
type Shape struct {
	Name        string         // a-z, A-Z, 0-9, _ and -, at most 64
	Description string         // tells the model what it is for
	Schema      jsontext.Value // a JSON schema in the strict subset that the services enforce
	Call        bool           // the answer is the arguments of a call of this function, else an object of this schema
}

// Request asks a model for one answer.
type Request struct {
	Messages  []Message
	Shape     Shape
	MaxTokens int // bounds the answer
}

// Usage counts tokens.
type Usage struct{ In, Out, Cached int }

// Model is a language model behind a service. Implementations are safe for concurrent use.
type Model interface {
	// Answer returns the whole answer, a JSON text of the request's shape that ended by itself, and what it cost, which
	// counts after a failure as well. Unless yield is nil it gets the text piece by piece while it is being written, cut
	// anywhere; an error of yield's ends the answer and is returned. An [apierr.Unavailable] error says that the model
	// never answered, an [apierr.Upstream] one that it answered something of no use: a refusal, half an answer, a
	// stream that broke off. Their details are fit to be shown to a person. When ctx ends, so does the answer, with
	// ctx's error.
	Answer(ctx context.Context, r Request, yield func(piece string) error) (text string, usage Usage, err error)
}
