package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"sync"
)

// said is what a service said when it refused a request.
type said struct {
	status int    // 0: nothing answered
	text   string // its own words, which are about a request of this program's
}

// listener sends requests and keeps what the service says when it refuses one. It is for this program alone, because such words
// may quote what people wrote.
type listener struct {
	transport *http.Transport

	mu   sync.Mutex
	last *said // of the newest request; nil: it was taken
}

func newListener() *listener {
	transport, _ := http.DefaultTransport.(*http.Transport) // it is one
	return &listener{transport: transport.Clone()}
}

// refusal is what the service said to the newest request, or nil if it took it.
func (l *listener) refusal() *said {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

// CloseIdleConnections closes connections that are not in use.
func (l *listener) CloseIdleConnections() { l.transport.CloseIdleConnections() }

// RoundTrip sends a request.
func (l *listener) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := l.transport.RoundTrip(r)
	var heard *said
	switch {
	case err != nil:
		heard = &said{}
	case response.StatusCode != http.StatusOK:
		const longest = 64 << 10
		text, _ := io.ReadAll(io.LimitReader(response.Body, longest))
		_ = response.Body.Close()
		response.Body = io.NopCloser(bytes.NewReader(text))
		heard = &said{response.StatusCode, words(text)}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = heard
	return response, err
}

// words are the message of an error, or the beginning of a body that is not an error as services write it.
func words(body []byte) string {
	var content struct {
		Error   json.RawMessage `json:"error"`
		Message string          `json:"message"`
	}
	text := string(body)
	if json.Unmarshal(body, &content) == nil {
		var inner struct {
			Message string `json:"message"`
		}
		switch {
		case json.Unmarshal(content.Error, &inner) == nil && inner.Message != "":
			text = inner.Message
		case content.Message != "":
			text = content.Message
		}
	}
	const longest = 400
	if runes := []rune(text); len(runes) > longest {
		text = string(runes[:longest]) + "…"
	}
	return text
}
