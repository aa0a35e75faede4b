package hub_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/liftlog/liftlog-api/chat-service/hub"
	"github.com/liftlog/liftlog-api/chat-service/session"
	"github.com/liftlog/liftlog-api/shared/apierr"
	"github.com/liftlog/liftlog-api/shared/planner"
	"github.com/liftlog/liftlog-api/shared/programtest"
	"github.com/liftlog/liftlog-api/shared/ratelimit"
	"github.com/liftlog/liftlog-api/shared/web"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if err := goleak.Find(goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start")); code == 0 && err != nil {
		_, _ = os.Stderr.WriteString(err.Error())
		code = 1
	}
	os.Exit(code)
}

const (
	keys = "1:dGhpcnR5LXR3byBieXRlcyBvZiBhIGtleSBmb3IgdGVzdHM="
	// key is what the web app proves itself with here, and phone a buyer's own.
	key, phone = "secret-key", "RevenueCat somebody"
	webKey     = "Bearer Web " + key
	// rs ends records.
	rs        = "\x1e"
	handshake = `{"protocol":"json","version":1}` + rs
)

// script is a conversation whose answers a test makes. It keeps what is said in it.
type script[S any] struct {
	answer func(ctx context.Context, message string, yield func(S) error) error

	mu   sync.Mutex
	said []string
}

func (s *script[S]) say(message string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.said = append(s.said, message)
}

// heard is what was said so far.
func (s *script[S]) heard() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.said)
}

func (s *script[S]) Introduce(ctx context.Context, locale, weightUnit string, yield planner.Yield[S]) error {
	s.say(strings.TrimSpace("introduce " + locale + " " + weightUnit))
	return s.answer(ctx, locale, steps(yield))
}

func (s *script[S]) Send(ctx context.Context, message string, yield planner.Yield[S]) error {
	s.say("send " + message)
	return s.answer(ctx, message, steps(yield))
}

// steps turns yield into a function that takes a step.
func steps[S any](yield planner.Yield[S]) func(S) error {
	return func(step S) error { return yield(func() (S, bool) { return step, true }) }
}

func (s *script[S]) Size() (bytes int) {
	for _, message := range s.heard() {
		bytes += len(message)
	}
	return bytes
}

// begin is what makes a protocol's conversations: it is this one always.
func (s *script[S]) begin() session.Conversation[S] {
	s.say("new conversation")
	return s
}

// logged is what was logged.
type logged struct{ programtest.Log }

// lines returns the lines with that message.
func (l *logged) lines(t *testing.T, message string) (lines []map[string]any) {
	t.Helper()
	for text := range strings.Lines(l.String()) {
		var line map[string]any
		require.NoError(t, json.Unmarshal([]byte(text), &line))
		if line["msg"] == message {
			lines = append(lines, line)
		}
	}
	return lines
}

// pipes is a network in memory: with it a hub is served within a bubble of [synctest], where time costs nothing.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case p.conns <- theirs:
		return ours, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// bench is a hub that is served, with all that tests look at. It has to be made within a bubble.
type bench struct {
	hub  *hub.Hub
	log  *logged
	http *http.Client
	dial func(context.Context, string, string) (net.Conn, error)
}

// path and pathV2 are those of the hubs.
const path, pathV2 = "/ai-chat", "/ai-chat-v2"

// newBench serves both hubs, whose model is the answer. Options are changed by change.
func newBench(
	t *testing.T, answer func(context.Context, string, func(planner.Step) error) error, change ...func(*hub.Options),
) (*bench, *script[planner.Step]) {
	t.Helper()
	model := &script[planner.Step]{answer: answer}
	inWords := &script[planner.BlueprintStep]{
		answer: func(ctx context.Context, said string, yield func(planner.BlueprintStep) error) error {
			return answer(ctx, said, func(s planner.Step) error { return yield(planner.BlueprintStep{Message: s.Message}) })
		},
	}
	log := &logged{}
	o := hub.Options{
		Authorize: authorize,
		Take: func(context.Context, hub.Caller) (ratelimit.Settle, error) {
			return func(context.Context, ratelimit.Use) {}, nil
		},
		Endpoints:      []hub.Endpoint{{Path: path, Protocol: session.AIChat(model.begin)}, {Path: pathV2, Protocol: session.AIChatV2(3, inWords.begin)}},
		MaxConnections: 100,
		Log:            slog.New(slog.NewJSONHandler(log, nil)),
	}
	require.NoError(t, o.Keys.UnmarshalText([]byte(keys)))
	for _, c := range change {
		c(&o)
	}
	network := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
	b := &bench{hub: hub.New(o), log: log, dial: network.dial}
	service := web.Service{Log: o.Log}
	server := &http.Server{Handler: b.hub.Canonical(service.Handler(b.hub.Mounts()))} //nolint:gosec // a test
	transport := &http.Transport{DialContext: network.dial, DisableKeepAlives: true}
	b.http = &http.Client{Transport: transport}
	go func() { _ = server.Serve(network) }()
	t.Cleanup(func() {
		b.hub.Drain(canceled())
		transport.CloseIdleConnections()
		_ = server.Close()
	})
	return b, model
}

func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// authorize knows the web app's key and any customer of RevenueCat's but "away", whose store cannot be reached.
func authorize(_ context.Context, authorization string) (hub.Caller, error) {
	store, token, _ := strings.Cut(strings.TrimPrefix(authorization, "Bearer "), " ")
	switch {
	case strings.EqualFold(store, "Web") && token == key:
		return hub.Caller{ID: "web", Shared: true}, nil
	case store == "RevenueCat" && token == "away":
		return hub.Caller{}, apierr.Busy("The store cannot be reached.", nil)
	case store == "RevenueCat" && token != "":
		return hub.Caller{ID: "revenuecat " + token}, nil
	default:
		return hub.Caller{}, &apierr.Error{Kind: apierr.Unauthenticated, Detail: "No valid purchase."}
	}
}

// answer is that to a request.
type answer struct {
	status int
	header http.Header
	body   string
}

// request sends a request and returns the answer.
func (b *bench) request(t *testing.T, method, target, authorization string, header http.Header, body string) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://hub"+target, strings.NewReader(body))
	require.NoError(t, err)
	for name, values := range header {
		r.Header[name] = values
	}
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	response, err := b.http.Do(r)
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return answer{response.StatusCode, response.Header, string(text)}
}

// negotiation is what the client reads of an answer.
type negotiation struct {
	ConnectionID    string `json:"connectionId"`
	ConnectionToken string `json:"connectionToken"`
}

func (b *bench) negotiate(t *testing.T, query, authorization string) (n negotiation) {
	t.Helper()
	return b.negotiateAt(t, path, query, authorization)
}

func (b *bench) negotiateAt(t *testing.T, path, query, authorization string) (n negotiation) {
	t.Helper()
	answer := b.request(t, "POST", path+"/negotiate"+query, authorization, nil, "")
	require.Equal(t, http.StatusOK, answer.status, answer.body)
	require.NoError(t, json.Unmarshal([]byte(answer.body), &n))
	return n
}

// client is the other side of a connection. It keeps all that arrives.
type client struct {
	socket *websocket.Conn

	mu      sync.Mutex
	records []string
	done    chan struct{}
}

// connect opens a websocket, or returns the status and body of the refusal.
func (b *bench) connect(t *testing.T, query string, header http.Header) (c *client, status int, body string) {
	t.Helper()
	return b.connectAt(t, path+query, header)
}

// connectAt opens a websocket at a path of the test's own.
func (b *bench) connectAt(t *testing.T, target string, header http.Header) (c *client, status int, body string) {
	t.Helper()
	dialer := websocket.Dialer{NetDialContext: b.dial}
	socket, response, err := dialer.DialContext(t.Context(), "ws://hub"+target, header)
	if errors.Is(err, websocket.ErrBadHandshake) {
		text, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		return nil, response.StatusCode, string(text)
	}
	require.NoError(t, err)
	c = &client{socket: socket, done: make(chan struct{})}
	go c.read()
	t.Cleanup(func() { _ = socket.Close() })
	return c, response.StatusCode, ""
}

// open opens a websocket with a new token, and shakes hands.
func (b *bench) open(t *testing.T, authorization string) *client {
	t.Helper()
	return b.openAt(t, path, authorization)
}

// openAt does the same at one of the hubs.
func (b *bench) openAt(t *testing.T, path, authorization string) *client {
	t.Helper()
	token := b.negotiateAt(t, path, "?negotiateVersion=1", authorization).ConnectionToken
	c, status, body := b.connectAt(t, path+"?id="+token, http.Header{"Authorization": {authorization}})
	require.Equal(t, http.StatusSwitchingProtocols, status, body)
	c.send(t, handshake)
	require.Equal(t, []string{"{}"}, c.take())
	return c
}

func (c *client) read() {
	defer close(c.done)
	for {
		kind, message, err := c.socket.ReadMessage()
		var closed *websocket.CloseError
		switch {
		case errors.As(err, &closed):
			c.add(strings.Replace(fmt.Sprintf("close %d", closed.Code), "1006", "lost", 1))
			_ = c.socket.Close()
			return
		case err != nil:
			c.add("lost")
			return
		case kind != websocket.TextMessage, !bytes.HasSuffix(message, []byte(rs)):
			c.add("a message that the client rejects")
		}
		for record := range strings.SplitSeq(strings.TrimSuffix(string(message), rs), rs) {
			c.add(record)
		}
	}
}

func (c *client) add(record string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.records = append(c.records, record)
}

// send sends one websocket message of text.
func (c *client) send(t *testing.T, text string) {
	t.Helper()
	require.NoError(t, c.socket.WriteMessage(websocket.TextMessage, []byte(text)))
}

// take returns the records that came since the last call, once nothing more happens at this moment of the bubble's time.
func (c *client) take() (records []string) {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	records, c.records = c.records, nil
	return records
}

// takeSoon is like take, and includes records that wait until others are written.
func (c *client) takeSoon() []string {
	time.Sleep(100 * time.Millisecond)
	return c.take()
}
