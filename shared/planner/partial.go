package planner

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

// reader reads a chat's answer while it is being written: each byte once, whatever the pieces. Texts grow as they come,
// numbers count when they have ended.
type reader struct {
	Step // the answer so far, whose plan is the reader's own

	changed bool // since the last step was taken
	typed   bool // the answer's type is known

	stack []container
	state state
	text  []byte // of the text, number or literal under way
	// escape is what has come of an escape, which counts when it is whole: both halves of a pair of surrogates.
	escape []byte
	dst    any    // where the value under way belongs: *string, *int, *float64, *time.Duration or nil
	plan   Plan   // as far as it has come
	kind   string // stands for the answer's type as a dst
}

// container is an object or array that has not ended.
type container struct {
	object bool
	key    string // of the member under way
}

type state int

const (
	beforeValue     state = iota // or the end of an array
	beforeKey                    // or the end of an object
	afterKey                     // a colon
	afterValue                   // a comma or the end of what it is in
	inKey                        // a member's name
	inText                       // a text that is a value
	inBare                       // a number, true, false or null
	afterEverything              // blanks
)

// maxDepth is deeper than any answer of the schema.
const maxDepth = 12

var errAnswer = errors.New("the answer is not the JSON that was asked for")

// feed reads on. The error says that the answer is none; what came before it counts.
func (r *reader) feed(piece string) error {
	for i := range len(piece) {
		if err := r.next(piece[i]); err != nil {
			return err
		}
	}
	if r.state == inText {
		r.set(false)
	}
	return nil
}

func (r *reader) next(c byte) error {
	switch r.state {
	case inKey, inText:
		return r.inString(c)
	case inBare:
		if strings.IndexByte("+-.eE", c) >= 0 || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' {
			r.text = append(r.text, c)
			return nil
		}
		r.set(true)
		r.endValue()
		return r.next(c)
	}
	if c == ' ' || c == '\n' || c == '\r' || c == '\t' {
		return nil
	}
	switch r.state {
	case beforeValue:
		return r.beginValue(c)
	case beforeKey:
		if c == '"' {
			r.state, r.text = inKey, r.text[:0]
			return nil
		}
		if c == '}' {
			return r.endContainer(true)
		}
	case afterKey:
		if c == ':' {
			r.state = beforeValue
			return nil
		}
	case afterValue:
		in := r.stack[len(r.stack)-1]
		switch {
		case c == ',' && in.object:
			r.state = beforeKey
			return nil
		case c == ',':
			r.state = beforeValue
			return nil
		case c == '}' || c == ']':
			return r.endContainer(c == '}')
		}
	}
	return errAnswer
}

func (r *reader) beginValue(c byte) error {
	inArray := len(r.stack) > 0 && !r.stack[len(r.stack)-1].object
	if c == ']' && inArray {
		return r.endContainer(false)
	}
	if len(r.stack) == 0 && c != '{' || len(r.stack) > maxDepth {
		return errAnswer
	}
	if inArray {
		r.appendElement()
	}
	switch {
	case c == '{' || c == '[':
		r.stack = append(r.stack, container{object: c == '{'})
		r.state = beforeValue
		if c == '{' {
			r.state = beforeKey
		}
		return nil
	case c == '"':
		r.state = inText
	case c == '-' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z':
		r.state = inBare
	default:
		return errAnswer
	}
	r.text, r.dst = r.text[:0], r.target()
	if r.state == inBare {
		r.text = append(r.text, c)
	}
	return nil
}

func (r *reader) endContainer(object bool) error {
	if r.stack[len(r.stack)-1].object != object {
		return errAnswer
	}
	r.stack = r.stack[:len(r.stack)-1]
	r.endValue()
	return nil
}

func (r *reader) endValue() {
	r.state = afterValue
	if len(r.stack) == 0 {
		r.state = afterEverything
	}
}

func (r *reader) inString(c byte) error {
	switch {
	case len(r.escape) > 0:
		r.escape = append(r.escape, c)
		return r.unescape()
	case c == '\\':
		r.escape = append(r.escape, c)
	case c == '"' && r.state == inKey:
		r.stack[len(r.stack)-1].key = string(r.text)
		r.state = afterKey
	case c == '"':
		r.set(true)
		r.endValue()
	case c < ' ':
		return errAnswer
	default:
		r.text = append(r.text, c)
	}
	return nil
}

// unescape appends what the escape stands for when it is whole.
func (r *reader) unescape() error {
	e := r.escape
	switch e[1] {
	case 'u':
		if len(e) == 6 || len(e) == 12 {
			break
		}
		if len(e) == 7 && e[6] != '\\' || len(e) == 8 && e[7] != 'u' {
			return errAnswer // half a pair has to go on with the other
		}
		return nil
	default:
		plain := strings.IndexByte(`"\/bfnrt`, e[1])
		if plain < 0 {
			return errAnswer
		}
		r.text = append(r.text, "\"\\/\b\f\n\r\t"[plain])
		r.escape = e[:0]
		return nil
	}
	first, err := strconv.ParseUint(string(e[2:6]), 16, 16)
	if err != nil {
		return errAnswer
	}
	char := rune(first)
	if utf16.IsSurrogate(char) {
		if len(e) == 6 {
			return nil
		}
		second, err := strconv.ParseUint(string(e[8:12]), 16, 16)
		if err != nil {
			return errAnswer
		}
		char = utf16.DecodeRune(char, rune(second)) // U+FFFD for what is no pair
	}
	r.text = utf8.AppendRune(r.text, char)
	r.escape = e[:0]
	return nil
}

// set stores the value under way, whole or as far as it has come.
func (r *reader) set(whole bool) {
	switch dst := r.dst.(type) {
	case *string:
		text := r.text
		for !whole && len(text) > 0 && !utf8.FullRune(text[lastRune(text):]) {
			text = text[:lastRune(text)]
		}
		value := strings.ToValidUTF8(string(text), "\uFFFD")
		if dst != &r.kind {
			r.changed = r.changed || *dst != value
			*dst = value
		} else if whole {
			r.begin(value)
		}
	case *int:
		n, _ := strconv.Atoi(string(r.text)) // the whole answer is validated at its end
		*dst, r.changed = n, true
	case *float64:
		n, _ := strconv.ParseFloat(string(r.text), 64)
		*dst, r.changed = n, true
	case *time.Duration:
		n, _ := strconv.Atoi(string(r.text))
		*dst, r.changed = seconds(n), true
	}
}

// lastRune is where the last, maybe incomplete, character of the text begins.
func lastRune(text []byte) int {
	i := len(text) - 1
	for i > 0 && len(text)-i < utf8.UTFMax && !utf8.RuneStart(text[i]) {
		i--
	}
	return i
}

// begin is called when the answer's type is known.
func (r *reader) begin(kind string) {
	r.typed = true
	if kind == typePlan {
		r.Plan, r.changed = &r.plan, true
	}
}

// path names the members that the value under way is in, without the places in arrays.
func (r *reader) path() string {
	var path strings.Builder
	for _, c := range r.stack {
		if c.object {
			path.WriteString("/" + c.key)
		}
	}
	return path.String()
}

// appendElement makes room for what an array is about to get.
func (r *reader) appendElement() {
	switch r.path() {
	case "/Response/Sessions":
		r.plan.Sessions, r.changed = append(r.plan.Sessions, Session{}), true
	case "/Response/Sessions/Exercises":
		if n := len(r.plan.Sessions); n > 0 {
			session := &r.plan.Sessions[n-1]
			session.Exercises, r.changed = append(session.Exercises, Exercise{}), true
		}
	}
}

// target is where the value that begins belongs, or nil for one that the schema does not know.
func (r *reader) target() any {
	var session Session // stands in for one that is not there, which the schema does not allow
	last, exercise := &session, &Exercise{}
	if n := len(r.plan.Sessions); n > 0 {
		last = &r.plan.Sessions[n-1]
	}
	if n := len(last.Exercises); n > 0 {
		exercise = &last.Exercises[n-1]
	}
	switch r.path() {
	case "/Response/type":
		return &r.kind
	case "/Response/Message":
		return &r.Message
	case "/Response/Name":
		return &r.plan.Name
	case "/Response/Description":
		return &r.plan.Description
	case "/Response/Sessions/Name":
		return &last.Name
	case "/Response/Sessions/Description":
		return &last.Description
	case "/Response/Sessions/Exercises/Name":
		return &exercise.Name
	case "/Response/Sessions/Exercises/Sets":
		return &exercise.Sets
	case "/Response/Sessions/Exercises/RepsPerSet":
		return &exercise.RepsPerSet
	case "/Response/Sessions/Exercises/WeightIncreaseOnSuccess":
		return &exercise.WeightIncreaseOnSuccess
	case "/Response/Sessions/Exercises/Notes":
		return &exercise.Notes
	case "/Response/Sessions/Exercises/RestBetweenSets/MinRestSeconds":
		return &exercise.Rest.Min
	case "/Response/Sessions/Exercises/RestBetweenSets/MaxRestSeconds":
		return &exercise.Rest.Max
	case "/Response/Sessions/Exercises/RestBetweenSets/FailureRestSeconds":
		return &exercise.Rest.Failure
	}
	return nil
}

// step returns the answer so far, if there is one and it has changed since the last time.
func (r *reader) step() (Step, bool) {
	if !r.typed || !r.changed {
		return Step{}, false
	}
	r.changed = false
	if r.Plan == nil {
		return Step{Message: r.Message}, true
	}
	plan := r.plan // the parts that still grow are copied
	plan.Sessions = slices.Clone(plan.Sessions)
	if n := len(plan.Sessions); n > 0 {
		plan.Sessions[n-1].Exercises = slices.Clone(plan.Sessions[n-1].Exercises)
	}
	return Step{Plan: &plan}, true
}
