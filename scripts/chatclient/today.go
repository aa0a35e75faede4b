package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// planVersion is that of the plans which this program draws.
const planVersion = 3

// today is /ai-chat-v2.
func today(weightUnit string) hub {
	return hub{
		path:      "/ai-chat-v2",
		introduce: func(locale string) []any { return []any{locale, planVersion, weightUnit} },
		send:      func(message string) []any { return []any{message, planVersion} },
		parse: func(argument []byte) (response, error) {
			var step struct {
				Type            string `json:"type"`
				Message         string `json:"message"`
				RequiredVersion int    `json:"requiredVersion"`
				Name            string `json:"name"`
				Description     string `json:"description"`
				Blueprint       struct {
					Sessions []session `json:"sessions"`
				} `json:"blueprint"`
			}
			if err := json.Unmarshal(argument, &step); err != nil {
				return response{}, err
			}
			if step.Type == "chatPlan" {
				return response{plan: &blueprint{step.Name, step.Description, step.Blueprint.Sessions}}, nil
			}
			return response{message: step.Message, required: step.RequiredVersion}, nil
		},
	}
}

// blueprint is a plan of today's app.
type blueprint struct {
	name, description string
	sessions          []session
}

type session struct {
	Name      string     `json:"name"`
	Exercises []exercise `json:"exercises"`
	Notes     string     `json:"notes"`
}

// exercise is a weighted one, or a cardio one.
type exercise struct {
	Name        string       `json:"name"`
	Notes       string       `json:"notes"`
	PlannedSets []plannedSet `json:"plannedSets"`
	Rest        rest         `json:"restBetweenSets"`
	Superset    bool         `json:"supersetWithNext"`
	Progression []rule       `json:"progression"`
	Resistance  string       `json:"resistance"`
	Sets        []cardioSet  `json:"sets"`
}

type plannedSet struct {
	Reps struct {
		Min int `json:"min"`
		Max int `json:"max"`
	} `json:"reps"`
}

type rest struct {
	Min string `json:"minRest"`
	Max string `json:"maxRest"`
}

type rule struct {
	Axis    string `json:"axis"`
	Step    string `json:"step"`
	Ceiling string `json:"ceiling"`
}

type cardioSet struct {
	Target struct {
		Type  string          `json:"type"`
		Value json.RawMessage `json:"value"`
	} `json:"target"`
}

func (p *blueprint) summary() string { return fmt.Sprintf("%s: %d sessions", p.name, len(p.sessions)) }

func (p *blueprint) draw(output io.Writer) {
	_, _ = fmt.Fprintf(output, "\n%s\n%s\n", p.name, p.description)
	for _, s := range p.sessions {
		_, _ = fmt.Fprintf(output, "\n%s\n", strings.TrimSuffix(s.Name+" – "+s.Notes, " – "))
		table := tabwriter.NewWriter(output, 0, 0, 2, ' ', 0)
		for i := range s.Exercises {
			e := &s.Exercises[i]
			_, _ = fmt.Fprintf(table, "  %s\t%s\t%s\t%s\t%s\n", e.Name, e.amount(), e.progress(), e.pauses(), e.remarks())
		}
		_ = table.Flush()
	}
	_, _ = fmt.Fprintln(output)
}

// amount is what has to be done, set by set; equal sets that follow each other are written together: 2 x 8–12, 10.
func (e *exercise) amount() string {
	var sets []string
	for _, s := range e.PlannedSets {
		sets = append(sets, between(strconv.Itoa(s.Reps.Min), strconv.Itoa(s.Reps.Max)))
	}
	for _, s := range e.Sets {
		if target := s.target(); target != "" {
			sets = append(sets, target)
		}
	}
	var parts []string
	for len(sets) > 0 {
		n := slices.IndexFunc(sets, func(s string) bool { return s != sets[0] })
		if n < 0 {
			n = len(sets)
		}
		part := sets[0]
		if n > 1 {
			part = fmt.Sprintf("%d x %s", n, part)
		}
		parts, sets = append(parts, part), sets[n:]
	}
	return strings.Join(parts, ", ")
}

func (s *cardioSet) target() string {
	var text string
	if json.Unmarshal(s.Target.Value, &text) == nil {
		return duration(text)
	}
	var distance struct{ Value, Unit string }
	_ = json.Unmarshal(s.Target.Value, &distance) // it may not have come
	return strings.TrimSpace(distance.Value + " " + distance.Unit)
}

// progress is how the person gets on.
func (e *exercise) progress() string {
	var parts []string
	for _, r := range e.Progression {
		part := "+" + r.Step + " " + r.Axis
		if r.Ceiling != "" {
			part += " to " + r.Ceiling
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, ", then ")
}

func (e *exercise) pauses() string {
	if e.Rest == (rest{}) {
		return ""
	}
	return "rest " + between(duration(e.Rest.Min), duration(e.Rest.Max))
}

func (e *exercise) remarks() string {
	var parts []string
	if resistance := cmp.Or(e.Resistance, "external"); resistance != "external" {
		parts = append(parts, "("+resistance+")")
	}
	if e.Superset {
		parts = append(parts, "(superset with the next)")
	}
	return strings.Join(append(parts, e.Notes), " ")
}

func between(from, to string) string {
	if from == to {
		return from
	}
	return from + "–" + to
}

// duration writes an ISO 8601 duration as people do: PT1M30S as 1m30s.
func duration(text string) string { return strings.ToLower(strings.TrimPrefix(text, "PT")) }
