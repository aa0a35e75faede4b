package web

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"github.com/liftlog/liftlog-api/shared/apierr"
	"github.com/liftlog/liftlog-api/shared/bounds"
)

// The library reads tokens and single values. Objects, lists and maps are read here, because v1 read them otherwise than the
// library can be told to: of a member that comes more than once the last one counts, whole, where the library merges them;
// names ignore the case of ASCII's letters, where the library goes by Unicode's; and a list ends at its bound.

// reader reads one value into a settable one that is zero.
type reader func(*jsontext.Decoder, reflect.Value) error

// decode reads the one JSON object in body into dst, which points to a zero struct of a form that [readerOf] knows. What
// does not fit is an Invalid error that names the field and never repeats what was sent.
func decode(body []byte, dst any) error {
	var faults apierr.Faults
	if jsontext.Value(body).Kind() != '{' {
		faults.Check(false, "", "A JSON object is required.")
		return faults.Err()
	}
	value := reflect.ValueOf(dst).Elem()
	err := json.Unmarshal(body, &document{value, readerOf(value.Type())}, jsontext.AllowDuplicateNames(true))
	if misfit, ok := errors.AsType[*misfitError](err); ok {
		faults.Check(false, misfit.path, misfit.message)
	} else {
		faults.Check(err == nil, "", "The body is not well-formed JSON.")
	}
	return faults.Err()
}

// document lets the library read with a reader.
type document struct {
	value reflect.Value
	read  reader
}

func (d *document) UnmarshalJSONFrom(dec *jsontext.Decoder) error { return d.read(dec, d.value) }

// misfitError says that a value is well-formed, but not what its place asks for.
type misfitError struct {
	path    string // such as users[0].since; it holds names that the types know, and none of the caller's
	message string
}

func (e *misfitError) Error() string { return e.path + ": " + e.message }

func misfit() error { return &misfitError{message: "The value does not have the right form."} }

func tooMany(limit int) error {
	return &misfitError{message: fmt.Sprintf("There are too many: %d are allowed.", limit)}
}

// within puts the place in which something does not fit before its path.
func within(place string, err error) error {
	misfit, ok := errors.AsType[*misfitError](err)
	if !ok {
		return err
	}
	if misfit.path != "" && misfit.path[0] != '[' {
		place += "."
	}
	return &misfitError{place + misfit.path, misfit.message}
}

var readers sync.Map // of [reflect.Type] to reader

// readerOf returns the reader of a struct whose members are bytes, UUIDs, times, texts, numbers, truths, types that read
// themselves, and pointers, lists and maps of such. It panics when a list or a map is without a bound, as package bounds
// reads it.
func readerOf(t reflect.Type) reader {
	if found, ok := readers.Load(t); ok {
		return found.(reader) //nolint:forcetypeassert,errcheck // nothing else is stored
	}
	read := makeReader(t, "")
	readers.Store(t, read)
	return read
}

// makeReader makes the reader of a type where it has that tag.
func makeReader(t reflect.Type, tag reflect.StructTag) reader {
	switch {
	case t == reflect.TypeFor[[]byte]():
		return into(readBytes)
	case t == reflect.TypeFor[uuid.UUID]():
		return into(readUUID)
	case t == reflect.TypeFor[time.Time]():
		return into(readTime)
	case reflect.PointerTo(t).Implements(reflect.TypeFor[json.UnmarshalerFrom]()):
		return readOther
	}
	switch t.Kind() {
	case reflect.String:
		return readString
	case reflect.Pointer:
		return pointerReader(makeReader(t.Elem(), tag))
	case reflect.Struct:
		return objectReader(t)
	case reflect.Slice:
		return listReader(makeReader(t.Elem(), ""), known(t, "maxItems", bounds.Of(tag, "").MaxItems))
	case reflect.Map:
		return mapReader(t, makeReader(t.Elem(), ""), known(t, "maxProperties", bounds.Of(tag, "").MaxProperties))
	default:
		return readOther
	}
}

func known(t reflect.Type, name string, limit int) int {
	if limit == 0 {
		panic(fmt.Sprintf("web: a %v without %s", t, name))
	}
	return limit
}

// into makes a reader of a function that reads one type.
func into[T any](read func(*jsontext.Decoder, *T) error) reader {
	return func(dec *jsontext.Decoder, value reflect.Value) error {
		dst, _ := reflect.TypeAssert[*T](value.Addr())
		return read(dec, dst)
	}
}

// readOther reads numbers, truths, and types that read themselves. Null is none of them.
func readOther(dec *jsontext.Decoder, value reflect.Value) error {
	if dec.PeekKind() == 'n' {
		return misfit()
	}
	err := json.UnmarshalDecode(dec, value.Addr().Interface())
	if _, ok := errors.AsType[*json.SemanticError](err); ok {
		return misfit()
	}
	return err
}

func pointerReader(read reader) reader {
	return func(dec *jsontext.Decoder, value reflect.Value) error {
		if dec.PeekKind() == 'n' {
			return dec.SkipValue()
		}
		value.Set(reflect.New(value.Type().Elem()))
		return read(dec, value.Elem())
	}
}

// begin reads the beginning of an object or a list, or null.
func begin(dec *jsontext.Decoder, kind jsontext.Kind) (null bool, err error) {
	token, err := dec.ReadToken()
	if err == nil && token.Kind() != kind && token.Kind() != 'n' {
		err = misfit()
	}
	return token.Kind() == 'n', err
}

// member is one of a struct's.
type member struct {
	name  string
	index int
	read  reader
}

func objectReader(t reflect.Type) reader {
	members := map[string]*member{}
	longest := 0
	for field := range t.Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name == "" || name == "-" {
			continue
		}
		m := &member{name, field.Index[0], makeReader(field.Type, field.Tag)}
		members[name], members[strings.ToLower(name)] = m, m
		longest = max(longest, len(name))
	}
	// find looks a name up as it is spelled here, which is how the apps spell it, and then in any case.
	find := func(name []byte) *member {
		m, ok := members[string(name)]
		if ok || len(name) > longest {
			return m
		}
		var room [64]byte
		return members[string(appendLower(room[:0], name))]
	}
	return func(dec *jsontext.Decoder, value reflect.Value) error {
		null, err := begin(dec, '{')
		if null || err != nil {
			return err
		}
		for dec.PeekKind() != '}' {
			name, _, err := readText(dec)
			if err != nil {
				return err
			}
			m := find(name)
			if m == nil {
				if err := dec.SkipValue(); err != nil {
					return err
				}
				continue
			}
			field := value.Field(m.index)
			field.SetZero() // it may have come before
			if err := m.read(dec, field); err != nil {
				return within(m.name, err)
			}
		}
		_, err = dec.ReadToken()
		return err
	}
}

// appendLower turns ASCII's letters to lower case and leaves everything else alone.
func appendLower(lower, text []byte) []byte {
	for _, c := range text {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		lower = append(lower, c)
	}
	return lower
}

func listReader(read reader, limit int) reader {
	return func(dec *jsontext.Decoder, value reflect.Value) error {
		null, err := begin(dec, '[')
		if null || err != nil {
			return err
		}
		value.Set(reflect.MakeSlice(value.Type(), 0, 0)) // [] is not null
		for i := 0; dec.PeekKind() != ']'; i++ {
			if i == limit {
				return tooMany(limit)
			}
			value.Grow(1)
			value.SetLen(i + 1)
			if err := read(dec, value.Index(i)); err != nil {
				return within("["+strconv.Itoa(i)+"]", err)
			}
		}
		_, err = dec.ReadToken()
		return err
	}
}

// mapReader reads a map of texts, of which t is the type.
func mapReader(t reflect.Type, read reader, limit int) reader {
	return func(dec *jsontext.Decoder, value reflect.Value) error {
		null, err := begin(dec, '{')
		if null || err != nil {
			return err
		}
		value.Set(reflect.MakeMap(t))
		for dec.PeekKind() != '}' {
			name, _, err := readText(dec)
			if err != nil {
				return err
			}
			key := reflect.ValueOf(string(name))
			element := reflect.New(t.Elem()).Elem()
			if err := read(dec, element); err != nil {
				if _, ok := errors.AsType[*misfitError](err); ok {
					return misfit() // its path would hold the caller's name
				}
				return err
			}
			value.SetMapIndex(key, element)
			if value.Len() > limit {
				return tooMany(limit)
			}
		}
		_, err = dec.ReadToken()
		return err
	}
}
