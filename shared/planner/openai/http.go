package openai

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/liftlog/liftlog-api/shared/retryafter"
)

const (
	// maxUnread bounds what is read of an answer at a time, in bytes: all of one, or an event of a stream.
	maxUnread = 1 << 20
	// maxError bounds what is read of an error, in bytes.
	maxError = 64 << 10
	// maxIdle is how many connections are kept for the next streams, where each needs one of its own.
	maxIdle = 512
	// furthest is the latest time that a service may ask us to come back at.
	furthest = 24 * time.Hour
)

// attempt is one request and its answer, as far as HTTP is concerned. It belongs to one goroutine.
type attempt struct {
	cancel   context.CancelCauseFunc
	timer    *time.Timer   // ends the attempt while something is waited for; nil for no limit
	patience time.Duration // how long it waits
	unread   int           // how many bytes may be read
	began    bool          // something of the answer has come
	body     *body         // nil until there is one
}

type attemptKey struct{}

// newAttempt returns an attempt that must be stopped, and the context of its request.
func newAttempt(ctx context.Context) (context.Context, *attempt) {
	ctx, cancel := context.WithCancelCause(ctx)
	a := &attempt{cancel: cancel, unread: maxUnread}
	return context.WithValue(ctx, attemptKey{}, a), a
}

// stop ends the attempt, if it has not ended.
func (a *attempt) stop() {
	a.pauseTimer()
	a.cancel(nil)
}

// watch ends the attempt when the headers, or a byte after another, are not there within that time.
func (a *attempt) watch(patience time.Duration) {
	a.patience = patience
	a.timer = time.AfterFunc(patience, func() { a.cancel(errSilent) })
}

// pauseTimer stops the timer until the next read.
func (a *attempt) pauseTimer() {
	if a.timer != nil {
		a.timer.Stop()
	}
}

// drain reads the end of a body that should hold no more, for only then its connection serves again.
func (a *attempt) drain() {
	a.patience, a.unread = drainTime, 1
	_, _ = a.body.Read(make([]byte, 1)) // without the end, the connection is given up
}

// body is the body of an answer to an attempt.
type body struct {
	io.ReadCloser

	attempt *attempt
}

func (b *body) Read(p []byte) (int, error) {
	a := b.attempt
	if a.unread <= 0 {
		return 0, errTooLong
	}
	if a.timer != nil {
		a.timer.Reset(a.patience)
		defer a.timer.Stop()
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), a.unread)])
	a.unread -= n
	a.began = a.began || n > 0
	if err != nil && !errors.Is(err, io.EOF) {
		err = &connectionError{err}
	}
	return n, err
}

// connectionError is a connection that failed.
type connectionError struct{ err error }

func (e *connectionError) Error() string { return e.err.Error() }
func (e *connectionError) Unwrap() error { return e.err }

// statusError is an answer of another status than 200. It holds nothing of the answer but a short code.
type statusError struct {
	status  int
	code    string
	retryAt time.Time // zero when the service does not say
}

func (e *statusError) Error() string {
	if e.code == "" {
		return fmt.Sprintf("status %d", e.status)
	}
	return fmt.Sprintf("status %d, code %s", e.status, e.code)
}

// mayPass reports whether the same request may be answered otherwise in a moment.
func (e *statusError) mayPass() bool {
	switch {
	case e.code == "insufficient_quota" || e.code == "credit_balance_exhausted":
		return false
	case e.status == http.StatusRequestTimeout || e.status == http.StatusConflict || e.status == http.StatusTooManyRequests:
		return true
	}
	return e.status >= http.StatusInternalServerError
}

// doer sends the library's requests and looks after what the library does not: it adds what the library leaves out,
// bounds what is read, and keeps the headers of errors.
type doer struct{ client http.Client }

func newDoer(l Limits) *doer {
	return &doer{http.Client{
		Transport: &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			DialContext:         (&net.Dialer{Timeout: l.Connect, KeepAlive: 30 * time.Second}).DialContext,
			TLSHandshakeTimeout: l.Connect,
			MaxIdleConnsPerHost: maxIdle,
			IdleConnTimeout:     90 * time.Second,
			ForceAttemptHTTP2:   true,
			HTTP2:               &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 10 * time.Second},
			DisableCompression:  true, // pieces come at once, and bounds mean what they say
		},
		// A redirect would take prompts elsewhere. It is answered as the error it is.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Do sends a request of an attempt. Its errors are a [connectionError] or a [statusError].
func (d *doer) Do(r *http.Request) (*http.Response, error) {
	a, _ := r.Context().Value(attemptKey{}).(*attempt)
	if err := complete(r); err != nil {
		return nil, err
	}
	response, err := d.client.Do(r) //nolint:gosec // its URL is the configuration's
	if err != nil {
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err // without the URL
		}
		return nil, &connectionError{err}
	}
	if response.StatusCode != http.StatusOK {
		defer func() { _ = response.Body.Close() }()
		return nil, readError(response)
	}
	a.pauseTimer()
	a.body = &body{response.Body, a}
	response.Body = a.body
	return response, nil
}

// complete puts into the body what the library leaves out because it is false or empty. As text, that cannot be
// mistaken: inside strings quotes are escaped.
func complete(r *http.Request) error {
	text, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	text = bytes.Replace(text, []byte(`{`), []byte(`{"store":false,`), 1)
	for _, role := range []string{"system", "user", "assistant"} {
		text = bytes.ReplaceAll(text, []byte(`{"role":"`+role+`"}`), []byte(`{"role":"`+role+`","content":""}`))
	}
	r.ContentLength = int64(len(text))
	r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text)), nil }
	r.Body, err = r.GetBody()
	return err
}

// codeForm is what a code looks like. Anything else might be text, and is not logged.
var codeForm = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}$`)

// readError reads an answer that is an error.
func readError(r *http.Response) *statusError {
	e := &statusError{status: r.StatusCode, retryAt: retryafter.Read(r.Header, time.Now(), furthest)}
	text, _ := io.ReadAll(io.LimitReader(r.Body, maxError)) // what did not come is not missed
	var content struct {
		Error struct {
			Code any    `json:"code"`
			Type string `json:"type"`
		} `json:"error"`
	}
	_ = json.Unmarshal(text, &content) // it may be anything
	code, _ := content.Error.Code.(string)
	for _, c := range []string{code, content.Error.Type} {
		if e.code == "" && codeForm.MatchString(c) {
			e.code = c
		}
	}
	return e
}
