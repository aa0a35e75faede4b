package web

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/liftlog/liftlog-api/shared/apierr"
)

// problem is the body of every error: RFC 9457.
type problem struct {
	Title  string              `json:"title"`
	Status int                 `json:"status"`
	Detail string              `json:"detail,omitzero"`
	Errors map[string][]string `json:"errors,omitzero"`
}

// statusError is a failure that only HTTP knows, such as a wrong method.
type statusError struct {
	status int
	detail string
}

func (e *statusError) Error() string { return cmp.Or(e.detail, http.StatusText(e.status)) }

// Refusal is an error for an endpoint of [Raw] that is answered by this status, where no kind of [apierr.Error] says it. The
// detail is shown to the caller; without one the answer has no body.
func Refusal(status int, detail string) error { return &statusError{status, detail} }

// statusClientGone is what the log says of a caller who hung up; nobody is there to be told.
const statusClientGone = 499

var statuses = map[apierr.Kind]int{
	apierr.Internal:        http.StatusInternalServerError,
	apierr.Invalid:         http.StatusBadRequest,
	apierr.Unauthenticated: http.StatusUnauthorized,
	apierr.NotFound:        http.StatusNotFound,
	apierr.Limited:         http.StatusTooManyRequests,
	apierr.Unavailable:     http.StatusServiceUnavailable,
	apierr.Upstream:        http.StatusBadGateway,
}

// respond writes the problem document for err. This is the one place where an error becomes
// a response.
func respond(w http.ResponseWriter, err error) {
	body := problem{Status: http.StatusInternalServerError}
	var retryAt time.Time
	if e, ok := errors.AsType[*apierr.Error](err); ok {
		body.Status, body.Detail, body.Errors, retryAt = statuses[e.Kind], e.Detail, e.Fields, e.RetryAt
	} else if e, ok := errors.AsType[*statusError](err); ok {
		if e.detail == "" {
			w.WriteHeader(e.status)
			return
		}
		body.Status, body.Detail = e.status, e.detail
	} else if errors.Is(err, context.Canceled) {
		body.Status, body.Title = statusClientGone, "Client Closed Request"
	} else if errors.Is(err, context.DeadlineExceeded) {
		body.Status, body.Detail = http.StatusServiceUnavailable, "The answer took too long."
		retryAt = time.Now().Add(time.Second)
	}
	body.Title = cmp.Or(body.Title, http.StatusText(body.Status))
	if !retryAt.IsZero() {
		w.Header().Set("Retry-After", retryAt.UTC().Format(http.TimeFormat))
	}
	encoded, encodeErr := json.Marshal(body, json.Deterministic(true))
	if encodeErr != nil {
		encoded = []byte("{}")
	}
	_ = write(w, body.Status, "application/problem+json; charset=utf-8", encoded) // a caller who has gone is not told
}

// write sends a whole answer, whose length tells the caller when a part of it is missing. It fails when the caller has gone.
func write(w http.ResponseWriter, status int, contentType string, body []byte) error {
	if contentType != "" {
		w.Header().Set("Content-Type", contentType)
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if _, err := w.Write(body); err != nil {
		return &brokenError{&goneError{err}}
	}
	return nil
}
