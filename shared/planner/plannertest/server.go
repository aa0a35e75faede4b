// Package plannertest is a stand-in for OpenAI's Chat Completions, for tests, for load tests and for development without
// a key. It checks requests as strictly as the real service does and answers them like the stand-in that v1 was recorded
// with: "You said: ...", or a sample where a plan is asked for. Scripted replies come first, and can fail in many ways.
package plannertest

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxBody bounds a request.
	maxBody = 1 << 20
	// maxRecorded is how many requests are remembered, the last ones.
	maxRecorded = 100
)

// Server answers POST /v1/chat/completions. It is safe for concurrent use.
type Server struct {
	key       string
	pace      time.Duration
	sizes     []int
	note      string
	plainOnly bool
	refused   []string

	mux    http.ServeMux
	http   *http.Server // nil unless started
	url    string
	active atomic.Int64
	left   atomic.Int64
	count  atomic.Int64

	mu       sync.Mutex
	requests []Request
	script   []Reply
}

// Option changes how a Server works.
type Option func(*Server)

// WithKey refuses requests without this key as bearer token. Without this option every key is good, and so is none at all.
func WithKey(key string) Option {
	return func(s *Server) { s.key = key }
}

// WithPace waits this long before each piece of a stream, and makes pieces of this many characters.
func WithPace(wait time.Duration, size int) Option {
	return func(s *Server) { s.pace, s.sizes = wait, []int{max(1, size)} }
}

// WithNote puts the text in front of the description of every sample, so that nobody takes one for a model's work.
func WithNote(text string) Option {
	return func(s *Server) { s.note = text }
}

// WithPlainProtocol refuses, as some services do, what not every service knows: the newer members of requests, and two
// messages in a row by one speaker.
func WithPlainProtocol() Option {
	return func(s *Server) { s.plainOnly = true }
}

// WithRefused refuses requests with any of these members, as services do that do not know them.
func WithRefused(members ...string) Option {
	return func(s *Server) { s.refused = members }
}

// The recordings' pace: the stand-in that v1 was recorded with waited this long before each piece, and made pieces of these
// lengths, over and over.
const recordedPace = 2 * time.Millisecond

var recordedSizes = []int{1, 5, 3, 7, 2, 11, 4, 6}

// New returns a handler that is ready to serve.
func New(options ...Option) *Server {
	s := &Server{pace: recordedPace, sizes: recordedSizes}
	for _, o := range options {
		o(s)
	}
	s.mux.HandleFunc("POST /v1/chat/completions", s.complete)
	return s
}

// Start serves on a free port of the loopback interface until Close.
func Start(options ...Option) (*Server, error) {
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start the stand-in for the model: %w", err)
	}
	s := New(options...)
	s.url = "http://" + listener.Addr().String() + "/v1"
	s.http = &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = s.http.Serve(listener) }() // it ends by Close
	return s, nil
}

// URL is the base URL of a server that was started, as OPENAI_BASE_URL takes it.
func (s *Server) URL() string { return s.url }

// Close ends a server that was started, and the answers under way.
func (s *Server) Close() {
	if s.http != nil {
		_ = s.http.Close()
	}
}

// Script adds replies that are given before the usual ones, each once, in this order. A request that is refused takes
// none.
func (s *Server) Script(replies ...Reply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.script = append(s.script, replies...)
}

// Requests returns the requests so far that were not refused, at most the last hundred.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// Active is the number of requests in progress.
func (s *Server) Active() int { return int(s.active.Load()) }

// Left is the number of requests so far whose clients went away before the end.
func (s *Server) Left() int { return int(s.left.Load()) }

// Count is the number of requests so far, refused ones included.
func (s *Server) Count() int { return int(s.count.Load()) }

// ServeHTTP answers a request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.count.Add(1)
	s.active.Add(1)
	defer func() {
		if r.Context().Err() != nil {
			s.left.Add(1)
		}
		s.active.Add(-1)
	}()
	s.mux.ServeHTTP(w, r)
}

// complete answers a chat completion.
func (s *Server) complete(w http.ResponseWriter, r *http.Request) {
	if s.key != "" && r.Header.Get("Authorization") != "Bearer "+s.key {
		refuse(w, http.StatusUnauthorized, "invalid_api_key", "Incorrect API key provided.")
		return
	}
	q, err := read(http.MaxBytesReader(w, r.Body, maxBody))
	if err == nil && s.plainOnly {
		err = q.checkPlain()
	}
	if err == nil {
		err = q.checkRefused(s.refused)
	}
	if err != nil {
		refuse(w, http.StatusBadRequest, "", err.Error())
		return
	}
	reply, scripted := s.record(q)
	if !scripted {
		reply = s.usual(q)
	}
	s.send(w, r, q, reply)
}

// record remembers the request and takes the next reply of the script.
func (s *Server) record(q Request) (reply Reply, scripted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.requests) == maxRecorded {
		s.requests = slices.Delete(s.requests, 0, 1)
	}
	s.requests = append(s.requests, q)
	if len(s.script) == 0 {
		return Reply{}, false
	}
	reply, s.script = s.script[0], s.script[1:]
	return reply, true
}
