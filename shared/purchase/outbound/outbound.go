// Package outbound asks the stores: with bounds on time and size, without following redirects, and with errors that
// say what kind of fault there was and nothing of what was sent or answered.
package outbound

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/liftlog/liftlog-api/shared/apierr"
	"github.com/liftlog/liftlog-api/shared/retryafter"
)

// Fault is why a store gave no verdict. It is one of the constants, and so safe to log and to count.
type Fault string

// The faults.
const (
	Timeout    Fault = "timeout"     // it did not answer in time
	Connection Fault = "connection"  // it could not be reached, or broke off
	Refused    Fault = "refused"     // it does not accept our own credentials or request: somebody has to mend that
	Limited    Fault = "limited"     // it asks us to come back later
	Failed     Fault = "failed"      // it says that the fault is its own
	Unreadable Fault = "unreadable"  // it answered, but with nothing that can be understood
	Overloaded Fault = "overloaded"  // too many verifications are under way
	Panicked   Fault = "programming" // a fault of this program
)

// Error is the fault's name.
func (f Fault) Error() string { return string(f) }

// Unknown is the error of a verification that came to no verdict. A zero retryAt says that the store named no time.
func Unknown(f Fault, retryAt time.Time) error {
	return &apierr.Error{Kind: apierr.Unavailable, Detail: "The store gives no answer about the purchase.", RetryAt: retryAt, Err: f}
}

// FaultOf says what kind of fault err is: one of sending a request by a client of [NewClient], or of reading its answer.
func FaultOf(err error) Fault {
	netErr, isNet := errors.AsType[net.Error](err)
	switch {
	case errors.Is(err, context.DeadlineExceeded) || isNet && netErr.Timeout():
		return Timeout
	case isNet || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, context.Canceled):
		return Connection
	}
	return Unreadable // too long, or not what was expected
}

// FaultOfStatus says what an answer's status means where the store does not say more.
func FaultOfStatus(status int) Fault {
	switch {
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return Refused
	case status == http.StatusTooManyRequests || status == http.StatusLocked:
		return Limited
	case status == http.StatusRequestTimeout || status == http.StatusGatewayTimeout:
		return Timeout
	case status >= http.StatusInternalServerError:
		return Failed
	}
	return Unreadable
}

// lastResort bounds a request whose context does not.
const lastResort = 10 * time.Second

// NewClient returns a client for one store, which reads at most maxBody bytes of an answer and fails beyond them, and
// hands a redirect to the caller: following one would carry a secret elsewhere.
func NewClient(maxBody int64) *http.Client {
	return &http.Client{
		Transport: bounded{maxBody, &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            (&net.Dialer{Timeout: 3 * time.Second}).DialContext,
			TLSHandshakeTimeout:    3 * time.Second,
			MaxIdleConnsPerHost:    8,
			IdleConnTimeout:        time.Minute,
			MaxResponseHeaderBytes: 64 << 10,
			ForceAttemptHTTP2:      true,
		}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       lastResort,
	}
}

type bounded struct {
	maxBody int64
	next    http.RoundTripper
}

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := b.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	response.Body = http.MaxBytesReader(nil, response.Body, b.maxBody)
	return response, nil
}

// Answer is a store's answer, read to its end.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Ask sends the request and reads the whole answer. Its error is [Unknown].
func Ask(client *http.Client, r *http.Request) (Answer, error) {
	response, err := client.Do(r) //nolint:gosec // the address is configuration
	if err != nil {
		return Answer{}, Unknown(FaultOf(err), time.Time{}) // err's own text holds the URL
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return Answer{}, Unknown(FaultOf(err), time.Time{})
	}
	return Answer{response.StatusCode, response.Header, body}, nil
}

// maxRetryAfter is the longest wait that a store may ask for.
const maxRetryAfter = time.Hour

// RetryAt is when an answer's Retry-After asks to come back: at most an hour from now, and zero when it does not say.
func RetryAt(header http.Header, now time.Time) time.Time {
	return retryafter.Read(header, now, maxRetryAfter)
}

// leftForAnswer is how much time has to be left after a wait for asking again to make sense.
const leftForAnswer = 300 * time.Millisecond

// Wait waits, if there is time to ask again after that, and else returns false at once.
func Wait(ctx context.Context, wait time.Duration) bool {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < wait+leftForAnswer {
		return false
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
