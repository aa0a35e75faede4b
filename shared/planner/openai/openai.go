// Package openai asks a language model behind OpenAI's Chat Completions, or behind any service that speaks them.
package openai

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"net/http"
	"net/url"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/liftlog/liftlog-api/shared/config"
	"github.com/liftlog/liftlog-api/shared/planner"
)

const (
	// maxAnswer bounds the text of an answer and the input of its call, in bytes each.
	maxAnswer = 256 << 10
	// maxRetries is how often a request that was not answered is sent again.
	maxRetries = 2
	// maxPause is the longest pause before a retry. A service that asks for a longer one is not asked again.
	maxPause = 10 * time.Second
	// defaultRetry is when a person is told to try again if the service does not say.
	defaultRetry = 10 * time.Second
	// linger is how long a stream may go on after its finish reason, to say what it cost.
	linger = 2 * time.Second
	// drainTime is how long to wait for the end of a stream's body once all of its events have come.
	drainTime = 20 * time.Millisecond
)

// Limits are the time limits of a request. There is none for silence in the middle of an answer: some models think for minutes.
type Limits struct {
	Connect time.Duration // to connect, TLS handshake included
	Answer  time.Duration // for a whole answer, retries and pauses included
	Pause   time.Duration // before the first retry, at most; the second waits twice as long
}

// DefaultLimits are those that [New] uses.
var DefaultLimits = Limits{Connect: 5 * time.Second, Answer: 4 * time.Minute, Pause: time.Second}

// Client is a [planner.Model]. It is safe for concurrent use.
type Client struct {
	client    http.Client
	url       string
	model     config.Model
	limits    Limits
	transport http.RoundTripper
}

var _ planner.Model = (*Client)(nil)

// Option changes how a Client works.
type Option func(*Client)

// WithLimits replaces [DefaultLimits].
func WithLimits(l Limits) Option {
	return func(c *Client) { c.limits = l }
}

// WithTransport sends requests by this transport, which has to detect dead connections itself.
func WithTransport(t http.RoundTripper) Option {
	return func(c *Client) { c.transport = t }
}

// New returns a client of the service. It connects when it is first asked.
func New(m config.Model, options ...Option) *Client {
	c := &Client{model: m, limits: DefaultLimits}
	for _, o := range options {
		o(c)
	}
	if c.transport == nil {
		c.transport = newTransport(c.limits.Connect)
	}
	c.client = http.Client{
		Transport: c.transport,
		// A redirect would take prompts elsewhere. It is answered as the error it is.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	c.url, _ = url.JoinPath(m.BaseURL, "chat/completions") // a malformed URL fails with the first request
	return c
}

// Close closes connections that are not in use.
func (c *Client) Close() { c.client.CloseIdleConnections() }

// Answer implements [planner.Model]. Until the first piece of an answer has come, a request is sent again, twice at most, when the
// connection fails, the service reports an error that may pass, or it sends something else than an answer. Before a retry it waits
// as long as the service asks, unless that is past ctx's deadline or longer than a person would wait.
func (c *Client) Answer(ctx context.Context, r planner.Request, yield func(planner.Piece) error) (planner.Answer, planner.Usage, error) {
	text, err := c.request(r, yield != nil)
	if err != nil {
		return planner.Answer{}, planner.Usage{}, err
	}
	bounded, cancel := context.WithTimeoutCause(ctx, c.limits.Answer, errTooSlow)
	defer cancel()
	for retries := 0; ; retries++ {
		a := newAnswer(r.Shape)
		err := c.try(bounded, text, a, yield)
		var whole planner.Answer
		if err == nil {
			whole, err = a.result()
		}
		if err == nil {
			return whole, a.cost(), nil
		}
		if ctx.Err() == nil && retries < maxRetries && a.mayRetry(err) && pause(bounded, c.pauseBefore(retries, err)) {
			continue
		}
		if ctx.Err() != nil {
			return planner.Answer{}, a.cost(), fmt.Errorf("ask the model: %w", ctx.Err())
		}
		return planner.Answer{}, a.cost(), a.explain(err)
	}
}

// try sends the request once and gathers the answer in a.
func (c *Client) try(ctx context.Context, request []byte, a *answer, yield func(planner.Piece) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	accept := "application/json"
	if yield != nil {
		accept = "text/event-stream"
	}
	response, err := c.post(ctx, request, accept)
	if err == nil {
		defer func() { _ = response.Body.Close() }()
		a.heard, a.bytes = true, len(request)
		kind, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type"))
		if yield == nil || kind == "application/json" { // some do not stream
			err = readWhole(response.Body, a, yield)
		} else {
			err = readStream(response.Body, a, yield, func(after time.Duration) { time.AfterFunc(after, func() { cancel(errLingers) }) })
		}
	}
	if _, ok := errors.AsType[*yieldError](err); err != nil && !ok && context.Cause(ctx) != nil {
		return context.Cause(ctx) // it says why, which the connection's error does not
	}
	return err
}

// errLingers ends a stream that stays open although its answer has ended.
var errLingers = errors.New("the stream went on after the answer")

// readWhole reads an answer that comes as one document.
func readWhole(body io.Reader, a *answer, yield func(planner.Piece) error) error {
	text, err := io.ReadAll(io.LimitReader(body, maxBody+1))
	switch {
	case err != nil:
		return &connectionError{err}
	case len(text) > maxBody:
		return errTooLong
	}
	var c completion
	if err := json.Unmarshal(text, &c, lenient); err != nil {
		return errProtocol
	}
	piece, err := a.add(&c)
	if err != nil {
		return err
	}
	a.done = len(c.Choices) > 0
	if yield != nil && piece != (planner.Piece{}) {
		if err := yield(piece); err != nil {
			return &yieldError{err}
		}
	}
	return nil
}

// readStream reads an answer that comes as events. endSoon ends the stream after the given time.
func readStream(body io.Reader, a *answer, yield func(planner.Piece) error, endSoon func(time.Duration)) error {
	events := newEventReader(body)
	for {
		name, data, err := events.next()
		switch {
		case err != nil && (errors.Is(err, io.EOF) || a.finish != "" || a.whole()): // the answer is whole, so a connection that breaks now is no loss
			return nil
		case errors.Is(err, errTooLong):
			return err
		case err != nil:
			return &connectionError{err}
		case string(bytes.TrimSpace(data)) == "[DONE]":
			a.done = true
			endSoon(drainTime)
			_, _ = io.Copy(io.Discard, io.LimitReader(body, chunk)) // a body that was read to its end lets the connection be used again
			return nil
		}
		finished := a.finish != ""
		var c completion
		if json.Unmarshal(data, &c, lenient) != nil {
			if finished {
				continue
			}
			return errProtocol
		}
		if finished {
			a.spent(c.Usage)
			continue
		}
		if name == "error" && c.Error.Kind() == 0 {
			return newServiceError(0, bytes.Clone(data))
		}
		piece, err := a.add(&c)
		if err != nil {
			return err
		}
		if piece != (planner.Piece{}) {
			if err := yield(piece); err != nil {
				return &yieldError{err}
			}
		}
		if a.finish != "" {
			endSoon(linger)
		}
	}
}

// pauseBefore is how long to wait before the retry with that number, counted from 0.
func (c *Client) pauseBefore(retry int, err error) time.Duration {
	if service, ok := errors.AsType[*serviceError](err); ok && !service.retryAt.IsZero() {
		return time.Until(service.retryAt)
	}
	longest := c.limits.Pause << retry
	return longest/2 + rand.N(longest/2+1) //nolint:gosec // jitter needs no secret randomness
}

// pause waits, and reports whether it did: it does not when the pause is too long or ctx ends first.
func pause(ctx context.Context, length time.Duration) bool {
	if deadline, ok := ctx.Deadline(); length > maxPause || ok && time.Until(deadline) <= length {
		return false
	}
	select {
	case <-time.After(length):
		return true
	case <-ctx.Done():
		return false
	}
}
