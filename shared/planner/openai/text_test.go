package openai

import (
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/stretchr/testify/assert"
)

func TestHalvesOfAPairAreJoined(t *testing.T) {
	t.Parallel()
	for want, pieces := range map[string][]string{
		"a👋b":           {`"a\ud83d"`, `"\udc4bb"`},
		"👋":             {`"\uD83D"`, `""`, `"\uDC4B"`},
		"👋👋":            {`"\ud83d\udc4b\ud83d"`, `"\udc4b"`},
		`a\ud83d` + "x": {`"a\\ud83d"`, `"x"`},
		`\👋`:            {`"\\\ud83d"`, `"\udc4b"`},
		"\uFFFDx":       {`"\ud83d"`, `"x"`},
		"x":             {`"x\ud83d"`},
		"é":             {`"é"`, `null`, `5`, `{}`, ``},
	} {
		var j joiner
		var text strings.Builder
		for _, piece := range pieces {
			text.WriteString(j.decode(jsontext.Value(piece)))
		}
		assert.Equal(t, want, text.String(), "%q", pieces)
	}
}

func TestWhatIsAroundAnAnswerIsPeeledOff(t *testing.T) {
	t.Parallel()
	const object = `{"a":"` + "```" + `}\"{","b":[{}]}`
	for _, c := range []struct {
		json       bool
		text, want string
	}{
		{true, object, object},
		{true, " \n" + object, " \n" + object},
		{true, "<think>Hm. {</think>\n\n" + object, object},
		{true, "\n<think>\n</think>" + object, object},
		{true, "```json\n" + object + "\n```\n", object},
		{true, "```\r\n" + object + "```", object},
		{true, "<think>x</think>\n```JSON\n" + object + "\n```", object},
		{true, "hello", "hello"},
		{true, "``", "``"},
		{true, "<th", "<th"},
		{true, "<think>never", ""},
		{true, "```json " + object, "```json " + object},
		{false, "hello", "hello"},
		{false, "  hello", "  hello"},
		{false, "<think>hm</think> hello <think>", "hello <think>"},
		{false, "```go\nx\n```", "```go\nx\n```"},
		{false, "<thin air>", "<thin air>"},
		{false, "<thi", "<thi"},
		{false, "", ""},
	} {
		for _, size := range []int{1, 2, 5, 1000} {
			p := peeler{json: c.json}
			var got strings.Builder
			for rest := c.text; rest != ""; {
				n := min(size, len(rest))
				got.WriteString(p.peel(rest[:n]))
				rest = rest[n:]
			}
			assert.Equal(t, c.want, got.String()+p.rest(), "%q in pieces of %d", c.text, size)
		}
	}
}
