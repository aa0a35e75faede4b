package main

import (
	"bytes"
	"regexp"
	"testing"
)

// blanksAtTheEnd of a line are what is left of a table's empty cells.
var blanksAtTheEnd = regexp.MustCompile(` +\n`)

func TestPlansOfBothHubsAreDrawn(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		hub      hub
		argument string
		want     string
	}{
		"older": {hubOfOlderApps, `{"plan":{"name":"P","description":"D","sessions":[{"name":"A","notes":"n","exercises":[{"name":"Squat","sets":3,"repsPerSet":8,` +
			`"weightIncreaseOnSuccess":2.5,"restBetweenSets":{"minRest":"00:01:00","maxRest":"00:02:00"},"notes":"x"}]}]},"type":"chatPlan"}`,
			"\nP\nD\n\nA – n\n  Squat  3 x 8  +2.5  rest 00:01:00 to 00:02:00  x\n\n"},
		"today": {today("kg"), `{"type":"chatPlan","name":"P","description":"D","version":3,"blueprint":{"sessions":[{"name":"A","notes":"","exercises":[` +
			`{"type":"WeightedExerciseBlueprint","name":"Squat","plannedSets":[{"reps":{"min":8,"max":12}},{"reps":{"min":8,"max":12}},{"reps":{"min":10,"max":10}}],` +
			`"restBetweenSets":{"minRest":"PT1M30S","maxRest":"PT3M","failureRest":"PT5M"},"supersetWithNext":true,"notes":"x","progression":[` +
			`{"axis":"reps","step":"1","ceiling":"12"},{"axis":"load","step":"2.50"}],"resistance":"bodyweight"},` +
			`{"type":"CardioExerciseBlueprint","name":"Run","sets":[{"target":{"type":"time","value":"PT20M"}},{"target":{"type":"distance","value":{"value":"5.0","unit":"kilometre"}}}],"notes":""}]}]}}`,
			"\nP\nD\n\nA\n  Squat  2 x 8–12, 10        +1 reps to 12, then +2.50 load  rest 1m30s–3m  (bodyweight) (superset with the next) x\n" +
				"  Run    20m, 5.0 kilometre\n\n"},
		"nothing yet": {today("kg"), `{"type":"chatPlan","name":"","description":"","blueprint":null,"version":2}`, "\n\n\n\n"},
		"a part": {today("kg"), `{"type":"chatPlan","name":"P","description":"","version":3,"blueprint":{"sessions":[{"name":"A","exercises":[{"name":"R","sets":[{"target":{"type":"distance","value":{"value":"5"}}},{}]}]}]}}`,
			"\nP\n\n\nA\n  R  5\n\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			step, err := c.hub.parse([]byte(c.argument))
			if err != nil {
				t.Fatal(err)
			}
			var output bytes.Buffer
			step.plan.draw(&output)
			if got := blanksAtTheEnd.ReplaceAllString(output.String(), "\n"); got != c.want {
				t.Errorf("got\n%q, want\n%q", got, c.want)
			}
		})
	}
}

func TestTextsAndVersions(t *testing.T) {
	t.Parallel()
	step, err := today("kg").parse([]byte(`{"type":"updateRequired","requiredVersion":4}`))
	if err != nil || step.required != 4 {
		t.Error(step, err)
	}
	for _, h := range []hub{today("kg"), hubOfOlderApps} {
		step, err := h.parse([]byte(`{"type":"messageResponse","message":"Hi."}`))
		if err != nil || step.message != "Hi." || step.plan != nil {
			t.Error(step, err)
		}
	}
}
