package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	idleTime      = 35 * time.Second // two rounds of pings
	conversations = 500
	tokenEvery    = 20 * time.Millisecond
	tokens        = 500
	coalescing    = 50 * time.Millisecond // between two steps of an answer
	separator     = "\x1e"
)

// chat measures the chat service: idle connections, and conversations that stream at once.
func (b *bench) chat(ctx context.Context) error {
	for _, n := range []int{900, 10_000} {
		if err := b.idle(ctx, n); err != nil {
			return err
		}
	}
	return b.streams(ctx)
}

func (b *bench) serveChat(ctx context.Context, model string) (*process, error) {
	return b.launch(ctx, b.chatService, "OPENAI_BASE_URL="+model+"/v1", "WEB_AUTH_API_KEY="+webKey, "CHAT_MAX_CONNECTIONS=60000",
		"CHAT_TOKEN_KEY="+credentialKey, "RATE_LIMIT_CHAT_PER_DAY=10000", "RATE_LIMIT_WEB_CHAT_PER_DAY=10000",
		"K_SERVICE=chat-service", "LOG_LEVEL=ERROR") // on Cloud Run clients are known by a header, so that each can have an address
}

// hub is one of the two: where it is, and what is sent and received there.
type hub struct{ path, call, before string }

var hubs = []hub{
	{"/ai-chat", `{"type":1,"invocationId":"0","target":"SendMessage","arguments":["hello"]}`, `"arguments":[{"message":"`},
	{
		"/ai-chat-v2", `{"type":1,"invocationId":"0","target":"SendMessage","arguments":["hello",3]}`,
		`"arguments":[{"type":"messageResponse","message":"`,
	},
}

// socket is a client that takes as little of this machine as it can: a websocket by hand.
type socket struct {
	net.Conn
	in  *bufio.Reader
	hub hub
}

// addresses is how many clients there have been.
var addresses atomic.Uint32

// open opens a websocket from an address of its own and shakes hands.
func open(ctx context.Context, base string, at hub) (*socket, error) {
	address := netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, 10<<24+addresses.Add(1))))
	host := strings.TrimPrefix(base, "http://")
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", host)
	if err != nil {
		return nil, err
	}
	s := &socket{conn, bufio.NewReaderSize(conn, 1<<10), at}
	_, err = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Web %s\r\nX-Forwarded-For: %s, 35.0.0.1\r\nConnection: Upgrade\r\n"+
		"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n", at.path, host, webKey, address)
	if err != nil {
		return nil, err
	}
	answer, err := http.ReadResponse(s.in, nil)
	if err != nil {
		return nil, err
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusSwitchingProtocols {
		return nil, fmt.Errorf("the websocket was answered by %s", answer.Status)
	}
	if err := s.send(`{"protocol":"json","version":1}`); err != nil {
		return nil, err
	}
	if err := s.send(`{"type":6}`); err != nil {
		return nil, err
	}
	_, err = s.receive()
	return s, err
}

// send sends a record of at most 124 bytes, in a frame whose mask changes nothing.
func (s *socket) send(record string) error {
	_, err := s.Write(append([]byte{0x81, 0x80 | byte(len(record)+1), 0, 0, 0, 0}, record+separator...)) //nolint:gosec // records are short
	return err
}

// receive returns the next message.
func (s *socket) receive() ([]byte, error) {
	var head [2]byte
	if _, err := io.ReadFull(s.in, head[:]); err != nil {
		return nil, err
	}
	size := uint64(head[1])
	switch size {
	case 126:
		var length [2]byte
		if _, err := io.ReadFull(s.in, length[:]); err != nil {
			return nil, err
		}
		size = uint64(binary.BigEndian.Uint16(length[:]))
	case 127:
		var length [8]byte
		if _, err := io.ReadFull(s.in, length[:]); err != nil {
			return nil, err
		}
		size = binary.BigEndian.Uint64(length[:])
	}
	message := make([]byte, size)
	_, err := io.ReadFull(s.in, message)
	return message, err
}

// openMany opens n connections, half of them at each hub, some at a time.
func openMany(ctx context.Context, base string, n int) ([]*socket, error) {
	all := make([]*socket, n)
	var group errgroup.Group
	group.SetLimit(50)
	for i := range all {
		group.Go(func() (err error) {
			all[i], err = open(ctx, base, hubs[i%len(hubs)])
			return err
		})
	}
	return all, group.Wait()
}

// idle measures what connections hold and cost on which nothing happens but pings.
func (b *bench) idle(ctx context.Context, n int) error {
	p, err := b.serveChat(ctx, "http://127.0.0.1:1")
	if err != nil {
		return err
	}
	defer p.stop()
	first, err := openMany(ctx, p.base, len(hubs)) // what the first ones take is everybody's
	if err != nil {
		return err
	}
	before, err := p.memory("VmRSS")
	if err != nil {
		return err
	}
	all, err := openMany(ctx, p.base, n)
	if err != nil {
		return err
	}
	var pings, lost atomic.Int64
	for _, s := range all {
		go func() {
			for {
				message, err := s.receive()
				if err != nil {
					lost.Add(1)
					return
				}
				pings.Add(int64(bytes.Count(message, []byte(`{"type":6}`))))
			}
		}()
	}
	began, err := p.cpu()
	if err != nil {
		return err
	}
	time.Sleep(idleTime)
	ended, err := p.cpu()
	if err != nil {
		return err
	}
	after, err := p.memory("VmRSS")
	fmt.Printf("chat, %d idle connections: %.1f KiB each, %.1f %% of a core, %.2f pings each in %v, %d lost\n", n,
		float64(after-before)/1024/float64(n), 100*(ended-began).Seconds()/idleTime.Seconds(), float64(pings.Load())/float64(n), idleTime, lost.Load())
	for _, s := range append(all, first...) {
		_ = s.Close()
	}
	return err
}

// clock stamps tokens: each is the time since its beginning, in base 36 of tenths of milliseconds.
type clock struct{ began time.Time }

func (c clock) stamp() string {
	return strconv.FormatInt(time.Since(c.began).Microseconds()/100, 36)
}

func (c clock) since(stamp string) (time.Duration, error) {
	at, err := strconv.ParseInt(stamp, 36, 64)
	return time.Since(c.began) - time.Duration(at)*100*time.Microsecond, err
}

// model writes stamped tokens, fifty a second, as an object or as plain text where tools are offered.
func (c clock) model(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	before, after := `{"Response":{"type":"messageResponse","Message":"`, `"}}`
	if bytes.Contains(body, []byte(`"tools"`)) {
		before, after = "", ""
	}
	w.Header().Set("Content-Type", "text/event-stream")
	control := http.NewResponseController(w)
	say := func(content, finish string) bool {
		if finish != "null" {
			finish = strconv.Quote(finish)
		}
		_, err := fmt.Fprintf(w, `data: {"id":"x","object":"chat.completion.chunk","model":"x",`+
			`"choices":[{"index":0,"delta":{"content":%s},"finish_reason":%s}]}`+"\n\n",
			strconv.Quote(content), finish)
		return err == nil && control.Flush() == nil
	}
	say(before, "null")
	ticker := time.NewTicker(tokenEvery)
	defer ticker.Stop()
	for range tokens {
		select {
		case <-ticker.C:
		case <-r.Context().Done():
			return
		}
		if !say(c.stamp()+" ", "null") {
			return
		}
	}
	say(after, "stop")
	_, _ = io.WriteString(w, "data: [DONE]\n\n")
}

// streams measures how late tokens are, from the model to the client, when many conversations stream at once.
func (b *bench) streams(ctx context.Context) error {
	c := clock{time.Now()}
	model := httptest.NewServer(http.HandlerFunc(c.model))
	defer model.Close()
	p, err := b.serveChat(ctx, model.URL)
	if err != nil {
		return err
	}
	defer p.stop()
	all, err := openMany(ctx, p.base, conversations)
	if err != nil {
		return err
	}
	began, err := p.cpu()
	if err != nil {
		return err
	}
	start := time.Now()
	var mu sync.Mutex
	var delays []time.Duration
	var group errgroup.Group
	for i, s := range all {
		group.Go(func() error {
			time.Sleep(time.Duration(i) * tokenEvery * 25 / conversations) // they do not begin as one
			mine, err := s.talk(c)
			mu.Lock()
			defer mu.Unlock()
			delays = append(delays, mine...)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	ended, err := p.cpu()
	if err != nil {
		return err
	}
	peak, err := p.memory("VmHWM")
	slices.Sort(delays)
	at := func(part float64) float64 {
		return float64(delays[int(part*float64(len(delays)-1))].Microseconds()) / 1000
	}
	fmt.Printf("chat, %d conversations at %.0f tokens a second: %d tokens late by %.0f ms (p50), %.0f ms (p99), "+
		"of which up to %d ms are the coalescing; "+
		"%.2f cores, %d MiB at most\n", conversations, time.Second.Seconds()/tokenEvery.Seconds(), len(delays), at(.5), at(.99), coalescing.Milliseconds(),
		(ended-began).Seconds()/time.Since(start).Seconds(), peak>>20)
	return err
}

// talk has one message answered, and returns how late each token of the answer was.
func (s *socket) talk(c clock) (delays []time.Duration, err error) {
	if err := s.send(s.hub.call); err != nil {
		return nil, err
	}
	seen := 0
	for {
		message, err := s.receive()
		if err != nil {
			return nil, err
		}
		for record := range strings.SplitSeq(string(message), separator) {
			_, text, found := strings.Cut(record, s.hub.before)
			text, _, _ = strings.Cut(text, `"`)
			switch {
			case found && len(text) > seen:
				for _, stamp := range strings.Fields(text[seen:]) {
					late, err := c.since(stamp)
					if err != nil {
						return nil, err
					}
					delays = append(delays, late)
				}
				seen = len(text)
			case strings.HasPrefix(record, `{"type":3`):
				if !strings.Contains(record, `"result":null`) || len(delays) != tokens {
					return nil, fmt.Errorf("an answer of %d tokens ended by %s", len(delays), record)
				}
				return delays, nil
			}
		}
	}
}
