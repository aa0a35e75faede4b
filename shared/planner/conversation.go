package planner

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/liftlog/liftlog-api/shared/apierr"
)

// What is kept of a conversation beside its system prompt.
const (
	maxKeptMessages = 20
	maxKeptBytes    = 128 << 10
)

// Conversation is a person's chat with the planner. Only one of its methods may be called at a time. To begin anew is to
// take a new one: an answer under way stays in the one that it was asked in.
type Conversation struct {
	planner  *Planner
	messages []Message // without the system prompt; the user's and the assistant's alternate
}

// NewConversation returns one in which nothing was said.
func (p *Planner) NewConversation() *Conversation { return &Conversation{planner: p} }

var localeForm = regexp.MustCompile(`^[a-zA-Z]{2}-[a-zA-Z]{2}$`)

// Introduce asks the model to introduce itself in the language of locale, such as en-AU; any other text counts as en-AU.
// yield gets every [Step] of the answer as soon as it can be told, and a failure of it ends the answer.
func (c *Conversation) Introduce(ctx context.Context, locale string, yield func(Step) error) error {
	if !localeForm.MatchString(locale) {
		locale = "en-AU"
	}
	return c.Send(ctx, fmt.Sprintf(strings.TrimSpace(string(read("prompts/introduce.txt"))), locale), yield)
}

// Send adds the message to the conversation and has it answered; yield is as with Introduce. When ctx ends, what was
// said so far stays in the conversation as the answer, and ctx's error is returned; after any other failure, an
// [apierr.Error] whose detail is fit to be shown, the message is taken back.
func (c *Conversation) Send(ctx context.Context, message string, yield func(Step) error) error {
	request := c.request(Message{User, message})
	var r reader
	var last Step
	var fault, refused error // of the answer, and of yield
	text, usage, err := c.planner.model.Answer(ctx, request, func(piece string) error {
		if fault = r.feed(piece); fault != nil {
			return fault
		}
		step, ok := r.step()
		if !ok {
			return nil
		}
		last = step
		refused = yield(step)
		return refused
	})
	record(ctx, usage)
	if err == nil {
		var final Step
		if final, fault = finish(text); fault == nil && (!r.typed || final.Plan != nil || final.Message != last.Message) {
			refused = yield(final) // the last one always, and whole
		}
	}
	switch {
	case ctx.Err() != nil:
		if r.typed && (r.Plan != nil || r.Message != "") {
			c.keep(message, rewrite(r.Step))
		}
		return ctx.Err()
	case fault != nil:
		return &apierr.Error{Kind: apierr.Upstream, Detail: useless.Detail, Err: errAnswer}
	case refused != nil:
		return refused
	case err != nil:
		return err
	}
	c.keep(message, text)
	return nil
}

// request asks for an answer to the message.
func (c *Conversation) request(message Message) Request {
	messages := make([]Message, 0, len(c.messages)+2)
	messages = append(messages, Message{System, string(read("prompts/chat.txt"))})
	messages = append(messages, kept(c.messages, len(message.Text), 1)...)
	return Request{append(messages, message), chatForm.Shape, answerTokens}
}

// keep keeps the message and its answer.
func (c *Conversation) keep(message, answer string) {
	c.messages = kept(append(c.messages, Message{User, message}, Message{Assistant, answer}), 0, 0)
}

// kept is as much of the end of the messages as may be kept beside more bytes in more messages, turn by turn.
func kept(messages []Message, bytes, more int) []Message {
	for _, m := range messages {
		bytes += len(m.Text)
	}
	for len(messages) >= 2 && (len(messages)+more > maxKeptMessages || bytes > maxKeptBytes) {
		bytes -= len(messages[0].Text) + len(messages[1].Text)
		messages = messages[2:]
	}
	return messages
}

// finish reads a whole answer.
func finish(text string) (Step, error) {
	var answer chatAnswer
	if err := chatForm.parse(text, &answer); err != nil {
		return Step{}, err
	}
	switch answer.Response.Type {
	case typeMessage:
		return Step{Message: answer.Response.Message}, nil
	case typePlan:
		plan, err := answer.Response.Plan.plan()
		return Step{Plan: &plan}, err
	default:
		return Step{}, errors.New("the answer's type is unknown")
	}
}

// rewrite writes an answer that was not finished as the model would have.
func rewrite(s Step) string {
	var answer chatAnswer
	if answer.Response.Type = typeMessage; s.Plan != nil {
		answer.Response.Type = typePlan
		answer.Response.Plan = fromPlan(*s.Plan)
	}
	answer.Response.Message = s.Message
	text, err := json.Marshal(answer)
	if err != nil {
		return "{}" // which does not happen: all of it was read from JSON
	}
	return string(text)
}
