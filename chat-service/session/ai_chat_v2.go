package session

import (
	"github.com/go-json-experiment/json/jsontext"

	"github.com/liftlog/liftlog-api/shared/planner"
)

// AIChatV2 is the protocol of /ai-chat-v2, the hub of the app of 2026, which gets plans as the model wrote them. A client whose plan
// contract is older than required is told so. Conversations are made by begin.
func AIChatV2(required int, begin func() Conversation[planner.BlueprintStep]) Protocol {
	p := &aiChatV2{required: required, begin: begin}
	p.methods = []Method{
		{"Introduce", []Parameter{Text, Integer, Text}, func(a []Argument) (Question, bool) {
			return p.question(a[1].Integer, a[0], Question{Introduction: true, Text: a[0].Text, WeightUnit: a[2].Text})
		}},
		{"SendMessage", []Parameter{Text, Integer}, func(a []Argument) (Question, bool) {
			return p.question(a[1].Integer, a[0], Question{Text: a[0].Text})
		}},
	}
	return p
}

type aiChatV2 struct {
	required int
	begin    func() Conversation[planner.BlueprintStep]
	methods  []Method
}

func (p *aiChatV2) Methods() []Method { return p.methods }

// question is q, or, if the client's version is too old, what it is told instead. ok is false when the text is null.
func (p *aiChatV2) question(version int, text Argument, q Question) (Question, bool) {
	if version < p.required {
		return Question{Instead: updateRequired{"updateRequired", p.required}}, true
	}
	return q, !text.Null
}

func (p *aiChatV2) NewConversation() Conversation[any] {
	return formed[planner.BlueprintStep]{p.begin(), p.form}
}

func (p *aiChatV2) Text(text string) any { return messageResponseV2{"messageResponse", text} }

// form is that of a step.
func (p *aiChatV2) form(s planner.BlueprintStep) any {
	if s.Plan == nil {
		return p.Text(s.Message)
	}
	return chatPlanV2{"chatPlan", s.Plan.Name, s.Plan.Description, s.Plan.Blueprint, s.Plan.Version}
}

// The three things that the client is sent, with every member always there and the type first, as v1 has it.
type (
	messageResponseV2 struct {
		Type    string `json:"type"`
		Message string `json:"message"`
	}
	chatPlanV2 struct {
		Type        string         `json:"type"`
		Name        string         `json:"name"`
		Description string         `json:"description"`
		Blueprint   jsontext.Value `json:"blueprint"` // as the model wrote it; null until it comes
		Version     int            `json:"version"`   // of the plan's contract; 2 until it comes, which the app ignores
	}
	updateRequired struct {
		Type            string `json:"type"`
		RequiredVersion int    `json:"requiredVersion"`
	}
)
