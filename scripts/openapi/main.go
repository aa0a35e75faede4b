// Command openapi writes the description of the API to standard output, from the manifest and the types of requests and
// responses.
package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"reflect"

	"github.com/google/uuid"
	"github.com/swaggest/jsonschema-go"
	"github.com/swaggest/openapi-go"
	"github.com/swaggest/openapi-go/openapi31"

	"github.com/liftlog/liftlog-api/functions"
	"github.com/liftlog/liftlog-api/functions/manifest"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "openapi:", err)
		os.Exit(1)
	}
}

func run() error {
	reflector := openapi31.NewReflector()
	reflector.SpecEns().WithInfo(openapi31.Info{
		Title: "LiftLog API", Version: "2",
		Description: new("What LiftLog's apps speak. Every path is served without /v2 as well. Bytes are base64, times ISO 8601 in UTC."),
	})
	reflector.SpecEns().SetAPIKeySecurity(string(manifest.AuthPurchase), "Authorization", openapi.InHeader,
		"A store, one of Web, Google, Apple and RevenueCat, and its token, with a blank between them and with or without Bearer before them.")
	reflector.AddTypeMapping(uuid.UUID{}, uuidForm{})
	for _, route := range functions.Manifest() {
		if err := describe(reflector, route); err != nil {
			return fmt.Errorf("describe %s: %w", route.Function, err)
		}
	}
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetIndent("", "  ")
	return encoder.Encode(reflector.SpecEns())
}

// uuidForm stands for a UUID.
type uuidForm struct{}

func (uuidForm) PrepareJSONSchema(schema *jsonschema.Schema) error {
	schema.WithType(jsonschema.String.Type()).WithFormat("uuid")
	return nil
}

// problem is the body of every error.
type problem struct {
	Title  string              `json:"title" required:"true"`
	Status int                 `json:"status" required:"true"`
	Detail string              `json:"detail,omitempty"`
	Errors map[string][]string `json:"errors,omitempty" description:"Of a 400: what is wrong, by the request's own path."`
}

func describe(reflector *openapi31.Reflector, route manifest.Route) error {
	operation, err := reflector.NewOperationContext(route.Method, route.Path)
	if err != nil {
		return err
	}
	operation.SetID(route.Function)
	operation.SetSummary(route.Summary)
	if route.Auth == manifest.AuthPurchase {
		operation.AddSecurity(string(manifest.AuthPurchase))
	}
	endpoint := functions.Mount(manifest.Manifest{route}, functions.Deps{})[0].Endpoint
	operation.AddReqStructure(reflect.New(endpoint.Request).Interface())
	answer := func(unit *openapi.ContentUnit) { unit.HTTPStatus = http.StatusOK }
	switch {
	case endpoint.Response == nil:
		operation.AddRespStructure(nil, answer)
	case endpoint.Response.Kind() == reflect.String:
		operation.AddRespStructure("", answer, openapi.WithContentType("text/plain; charset=utf-8"))
	default:
		operation.AddRespStructure(reflect.New(endpoint.Response).Interface(), answer)
	}
	operation.AddRespStructure(problem{}, openapi.WithContentType("application/problem+json"), func(unit *openapi.ContentUnit) {
		unit.IsDefault = true
		unit.Description = "Any error."
	})
	return reflector.AddOperation(operation)
}
