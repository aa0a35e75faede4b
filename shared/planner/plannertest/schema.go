package plannertest

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// The bounds of a strict schema.
const (
	maxDepth      = 10
	maxProperties = 5000
)

// schema is a JSON schema, as far as the strict rules look at it.
type schema struct {
	Type                 jsontext.Value            `json:"type"` // a name or several
	Properties           map[string]jsontext.Value `json:"properties"`
	Required             []string                  `json:"required"`
	AdditionalProperties jsontext.Value            `json:"additionalProperties"`
	Items                jsontext.Value            `json:"items"`
	AnyOf                []jsontext.Value          `json:"anyOf"`
	Defs                 map[string]jsontext.Value `json:"$defs"`
	Ref                  string                    `json:"$ref"`
	Enum                 jsontext.Value            `json:"enum"`
	Const                jsontext.Value            `json:"const"`
}

var (
	types     = []string{"string", "number", "boolean", "integer", "object", "array", "null"}
	forbidden = []string{"allOf", "oneOf", "not", "if", "then", "else", "dependentRequired", "dependentSchemas", "patternProperties"}
)

// checkSchema says what the real service would refuse of a schema.
func checkSchema(text jsontext.Value, strict bool) error {
	if text.Kind() != '{' {
		return errors.New("it is not an object")
	}
	if !strict {
		return nil
	}
	var root schema
	if err := json.Unmarshal(text, &root); err != nil {
		return errors.New("it is not a schema")
	}
	if string(root.Type) != `"object"` || root.AnyOf != nil {
		return errors.New("schema must be a JSON Schema of 'type: \"object\"' without 'anyOf' at the root")
	}
	c := checker{root: root}
	if err := c.check("", text, 1); err != nil {
		return err
	}
	if c.properties > maxProperties {
		return fmt.Errorf("%d properties are too many", c.properties)
	}
	return nil
}

type checker struct {
	root       schema
	properties int
}

func (c *checker) check(path string, text jsontext.Value, depth int) error {
	var members map[string]jsontext.Value
	var s schema
	if json.Unmarshal(text, &members) != nil || json.Unmarshal(text, &s) != nil {
		return fmt.Errorf("in context=(%s), it is not a schema", path)
	}
	for _, name := range forbidden {
		if _, there := members[name]; there {
			return fmt.Errorf("in context=(%s), '%s' is not permitted", path, name)
		}
	}
	if depth > maxDepth {
		return fmt.Errorf("in context=(%s), it is nested too deeply", path)
	}
	if s.Ref != "" {
		return c.checkReference(path, s.Ref, len(members))
	}
	kinds, err := s.kinds()
	if err != nil || len(kinds) == 0 && s.AnyOf == nil && s.Enum == nil && s.Const == nil {
		return fmt.Errorf("in context=(%s), schema must have a 'type' key", path)
	}
	if slices.Contains(kinds, "object") {
		if err := c.checkObject(path, s); err != nil {
			return err
		}
	}
	if slices.Contains(kinds, "array") && s.Items == nil {
		return fmt.Errorf("in context=(%s), array schema missing items", path)
	}
	for where, inner := range s.inner() {
		if err := c.check(path+"/"+where, inner, depth+strings.Count(where, "properties/")); err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) checkReference(path, ref string, members int) error {
	name, ok := strings.CutPrefix(ref, "#/$defs/")
	if _, there := c.root.Defs[name]; ref != "#" && (!ok || !there) {
		return fmt.Errorf("in context=(%s), reference can only point to definitions defined at the top level", path)
	}
	if members > 1 {
		return fmt.Errorf("in context=(%s), '$ref' cannot have keywords beside it", path)
	}
	return nil
}

func (c *checker) checkObject(path string, s schema) error {
	if string(s.AdditionalProperties) != "false" {
		return fmt.Errorf("in context=(%s), 'additionalProperties' is required to be supplied and to be false", path)
	}
	c.properties += len(s.Properties)
	for name := range s.Properties {
		if !slices.Contains(s.Required, name) {
			return fmt.Errorf("in context=(%s), 'required' has to include every key in properties; missing '%s'", path, name)
		}
	}
	if len(s.Required) != len(s.Properties) {
		return fmt.Errorf("in context=(%s), 'required' names what 'properties' does not hold", path)
	}
	return nil
}

// kinds are the names of the types.
func (s *schema) kinds() (names []string, err error) {
	switch s.Type.Kind() {
	case '"':
		names = make([]string, 1)
		err = json.Unmarshal(s.Type, &names[0])
	case '[':
		err = json.Unmarshal(s.Type, &names)
	}
	for _, name := range names {
		if !slices.Contains(types, name) {
			err = errors.New("unknown type")
		}
	}
	return names, err
}

// inner are the schemas inside this one, by their path.
func (s *schema) inner() map[string]jsontext.Value {
	all := map[string]jsontext.Value{}
	for name, p := range s.Properties {
		all["properties/"+name] = p
	}
	for name, d := range s.Defs {
		all["$defs/"+name] = d
	}
	for i, a := range s.AnyOf {
		all[fmt.Sprintf("anyOf/%d", i)] = a
	}
	if s.Items != nil {
		all["items"] = s.Items
	}
	return all
}
