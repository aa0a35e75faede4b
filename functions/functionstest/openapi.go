package functionstest

import (
	"bytes"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/liftlog/liftlog-api/functions"
)

// statusClientGone is what the log says of a caller who hung up, and who gets no answer.
const statusClientGone = 499

// CheckAnswer fails the test when a function's answer is not one that the API's description knows for that method and path:
// another status, another type of content, or a body that does not fit its schema. A request for anything else has to be refused,
// unless it is a preflight.
func CheckAnswer(tb testing.TB, method, path string, w *httptest.ResponseRecorder) {
	tb.Helper()
	if _, isBenchmark := tb.(*testing.B); isBenchmark || w.Code == statusClientGone {
		return
	}
	if err := Description().check(method, path, w); err != nil {
		tb.Errorf("%s %s: %d: %v", method, path, w.Code, err)
	}
}

// Described is the API's description, to check by. It is safe for concurrent use.
type Described struct {
	document any
	compiler *jsonschema.Compiler

	mu      sync.Mutex
	schemas map[string]*jsonschema.Schema // by their place
}

// Description reads the API's description.
var Description = sync.OnceValue(func() *Described {
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(functions.OpenAPI()))
	if err != nil {
		panic(err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020)
	compiler.AssertFormat()
	compiler.AssertContent()
	if err := compiler.AddResource("openapi.json", document); err != nil {
		panic(err)
	}
	return &Described{document: document, compiler: compiler, schemas: map[string]*jsonschema.Schema{}}
})

// At returns what stands at a place in the description, and nil where nothing does.
func (d *Described) At(place ...string) any {
	value := d.document
	for _, name := range place {
		object, _ := value.(map[string]any)
		value = object[name]
	}
	return value
}

// Validate holds a value to the schema at a place in the description.
func (d *Described) Validate(value any, place ...string) error {
	escaped := make([]string, len(place))
	for i, name := range place {
		escaped[i] = strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D").Replace(name)
	}
	pointer := "openapi.json#/" + strings.Join(escaped, "/")
	d.mu.Lock()
	schema, ok := d.schemas[pointer]
	if !ok {
		var err error
		if schema, err = d.compiler.Compile(pointer); err != nil {
			d.mu.Unlock()
			return err
		}
		d.schemas[pointer] = schema
	}
	d.mu.Unlock()
	return schema.Validate(value)
}

// operation returns the place of the operation that serves a request, and nothing where none does.
func (d *Described) operation(method, path string) (place []string) {
	paths, _ := d.At("paths").(map[string]any)
	for _, prefix := range []string{"", "/v2"} { // every path is served without it as well
		segments := strings.Split(prefix+path, "/")
		for pattern := range paths {
			of := strings.Split(pattern, "/")
			fits := len(of) == len(segments) && d.At("paths", pattern, strings.ToLower(method)) != nil
			for i := 0; fits && i < len(of); i++ {
				fits = of[i] == segments[i] || strings.HasPrefix(of[i], "{")
			}
			if fits && (place == nil || pattern == prefix+path) { // one without a variable goes before
				place = []string{"paths", pattern, strings.ToLower(method)}
			}
		}
	}
	return place
}

func (d *Described) check(method, path string, w *httptest.ResponseRecorder) error {
	if method == http.MethodHead {
		method = http.MethodGet
	}
	operation := d.operation(method, path)
	if operation == nil {
		switch w.Code {
		case http.StatusNoContent:
			return nil
		case http.StatusMethodNotAllowed, http.StatusMisdirectedRequest:
			return d.checkBody(w, "components", "schemas", "Problem")
		default:
			return fmt.Errorf("an answer that is no refusal, to what is no operation: %s", w.Body)
		}
	}
	answer := slices.Concat(operation, []string{"responses", strconv.Itoa(w.Code)})
	if d.At(answer...) == nil {
		return fmt.Errorf("the status is not described: %s", w.Body)
	}
	if d.At(slices.Concat(answer, []string{"content"})...) == nil {
		if w.Body.Len() > 0 {
			return fmt.Errorf("there is a body: %s", w.Body)
		}
		return nil
	}
	mediaType, _, err := mime.ParseMediaType(w.Header().Get("Content-Type"))
	if err != nil {
		return err
	}
	content := slices.Concat(answer, []string{"content", mediaType})
	if d.At(content...) == nil {
		return fmt.Errorf("a body of %s is not described", mediaType)
	}
	retryAfter := d.At(slices.Concat(answer, []string{"headers", "Retry-After"})...)
	if retryAfter == nil && w.Header().Get("Retry-After") != "" {
		return errors.New("Retry-After is not described")
	}
	return d.checkBody(w, slices.Concat(content, []string{"schema"})...)
}

func (d *Described) checkBody(w *httptest.ResponseRecorder, schema ...string) error {
	var body any = w.Body.String()
	if !strings.HasPrefix(w.Header().Get("Content-Type"), "text/") {
		var err error
		if body, err = jsonschema.UnmarshalJSON(bytes.NewReader(w.Body.Bytes())); err != nil {
			return err
		}
	}
	return d.Validate(body, schema...)
}
