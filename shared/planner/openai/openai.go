// Package openai asks a language model behind OpenAI's Chat Completions, or behind any service that speaks them.
package openai

import (
	"context"
	jsonv1 "encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	api "github.com/sashabaranov/go-openai"

	"github.com/liftlog/liftlog-api/shared/config"
	"github.com/liftlog/liftlog-api/shared/planner"
)

const (
	// maxAnswer bounds the text of an answer, in bytes.
	maxAnswer = 256 << 10
	// maxRetries is how often a request that was not answered is sent again.
	maxRetries = 2
	// maxPause is the longest pause that is waited out before a retry; a service that asks for more is left alone.
	maxPause = 10 * time.Second
	// comeBack is when a person may try again, when the service does not say.
	comeBack = 10 * time.Second
	// linger is how long a stream may go on after its finish reason, to say what it cost.
	linger = 2 * time.Second
	// drainTime is how long the end of a stream's body may be waited for, after all of its events.
	drainTime = 20 * time.Millisecond
)

// Limits say how long to wait for what.
type Limits struct {
	Connect time.Duration // for a connection, its encryption included
	Silence time.Duration // for the first piece of a stream, and from piece to piece
	Answer  time.Duration // for a whole answer, retries and pauses included
	Pause   time.Duration // before the first retry, at most; the second waits twice as long
}

// DefaultLimits are those that [New] uses.
var DefaultLimits = Limits{Connect: 5 * time.Second, Silence: 30 * time.Second, Answer: 2 * time.Minute, Pause: time.Second}

// Client is a [planner.Model]. It is safe for concurrent use.
type Client struct {
	api    *api.Client
	doer   *doer
	model  string
	effort string
	limits Limits
}

var _ planner.Model = (*Client)(nil)

// Option changes how a Client works.
type Option func(*Client)

// WithLimits replaces [DefaultLimits].
func WithLimits(l Limits) Option {
	return func(c *Client) { c.limits = l }
}

// New returns a client of the service. It connects when it is first asked.
func New(m config.Model, options ...Option) *Client {
	c := &Client{model: m.Name, limits: DefaultLimits}
	for _, o := range options {
		o(c)
	}
	switch m.Name {
	case api.GPT6Sol, api.GPT6Luna: // they call functions only without reasoning, which a plan does not need
		c.effort = api.ReasoningEffortNone
	}
	c.doer = newDoer(c.limits)
	settings := api.DefaultConfig(m.Key.Reveal())
	settings.BaseURL = m.BaseURL
	settings.HTTPClient = c.doer
	c.api = api.NewClientWithConfig(settings)
	return c
}

// Close closes connections that are not in use.
func (c *Client) Close() { c.doer.client.CloseIdleConnections() }

// Answer is as [planner.Model] says. A request is sent again, twice at most, after a failed connection or a status that
// may pass, and only while nothing of an answer has come. The pause is the one that the service asks for, if it fits
// into ctx's deadline and is not too long for a person to wait.
func (c *Client) Answer(ctx context.Context, r planner.Request, yield func(planner.Piece) error) (planner.Answer, planner.Usage, error) {
	bounded, cancel := context.WithTimeoutCause(ctx, c.limits.Answer, errTooSlow)
	defer cancel()
	for retries := 0; ; retries++ {
		a, err := c.try(bounded, r, yield)
		if err == nil {
			return a.whole(), a.usage, nil
		}
		if ctx.Err() == nil && retries < maxRetries && a.mayRetry(err) && pause(bounded, c.pauseBefore(retries, err)) {
			continue
		}
		if ctx.Err() != nil {
			return planner.Answer{}, a.usage, fmt.Errorf("ask the model: %w", ctx.Err())
		}
		return planner.Answer{}, a.usage, a.explain(err)
	}
}

// try sends the request once. The answer is never nil, and holds what came of it.
func (c *Client) try(ctx context.Context, r planner.Request, yield func(planner.Piece) error) (*answer, error) {
	a := &answer{shape: r.Shape}
	ctx, attempt := newAttempt(ctx)
	defer attempt.stop()
	var err error
	if yield == nil {
		err = c.ask(ctx, r, a)
	} else {
		attempt.watch(c.limits.Silence)
		err = c.stream(ctx, attempt, r, a, yield)
	}
	a.began = attempt.began
	if err == nil {
		return a, a.check()
	}
	if _, ok := errors.AsType[*yieldError](err); !ok && context.Cause(ctx) != nil {
		return a, context.Cause(ctx) // more than the library knows
	}
	return a, err
}

// ask gets the answer in one.
func (c *Client) ask(ctx context.Context, r planner.Request, a *answer) error {
	response, err := c.api.CreateChatCompletion(ctx, c.request(r))
	if err != nil {
		return loggable(err)
	}
	a.spent(&response.Usage)
	if len(response.Choices) == 0 {
		return errBroken
	}
	choice := response.Choices[0]
	a.finish = choice.FinishReason
	a.refused = choice.Message.Refusal != ""
	_, err = a.add(choice.Message.Content, choice.Message.ToolCalls)
	return err
}

// event is what a stream tells in one event, as far as it matters. The library's own form takes three times as long to
// decode, and there are many.
type event struct {
	Choices []struct {
		Delta struct {
			Content   string         `json:"content"`
			Refusal   string         `json:"refusal"`
			ToolCalls []api.ToolCall `json:"tool_calls"`
		} `json:"delta"`
		FinishReason api.FinishReason `json:"finish_reason"`
	} `json:"choices"`
	Usage *api.Usage `json:"usage"`
}

var lenient = json.JoinOptions(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))

// stream gets the answer piece by piece.
func (c *Client) stream(ctx context.Context, attempt *attempt, r planner.Request, a *answer, yield func(planner.Piece) error) error {
	q := c.request(r)
	q.StreamOptions = &api.StreamOptions{IncludeUsage: true}
	stream, err := c.api.CreateChatCompletionStream(ctx, q)
	if err != nil {
		return loggable(err)
	}
	defer func() { _ = stream.Close() }()
	for {
		attempt.unread = maxUnread
		var e event
		text, err := stream.RecvRaw()
		switch {
		case a.finish != "" && err != nil: // also when it broke off behind the answer: what it cost is lost
			if errors.Is(err, io.EOF) {
				attempt.drain()
			}
			return nil
		case errors.Is(err, io.EOF):
			return errBroken
		case err != nil:
			return loggable(err)
		}
		if err := json.Unmarshal(text, &e, lenient); err != nil {
			return errProtocol
		}
		a.spent(e.Usage)
		if len(e.Choices) == 0 {
			continue
		}
		choice := e.Choices[0]
		a.refused = a.refused || choice.Delta.Refusal != ""
		piece, err := a.add(choice.Delta.Content, choice.Delta.ToolCalls)
		if err != nil {
			return err
		}
		if piece != (planner.Piece{}) {
			if err := yield(piece); err != nil {
				return &yieldError{err}
			}
		}
		if choice.FinishReason != "" {
			a.finish = choice.FinishReason
			attempt.patience = linger
		}
	}
}

// request is r for the service.
func (c *Client) request(r planner.Request) api.ChatCompletionRequest {
	q := api.ChatCompletionRequest{Model: c.model, ReasoningEffort: c.effort, MaxCompletionTokens: r.MaxTokens}
	for i, m := range r.Messages {
		message := api.ChatCompletionMessage{Role: string(m.Role), Content: m.Text}
		if m.Call != nil {
			function := api.FunctionCall{Name: m.Call.Name, Arguments: m.Call.Input}
			message.ToolCalls = []api.ToolCall{{ID: m.Call.ID, Type: api.ToolTypeFunction, Function: function}}
		}
		if m.Role == planner.Tool {
			message.ToolCallID = r.Messages[i-1].Call.ID
		}
		q.Messages = append(q.Messages, message)
	}
	shape := r.Shape
	schema := jsonv1.RawMessage(shape.Schema)
	if shape.Way == planner.Object {
		q.ResponseFormat = &api.ChatCompletionResponseFormat{
			Type:       api.ChatCompletionResponseFormatTypeJSONSchema,
			JSONSchema: &api.ChatCompletionResponseFormatJSONSchema{Name: shape.Name, Description: shape.Description, Strict: shape.Strict, Schema: schema},
		}
		return q
	}
	function := &api.FunctionDefinition{Name: shape.Name, Description: shape.Description, Strict: shape.Strict, Parameters: schema}
	q.Tools = []api.Tool{{Type: api.ToolTypeFunction, Function: function}}
	q.ParallelToolCalls = false
	if shape.Way == planner.Called {
		q.ToolChoice = api.ToolChoice{Type: api.ToolTypeFunction, Function: api.ToolFunction{Name: shape.Name}}
	}
	return q
}

// pauseBefore is how long to wait before the retry with that number, counted from 0.
func (c *Client) pauseBefore(retry int, err error) time.Duration {
	if status, ok := errors.AsType[*statusError](err); ok && !status.retryAt.IsZero() {
		return time.Until(status.retryAt)
	}
	longest := c.limits.Pause << retry
	return longest/2 + rand.N(longest/2+1) //nolint:gosec // it only keeps clients apart
}

// pause waits and reports whether it did: not when ctx ends before, or the pause is too long.
func pause(ctx context.Context, length time.Duration) bool {
	if deadline, ok := ctx.Deadline(); length > maxPause || ok && time.Until(deadline) <= length {
		return false
	}
	select {
	case <-time.After(length):
		return true
	case <-ctx.Done():
		return false
	}
}
