package plannertest

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

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
	ToolChoice          Choice    `json:"tool_choice"`
	ParallelToolCalls   *bool     `json:"parallel_tool_calls"`
	ResponseFormat      *Format   `json:"response_format"`
	MaxCompletionTokens int       `json:"max_completion_tokens"`
	MaxTokens           int       `json:"max_tokens"`
	Temperature         *float64  `json:"temperature"`
	Store               *bool     `json:"store"`
	ReasoningEffort     string    `json:"reasoning_effort"`

	Body jsontext.Value `json:"-"` // all of it
}

// Message is one of a conversation.
type Message struct {
	Role       string  `json:"role"`
	Content    *string `json:"content"`
	ToolCalls  []Call  `json:"tool_calls"`
	ToolCallID string  `json:"tool_call_id"`
}

// Call is a call that the assistant made.
type Call struct {
	ID       string `json:"id"`
	Type     string `json:"type"`
	Function struct {
		Name      string `json:"name"`
		Arguments string `json:"arguments"`
	} `json:"function"`
}

// Choice says whether tools may or have to be called.
type Choice struct {
	Mode     string // none, auto or required, if one was named
	Function string // that has to be called, if one was named
}

// UnmarshalJSONFrom reads a mode, or the choice of a function.
func (c *Choice) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	if dec.PeekKind() == '"' {
		return json.UnmarshalDecode(dec, &c.Mode)
	}
	var tool Tool
	err := json.UnmarshalDecode(dec, &tool)
	c.Function = tool.Function.Name
	return err
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
	roles    = []string{"developer", "system", "user", "assistant", "tool"}
	modes    = []string{"none", "auto", "required"}
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
	case q.MaxCompletionTokens < 0 || q.MaxTokens < 0:
		return errors.New("invalid 'max_completion_tokens' or 'max_tokens'")
	case q.MaxCompletionTokens > 0 && q.MaxTokens > 0:
		return errors.New("setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported")
	case q.StreamOptions != nil && !q.Stream:
		return errors.New("the 'stream_options' parameter is only allowed when 'stream' is enabled")
	case q.ParallelToolCalls != nil && len(q.Tools) == 0:
		return errors.New("'parallel_tool_calls' is only allowed when 'tools' are specified")
	}
	if err := q.checkMessages(); err != nil {
		return err
	}
	for i, tool := range q.Tools {
		if tool.Type != "function" || !nameForm.MatchString(tool.Function.Name) {
			return fmt.Errorf("invalid 'tools[%d]'", i)
		}
		if err := checkSchema(tool.Function.Parameters, tool.Function.Strict); err != nil {
			return fmt.Errorf("invalid schema for function '%s': %w", tool.Function.Name, err)
		}
	}
	if choice := q.ToolChoice; choice.Function != "" && !q.offers(choice.Function) || choice.Mode != "" && !slices.Contains(modes, choice.Mode) {
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

// checkMessages holds the messages to their order: a call is followed by its result, and nothing else is a result.
func (q *Request) checkMessages() error {
	var open []string // calls without a result
	for i, m := range q.Messages {
		switch {
		case !slices.Contains(roles, m.Role):
			return fmt.Errorf("invalid value for 'messages[%d].role'", i)
		case m.Content == nil && len(m.ToolCalls) == 0:
			return fmt.Errorf("invalid value for 'messages[%d].content': expected a string, got null", i)
		case m.Role == "tool":
			at := slices.Index(open, m.ToolCallID)
			if at < 0 {
				return errors.New("messages with role 'tool' must be a response to a preceding message with 'tool_calls'")
			}
			open = slices.Delete(open, at, at+1)
			continue
		case len(open) > 0:
			return errors.New("an assistant message with 'tool_calls' must be followed by tool messages")
		case len(m.ToolCalls) > 0 && m.Role != "assistant":
			return fmt.Errorf("invalid value for 'messages[%d].tool_calls'", i)
		}
		for _, call := range m.ToolCalls {
			if call.ID == "" || call.Type != "function" || !nameForm.MatchString(call.Function.Name) || !jsontext.Value(call.Function.Arguments).IsValid() {
				return fmt.Errorf("invalid value for 'messages[%d].tool_calls'", i)
			}
			open = append(open, call.ID)
		}
	}
	if len(open) > 0 {
		return errors.New("an assistant message with 'tool_calls' must be followed by tool messages")
	}
	return nil
}

// structured reports whether the answer has to be an object of a schema: because its format or the system prompt says so.
func (q *Request) structured() bool {
	first := q.Messages[0]
	return q.ResponseFormat != nil && q.ResponseFormat.Type == "json_schema" ||
		first.Role == "system" && first.Content != nil && strings.Contains(*first.Content, "fit this JSON schema")
}

func (q *Request) offers(function string) bool {
	return slices.ContainsFunc(q.Tools, func(t Tool) bool { return t.Function.Name == function })
}

// function is the name of the function that has to be called, if any.
func (q *Request) function() string {
	if q.ToolChoice.Mode == "required" && len(q.Tools) > 0 {
		return q.Tools[0].Function.Name
	}
	return q.ToolChoice.Function
}

// said is what the user said last, when that is the last message.
func (q *Request) said() (text string, byUser bool) {
	last := q.Messages[len(q.Messages)-1]
	return *last.Content, last.Role == "user"
}

// plain are the members that every service knows, by their path. A list's path is that of its items.
var plain = map[string][]string{
	"":                             {"model", "messages", "stream", "max_tokens", "tools", "tool_choice", "response_format"},
	"/messages":                    {"role", "content", "tool_calls", "tool_call_id"},
	"/messages/tool_calls":         {"id", "type", "function"},
	"/tools":                       {"type", "function"},
	"/tools/function":              {"name", "description", "parameters"},
	"/response_format":             {"type", "json_schema"},
	"/response_format/json_schema": {"name", "description", "schema"},
}

// checkPlain refuses what not every service knows: other members, and turns that do not alternate.
func (q *Request) checkPlain() error {
	for i := 1; i < len(q.Messages); i++ {
		if role := q.Messages[i].Role; role == q.Messages[i-1].Role || role == "system" {
			return errors.New("conversation roles must alternate")
		}
	}
	return checkMembers("", q.Body)
}

// checkRefused refuses any of the members.
func (q *Request) checkRefused(names []string) error {
	var members map[string]jsontext.Value
	if err := json.Unmarshal(q.Body, &members); err != nil {
		return err
	}
	for _, name := range names {
		if _, there := members[name]; there {
			return fmt.Errorf("unsupported parameter: '%s' is not supported with this model", name)
		}
	}
	return nil
}

func checkMembers(path string, value jsontext.Value) error {
	known, there := plain[path]
	var list []jsontext.Value
	if !there || json.Unmarshal(value, &list) == nil {
		for _, item := range list {
			if err := checkMembers(path, item); err != nil {
				return err
			}
		}
		return nil
	}
	var members map[string]jsontext.Value
	if err := json.Unmarshal(value, &members); err != nil {
		return nil //nolint:nilerr // a choice may be a text
	}
	for name, member := range members {
		if !slices.Contains(known, name) {
			return fmt.Errorf("%s/%s: extra inputs are not permitted", path, name)
		}
		if err := checkMembers(path+"/"+name, member); err != nil {
			return err
		}
	}
	return nil
}
