package main

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
)

// hubOfOlderApps is /ai-chat.
var hubOfOlderApps = hub{
	path:      "/ai-chat",
	introduce: func(locale string) []any { return []any{locale} },
	send:      func(message string) []any { return []any{message} },
	parse: func(argument []byte) (response, error) {
		var step struct {
			Message string     `json:"message"`
			Plan    *olderPlan `json:"plan"`
		}
		if err := json.Unmarshal(argument, &step); err != nil {
			return response{}, err
		}
		if step.Plan == nil {
			return response{message: step.Message}, nil
		}
		return response{plan: step.Plan}, nil
	},
}

// olderPlan is a plan of older apps.
type olderPlan struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	Sessions    []struct {
		Name      string `json:"name"`
		Notes     string `json:"notes"`
		Exercises []struct {
			Name     string  `json:"name"`
			Sets     int     `json:"sets"`
			Reps     int     `json:"repsPerSet"`
			Increase float64 `json:"weightIncreaseOnSuccess"`
			Rest     struct {
				Min string `json:"minRest"`
				Max string `json:"maxRest"`
			} `json:"restBetweenSets"`
			Notes string `json:"notes"`
		} `json:"exercises"`
	} `json:"sessions"`
}

func (p *olderPlan) summary() string { return fmt.Sprintf("%s: %d sessions", p.Name, len(p.Sessions)) }

func (p *olderPlan) draw(output io.Writer) {
	_, _ = fmt.Fprintf(output, "\n%s\n%s\n", p.Name, p.Description)
	for _, s := range p.Sessions {
		_, _ = fmt.Fprintf(output, "\n%s – %s\n", s.Name, s.Notes)
		table := tabwriter.NewWriter(output, 0, 0, 2, ' ', 0)
		for _, e := range s.Exercises {
			_, _ = fmt.Fprintf(table, "  %s\t%d x %d\t+%g\trest %s to %s\t%s\n", e.Name, e.Sets, e.Reps, e.Increase, e.Rest.Min, e.Rest.Max, e.Notes)
		}
		_ = table.Flush()
	}
	_, _ = fmt.Fprintln(output)
}
