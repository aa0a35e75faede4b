package session

import (
	"fmt"
	"time"

	"github.com/liftlog/liftlog-api/shared/planner"
)

// AIChat is the protocol of /ai-chat, the hub of the apps before 2026, whose plans have v1's first form. Conversations are made by
// begin.
func AIChat(begin func() Conversation[planner.Step]) Protocol { return aiChat{begin} }

type aiChat struct {
	begin func() Conversation[planner.Step]
}

func (p aiChat) Methods() []Method { return aiChatMethods }

var aiChatMethods = []Method{
	{"Introduce", []Parameter{Text}, func(a []Argument) (Question, bool) {
		return Question{Introduction: true, Text: a[0].Text}, !a[0].Null
	}},
	{"SendMessage", []Parameter{Text}, func(a []Argument) (Question, bool) {
		return Question{Text: a[0].Text}, !a[0].Null
	}},
}

func (p aiChat) NewConversation() Conversation[any] { return formed[planner.Step]{p.begin(), p.form} }

func (p aiChat) Text(text string) any { return messageResponse{text, "messageResponse"} }

// form is that of a step.
func (p aiChat) form(s planner.Step) any {
	if s.Plan == nil {
		return p.Text(s.Message)
	}
	return chatPlan{toPlan(s.Plan), "chatPlan"}
}

// The two things that the client is sent, with every member always there and the type last, as v1 had it.
type (
	messageResponse struct {
		Message string `json:"message"`
		Type    string `json:"type"`
	}
	chatPlan struct {
		Plan plan   `json:"plan"`
		Type string `json:"type"`
	}
)

type plan struct {
	Name        string        `json:"name"`
	Description string        `json:"description"`
	Sessions    []planSession `json:"sessions"`
}

type planSession struct {
	Name      string     `json:"name"`
	Exercises []exercise `json:"exercises"`
	Notes     string     `json:"notes"` // the model's description of it
}

type exercise struct {
	Name                    string  `json:"name"`
	Sets                    int     `json:"sets"`
	RepsPerSet              int     `json:"repsPerSet"`
	WeightIncreaseOnSuccess float64 `json:"weightIncreaseOnSuccess"`
	RestBetweenSets         rest    `json:"restBetweenSets"`
	SupersetWithNext        bool    `json:"supersetWithNext"` // false and, below, empty: a person adds them, the model does not
	Notes                   string  `json:"notes"`
	Link                    string  `json:"link"`
}

type rest struct {
	Min     restTime `json:"minRest"`
	Max     restTime `json:"maxRest"`
	Failure restTime `json:"failureRest"`
}

// restTime is written as hh:mm:ss, from a day on as d.hh:mm:ss: the app reads no sign and no fraction.
type restTime time.Duration

func (t restTime) MarshalText() ([]byte, error) {
	const day = 24 * 60 * 60
	seconds := max(0, time.Duration(t)/time.Second)
	clock := fmt.Sprintf("%02d:%02d:%02d", seconds%day/3600, seconds/60%60, seconds%60)
	if days := seconds / day; days > 0 {
		clock = fmt.Sprintf("%d.%s", days, clock)
	}
	return []byte(clock), nil
}

func toPlan(from *planner.Plan) plan {
	p := plan{from.Name, from.Description, make([]planSession, 0, len(from.Sessions))}
	for _, from := range from.Sessions {
		to := planSession{from.Name, make([]exercise, 0, len(from.Exercises)), from.Description}
		for _, e := range from.Exercises {
			to.Exercises = append(to.Exercises, exercise{
				Name: e.Name, Sets: e.Sets, RepsPerSet: e.RepsPerSet, WeightIncreaseOnSuccess: e.WeightIncreaseOnSuccess, Notes: e.Notes,
				RestBetweenSets: rest{restTime(e.Rest.Min), restTime(e.Rest.Max), restTime(e.Rest.Failure)},
			})
		}
		p.Sessions = append(p.Sessions, to)
	}
	return p
}
