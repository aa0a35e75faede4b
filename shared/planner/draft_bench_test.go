package planner

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
)

// fragment is how many bytes a model writes at a time, and due how many of its fragments come between two steps that are
// sent, at 1,000 fragments a second.
const fragment, due = 5, 50

// longPlan is the input of a call with a plan of that many bytes at least.
func longPlan(bytes int) string {
	const exercise = `{"type":"WeightedExerciseBlueprint","name":"Bench press %d","plannedSets":[{"reps":{"min":8,"max":12}},{"reps":{"min":8,"max":12}}],` +
		`"restBetweenSets":{"minRest":"PT1M30S","maxRest":"PT3M","failureRest":"PT5M"},"supersetWithNext":false,"notes":"Keep the bar's path \"straight\" – Größe",` +
		`"link":"","progression":[{"axis":"load","step":"2.50","scope":{"type":"allSets"},"trigger":"allSetsMetTarget"}],"resistance":"external"}`
	var text strings.Builder
	text.WriteString(`{"version":3,"name":"Long","description":"A long plan.","blueprint":{"version":3,"name":"Long","sessions":[{"version":6,"name":"A","exercises":[`)
	for i := 0; text.Len() < bytes; i++ {
		if i > 0 {
			text.WriteString(",")
		}
		_, _ = fmt.Fprintf(&text, exercise, i)
	}
	text.WriteString(`],"notes":""}],"lastEdited":"2026-01-31"}}`)
	return text.String()
}

// BenchmarkALongPlanInFragments has a plan of 100 KiB come in fragments, and says how much of the processor that takes beside
// decoding the steps that are sent, which is the least there can be, and beside decoding it anew at each fragment.
func BenchmarkALongPlanInFragments(b *testing.B) {
	text := longPlan(100 << 10)
	play := func(every int, sent func(draft)) {
		w := writer{shape: Shape{Way: Offered}}
		n := 0
		for rest := text; rest != ""; n++ {
			size := min(fragment, len(rest))
			d, _, err := w.write(Piece{Input: rest[:size]})
			if err != nil {
				b.Fatal(err)
			}
			if rest = rest[size:]; every > 0 && (n%every == 0 || rest == "") {
				sent(d)
			}
		}
	}
	var texts [][]byte
	play(due, func(d draft) { texts = append(texts, d.json.Complete()) })
	decode := func() {
		for _, text := range texts {
			var answer blueprintAnswer
			if err := json.Unmarshal(text, &answer); err != nil {
				b.Fatal(err)
			}
			_ = answer.plan()
		}
	}
	read := func(d draft) {
		if step, ok := (blueprint{}).step(d); !ok || step.Plan == nil {
			b.Fatal("no step")
		}
	}
	for _, c := range []struct {
		name  string
		every int
	}{{"20 steps a second", due}, {"no step", 0}, {"a step at each fragment", 1}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			var took, least time.Duration
			for b.Loop() {
				begun := time.Now()
				play(c.every, read)
				took += time.Since(begun)
				b.StopTimer()
				begun = time.Now()
				decode()
				least += time.Since(begun)
				b.StartTimer()
			}
			b.ReportMetric(took.Seconds()/least.Seconds(), "x/decoding")
		})
	}
}
