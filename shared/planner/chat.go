package planner

import (
	"errors"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json"
)

// chat is the dialect of v1's first hub: the model answers with an object that is a message or a plan.
type chat struct{}

// NewConversation returns a conversation in which nothing was said.
func (p *Planner) NewConversation() *Conversation[Step] {
	return &Conversation[Step]{model: p.model, dialect: chat{}}
}

func (chat) begin() (string, Shape) { return string(read("prompts/chat.txt")), chatForm.Shape }

func (chat) introduction(locale, _ string) string {
	return fmt.Sprintf(strings.TrimSpace(string(read("prompts/introduce.txt"))), locale)
}

func (chat) step(d draft) (Step, bool) {
	var answer chatAnswer
	if json.Unmarshal(d.json.Complete(), &answer) != nil { // found again by finish, at the end
		return Step{}, false
	}
	step, err := answer.step()
	return step, err == nil && (step.Plan != nil || step.Message != "")
}

func (chat) finish(a Answer) (Step, error) {
	var answer chatAnswer
	if err := chatForm.parse(a.Text, &answer); err != nil {
		return Step{}, err
	}
	if err := answer.Response.check(); err != nil {
		return Step{}, err
	}
	return answer.step()
}

func (a *chatAnswer) step() (Step, error) {
	switch a.Response.Type {
	case typeMessage:
		return Step{Message: a.Response.Message}, nil
	case typePlan:
		plan := a.Response.plan()
		return Step{Plan: &plan}, nil
	default:
		return Step{}, errors.New("the answer's type is unknown")
	}
}
