// Package web turns typed functions into HTTP handlers. Everything HTTP is here and nowhere else: bounds, decoding,
// recovery, cross-origin rules, one log event a request, and the one place where errors become responses.
package web

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/liftlog/liftlog-api/shared/bounds"
)

// Endpoint is a typed function that can be served. Its types document the route.
type Endpoint struct {
	// Request is a struct: members with a json tag come from the body, those with a path tag from the path, and what they may
	// hold is in the tags that package bounds reads.
	Request  reflect.Type
	Response reflect.Type // nil: success has an empty body

	serve func(http.ResponseWriter, *http.Request, Route) error
}

// endpoint panics when [readerOf] does not know the request's form, or its bounds are malformed.
func endpoint[Req any](response reflect.Type, serve func(http.ResponseWriter, *http.Request, Route) error) Endpoint {
	request := reflect.TypeFor[Req]()
	readerOf(request)
	_ = bounds.Check(reflect.New(request).Elem())
	return Endpoint{request, response, serve}
}

// Call makes an endpoint of a function that answers a request with a value, sent as JSON. The whole answer is in
// memory before the first byte goes out: for what may grow large there is [Stream].
func Call[Req, Res any](fn func(context.Context, Req) (Res, error)) Endpoint {
	return endpoint[Req](reflect.TypeFor[Res](), func(w http.ResponseWriter, r *http.Request, route Route) error {
		req, err := read[Req](w, r, route)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(r.Context(), route.handlerTime())
		defer cancel()
		res, err := fn(ctx, req)
		if err != nil {
			return err
		}
		buffer := takeBuffer()
		defer giveBuffer(buffer)
		if err := json.MarshalWrite(buffer, &res, encoding); err != nil {
			return err
		}
		return write(w, http.StatusOK, contentTypeJSON, buffer.Bytes())
	})
}

// CallAs makes an endpoint like [Call] for callers who prove by the Authorization header what they may do. authorize
// gets the header, empty where there is none, before the body is looked at, and what it returns is the function's caller.
func CallAs[Caller, Req, Res any](
	authorize func(ctx context.Context, authorization string) (Caller, error), fn func(context.Context, Caller, Req) (Res, error),
) Endpoint {
	return endpoint[Req](reflect.TypeFor[Res](), func(w http.ResponseWriter, r *http.Request, route Route) error {
		ctx, cancel := context.WithTimeout(r.Context(), route.handlerTime())
		defer cancel()
		caller, err := authorize(ctx, r.Header.Get("Authorization"))
		if err != nil {
			return err
		}
		return Call(func(ctx context.Context, req Req) (Res, error) { return fn(ctx, caller, req) }).serve(w, r, route)
	})
}

// Act makes an endpoint of a function that answers success with an empty body.
func Act[Req any](fn func(context.Context, Req) error) Endpoint {
	return endpoint[Req](nil, func(w http.ResponseWriter, r *http.Request, route Route) error {
		req, err := read[Req](w, r, route)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(r.Context(), route.handlerTime())
		defer cancel()
		if err := fn(ctx, req); err != nil {
			return err
		}
		w.WriteHeader(http.StatusOK)
		return nil
	})
}

// Stream makes an endpoint of a function that writes its answer, of the form of Res, while it is being made. An
// error before the first byte has gone out is answered like any other; a later one breaks the connection, so that
// half an answer never passes for a whole one. The function's context ends when there is no first byte within the handler's
// time, and then with the request: it runs at its reader's pace.
func Stream[Req, Res any](fn func(context.Context, Req, *jsontext.Encoder) error) Endpoint {
	return endpoint[Req](reflect.TypeFor[Res](), func(w http.ResponseWriter, r *http.Request, route Route) error {
		req, err := read[Req](w, r, route)
		if err != nil {
			return err
		}
		w.Header().Set("Content-Type", contentTypeJSON)
		ctx, cancel := context.WithCancelCause(r.Context())
		defer cancel(nil)
		late := time.AfterFunc(route.handlerTime(), func() { cancel(context.DeadlineExceeded) })
		defer late.Stop()
		out := &streamWriter{w: w, begin: func() { late.Stop() }}
		buffered, _ := streamBuffers.Get().(*bufio.Writer)
		buffered.Reset(out)
		defer func() {
			buffered.Reset(nil) // it keeps the answer's writer otherwise
			streamBuffers.Put(buffered)
		}()
		if err = fn(ctx, req, jsontext.NewEncoder(buffered, encoding)); err == nil {
			err = buffered.Flush()
		}
		if errors.Is(err, context.Canceled) && errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
			err = context.DeadlineExceeded
		}
		if err != nil && out.begun {
			return &brokenError{err}
		}
		return err
	})
}

// Raw makes an endpoint of a function that writes its own answer or takes over the connection. An error that it returns before it
// has done either is answered like any other.
func Raw(fn func(http.ResponseWriter, *http.Request) error) Endpoint {
	return endpoint[struct{}](nil, func(w http.ResponseWriter, r *http.Request, _ Route) error { return fn(w, r) })
}

// EnvironmentHeader names the environment that an answer to GET /health comes from: development, staging or production. What
// must not run against production asks for it first.
const EnvironmentHeader = "Liftlog-Environment"

// Health makes an endpoint that says that the service is up, and in which environment.
func Health(environment string) Endpoint {
	return endpoint[struct{}](reflect.TypeFor[string](), func(w http.ResponseWriter, _ *http.Request, _ Route) error {
		w.Header().Set(EnvironmentHeader, environment)
		return write(w, http.StatusOK, "text/plain; charset=utf-8", []byte("healthy"))
	})
}

const contentTypeJSON = "application/json; charset=utf-8"

// buffers holds the memory of answers between requests.
var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// maxKeptBuffer is the size above which an answer's memory is not kept for the next one.
const maxKeptBuffer = 64 << 10

func takeBuffer() *bytes.Buffer {
	buffer, _ := buffers.Get().(*bytes.Buffer)
	buffer.Reset()
	return buffer
}

func giveBuffer(buffer *bytes.Buffer) {
	if buffer.Cap() <= maxKeptBuffer {
		buffers.Put(buffer)
	}
}

// read reads the request from the path and the body, and checks its bounds.
func read[Req any](w http.ResponseWriter, r *http.Request, route Route) (req Req, err error) {
	if route.MaxBody > 0 {
		body, err := readBody(w, r, route.MaxBody, event(r).begun.Add(route.Timeout-route.Handler))
		if err != nil {
			return req, err
		}
		if err := decode(body, &req); err != nil {
			return req, err
		}
	} else {
		readPath(r, &req)
	}
	return req, bounds.Check(reflect.ValueOf(&req).Elem())
}

// readPath fills the string members of dst that have a path tag.
func readPath(r *http.Request, dst any) {
	value := reflect.ValueOf(dst).Elem()
	for field := range value.Type().Fields() {
		if name, ok := field.Tag.Lookup("path"); ok {
			value.FieldByIndex(field.Index).SetString(r.PathValue(name))
		}
	}
}

// readBody returns the whole body, of at most limit bytes, if it is there at that time.
func readBody(w http.ResponseWriter, r *http.Request, limit int64, until time.Time) ([]byte, error) {
	mediaType, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	charset := params["charset"]
	if err != nil || !isJSON(mediaType) || charset != "" && !strings.EqualFold(charset, "utf-8") {
		return nil, &statusError{http.StatusUnsupportedMediaType, "The body has to be application/json."}
	}
	if coding := r.Header.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		w.Header().Set("Accept-Encoding", "identity") // RFC 9110, section 15.5.16
		return nil, &statusError{http.StatusUnsupportedMediaType, "The body must not be compressed."}
	}
	tooLarge := &statusError{http.StatusRequestEntityTooLarge, "The body is too large."}
	if r.ContentLength > limit {
		return nil, tooLarge
	}
	var buffer bytes.Buffer
	if r.ContentLength > 0 {
		buffer.Grow(int(r.ContentLength) + bytes.MinRead) // ReadFrom needs this much room to notice the end
	}
	if _, err := buffer.ReadFrom(newPacedBody(w, r, limit, until)); err != nil {
		_, isTooLarge := errors.AsType[*http.MaxBytesError](err)
		switch { // package http cancels a request when reading its body fails
		case isTooLarge:
			return nil, tooLarge
		case errors.Is(err, os.ErrDeadlineExceeded) && stopped(r) == nil:
			w.Header().Set("Connection", "close") // the rest of the body must not be taken for another request
			return nil, &statusError{http.StatusRequestTimeout, "The body did not come in time."}
		case r.Context().Err() != nil:
			return nil, r.Context().Err()
		default:
			return nil, &statusError{http.StatusBadRequest, "The body could not be read."}
		}
	}
	return buffer.Bytes(), nil
}

// isJSON holds for the media types that v1 took for JSON.
func isJSON(mediaType string) bool {
	return mediaType == "application/json" || mediaType == "text/json" ||
		strings.HasPrefix(mediaType, "application/") && strings.HasSuffix(mediaType, "+json")
}

// streamBuffer is how much of a stream, in bytes, is gathered before it goes out. A failure until then is still a
// proper error.
const streamBuffer = 32 << 10

// streamBuffers holds their memory between requests: most streams are short.
var streamBuffers = sync.Pool{New: func() any { return bufio.NewWriterSize(nil, streamBuffer) }}

// streamWriter says when the first byte goes out, and whose fault it is that one cannot.
type streamWriter struct {
	w     io.Writer
	begin func()
	begun bool
}

func (s *streamWriter) Write(p []byte) (int, error) {
	if !s.begun {
		s.begun = true
		s.begin()
	}
	n, err := s.w.Write(p)
	if err != nil {
		err = &goneError{err}
	}
	return n, err
}

// goneError is a failure to write to a reader who has left or takes nothing.
type goneError struct{ err error }

func (e *goneError) Error() string { return "the reader is gone: " + e.err.Error() }
func (e *goneError) Unwrap() error { return e.err }

// brokenError is a failure after a part of the answer has gone out.
type brokenError struct{ err error }

func (e *brokenError) Error() string { return "answer broken off: " + e.err.Error() }
func (e *brokenError) Unwrap() error { return e.err }
