package planner

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

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

// answers are whole ones with what they say.
func answers(tb testing.TB) map[string]Step {
	tb.Helper()
	plan := Plan{"Two \"days\"", "Größe 👋🏽 & <more>", []Session{
		{"Push", "", []Exercise{
			{"Bench press", 3, 8, 2.5, "\\/\b\f\n\r\t", Rest{90 * time.Second, 3 * time.Minute, 5 * time.Minute}},
			{"Overhead press", 4, 6, 1.25, "", Rest{0, 0, time.Hour}},
		}},
		{"Pull", "Back", []Exercise{{"懸垂", 1, 10, 0, "", Rest{1 * time.Second, 2 * time.Second, 3 * time.Second}}}},
	}}
	return map[string]Step{
		`{"Response":{"type":"messageResponse","Message":"Hello \ud83d\udc4b\uD83C\uDFFD, caf\u00e9 – 日本 \"x\"\n"}}`: {Message: "Hello 👋🏽, café – 日本 \"x\"\n"},
		` { "Response" : { "type" : "messageResponse" , "Message" : "" } } `:                                         {},
		rewrite(Step{Plan: &plan}): {Plan: &plan},
	}
}

func TestAnswersAreReadWhereverTheyAreCut(t *testing.T) {
	t.Parallel()
	for text, want := range answers(t) {
		for _, size := range []int{1, 2, 3, 7, 100, len(text)} {
			var r reader
			var last Step
			steps := 0
			for rest := text; rest != ""; {
				piece := rest[:min(size, len(rest))]
				rest = rest[len(piece):]
				require.NoError(t, r.feed(piece), "%s after %q", text, piece)
				if step, ok := r.step(); ok {
					assert.True(t, grows(last, step), "%v then %v", last, step)
					last, steps = step, steps+1
				}
			}
			assert.Equal(t, want, last, "in pieces of %d", size)
			if size == 1 {
				assert.GreaterOrEqual(t, steps, len(want.Message)/4)
			}
		}
		final, err := finish(text)
		require.NoError(t, err)
		assert.Equal(t, want, final)
	}
}

// grows holds when the later step goes on where the earlier one was.
func grows(earlier, later Step) bool {
	if earlier.Plan == nil || later.Plan == nil {
		return strings.HasPrefix(later.Message, earlier.Message)
	}
	return strings.HasPrefix(later.Plan.Name, earlier.Plan.Name) && len(later.Plan.Sessions) >= len(earlier.Plan.Sessions)
}

func TestStepsAreNotChangedAfterwards(t *testing.T) {
	t.Parallel()
	var r reader
	var steps []Step
	var texts []string
	for text, want := range answers(t) {
		if want.Plan == nil {
			continue
		}
		for _, c := range []byte(text) {
			require.NoError(t, r.feed(string(c)))
			if step, ok := r.step(); ok {
				steps, texts = append(steps, step), append(texts, rewrite(step))
			}
		}
	}
	require.NotEmpty(t, steps)
	for i, step := range steps {
		assert.Equal(t, texts[i], rewrite(step))
	}
}

func TestHalfACharacterIsHeldBack(t *testing.T) {
	t.Parallel()
	var r reader
	require.NoError(t, r.feed(`{"Response":{"type":"messageResponse","Message":"a\ud83d`))
	step, ok := r.step()
	require.True(t, ok)
	assert.Equal(t, "a", step.Message)
	require.NoError(t, r.feed(`\udc4b`+"\xe6\x97"))
	step, _ = r.step()
	assert.Equal(t, "a👋", step.Message)
	require.NoError(t, r.feed("\xa5"))
	step, _ = r.step()
	assert.Equal(t, "a👋日", step.Message)
}

func TestWhatIsNoAnswerIsRefused(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		`[`, `hello`, `"x"`, `{x`, `{"a" 1`, `{"a":}`, `{"a":1]`, `{"a":[1}`, `{"a":"\x"`, `{"a":"\ud83d"`, `{"a":"\ud83dx`, `{"a":"\u12g4"`,
		"{\"a\":\"\n\"", `{"a":1}x`, `{"a":1,,`, strings.Repeat(`{"a":`, 20),
	} {
		var r reader
		assert.Error(t, r.feed(text), text)
	}
	for _, text := range []string{
		`{}`, `{"Response":{"type":"other"}}`, `{"Response":{"type":"messageResponse"}}`, `{"Response":{"type":"chatPlan","Name":"","Description":"","Sessions":[]}}`,
		strings.Replace(sample(t), `"MinRestSeconds":90`, `"MinRestSeconds":9000`, 1), strings.Replace(sample(t), `"MinRestSeconds":90`, `"MinRestSeconds":200`, 1),
		strings.Replace(sample(t), `"Sets":3`, `"Sets":0`, 1), strings.Replace(sample(t), `"Sets":3`, `"Sets":3.5`, 1),
	} {
		_, err := finish(text)
		assert.Error(t, err, text)
	}
	_, err := finish(sample(t))
	assert.NoError(t, err)
}

// sample is a plan that bounds are tried on.
func sample(t *testing.T) string {
	t.Helper()
	for text, want := range answers(t) {
		if want.Plan != nil {
			require.Contains(t, text, `"MinRestSeconds":90`)
			return text
		}
	}
	return ""
}

// FuzzReader holds the reader to the whole: whatever finish accepts, the reader has read the same, wherever it was cut.
func FuzzReader(f *testing.F) {
	for text := range answers(f) {
		f.Add(text, 3)
	}
	f.Add(`{"Response":{"Sessions":[1,{}],"type":"chatPlan"}}`, 1)
	f.Add(`{"Response":[{"Sessions":{"Exercises":[{}]}}]}`, 2)
	f.Fuzz(func(t *testing.T, text string, size int) {
		size = max(1, size)
		var r reader
		var err error
		for rest := text; rest != "" && err == nil; {
			piece := rest[:min(size, len(rest))]
			rest = rest[len(piece):]
			err = r.feed(piece)
			_, _ = r.step()
		}
		want, finishErr := finish(text)
		if finishErr != nil {
			return
		}
		require.NoError(t, err)
		r.changed = true
		got, ok := r.step()
		require.True(t, ok)
		require.Equal(t, want, got)
	})
}
