package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/google/uuid"

	"github.com/liftlog/liftlog-api/shared/config"
	"github.com/liftlog/liftlog-api/shared/postgres"
	"github.com/liftlog/liftlog-api/shared/postgres/migrations"
)

// level says what a finding means for going on.
type level string

const (
	note     level = "note"
	warning  level = "warning"  // somebody should know before v2 takes over
	obstacle level = "obstacle" // the migrations, or v2 on their result, would not work
)

// finding is a sentence about the databases, and what to do about it.
type finding struct {
	Level level  `json:"level"`
	Text  string `json:"text"`
	Do    string `json:"do,omitempty"`
}

// result is what one check found.
type result struct {
	Check    string    `json:"check"`
	Asks     string    `json:"asks"`
	Findings []finding `json:"findings"`
}

// report is what all checks found, in their order.
type report struct {
	Obstacles int      `json:"obstacles"`
	Warnings  int      `json:"warnings"`
	Pending   []string `json:"pending"` // migrations
	Checks    []result `json:"checks"`
}

// preflight holds what the checks look at.
type preflight struct {
	databases postgres.Databases
	logins    config.Logins
	v1        string      // v1's base URL; empty: v1 is not asked
	users     []uuid.UUID // that v1 has
	accounts  string      // a file of ids and passwords; empty: none
	instances int         // at most of each program
	v1Conns   int         // connections that v1 may take

	migrations migrations.Report // once the databases have been reached
}

// errNotUsable ends a report on databases that cannot be reached or are not v1's: nothing more can be said of them.
var errNotUsable = errors.New("the checks that follow need a database with v1's tables")

// look makes the report. It changes nothing in the databases.
func (p *preflight) look(ctx context.Context) (r report) {
	for _, c := range checks {
		findings, err := c.ask(ctx, p)
		if err != nil && !errors.Is(err, errNotUsable) {
			findings = append(findings, finding{obstacle, "this could not be looked at: " + err.Error(),
				"mend what it says, and look again"})
		}
		r.Checks = append(r.Checks, result{c.name, c.asks, append([]finding{}, findings...)})
		for _, f := range findings {
			switch f.Level {
			case obstacle:
				r.Obstacles++
			case warning:
				r.Warnings++
			case note:
			}
		}
		if errors.Is(err, errNotUsable) || ctx.Err() != nil {
			break
		}
	}
	r.Pending = append([]string{}, p.migrations.Pending...)
	return r
}

// err is nil when nothing is in the way; if strict, a warning is.
func (r report) err(strict bool) error {
	if r.Obstacles > 0 {
		return fmt.Errorf("%d obstacles are in the way", r.Obstacles)
	}
	if strict && r.Warnings > 0 {
		return fmt.Errorf("%d warnings are in the way, as --strict asks", r.Warnings)
	}
	return nil
}

func (r report) writeJSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(r)
}

// write is the report for people.
func (r report) write(w io.Writer) error {
	var text strings.Builder
	for _, c := range r.Checks {
		fmt.Fprintf(&text, "%s: %s\n", c.Check, c.Asks)
		for _, f := range c.Findings {
			sign := map[level]string{note: "   ", warning: " ! ", obstacle: "!!!"}[f.Level]
			fmt.Fprintf(&text, "  %s %s\n", sign, f.Text)
			if f.Do != "" {
				fmt.Fprintf(&text, "      → %s\n", f.Do)
			}
		}
		if len(c.Findings) == 0 {
			text.WriteString("      nothing to say\n")
		}
	}
	fmt.Fprintf(&text, "\n%d obstacles, %d warnings, %d migrations pending\n", r.Obstacles, r.Warnings, len(r.Pending))
	if r.Obstacles == 0 {
		text.WriteString("nothing is in the way\n")
	}
	_, err := io.WriteString(w, text.String())
	return err
}
