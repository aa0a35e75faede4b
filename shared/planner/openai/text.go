package openai

import (
	"regexp"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// lenient are the options for what services write.
var lenient = json.JoinOptions(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))

// joiner decodes strings that are pieces of one text. The halves of a surrogate pair may be in two of them.
type joiner struct{ half []byte }

var firstHalf = regexp.MustCompile(`^\\u[dD][89abAB][0-9a-fA-F]{2}$`)

// decode returns the text of a JSON string; of anything else none.
func (j *joiner) decode(value jsontext.Value) (text string) {
	if value.Kind() != '"' {
		return ""
	}
	if len(j.half) > 0 {
		value = append(append([]byte{'"'}, j.half...), value[1:]...)
		j.half = nil
	}
	const length = len(`\ud83d`)
	if end := len(value) - 1; end > length && firstHalf.Match(value[end-length:end]) && !isEscaped(value[:end-length]) {
		j.half = append([]byte(nil), value[end-length:end]...)
		value = append(value[:end-length:end-length], '"')
	}
	_ = json.Unmarshal(value, &text, lenient) // it is a string
	return text
}

// isEscaped reports whether the text ends with a backslash that is not itself escaped.
func isEscaped(before []byte) (escaped bool) {
	for i := len(before) - 1; i >= 0 && before[i] == '\\'; i-- {
		escaped = !escaped
	}
	return escaped
}

// The thinking that some models write into their texts.
const beginThinking, endThinking = "<think>", "</think>"

// fence opens a block of code, which some models put JSON into.
var fence = regexp.MustCompile("^```[a-zA-Z0-9]*[ \\t]*\\r?\\n")

// peeler leaves out what a model writes around its answer: thinking before it, and a fence around JSON.
type peeler struct {
	json bool // the answer is JSON

	held  string // too little to tell yet what it is
	state peeling
	depth int  // of JSON in a fence
	quote bool // in a string of it
	slash bool // after a backslash in that
}

type peeling int

const (
	atBegin peeling = iota
	inThinking
	afterThinking
	inAnswer
	inFence
	behindFence
)

// peel returns the part of the piece, and of what was held back, that belongs to the answer.
func (p *peeler) peel(piece string) string {
	if p.state == inAnswer {
		return piece
	}
	p.held += piece
	for {
		before := p.state
		switch p.state {
		case atBegin:
			text := strings.TrimLeft(p.held, " \t\r\n")
			switch {
			case strings.HasPrefix(text, beginThinking):
				p.state, p.held = inThinking, text[len(beginThinking):]
			case !strings.HasPrefix(beginThinking, text):
				p.state = p.begin()
			}
		case inThinking:
			_, after, ended := strings.Cut(p.held, endThinking)
			if !ended {
				p.held = p.held[max(0, len(p.held)-len(endThinking)):]
				return ""
			}
			p.state, p.held = afterThinking, after
		case afterThinking:
			if p.held = strings.TrimLeft(p.held, " \t\r\n"); p.held != "" {
				p.state = p.begin()
			}
		case inAnswer:
			return p.flush()
		case inFence:
			return p.untilEnd(p.flush())
		case behindFence:
			p.held = ""
		}
		if p.state == before {
			return ""
		}
	}
}

// begin says what the answer begins with, and takes a fence off.
func (p *peeler) begin() peeling {
	text := strings.TrimLeft(p.held, " \t\r\n")
	if !p.json || !strings.HasPrefix(text, "`") && text != "" {
		return inAnswer
	}
	if opening := fence.FindString(text); opening != "" {
		p.held = text[len(opening):]
		return inFence
	}
	if len(text) > 20 { // no fence is that long
		return inAnswer
	}
	return p.state
}

// flush is what was held back, with what is left at the end of the stream.
func (p *peeler) flush() string {
	text := p.held
	p.held = ""
	return text
}

// untilEnd returns what of the text belongs to the JSON in a fence.
func (p *peeler) untilEnd(text string) string {
	for i := range len(text) {
		c := text[i]
		switch {
		case p.slash:
			p.slash = false
		case p.quote && c == '\\':
			p.slash = true
		case c == '"':
			p.quote = !p.quote
		case p.quote:
		case c == '{' || c == '[':
			p.depth++
		case c == '}' || c == ']':
			if p.depth--; p.depth <= 0 {
				p.state = behindFence
				return text[:i+1]
			}
		}
	}
	return text
}

// rest is what was held back until the end of the answer and turns out to belong to it.
func (p *peeler) rest() string {
	if p.state == inThinking || p.state == behindFence {
		return ""
	}
	return p.flush()
}
