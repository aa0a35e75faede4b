package planner

import (
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestFormsCompileAndAreStrict(t *testing.T) {
	t.Parallel()
	for _, f := range []form{planForm, sessionForm, chatForm} {
		require.NotPanics(t, func() { f.resolved() }, f.Name)
		var schema any
		require.NoError(t, json.Unmarshal(f.Schema, &schema))
		checkStrict(t, f.Name, schema)
	}
}

// checkStrict holds a schema to what model services ask of a strict one: every member required, and no other.
func checkStrict(t *testing.T, where string, schema any) {
	t.Helper()
	switch s := schema.(type) {
	case map[string]any:
		if properties, ok := s["properties"].(map[string]any); ok {
			assert.Equal(t, false, s["additionalProperties"], where)
			required, _ := s["required"].([]any)
			assert.Len(t, required, len(properties), where)
		}
		for name, part := range s {
			checkStrict(t, where+"/"+name, part)
		}
	case []any:
		for _, part := range s {
			checkStrict(t, where, part)
		}
	}
}

// planText is a plan as a model writes it in the chat.
const planText = `{"Response":{"type":"chatPlan","Name":"Two \"days\"","Description":"Größe 👋🏽 & <more>","Sessions":[` +
	`{"Name":"Push","Description":"","Exercises":[` +
	`{"Name":"Bench press","Sets":3,"RepsPerSet":8.0,"WeightIncreaseOnSuccess":2.50,"Notes":"\\\/\b\f\n\r\t",` +
	`"RestBetweenSets":{"MinRestSeconds":90,"MaxRestSeconds":180,"FailureRestSeconds":300}},` +
	`{"Name":"Overhead press","Sets":4e0,"RepsPerSet":6,"WeightIncreaseOnSuccess":1.25,"Notes":"",` +
	`"RestBetweenSets":{"MinRestSeconds":0,"MaxRestSeconds":180,"FailureRestSeconds":3600}}]},` +
	`{"Name":"Pull","Description":"Back","Exercises":[` +
	`{"Name":"懸垂","Sets":1,"RepsPerSet":10,"WeightIncreaseOnSuccess":0,"Notes":"","Tempo":"3-1-1",` +
	`"RestBetweenSets":{"MinRestSeconds":1,"MaxRestSeconds":2,"FailureRestSeconds":3}}]}]}}`

// answers are whole ones with what they say.
func answers() map[string]Step {
	plan := Plan{"Two \"days\"", "Größe 👋🏽 & <more>", []Session{
		{"Push", "", []Exercise{
			{"Bench press", 3, 8, 2.5, "\\/\b\f\n\r\t", Rest{90 * time.Second, 3 * time.Minute, 5 * time.Minute}},
			{"Overhead press", 4, 6, 1.25, "", Rest{0, 3 * time.Minute, time.Hour}},
		}},
		{"Pull", "Back", []Exercise{{"懸垂", 1, 10, 0, "", Rest{1 * time.Second, 2 * time.Second, 3 * time.Second}}}},
	}}
	return map[string]Step{
		`{"Response":{"type":"messageResponse","Message":"Hello \ud83d\udc4b\uD83C\uDFFD, caf\u00e9 – 日本 \"x\"\n"}}`: {Message: "Hello 👋🏽, café – 日本 \"x\"\n"},
		` { "Response" : { "type" : "messageResponse" , "Message" : "" } } `:                                         {},
		planText: {Plan: &plan},
	}
}

// readSteps writes the text in pieces of size bytes and reads the steps that there are.
func readSteps(t *testing.T, text string, size int) (steps []Step) {
	t.Helper()
	w := writer{shape: chatForm.Shape}
	for rest := text; rest != ""; {
		piece := rest[:min(size, len(rest))]
		rest = rest[len(piece):]
		d, changed, err := w.write(Piece{Text: piece})
		require.NoError(t, err, "%s after %q", text, piece)
		if step, ok := (chat{}).step(d); ok && changed {
			steps = append(steps, step)
		}
	}
	return steps
}

func TestAnswersAreReadWhereverTheyAreCut(t *testing.T) {
	t.Parallel()
	for text, want := range answers() {
		for _, size := range []int{1, 2, 3, 7, 100, len(text)} {
			steps := readSteps(t, text, size)
			for i, step := range steps {
				assert.True(t, grows(steps[max(0, i-1)], step), "%v then %v", steps[max(0, i-1)], step)
			}
			assert.Equal(t, want, last(steps), "in pieces of %d", size)
			if size == 1 {
				assert.GreaterOrEqual(t, len(steps), len(want.Message)/4)
			}
		}
		final, err := chat{}.finish(Answer{Text: text})
		require.NoError(t, err)
		assert.Equal(t, want, final)
	}
}

// last is the last step, or none.
func last(steps []Step) (step Step) {
	if len(steps) > 0 {
		step = steps[len(steps)-1]
	}
	return step
}

// grows reports whether the later step continues the earlier one: numbers may be missing at first, but do not change.
func grows(earlier, later Step) bool {
	if earlier.Plan == nil || later.Plan == nil {
		return strings.HasPrefix(later.Message, earlier.Message)
	}
	for i, session := range earlier.Plan.Sessions {
		for j, e := range session.Exercises {
			sets := later.Plan.Sessions[i].Exercises[j].Sets
			if e.Sets != 0 && e.Sets != sets {
				return false
			}
		}
	}
	return strings.HasPrefix(later.Plan.Name, earlier.Plan.Name) && len(later.Plan.Sessions) >= len(earlier.Plan.Sessions)
}

func TestHalfACharacterIsHeldBack(t *testing.T) {
	t.Parallel()
	w := writer{shape: chatForm.Shape}
	for _, next := range []struct{ piece, want string }{
		{`{"Response":{"type":"messageResponse","Message":"a\ud83d`, "a"}, {`\udc4b` + "\xe6\x97", "a👋"}, {"\xa5", "a👋日"},
	} {
		d, _, err := w.write(Piece{Text: next.piece})
		require.NoError(t, err)
		step, ok := chat{}.step(d)
		require.True(t, ok)
		assert.Equal(t, next.want, step.Message)
	}
}

func TestWhatIsNoAnswerIsRefused(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		``, `hello`, `{}`, `[]`, `{"Response":{"type":"other"}}`, `{"Response":{"type":"messageResponse"}}`,
		`{"Response":{"type":"chatPlan","Name":"","Description":"","Sessions":[]}}`, `{"Response":{"type":"messageResponse","Message":"x"}`,
		strings.Replace(planText, `"MinRestSeconds":90`, `"MinRestSeconds":9000`, 1), strings.Replace(planText, `"MinRestSeconds":90`, `"MinRestSeconds":200`, 1),
		strings.Replace(planText, `"Sets":3`, `"Sets":0`, 1), strings.Replace(planText, `"Sets":3`, `"Sets":3.5`, 1), strings.Replace(planText, `"Sets":3`, `"Sets":"3"`, 1),
		strings.Replace(planText, `"Sets":3`, `"Sets":1e99`, 1),
	} {
		_, err := chat{}.finish(Answer{Text: text})
		assert.Error(t, err, text)
	}
}

// FuzzChat holds the steps of an answer to the whole: whatever is taken for one was read the same while it came.
func FuzzChat(f *testing.F) {
	for text := range answers() {
		f.Add(text, 3)
	}
	f.Add(`{"Response":{"Sessions":[1,{}],"type":"chatPlan"}}`, 1)
	f.Add(`{"Response":[{"Sessions":{"Exercises":[{}]}}]}`, 2)
	f.Fuzz(func(t *testing.T, text string, size int) {
		want, err := chat{}.finish(Answer{Text: text})
		if err != nil {
			w := writer{shape: chatForm.Shape}
			d, _, _ := w.write(Piece{Text: text})
			_, _ = chat{}.step(d)
			return
		}
		steps := readSteps(t, text, max(1, size))
		require.Equal(t, want, last(steps))
	})
}

// FuzzBlueprint holds what is shown of a plan to JSON that can be sent, however it comes, and the last step to the whole.
func FuzzBlueprint(f *testing.F) {
	contract, err := LoadPlanContract("")
	if err != nil {
		f.Fatal(err)
	}
	for _, text := range []string{
		longPlan(1000), `{"blueprint":{"a":[1,2.50,{"b":"\ud83d\udc4b"}]},"version":3.0,"name":5}`, `{"blueprint":null,"version":"3"}`, `{"a":1,"a":2}`, `[]`, `{"name":"`,
	} {
		f.Add(text, 3)
	}
	f.Fuzz(func(t *testing.T, text string, size int) {
		if len(text) > 2<<10 {
			return // each of its pieces is read from the beginning
		}
		dialect := blueprint{contract}
		w := writer{shape: contract.form.Shape}
		var last BlueprintStep
		for rest := text; rest != ""; {
			piece := rest[:min(max(1, size), len(rest))]
			rest = rest[len(piece):]
			d, _, err := w.write(Piece{Input: piece})
			if err != nil {
				return
			}
			step, ok := dialect.step(d)
			if !ok {
				continue
			}
			if last = step; step.Plan != nil && step.Plan.Blueprint != nil {
				_, err := json.Marshal(step.Plan.Blueprint)
				require.NoError(t, err)
			}
		}
		if whole, err := dialect.finish(w.answer(text)); err == nil {
			require.Equal(t, whole, last)
		}
	})
}
