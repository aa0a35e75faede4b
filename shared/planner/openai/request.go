package openai

import (
	"bytes"
	"context"
	jsonv1 "encoding/json"
	"fmt"
	"net/http"

	api "github.com/sashabaranov/go-openai"

	"github.com/liftlog/liftlog-api/shared/config"
	"github.com/liftlog/liftlog-api/shared/planner"
)

// request is the library's request, with members beside it that the library does not know or would leave out when they are false
// or empty.
type request struct {
	api.ChatCompletionRequest

	Messages       []requestMessage `json:"messages"`
	Store          *bool            `json:"store,omitempty"`
	ResponseFormat *responseFormat  `json:"response_format,omitempty"`
}

type responseFormat struct {
	Type       string         `json:"type"`
	JSONSchema responseSchema `json:"json_schema"`
}

type responseSchema struct {
	Name        string            `json:"name"`
	Description string            `json:"description,omitempty"`
	Strict      bool              `json:"strict,omitempty"`
	Schema      jsonv1.RawMessage `json:"schema"`
}

type requestMessage struct {
	Role       string        `json:"role"`
	Content    *string       `json:"content"` // null beside a call, where an empty text would be refused
	ToolCalls  []requestCall `json:"tool_calls,omitempty"`
	ToolCallID string        `json:"tool_call_id,omitempty"`
}

type requestCall struct {
	api.ToolCall

	ExtraContent jsonv1.RawMessage `json:"extra_content,omitempty"`
}

// schemaWords tell a model to keep to a schema that its service does not enforce.
const schemaWords = "\n\nAnswer with one JSON object and nothing around it. It has to fit this JSON schema:\n"

// request writes r as the service wants it. It uses optional features only if the service knows them.
func (c *Client) request(r planner.Request, stream bool) ([]byte, error) {
	q := request{ChatCompletionRequest: api.ChatCompletionRequest{Model: c.model.Name, Stream: stream}}
	if c.model.Knows(config.FeatureMaxCompletionTokens) {
		q.MaxCompletionTokens = c.model.MaxTokens
	} else {
		q.MaxTokens = c.model.MaxTokens //nolint:staticcheck // it is what other services know
	}
	if c.model.Knows(config.FeatureStore) {
		q.Store = new(bool) // answers are not to be kept
	}
	if stream && c.model.Knows(config.FeatureStreamOptions) {
		q.StreamOptions = &api.StreamOptions{IncludeUsage: true}
	}
	if name := c.model.Name; (name == api.GPT6Sol || name == api.GPT6Luna) && c.model.Knows(config.FeatureReasoningEffort) {
		q.ReasoningEffort = api.ReasoningEffortNone // they call functions only without reasoning, which a plan does not need
	}
	q.Messages = messages(r.Messages)
	c.demand(&q, r.Shape)
	text, err := jsonv1.Marshal(q)
	if err != nil {
		return nil, fmt.Errorf("write request to the model: %w", err)
	}
	return text, nil
}

func messages(all []planner.Message) []requestMessage {
	list := make([]requestMessage, len(all))
	for i, m := range all {
		list[i] = requestMessage{Role: string(m.Role), Content: &m.Text}
		switch {
		case m.Call != nil:
			function := api.FunctionCall{Name: m.Call.Name, Arguments: m.Call.Input}
			call := api.ToolCall{ID: m.Call.ID, Type: api.ToolTypeFunction, Function: function}
			list[i].ToolCalls = []requestCall{{call, jsonv1.RawMessage(m.Call.Extra)}}
			if m.Text == "" {
				list[i].Content = nil
			}
		case m.Role == planner.Tool:
			list[i].ToolCallID = all[i-1].Call.ID
		}
	}
	return list
}

// demand says what the answer has to look like.
func (c *Client) demand(q *request, shape planner.Shape) {
	schema := shape.Schema.Clone()
	_ = schema.Compact() // it is valid
	strict := shape.Strict && c.model.Knows(config.FeatureStrict)
	if shape.Way != planner.Object {
		function := &api.FunctionDefinition{
			Name: shape.Name, Description: shape.Description, Strict: strict, Parameters: jsonv1.RawMessage(schema),
		}
		q.Tools = []api.Tool{{Type: api.ToolTypeFunction, Function: function}}
		if c.model.Knows(config.FeatureParallelToolCalls) {
			q.ParallelToolCalls = false
		}
		if shape.Way == planner.Called && c.model.Knows(config.FeatureToolChoice) {
			q.ToolChoice = "required" // some services take no function's name here, and there is but one
		}
		return
	}
	if c.model.Knows(config.FeatureResponseFormat) {
		q.ResponseFormat = &responseFormat{"json_schema", responseSchema{shape.Name, shape.Description, strict, jsonv1.RawMessage(schema)}}
	}
	if !strict && len(q.Messages) > 0 {
		text := *q.Messages[0].Content + schemaWords + string(schema)
		q.Messages[0].Content = &text
	}
}

// newRequest makes the HTTP request.
func (c *Client) newRequest(ctx context.Context, text []byte, accept string) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("make a request to the model: %w", err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", accept)
	if c.model.Key.IsSet() {
		r.Header.Set("Authorization", "Bearer "+c.model.Key.Reveal())
	}
	return r, nil
}
