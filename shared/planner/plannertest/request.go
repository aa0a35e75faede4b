package plannertest

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Request is what a client sent, as far as this server looks at it.
type Request struct {
	Model               string    `json:"model"`
	Messages            []Message `json:"messages"`
	Stream              bool      `json:"stream"`
	StreamOptions       *Stream   `json:"stream_options"`
	Tools               []Tool    `json:"tools"`
	ToolChoice          *Tool     `json:"tool_choice"`
	ParallelToolCalls   *bool     `json:"parallel_tool_calls"`
	ResponseFormat      *Format   `json:"response_format"`
	MaxCompletionTokens int       `json:"max_completion_tokens"`
	Temperature         *float64  `json:"temperature"`
	Store               *bool     `json:"store"`
	ReasoningEffort     string    `json:"reasoning_effort"`

	Body jsontext.Value `json:"-"` // all of it
}

// Message is one of a conversation.
type Message struct {
	Role    string  `json:"role"`
	Content *string `json:"content"`
}

// Stream says what a stream has to hold.
type Stream struct {
	IncludeUsage bool `json:"include_usage"`
}

// Tool is a function that is offered, or chosen by its name.
type Tool struct {
	Type     string   `json:"type"`
	Function Function `json:"function"`
}

// Function is one that the model may call.
type Function struct {
	Name        string         `json:"name"`
	Description string         `json:"description"`
	Strict      bool           `json:"strict"`
	Parameters  jsontext.Value `json:"parameters"`
}

// Format says what the answer has to look like.
type Format struct {
	Type       string  `json:"type"`
	JSONSchema *Schema `json:"json_schema"`
}

// Schema is the schema of an answer.
type Schema struct {
	Name        string         `json:"name"`
	Description string         `json:"description"`
	Strict      bool           `json:"strict"`
	Schema      jsontext.Value `json:"schema"`
}

var (
	roles    = []string{"developer", "system", "user", "assistant"}
	nameForm = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`)
)

// read reads a request and says what the real service would refuse of it.
func read(body io.Reader) (q Request, err error) {
	if q.Body, err = io.ReadAll(body); err != nil {
		return q, errors.New("the body could not be read, or is too large")
	}
	if err := json.Unmarshal(q.Body, &q); err != nil {
		return q, fmt.Errorf("we could not parse the JSON body of your request: %w", err)
	}
	return q, q.check()
}

func (q *Request) check() error {
	switch {
	case q.Model == "":
		return errors.New("you must provide a model parameter")
	case len(q.Messages) == 0:
		return errors.New("[] is too short - 'messages'")
	case q.MaxCompletionTokens < 0:
		return errors.New("invalid 'max_completion_tokens'")
	case q.StreamOptions != nil && !q.Stream:
		return errors.New("the 'stream_options' parameter is only allowed when 'stream' is enabled")
	case q.ParallelToolCalls != nil && len(q.Tools) == 0:
		return errors.New("'parallel_tool_calls' is only allowed when 'tools' are specified")
	}
	for i, m := range q.Messages {
		switch {
		case !slices.Contains(roles, m.Role):
			return fmt.Errorf("invalid value for 'messages[%d].role'", i)
		case m.Content == nil:
			return fmt.Errorf("invalid value for 'messages[%d].content': expected a string, got null", i)
		}
	}
	for i, tool := range q.Tools {
		if tool.Type != "function" || !nameForm.MatchString(tool.Function.Name) {
			return fmt.Errorf("invalid 'tools[%d]'", i)
		}
		if err := checkSchema(tool.Function.Parameters, tool.Function.Strict); err != nil {
			return fmt.Errorf("invalid schema for function '%s': %w", tool.Function.Name, err)
		}
	}
	if q.ToolChoice != nil && !slices.ContainsFunc(q.Tools, func(t Tool) bool { return t.Function.Name == q.ToolChoice.Function.Name }) {
		return errors.New("invalid value for 'tool_choice': it is not among the 'tools'")
	}
	if q.ResponseFormat != nil && q.ResponseFormat.Type == "json_schema" {
		s := q.ResponseFormat.JSONSchema
		if s == nil || !nameForm.MatchString(s.Name) {
			return errors.New("invalid 'response_format.json_schema.name'")
		}
		if err := checkSchema(s.Schema, s.Strict); err != nil {
			return fmt.Errorf("invalid schema for response_format '%s': %w", s.Name, err)
		}
	}
	return nil
}

// structured reports whether the answer has to be an object of a schema.
func (q *Request) structured() bool {
	return q.ResponseFormat != nil && q.ResponseFormat.Type == "json_schema"
}

// function is the name of the function that has to be called, if any.
func (q *Request) function() string {
	if q.ToolChoice == nil {
		return ""
	}
	return q.ToolChoice.Function.Name
}

// said is what the user said last, when that is the last message.
func (q *Request) said() (text string, byUser bool) {
	last := q.Messages[len(q.Messages)-1]
	return *last.Content, last.Role == "user"
}
