// Command openapi writes the description of the API to standard output, from the manifest, the types of requests and responses
// with their comments, and the bounds in their tags.
package main

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/liftlog/liftlog-api/functions"
	"github.com/liftlog/liftlog-api/functions/manifest"
	"github.com/liftlog/liftlog-api/shared/purchase"
	"github.com/liftlog/liftlog-api/shared/web"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "openapi:", err)
		os.Exit(1)
	}
}

// object is a JSON object.
type object = map[string]any

//go:embed description.md
var description string

//go:embed examples.json
var examplesFile []byte

// example is a good request of a function with its answer.
type example struct {
	Path     map[string]string `json:"path"`
	Request  json.RawMessage   `json:"request"`
	Response json.RawMessage   `json:"response"`
}

func run() error {
	var examples map[string]example
	decoder := json.NewDecoder(bytes.NewReader(examplesFile))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&examples); err != nil {
		return fmt.Errorf("read examples: %w", err)
	}
	comments, err := readComments("../functions")
	if err != nil {
		return err
	}
	s := schemas{made: object{}, comments: comments, asked: map[reflect.Type]bool{}}
	paths := map[string]object{}
	groups := map[string]bool{}
	for _, route := range functions.Manifest() {
		endpoint := functions.Mount(manifest.Manifest{route}, functions.Deps{})[0].Endpoint
		group := path.Base(path.Dir(strings.TrimPrefix(route.Path, "/v2") + "/"))
		if of := endpoint.Request.PkgPath(); of != "" {
			group = path.Base(of)
		}
		groups[group] = true
		if paths[route.Path] == nil {
			paths[route.Path] = object{}
		}
		sample, ok := examples[route.Function]
		if !ok {
			return fmt.Errorf("scripts/openapi/examples.json has no example of %s", route.Function)
		}
		paths[route.Path][strings.ToLower(route.Method)] = operation(&s, route, endpoint, group, sample)
		delete(examples, route.Function)
	}
	for function := range examples {
		return fmt.Errorf("scripts/openapi/examples.json has an example of %s, which is no function", function)
	}
	s.made["Problem"] = problem
	tags := []object{}
	for _, group := range slices.Sorted(maps.Keys(groups)) {
		tags = append(tags, object{"name": group})
	}
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(struct {
		OpenAPI    string            `json:"openapi"`
		Info       object            `json:"info"`
		Servers    []object          `json:"servers"`
		Tags       []object          `json:"tags"`
		Paths      map[string]object `json:"paths"`
		Components object            `json:"components"`
	}{
		OpenAPI: "3.1.0",
		Info:    object{"title": "LiftLog API", "version": "2", "description": description},
		Servers: []object{{"url": "/", "description": "Where this document is served."}},
		Tags:    tags,
		Paths:   paths,
		Components: object{
			"schemas": s.made,
			"headers": object{"RetryAfter": object{
				"description": "When to ask again, as an HTTP date. It may be missing.", "schema": object{"type": "string"},
				"example": "Fri, 02 Jan 2026 03:04:05 GMT",
			}},
			"securitySchemes": object{string(manifest.AuthPurchase): object{
				"type": "apiKey", "in": "header", "name": "Authorization",
				"description": fmt.Sprintf("A store, one of %s, a blank, and the token of the purchase: `Web test-web-auth-key-12345` "+
					"in the emulator. `Bearer` and a blank may stand before it.", stores()),
			}},
		},
	})
}

// stores lists the stores as a sentence does.
func stores() string {
	var names []string
	for _, store := range purchase.Stores {
		names = append(names, string(store))
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " and " + names[last]
}

// problem is the body of every refusal: RFC 9457.
var problem = object{
	"type": "object", "required": []string{"title", "status"}, "additionalProperties": false,
	"description": "Why a request was refused. Programs go by the status; the texts are for people.",
	"properties": object{
		"title":  object{"type": "string", "description": "The status in words."},
		"status": object{"type": "integer", "minimum": 400, "maximum": 599},
		"detail": object{"type": "string"},
		"errors": object{
			"type": "object", "description": "Of a 400: what is wrong, by the request's own path. The first 20 faults are told.",
			"additionalProperties": object{"type": "array", "items": object{"type": "string"}, "minItems": 1},
		},
	},
}

var pathParameter = regexp.MustCompile(`\{(\w+)\}`)

func operation(s *schemas, route manifest.Route, endpoint web.Endpoint, group string, e example) object {
	s.ask(endpoint.Request)
	o := object{"operationId": route.Function, "summary": route.Summary, "tags": []string{group}, "responses": responses(s, route, endpoint, e)}
	switch route.Auth {
	case manifest.AuthPassword:
		o["description"] = "The caller proves who they are by the id and the password in the body."
	case manifest.AuthPurchase:
		o["security"] = []object{{string(route.Auth): []string{}}}
	}
	if found := pathParameter.FindStringSubmatch(route.Path); found != nil {
		field, _ := endpoint.Request.FieldByNameFunc(func(name string) bool {
			field, _ := endpoint.Request.FieldByName(name)
			return field.Tag.Get("path") == found[1]
		})
		o["description"] = s.comments.of(endpoint.Request)
		o["parameters"] = []object{{
			"name": found[1], "in": "path", "required": true, "schema": s.member(field, true), "example": e.Path[found[1]],
		}}
	}
	if route.MaxBody > 0 {
		o["requestBody"] = object{"required": true, "content": content("application/json", s.of(endpoint.Request), e.Request)}
	}
	return o
}

func content(mediaType string, schema object, example any) object {
	return object{mediaType: object{"schema": schema, "example": example}}
}

func responses(s *schemas, route manifest.Route, endpoint web.Endpoint, e example) object {
	success := object{"description": "Done. The body is empty."}
	switch {
	case endpoint.Response == nil:
	case endpoint.Response.Kind() == reflect.String:
		success = object{"description": "Done.", "content": content("text/plain", object{"type": "string"}, e.Response)}
	default:
		success = object{"description": "Done.", "content": content("application/json", s.of(endpoint.Response), e.Response)}
	}
	all := object{"200": success}
	for status, when := range route.Statuses() {
		sample := object{"title": http.StatusText(status), "status": status}
		if status == http.StatusBadRequest {
			sample["errors"] = object{"": []string{"A JSON object is required."}}
		}
		refusal := object{"description": when, "content": content("application/problem+json", object{"$ref": "#/components/schemas/Problem"}, sample)}
		if status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable {
			refusal["headers"] = object{"Retry-After": object{"$ref": "#/components/headers/RetryAfter"}}
		}
		all[strconv.Itoa(status)] = refusal
	}
	return all
}
