package main

import (
	"encoding/base64"
	"fmt"
	"path"
	"reflect"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/liftlog/liftlog-api/shared/bounds"
)

// schemas are made of types, as package web reads and writes them.
type schemas struct {
	made     object // by name
	comments comments
	asked    map[reflect.Type]bool // the types of requests: their members may be missing or null, unless bounds say otherwise
}

// ask notes a type of requests and all that is in it.
func (s *schemas) ask(t reflect.Type) {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		s.ask(t.Elem())
	case reflect.Struct:
		s.asked[t] = true
		for field := range t.Fields() {
			s.ask(field.Type)
		}
	}
}

// of returns the schema of a type without bounds, which for a struct is a reference.
func (s *schemas) of(t reflect.Type) object {
	switch t {
	case reflect.TypeFor[[]byte]():
		return object{"type": "string", "format": "byte", "contentEncoding": "base64"}
	case reflect.TypeFor[uuid.UUID]():
		return object{"type": "string", "format": "uuid"}
	case reflect.TypeFor[time.Time]():
		return object{"type": "string", "format": "date-time"}
	}
	if named, ok := reflect.Zero(t).Interface().(interface{ Names() []string }); ok {
		return object{"type": "string", "enum": named.Names(), "description": s.comments.of(t)}
	}
	switch t.Kind() {
	case reflect.String:
		return object{"type": "string"}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Int:
		return object{"type": "integer"}
	case reflect.Float64:
		return object{"type": "number"}
	case reflect.Pointer:
		return s.of(t.Elem())
	case reflect.Slice:
		return object{"type": "array", "items": s.of(t.Elem())}
	case reflect.Map:
		return object{"type": "object", "propertyNames": s.of(t.Key()), "additionalProperties": s.of(t.Elem())}
	case reflect.Struct:
		return s.reference(t)
	default:
		panic(fmt.Sprintf("openapi: no schema for %v", t))
	}
}

// reference makes the schema of a struct when it is first asked for.
func (s *schemas) reference(t reflect.Type) object {
	group := path.Base(t.PkgPath())
	name := strings.ToUpper(group[:1]) + group[1:] + t.Name()
	if _, ok := s.made[name]; !ok {
		members, required := object{}, []string{}
		made := object{"type": "object", "properties": members}
		if comment := s.comments.of(t); comment != "" {
			made["description"] = comment
		}
		s.made[name] = made
		for field := range t.Fields() {
			member := bounds.Name(field)
			if member == "" {
				continue
			}
			isRequired := !s.asked[t] || bounds.Required(field)
			schema := s.member(field, isRequired)
			sized, _ := schema["description"].(string)
			if text := strings.TrimSpace(s.comments.ofMember(t, field.Name) + " " + sized); text != "" {
				schema["description"] = text
			}
			members[member] = schema
			if isRequired {
				required = append(required, member)
			}
		}
		if len(required) > 0 {
			made["required"] = required
		}
		if !s.asked[t] {
			made["additionalProperties"] = false
		}
	}
	return object{"$ref": "#/components/schemas/" + name}
}

// member returns the schema of a struct's member within its bounds.
func (s *schemas) member(field reflect.StructField, required bool) object {
	schema := s.of(field.Type)
	restrict(schema, field.Type, bounds.Of(field.Tag, ""))
	if items, ok := schema["items"].(object); ok {
		restrict(items, field.Type.Elem(), bounds.Of(field.Tag, bounds.Each))
		if field.Tag.Get("eachNullable") == "true" {
			nullable(items)
		}
	}
	if keys, ok := schema["propertyNames"].(object); ok {
		restrict(keys, field.Type.Key(), bounds.Of(field.Tag, bounds.Key))
	}
	if field.Tag.Get("nullable") == "true" || !required && readsNull(field.Type) {
		nullable(schema)
	}
	return schema
}

// readsNull reports whether package web takes null for a value that is missing.
func readsNull(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.String:
		_, isEnum := reflect.Zero(t).Interface().(interface{ Names() []string })
		return !isEnum
	case reflect.Slice, reflect.Map, reflect.Pointer:
		return true
	default:
		return false
	}
}

func nullable(schema object) { schema["type"] = []any{schema["type"], "null"} }

// restrict adds bounds to a schema. A text's length is given in characters there, which are never more than its bytes or v1's
// UTF-16 units.
func restrict(schema object, t reflect.Type, b bounds.Bounds) {
	set := func(name string, value int) {
		if value > 0 {
			schema[name] = value
		}
	}
	isBytes := t == reflect.TypeFor[[]byte]()
	switch {
	case isBytes:
		set("minLength", base64.StdEncoding.EncodedLen(b.MinBytes))
		set("maxLength", base64.StdEncoding.EncodedLen(b.MaxBytes))
		schema["description"] = size(b)
	case t.Kind() == reflect.String && !b.Trim:
		set("minLength", b.MinLength)
		set("maxLength", max(b.MaxLength, b.MaxBytes))
		if b.Required && b.MinLength == 0 {
			set("minLength", 1)
		}
	}
	if schema["description"] == "" {
		delete(schema, "description")
	}
	if b.Storable {
		schema["pattern"] = `^[^\x00]*$`
	}
	if b.Pattern != nil {
		schema["pattern"] = b.Pattern.String()
	}
	if b.Maximum > 0 {
		schema["minimum"], schema["maximum"] = b.Minimum, b.Maximum
	}
	set("minItems", b.MinItems)
	set("maxItems", b.MaxItems)
	set("maxProperties", b.MaxProperties)
}

// size says how many bytes there may be before they are base64.
func size(b bounds.Bounds) string {
	switch {
	case b.MaxBytes == 0:
		return ""
	case b.MinBytes == b.MaxBytes:
		return fmt.Sprintf("%d bytes.", b.MaxBytes)
	case b.MinBytes > 0:
		return fmt.Sprintf("%d to %d bytes.", b.MinBytes, b.MaxBytes)
	default:
		return fmt.Sprintf("At most %d bytes.", b.MaxBytes)
	}
}
