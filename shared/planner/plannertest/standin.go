package plannertest

import (
	_ "embed"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"
	"unicode/utf16"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// answersFile holds the arguments with which the recordings' stand-in called each function.
//
//go:embed answers.json
var answersFile []byte

var answers = readAnswers()

func readAnswers() map[string]string {
	var all map[string]jsontext.Value
	if err := json.Unmarshal(answersFile, &all); err != nil {
		panic(fmt.Sprintf("answers.json: %v", err))
	}
	texts := map[string]string{}
	for name, value := range all {
		if err := value.Compact(); err != nil {
			panic(fmt.Sprintf("answers.json: %v", err))
		}
		texts[name] = string(value)
	}
	return texts
}

// slowPace is how long a slow answer waits before each piece.
const slowPace = 125 * time.Millisecond

var (
	planWord = regexp.MustCompile(`(?i)\bplan\b`)
	slowWord = regexp.MustCompile(`(?i)\bslow\b`)
)

// usual is the reply to a request when none is scripted. A call gets the sample of its function. In a chat, words of the
// user's message steer it, as in the recordings of v1. Anywhere: "plan" asks for the sample plan, "slow" for an answer
// that takes 125 ms a piece; where a function is offered, "plan" calls it. As the first word: "preface" says something before
// the call, "fail500" is answered by status 500, "hang" never, "cut" breaks off
// after half of the answer, "truncate" stops there at the limit of tokens, "refuse" is refused, "escapes" makes a text
// with characters of all kinds in an answer of ASCII only.
func (s *Server) usual(q Request) Reply {
	if name := q.function(); name != "" {
		text, known := answers[name]
		if !known {
			text = "{}"
		}
		return Reply{Text: s.noted(text)}
	}
	said, byUser := q.said()
	words := said
	if !byUser {
		words = ""
	}
	first, _, _ := strings.Cut(words, " ")
	reply := Reply{Text: s.chat(q, said, words, first)}
	if len(q.Tools) > 0 && planWord.MatchString(words) {
		name := q.Tools[0].Function.Name
		reply = Reply{Function: name, Text: s.noted(answers[name])}
		if first == "preface" {
			reply.Preface = "Here is a plan for two days a week."
		}
	}
	if slowWord.MatchString(words) {
		reply.Wait = slowPace
	}
	half := func() []string {
		pieces := s.split(reply.Text)
		return pieces[:(len(pieces)+1)/2]
	}
	switch first {
	case "fail500":
		return Reply{Status: http.StatusInternalServerError}
	case "hang":
		return Reply{Pieces: []string{}, End: Silent}
	case "cut":
		reply.Pieces, reply.End = half(), Cut
	case "truncate":
		reply.Pieces, reply.Finish = half(), "length"
	case "refuse":
		reply.Refusal = "I'm sorry, but I can't assist with that request."
	}
	return reply
}

// chat makes the answer to a message, in the chat's schema when the request has one.
func (s *Server) chat(q Request, said, words, first string) string {
	if q.structured() && planWord.MatchString(words) {
		return s.noted(`{"Response":{"type":"chatPlan",` + strings.TrimPrefix(answers["GetGymPlan"], "{") + "}")
	}
	rest := "This answer comes from the fake model and is long enough to need several pieces."
	switch {
	case first == "escapes":
		rest = "Line one\nline two\ttabbed, a \"quoted\" word, a back\\slash, <b>tags</b> & ampersands, it's + plus; café, naïve, " +
			"日本語, Ελληνικά, emoji 👋🏽 and 🏋️\u200d♀️, control \u0007 bell, nbsp[\u00a0], separators [\u2028]. End."
	case slowWord.MatchString(words):
		words := make([]string, 100)
		for i := range words {
			words[i] = fmt.Sprintf("word%d", i+1)
		}
		rest = "Slowly: " + strings.Join(words, " ") + "."
	}
	text := "You said: " + said + ". " + rest
	if !q.structured() {
		return text
	}
	text = `{"Response":{"type":"messageResponse","Message":` + quote(text) + "}}"
	if first == "escapes" {
		return ascii(text)
	}
	return text
}

var firstDescription = regexp.MustCompile(`^.*?"[Dd]escription":"`)

// noted is the sample with the server's note in front of its first description, which is that of the whole.
func (s *Server) noted(sample string) string {
	if s.note == "" {
		return sample
	}
	quoted := quote(s.note + " ")
	return firstDescription.ReplaceAllStringFunc(sample, func(before string) string { return before + quoted[1:len(quoted)-1] })
}

// split cuts a text into pieces of the server's sizes.
func (s *Server) split(text string) (pieces []string) {
	for i := 0; text != ""; i++ {
		end := len(text)
		characters := s.sizes[i%len(s.sizes)]
		for at := range text {
			if characters == 0 {
				end = at
				break
			}
			characters--
		}
		pieces = append(pieces, text[:end])
		text = text[end:]
	}
	return pieces
}

// quote writes text as JSON, with U+FFFD for what is not UTF-8.
func quote(text string) string {
	quoted, _ := jsontext.AppendQuote(nil, strings.ToValidUTF8(text, "\ufffd")) // fails for bad UTF-8 only
	return string(quoted)
}

// ascii escapes every character of a JSON text that is not ASCII.
func ascii(text string) string {
	var b strings.Builder
	for _, r := range text {
		if r < 0x80 {
			b.WriteRune(r)
			continue
		}
		for _, unit := range utf16.Encode([]rune{r}) {
			fmt.Fprintf(&b, `\u%04x`, unit)
		}
	}
	return b.String()
}
