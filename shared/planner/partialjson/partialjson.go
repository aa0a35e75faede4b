// Package partialjson reads JSON that is still being written, such as an answer of a language model's, and completes what
// has come so far to valid JSON.
package partialjson

import (
	"errors"
	"unicode/utf8"
)

// maxDepth is as deep as the JSON library decodes.
const maxDepth = 10_000

// ErrSyntax says that what was written is not the beginning of a JSON text.
var ErrSyntax = errors.New("it is not JSON")

// Reader reads one JSON text (RFC 8259, and as I-JSON wants it: in UTF-8, with whole pairs of surrogates). Each byte takes a
// constant time, however long the text is. That no name comes twice in an object is not checked. The zero value is ready.
// A Reader belongs to one goroutine.
type Reader struct {
	text  []byte
	stack []byte // what closes the containers that are open, the innermost last
	state state
	err   error

	// What counts of the text: up to cut, with a quote behind it if quoted. The containers open there are those on the
	// stack, for a name that still waits for its value does not count.
	cut    int
	quoted bool

	key     bool   // the string under way is a member's name
	rest    string // of the literal under way
	hex     int    // digits to come of an escape
	unit    rune   // the escape's value so far
	high    bool   // the second half of a surrogate pair has to follow
	partial []byte // of the character under way, in the Reader's own array
	char    [utf8.UTFMax]byte
}

type state uint8

const (
	beforeValue   state = iota
	beforeElement       // a value or the end of an array
	beforeName          // after a comma
	beforeMember        // a name or the end of an object
	afterName           // a colon
	afterValue          // a comma or the end of a container; blanks, outside of all of them
	inString            //
	inEscape            // after the backslash
	inHex               // after \u
	inLiteral           // true, false or null
	afterMinus          // a digit has to follow
	afterZero           // a number's first digit is 0
	inInteger           //
	afterPoint          // a digit has to follow
	inFraction          //
	afterE              // a sign or digit has to follow
	afterExponent       // a digit has to follow
	inExponent          //
)

// Write reads on. Its error is always [ErrSyntax]: what came before the byte that is wrong counts, and every further Write
// fails.
func (r *Reader) Write(piece string) error {
	for i := 0; i < len(piece) && r.err == nil; i++ {
		if !r.next(piece[i]) {
			r.err = ErrSyntax
			break
		}
		r.text = append(r.text, piece[i])
		r.count()
	}
	return r.err
}

// Len is how many bytes have come.
func (r *Reader) Len() int { return len(r.text) }

// Text is the part that counts of what was written so far. The zero value is that of nothing. It does not change when more is
// written, and may be read by any goroutine.
type Text struct {
	head []byte
	tail string
}

// Text returns what counts so far. It takes time in proportion to the number of open containers.
func (r *Reader) Text() Text {
	if r.cut == 0 {
		return Text{}
	}
	tail := make([]byte, 0, len(r.stack)+1)
	if r.quoted {
		tail = append(tail, '"')
	}
	for i := len(r.stack) - 1; i >= 0; i-- {
		tail = append(tail, r.stack[i])
	}
	return Text{r.text[:r.cut:r.cut], string(tail)}
}

// Equal reports whether two texts of one Reader are the same: nothing that counts came in between.
func (t Text) Equal(other Text) bool { return len(t.head) == len(other.head) && t.tail == other.tail }

// Complete returns valid JSON: the text with its strings and containers closed, and without what cannot stand so: half
// an escape or character, half a literal, a number that may go on, and a name without a value. It is null while nothing
// counts, and the text itself when that is whole.
func (t Text) Complete() []byte {
	if len(t.head) == 0 {
		return []byte("null")
	}
	whole := make([]byte, 0, len(t.head)+len(t.tail))
	return append(append(whole, t.head...), t.tail...)
}

// count moves the cut behind the newest byte if all before it counts.
func (r *Reader) count() {
	switch r.state {
	case inString:
		if !r.key && len(r.partial) == 0 && !r.high {
			r.cut, r.quoted = len(r.text), true
		}
	case beforeElement, beforeMember:
		r.cut, r.quoted = len(r.text), false
	case afterValue: // blanks behind a value count only with what follows, but for those at the end
		if c := r.text[len(r.text)-1]; !isBlank(c) || len(r.stack) == 0 {
			r.cut, r.quoted = len(r.text), false
		}
	case afterZero, inInteger, inFraction, inExponent: // a number outside of everything ends with the text
		if len(r.stack) == 0 {
			r.cut = len(r.text)
		}
	default:
	}
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// next moves on by one byte and reports whether it may stand there.
func (r *Reader) next(c byte) bool {
	switch r.state {
	case inString:
		return r.nextOfString(c)
	case inEscape:
		return r.nextOfEscape(c)
	case inHex:
		return r.nextOfHex(c)
	case inLiteral:
		if c != r.rest[0] {
			return false
		}
		if r.rest = r.rest[1:]; r.rest == "" {
			r.state = afterValue
		}
		return true
	case afterMinus, afterZero, inInteger, afterPoint, inFraction, afterE, afterExponent, inExponent:
		return r.nextOfNumber(c)
	default:
		return isBlank(c) || r.nextOfStructure(c)
	}
}

// nextOfStructure takes what stands between values, and their first bytes.
func (r *Reader) nextOfStructure(c byte) bool {
	switch r.state {
	case beforeElement:
		if c == ']' {
			return r.close(c)
		}
		return r.beginValue(c)
	case beforeValue:
		return r.beginValue(c)
	case beforeMember, beforeName:
		if c == '}' && r.state == beforeMember {
			return r.close(c)
		}
		r.state, r.key = inString, true
		return c == '"'
	case afterName:
		r.state = beforeValue
		return c == ':'
	case afterValue:
		if c != ',' {
			return r.close(c)
		}
		if len(r.stack) == 0 {
			return false
		}
		if r.state = beforeValue; r.stack[len(r.stack)-1] == '}' {
			r.state = beforeName
		}
		return true
	default:
		return false
	}
}

// close ends the innermost container.
func (r *Reader) close(c byte) bool {
	n := len(r.stack)
	if n == 0 || r.stack[n-1] != c {
		return false
	}
	r.stack = r.stack[:n-1]
	r.state = afterValue
	return true
}

func (r *Reader) beginValue(c byte) bool {
	switch c {
	case '{':
		return r.open('}', beforeMember)
	case '[':
		return r.open(']', beforeElement)
	case '"':
		r.state, r.key = inString, false
	case 't':
		r.state, r.rest = inLiteral, "true"[1:]
	case 'f':
		r.state, r.rest = inLiteral, "false"[1:]
	case 'n':
		r.state, r.rest = inLiteral, "null"[1:]
	case '-':
		r.state = afterMinus
	case '0':
		r.state = afterZero
	default:
		r.state = inInteger
		return isDigit(c)
	}
	return true
}

// open begins a container that c closes.
func (r *Reader) open(c byte, s state) bool {
	if len(r.stack) == maxDepth {
		return false
	}
	r.stack = append(r.stack, c)
	r.state = s
	return true
}

func (r *Reader) nextOfNumber(c byte) bool {
	digit := isDigit(c)
	switch s := r.state; {
	case digit && s == afterMinus && c == '0':
		r.state = afterZero
	case digit && (s == afterMinus || s == inInteger):
		r.state = inInteger
	case digit && (s == afterPoint || s == inFraction):
		r.state = inFraction
	case digit && s != afterZero:
		r.state = inExponent
	case digit || s == afterMinus || s == afterPoint || s == afterExponent:
		return false
	case c == '.' && (s == afterZero || s == inInteger):
		r.state = afterPoint
	case (c == 'e' || c == 'E') && s != afterE && s != inExponent:
		r.state = afterE
	case (c == '+' || c == '-') && s == afterE:
		r.state = afterExponent
	case s == afterE:
		return false
	default: // it has ended
		r.state = afterValue
		r.cut, r.quoted = len(r.text), false
		return r.next(c)
	}
	return true
}

func (r *Reader) nextOfString(c byte) bool {
	switch {
	case r.high:
		r.state = inEscape
		return c == '\\'
	case len(r.partial) > 0 || c >= utf8.RuneSelf:
		if len(r.partial) == 0 {
			r.partial = r.char[:0]
		}
		if r.partial = append(r.partial, c); !utf8.FullRune(r.partial) {
			return true
		}
		_, size := utf8.DecodeRune(r.partial)
		whole := size > 1 && size == len(r.partial)
		r.partial = r.partial[:0]
		return whole
	case c == '\\':
		r.state = inEscape
	case c == '"' && r.key:
		r.state = afterName
	case c == '"':
		r.state = afterValue
	}
	return c >= ' '
}

func (r *Reader) nextOfEscape(c byte) bool {
	switch c {
	case 'u':
		r.state, r.hex, r.unit = inHex, 4, 0
		return true
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		r.state = inString
		return !r.high
	default:
		return false
	}
}

func (r *Reader) nextOfHex(c byte) bool {
	digit := rune(c) - '0'
	if lower := c | ' '; 'a' <= lower && lower <= 'f' {
		digit = rune(lower) - 'a' + 10
	} else if !isDigit(c) {
		return false
	}
	r.unit = r.unit<<4 | digit
	if r.hex--; r.hex > 0 {
		return true
	}
	r.state = inString
	low := 0xDC00 <= r.unit && r.unit <= 0xDFFF
	if r.high != low {
		return false
	}
	r.high = 0xD800 <= r.unit && r.unit <= 0xDBFF
	return true
}
