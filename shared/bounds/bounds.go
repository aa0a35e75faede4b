// Package bounds reads what requests may hold from the tags of their members, and checks requests by it. The API's
// description is made from the same tags, so that each bound stands in one place:
//
//	name                  what a fault calls the value: "payload" in "The payload is too large."
//	required              true: it is not missing, and no UUID of zeros, blank text, time 0001-01-01 or null
//	minBytes, maxBytes    of bytes, and of a text in UTF-8
//	minLength, maxLength  of a text, in UTF-16 units, which are v1's characters
//	minimum, maximum      of a number
//	minItems, maxItems    of a list
//	maxProperties         of a map
//	pattern               a regular expression that matches somewhere in a text
//	storable              true: the text holds nothing that PostgreSQL cannot store
//	trim                  true: white space around the text does not count
//	fault                 the one sentence that refuses the value, whichever of its bounds it breaks
//
// With the prefix each, as in eachMaxBytes, they apply to the items of a list, and with key to the keys of a map. Numbers may end
// in Ki: 128Ki is 131072.
package bounds

import (
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
)

// Bounds are those of one value. A maximum of 0 means that there is none.
type Bounds struct {
	Name                 string
	Required             bool
	MinBytes, MaxBytes   int
	MinLength, MaxLength int
	Minimum, Maximum     int
	MinItems, MaxItems   int
	MaxProperties        int
	Pattern              *regexp.Regexp // nil: any
	Storable             bool
	Trim                 bool
	Fault                string
}

// The prefixes of tags that are not about the member itself.
const (
	Each = "each" // a list's items
	Key  = "key"  // a map's keys
)

// Of reads the bounds in a member's tags, those with the prefix or, when it is empty, the member's own. It panics when a tag
// is malformed.
func Of(tag reflect.StructTag, prefix string) Bounds {
	text := func(name string) string {
		if prefix != "" {
			name = prefix + strings.ToUpper(name[:1]) + name[1:]
		}
		return tag.Get(name)
	}
	number := func(name string) int {
		value := text(name)
		if value == "" {
			return 0
		}
		digits, kilo := strings.CutSuffix(value, "Ki")
		n, err := strconv.Atoi(digits)
		if err != nil {
			panic(fmt.Sprintf("bounds: %s is %q and no number", name, value))
		}
		if kilo {
			n <<= 10
		}
		return n
	}
	b := Bounds{
		Name: text("name"), Fault: text("fault"),
		Required: text("required") == "true", Storable: text("storable") == "true", Trim: text("trim") == "true",
		MinBytes: number("minBytes"), MaxBytes: number("maxBytes"), MinLength: number("minLength"), MaxLength: number("maxLength"),
		Minimum: number("minimum"), Maximum: number("maximum"), MinItems: number("minItems"), MaxItems: number("maxItems"),
		MaxProperties: number("maxProperties"),
	}
	if pattern := text("pattern"); pattern != "" {
		b.Pattern = regexp.MustCompile(pattern)
	}
	return b
}

// Name returns the name of a member in a request's body or path, and nothing for a member that is in neither.
func Name(field reflect.StructField) string {
	if name, ok := field.Tag.Lookup("path"); ok {
		return name
	}
	name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
	return strings.TrimPrefix(name, "-")
}
