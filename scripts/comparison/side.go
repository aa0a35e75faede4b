package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/liftlog/liftlog-api/functions/recorded"
)

// side is one of the two that are compared.
type side struct {
	name, base, prefix string
	webKey             string
	client             http.Client
	values             recorded.Values
	failures           int // in a row
}

// answer is what a side said to one request.
type answer struct {
	Status int
	Type   string
	Fault  string // why there is no answer; empty: there is one
	Took   time.Duration

	body  any  // named JSON, or a text
	isAPI bool // it is the API's, not a page of something in between
}

// Answer describes the answer in a word.
func (a answer) Answer() string {
	if a.Fault != "" {
		return "—"
	}
	return strconv.Itoa(a.Status)
}

// greet makes sure that an API is there.
func (s *side) greet(ctx context.Context) error {
	a := s.ask(ctx, recorded.Case{Case: "greeting", Request: "GET /health"})
	switch {
	case a.Fault != "":
		return fmt.Errorf("%s at %s does not answer (%s): see that it runs and can be reached from here", s.name, s.base, a.Fault)
	case !a.isAPI:
		return fmt.Errorf("%s at %s answers with a page (%s): give the base URL of the API, and not of a site or a proxy before it", s.name, s.base, a.Type)
	case a.Status != http.StatusOK:
		return fmt.Errorf("%s at %s answers %d to GET /health: give the base URL of the API, or wait until it is well", s.name, s.base, a.Status)
	}
	return nil
}

// maxAnswer is more than any answer to a recorded request, in bytes.
const maxAnswer = 64 << 20

// ask sends the case's request, and learns from the answer what names stand for.
func (s *side) ask(ctx context.Context, c recorded.Case) (a answer) {
	if s.values == nil {
		s.values = recorded.Values{}
	}
	r, err := s.values.NewRequest(ctx, s.base, s.prefix, c)
	if err != nil {
		return answer{Fault: "not sent: " + err.Error()}
	}
	begun := time.Now()
	response, err := s.client.Do(r) //nolint:gosec // to the server that the operator names
	if err != nil {
		s.failures++
		return answer{Fault: reason(err, s.client.Timeout), Took: time.Since(begun)}
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	a = answer{Status: response.StatusCode, Took: time.Since(begun)}
	if err != nil {
		s.failures++
		a.Fault = "broke off: " + reason(err, s.client.Timeout)
		return a
	}
	s.failures = 0
	a.Type, _, _ = mime.ParseMediaType(response.Header.Get("Content-Type"))
	a.isAPI = a.Type != "text/html"
	var value any
	switch {
	case len(body) == 0:
		a.body = ""
	case json.Unmarshal(body, &value) == nil:
		recorded.SortEvents(value)
		if a.Status == c.V1.Status {
			s.values.Match(c.Case, c.V1.Body, value) // only to learn the names: differences from the recording do not matter here
		}
		a.body = s.values.Name(value)
	default:
		a.body = string(body)
	}
	return a
}

// reason is a failure without the request's URL, which may hold an id.
func reason(err error, patience time.Duration) string {
	if netErr, ok := errors.AsType[net.Error](err); ok && netErr.Timeout() {
		return fmt.Sprintf("no answer within %s", patience)
	}
	if opErr, ok := errors.AsType[*net.OpError](err); ok {
		return opErr.Err.Error()
	}
	return "the connection failed"
}

// verdict says how two answers compare.
type verdict string

const (
	same      verdict = "alike"
	agreed    verdict = "on purpose"
	different verdict = "DIFFERENT"
)

// row is one request with both answers.
type row struct {
	Case, Request string
	Sides         [2]answer
	Verdict       verdict
	Notes         []string // what differs, or why it may
}

// compare decides whether the answers are the same. Bodies of refusals are not compared: the apps look at their status only, and
// v2 has one form of them where v1 has three.
func (r *row) compare(c recorded.Case) {
	v1, v2 := r.Sides[0], r.Sides[1]
	for i, name := range []string{"v1", "v2"} {
		if r.Sides[i].Fault != "" {
			r.Notes = append(r.Notes, name+": "+r.Sides[i].Fault)
		} else if !r.Sides[i].isAPI {
			r.Notes = append(r.Notes, name+" answers with a page: something stands before it")
		}
	}
	switch {
	case len(r.Notes) > 0:
		r.Verdict = different
	case c.V2 != nil && slices.Contains(c.V2.Status, v2.Status):
		r.Verdict, r.Notes = agreed, []string{c.V2.Why}
	case v1.Status != v2.Status:
		r.Verdict, r.Notes = different, []string{fmt.Sprintf("status: %d | %d", v1.Status, v2.Status)}
	case v1.Status >= http.StatusBadRequest:
		r.Verdict = same
	default:
		if v1.Type != v2.Type {
			r.Notes = append(r.Notes, fmt.Sprintf("type: %s | %s", v1.Type, v2.Type))
		}
		if r.Notes = append(r.Notes, recorded.Differences("body", v1.body, v2.body)...); len(r.Notes) > 0 {
			r.Verdict = different
		} else {
			r.Verdict = same
		}
	}
}
