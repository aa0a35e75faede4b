package bounds

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/liftlog/liftlog-api/shared/apierr"
)

// Check reports what in the request, a struct, is not within its bounds, as an [apierr.Invalid] error.
func Check(request reflect.Value) error {
	var faults apierr.Faults
	for _, f := range checkOf(request.Type())(request) {
		faults.Check(false, f.path, f.message)
	}
	return faults.Err()
}

// Required reports whether a member of a request breaks its bounds when it is missing.
func Required(field reflect.StructField) bool {
	c := makeCheck(field.Type, field.Tag, "")
	return c != nil && len(c(reflect.Zero(field.Type))) > 0
}

// check returns what is wrong with a value.
type check func(reflect.Value) []fault

// fault is one thing that is wrong, at a place such as [0].since within the value.
type fault struct{ path, message string }

// tick is the unit of v1's times, whose earliest one stands for none.
const tick = 100 * time.Nanosecond

// within puts the place of a value before the places in it.
func within(place string, faults []fault) []fault {
	for i, f := range faults {
		if f.path != "" && f.path[0] != '[' {
			f.path = "." + f.path
		}
		faults[i].path = place + f.path
	}
	return faults
}

var checks sync.Map // of [reflect.Type] to check

// checkOf returns the check of a struct. It panics when the tags of its members are malformed.
func checkOf(t reflect.Type) check {
	if found, ok := checks.Load(t); ok {
		return found.(check) //nolint:forcetypeassert,errcheck // nothing else is stored
	}
	made := structCheck(t)
	checks.Store(t, made)
	return made
}

func structCheck(t reflect.Type) check {
	type member struct {
		name  string
		index int
		check check
	}
	var members []member
	for field := range t.Fields() {
		if name := Name(field); name != "" {
			if c := makeCheck(field.Type, field.Tag, ""); c != nil {
				members = append(members, member{name, field.Index[0], c})
			}
		}
	}
	return func(value reflect.Value) (found []fault) {
		for _, m := range members {
			found = append(found, within(m.name, m.check(value.Field(m.index)))...)
		}
		return found
	}
}

// makeCheck makes the check of a value by the tags with the prefix. It is nil where there is nothing to check.
func makeCheck(t reflect.Type, tag reflect.StructTag, prefix string) check {
	b := Of(tag, prefix)
	switch {
	case t == reflect.TypeFor[[]byte]():
		return b.checkWith(func(v reflect.Value) []string { return b.bytes(v.Bytes(), prefix == Each) })
	case t == reflect.TypeFor[uuid.UUID]():
		return b.checkWith(func(v reflect.Value) []string { return b.missing(v.IsZero()) })
	case t == reflect.TypeFor[time.Time]():
		return b.checkWith(func(v reflect.Value) []string {
			at, _ := reflect.TypeAssert[time.Time](v)
			return b.missing(at.Truncate(tick).IsZero())
		})
	}
	switch t.Kind() {
	case reflect.String:
		return b.checkWith(func(v reflect.Value) []string { return b.text(v.String()) })
	case reflect.Int:
		return b.checkWith(func(v reflect.Value) []string { return b.number(int(v.Int())) })
	case reflect.Struct:
		return checkOf(t)
	case reflect.Pointer:
		return b.pointer(t.Elem(), tag)
	case reflect.Slice:
		return b.list(makeCheck(t.Elem(), tag, Each), Of(tag, Each).Name)
	case reflect.Map:
		return b.table(Of(tag, Key))
	default:
		return nil
	}
}

// checkWith makes a check of a function that says what is wrong.
func (b Bounds) checkWith(faults func(reflect.Value) []string) check {
	if b == (Bounds{}) {
		return nil
	}
	if b.Name == "" && b.Fault == "" {
		panic("bounds: a value with bounds and without a name")
	}
	return func(value reflect.Value) []fault { return b.faults(faults(value)...) }
}

// faults makes the messages faults, or the bounds' own sentence in their place if there is one.
func (b Bounds) faults(messages ...string) (found []fault) {
	if len(messages) > 0 && b.Fault != "" {
		return []fault{{message: b.Fault}}
	}
	return plain(messages)
}

func plain(messages []string) (found []fault) {
	for _, message := range messages {
		found = append(found, fault{message: message})
	}
	return found
}

func (b Bounds) missing(missing bool) []string {
	if b.Required && missing {
		return []string{b.begin() + " required."}
	}
	return nil
}

// begin is how a sentence about the value begins: A payload is, An id is, Exercises are.
func (b Bounds) begin() string {
	switch {
	case strings.HasSuffix(b.Name, "s"):
		return strings.ToUpper(b.Name[:1]) + b.Name[1:] + " are"
	case b.Name != "" && strings.IndexByte("aeio", b.Name[0]) >= 0: // and not u, as in user
		return "An " + b.Name + " is"
	default:
		return "A " + b.Name + " is"
	}
}

func (b Bounds) bytes(data []byte, isItem bool) []string {
	switch {
	case b.MinBytes > 0 && b.MinBytes == b.MaxBytes:
		if len(data) != b.MinBytes {
			return []string{fmt.Sprintf("%s has %d bytes.", strings.TrimSuffix(b.begin(), " is"), b.MinBytes)}
		}
	case isItem && b.Required && data == nil:
		return []string{b.begin() + " bytes."}
	case b.Required && (data == nil || len(data) < b.MinBytes):
		return []string{b.begin() + " required."}
	case b.MaxBytes > 0 && len(data) > b.MaxBytes:
		return []string{"The " + b.Name + " is too large."}
	}
	return nil
}

func (b Bounds) text(text string) []string {
	if b.Trim {
		text = strings.TrimSpace(text)
	}
	faults := b.missing(strings.TrimSpace(text) == "")
	say := func(broken bool, what string) {
		if broken {
			faults = append(faults, "The "+b.Name+what)
		}
	}
	if b.MinLength > 0 {
		n := apierr.Length(text)
		say(n < b.MinLength || n > b.MaxLength, " is too short or too long.")
	} else if b.MaxLength > 0 {
		say(apierr.Length(text) > b.MaxLength, " is too long.")
	}
	say(b.MaxBytes > 0 && len(text) > b.MaxBytes, " is too long.")
	say(b.Storable && (strings.ContainsRune(text, 0) || !utf8.ValidString(text)), " holds a character that cannot be stored.")
	say(b.Pattern != nil && !b.Pattern.MatchString(text), " is malformed.")
	return faults
}

func (b Bounds) number(n int) []string {
	if n < b.Minimum || n > b.Maximum {
		return []string{"The " + b.Name + " is out of range."}
	}
	return nil
}

// pointer checks the value that is pointed at, if there is one. A required text may be empty: only its absence is a fault.
func (b Bounds) pointer(to reflect.Type, tag reflect.StructTag) check {
	inner := makeCheck(to, tag, "")
	if to.Kind() == reflect.String {
		there := b
		there.Required = false
		inner = there.checkWith(func(v reflect.Value) []string { return there.text(v.String()) })
	}
	return func(value reflect.Value) []fault {
		switch {
		case value.IsNil():
			return plain(b.missing(true))
		case inner == nil:
			return nil
		default:
			return inner(value.Elem())
		}
	}
}

// list checks a list and its items, but not its greatest length, to which the reader of the request has held it.
func (b Bounds) list(item check, itemName string) check {
	tooFew := "At least one " + itemName + " is required."
	if b.Name != "" {
		tooFew = b.begin() + " required."
	}
	return func(value reflect.Value) (found []fault) {
		if value.Len() < b.MinItems {
			found = b.faults(tooFew)
		}
		for i := 0; item != nil && i < value.Len(); i++ {
			if faults := item(value.Index(i)); len(faults) > 0 {
				found = append(found, within("["+strconv.Itoa(i)+"]", faults)...)
			}
		}
		return found
	}
}

// table checks the keys of a map. It reports the first fault only and does not say of which key, since keys are the caller's own
// words. The reader of the request has bounded their number.
func (b Bounds) table(keys Bounds) check {
	return func(value reflect.Value) []fault {
		found := plain(b.missing(value.IsNil()))
		for _, key := range value.MapKeys() {
			if faults := keys.text(key.String()); len(faults) > 0 {
				return append(found, keys.faults(faults...)[0])
			}
		}
		return found
	}
}
