package partialjson_test

import (
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/shared/planner/partialjson"
)

// complete is what a text completes to.
func complete(t *testing.T, text string) string {
	t.Helper()
	var r partialjson.Reader
	require.NoError(t, r.Write(text), text)
	return string(r.Text().Complete())
}

func TestWhatHasComeIsCompleted(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		``:                            `null`,
		` `:                           `null`,
		` {`:                          ` {}`,
		`{"a`:                         `{}`,
		`{"a"`:                        `{}`,
		`{"a" :`:                      `{}`,
		`{"a": `:                      `{}`,
		`{"a":"`:                      `{"a":""}`,
		`{"a":"b`:                     `{"a":"b"}`,
		`{"a":"b"`:                    `{"a":"b"}`,
		`{"a":"b" `:                   `{"a":"b"}`,
		`{"a":"b", `:                  `{"a":"b"}`,
		`{"a":"b","c`:                 `{"a":"b"}`,
		`{"a":[`:                      `{"a":[]}`,
		`{"a":[{"b":"c`:               `{"a":[{"b":"c"}]}`,
		`{"a":[{"b":1}`:               `{"a":[{"b":1}]}`,
		`[1,2`:                        `[1]`,
		`[1,2]`:                       `[1,2]`,
		`[2.5`:                        `[]`,
		`[2.50,`:                      `[2.50]`,
		`[2.50 `:                      `[2.50]`,
		`[-`:                          `[]`,
		`[1e+`:                        `[]`,
		`[tru`:                        `[]`,
		`[true`:                       `[true]`,
		`[null,fals`:                  `[null]`,
		`["a\`:                        `["a"]`,
		`["a\u00e`:                    `["a"]`,
		`["a\u00e9`:                   `["a\u00e9"]`,
		`["a\ud83d`:                   `["a"]`,
		`["a\ud83d\udc4`:              `["a"]`,
		`["a\ud83d\udc4b`:             `["a\ud83d\udc4b"]`,
		"[\"a\xf0\x9f\x91":            `["a"]`,
		"[\"a\xf0\x9f\x91\x8b":        `["a👋"]`,
		`12`:                          `12`,
		`12.`:                         `12`,
		`-`:                           `null`,
		`"a`:                          `"a"`,
		`tru`:                         `null`,
		`{} `:                         `{} `,
		"\r\n\t{\"a\":[0,-0.5E-1]}\n": "\r\n\t{\"a\":[0,-0.5E-1]}\n",
	} {
		assert.Equal(t, want, complete(t, text), "%q", text)
	}
}

func TestWhatCannotBecomeJSONIsRefusedAtTheByteThatIsWrong(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		`h`, `'`, `{x`, `{1`, `{,`, `{"a"x`, `{"a":}`, `{"a":,`, `{"a":1]`, `{"a":[1}`, `[1}`, `[,`, `[1,]`, `{"a":1,}`, `{"a":1,,`, `]`, `}`, `,`, `:`,
		`"\x`, `"\u12g`, `"\ud83dx`, `"\ud83d"`, `"\ud83d\n`, `"\ud83d\ud83d`, `"\udc4b`, "\"\n", "\"\x1f", "\"\x80", "\"\xc3\"", "\"\xed\xa0", "\"\xc0",
		`01`, `-01`, `-x`, `1.x`, `1.e`, `1ex`, `1e+x`, `+`, `.`, `1..`, `1e1.`, `1e1e`, `0x`, `truE`, `nulL`, `falsy`, `[truex`, `{}x`, `{}{`, `1 2`, `"a""`,
		strings.Repeat("[", 10_001),
	} {
		var r partialjson.Reader
		require.NoError(t, r.Write(text[:len(text)-1]), "%.100q", text)
		require.ErrorIs(t, r.Write(text[len(text)-1:]), partialjson.ErrSyntax, "%.100q", text)
		assert.True(t, valid(r.Text().Complete()), "%.100q", text)
		require.ErrorIs(t, r.Write("1"), partialjson.ErrSyntax)
	}
	var r partialjson.Reader
	require.NoError(t, r.Write(strings.Repeat("[", 10_000)))
	assert.True(t, jsontext.Value(r.Text().Complete()).IsValid())
}

func TestATextIsNotChangedByWhatComesLater(t *testing.T) {
	t.Parallel()
	const document = `{"name":"Größe 👋","sets":[{"reps":8},{"reps":10}],"notes":"a\\b"}`
	var r partialjson.Reader
	var texts []partialjson.Text
	var wants []string
	for i := range len(document) {
		require.NoError(t, r.Write(document[i:i+1]))
		texts, wants = append(texts, r.Text()), append(wants, string(r.Text().Complete()))
	}
	for i, text := range texts {
		assert.Equal(t, wants[i], string(text.Complete()))
	}
	assert.Equal(t, document, wants[len(wants)-1])
	assert.Equal(t, len(document), r.Len())
}

func TestTextsAreEqualWhileNothingThatCountsHasCome(t *testing.T) {
	t.Parallel()
	var r partialjson.Reader
	require.NoError(t, r.Write(`{"a":"b`))
	first := r.Text()
	require.NoError(t, r.Write(`\`))
	assert.True(t, first.Equal(r.Text()))
	require.NoError(t, r.Write(`n`))
	assert.False(t, first.Equal(r.Text()))
	second := r.Text()
	require.NoError(t, r.Write(`"`))
	assert.False(t, second.Equal(r.Text()), "a closed string is another text, though it completes to the same")
}

// valid is what the reader holds texts to, but for names that come twice.
func valid(text []byte) bool { return jsontext.Value(text).IsValid(jsontext.AllowDuplicateNames(true)) }

// FuzzReader holds every prefix of a document to a valid completion, the last one to the document, and what is no document
// to an error, or to an end that the reader does not take for one.
func FuzzReader(f *testing.F) {
	for _, text := range []string{
		`{"Response":{"type":"messageResponse","Message":"Hello \ud83d\udc4b café 日本 \"x\"\n"}}`, ` [ 1 , -2.50e+3 , true , null , { } , [ ] ] `,
		`{"a":{"a":[{"b":0},"\\\/\b"],"a":false}}`, `"\ud83dx"`, `-0.0`, "\"\xf0\x9f\x91\x8b\"", `{"a":1,}`, `[01]`, `1e5`, `""`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		var r partialjson.Reader
		for i := range document {
			err := r.Write(string(document[i : i+1]))
			completed := r.Text().Complete()
			if !valid(completed) {
				t.Fatalf("%q completes to %q", document[:i+1], completed)
			}
			if err != nil {
				if valid(document) {
					t.Fatalf("%q is refused at byte %d", document, i)
				}
				return
			}
		}
		if whole := string(r.Text().Complete()) == string(document); whole != valid(document) {
			t.Fatalf("%q completes to %q", document, r.Text().Complete())
		}
	})
}
