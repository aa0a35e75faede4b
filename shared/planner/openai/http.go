package openai

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/liftlog/liftlog-api/shared/retryafter"
)

const (
	// maxBody bounds an answer that comes in one, in bytes.
	maxBody = 2 << 20
	// maxError bounds what is read of an error, in bytes.
	maxError = 64 << 10
	// maxIdle is how many connections are kept for the next streams, where each needs one of its own.
	maxIdle = 512
	// maxRetryAfter is how far ahead a service may ask us to come back.
	maxRetryAfter = 24 * time.Hour
)

// connectionError is a connection that failed.
type connectionError struct{ err error }

func (e *connectionError) Error() string { return e.err.Error() }
func (e *connectionError) Unwrap() error { return e.err }

// serviceError is an error that a service answers with. Of its text it holds nothing but a short code.
type serviceError struct {
	status  int // of the answer, or what the error calls its code; 0: an error within an answer, without one
	code    string
	retryAt time.Time // zero when the service does not say
}

func (e *serviceError) Error() string {
	switch {
	case e.status == 0 && e.code == "":
		return "the service broke off with an error"
	case e.status == 0:
		return "the service broke off with code " + e.code
	case e.code == "":
		return fmt.Sprintf("status %d", e.status)
	}
	return fmt.Sprintf("status %d, code %s", e.status, e.code)
}

// The codes of errors that the same request would meet again, whatever their status.
var (
	exhausted = []string{"insufficient_quota", "credit_balance_exhausted", "billing_error"}
	lasting   = []string{
		"invalid_request_error", "invalid_api_key", "authentication_error", "permission_error", "not_found_error", "model_not_found",
		"context_length_exceeded",
	}
)

// mayPass reports whether the same request may be answered otherwise in a moment.
func (e *serviceError) mayPass() bool {
	switch {
	case slices.Contains(exhausted, e.code):
		return false
	case e.status == 0:
		return !slices.Contains(lasting, e.code)
	case e.status == http.StatusRequestTimeout, e.status == http.StatusConflict, e.status == http.StatusTooManyRequests:
		return true
	}
	return e.status >= http.StatusInternalServerError
}

// codeForm is what a code looks like. Anything else might be text, and is not logged.
var codeForm = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]{0,39}$`)

// newServiceError reads an error, which may be anything: an object with a code or a type, such an object within another, or within a
// list. The status is that of the answer; 0 for an error within one.
func newServiceError(status int, value jsontext.Value) *serviceError {
	e := &serviceError{status: status}
	for range 3 { // as deep as they are wrapped
		if value.Kind() == '[' {
			var list []jsontext.Value
			if json.Unmarshal(value, &list, lenient) != nil || len(list) == 0 {
				return e
			}
			value = list[0]
		}
		var content struct {
			Error jsontext.Value `json:"error"`
			Code  jsontext.Value `json:"code"`
			Type  jsontext.Value `json:"type"`
		}
		if value.Kind() != '{' || json.Unmarshal(value, &content, lenient) != nil {
			return e
		}
		if content.Error.Kind() == '{' {
			value = content.Error
			continue
		}
		for _, part := range []jsontext.Value{content.Code, content.Type} {
			var text string
			if json.Unmarshal(part, &text, lenient) == nil && e.code == "" && codeForm.MatchString(text) {
				e.code = text
			}
		}
		if number, err := strconv.Atoi(string(content.Code)); err == nil && status == 0 && number >= 400 && number < 600 {
			e.status = number
		}
		return e
	}
	return e
}

// newTransport makes connections that notice when the other end is gone. While a model thinks nothing is sent, so that a lost
// connection would look the same.
func newTransport(connect time.Duration) *http.Transport {
	const sign = 15 * time.Second // how often a sign of life is asked for, and how long it may take
	alive := net.KeepAliveConfig{Enable: true, Idle: sign, Interval: sign, Count: 4}
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: connect, KeepAliveConfig: alive}).DialContext,
		TLSHandshakeTimeout: connect,
		MaxIdleConnsPerHost: maxIdle,
		IdleConnTimeout:     90 * time.Second,
		ForceAttemptHTTP2:   true,
		HTTP2:               &http.HTTP2Config{SendPingTimeout: sign, PingTimeout: sign},
		DisableCompression:  true, // pieces come at once, and bounds mean what they say
	}
}

// post sends a request and returns the body of an answer of status 200, which the caller closes. Its errors are a
// [connectionError] or a [serviceError].
func (c *Client) post(ctx context.Context, text []byte, accept string) (*http.Response, error) {
	r, err := c.newRequest(ctx, text, accept)
	if err != nil {
		return nil, err
	}
	response, err := c.client.Do(r)
	if err != nil {
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err // without the URL
		}
		return nil, &connectionError{err}
	}
	if response.StatusCode != http.StatusOK {
		defer func() { _ = response.Body.Close() }()
		text, _ := io.ReadAll(io.LimitReader(response.Body, maxError)) // what did not come is not missed
		e := newServiceError(response.StatusCode, text)
		e.retryAt = retryafter.Read(response.Header, time.Now(), maxRetryAfter)
		return nil, e
	}
	return response, nil
}
