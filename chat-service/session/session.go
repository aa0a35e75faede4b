// Package session holds one connection of the chat and the conversation on it. One goroutine reads; whoever has something
// to say leaves it in the session, and a goroutine writes as long as there is something to write. An idle session is one
// goroutine and a few hundred bytes. Nobody waits for the model, and nobody but the reader for a slow client.
package session

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"golang.org/x/text/encoding"

	"github.com/liftlog/liftlog-api/chat-service/signalr"
	"github.com/liftlog/liftlog-api/shared/logging"
	"github.com/liftlog/liftlog-api/shared/ratelimit"
)

// The times of a session. Those that say so are v1's.
const (
	pingEvery        = 15 * time.Second  // v1's; the client gives up after 30 s of silence
	clientTimeout    = 120 * time.Second // v1's; armed by the client's first ping
	handshakeTimeout = 60 * time.Second  // v1's
	writeTimeout     = 10 * time.Second  // v1's; a client who takes nothing for so long is dropped
	closeTimeout     = 5 * time.Second   // v1's; how long a client may take to close after it was told to
	clientPatience   = 30 * time.Second  // the client's, for silence of ours; it pings every 15 s
	probeTimeout     = time.Second       // how long a client may take to answer a ping of the websocket's
)

// maxBacklog is how many bytes may wait to be written before the session reads no more calls.
const maxBacklog = 64 << 10

// Options are what sessions are made of. All of them are required.
type Options struct {
	Protocol Protocol
	// Take lets the client ask the model once more, or fails as [ratelimit.Limiter.Take] does.
	Take func(context.Context) (ratelimit.Settle, error)
	// Resume returns the conversation that an earlier connection of the client's left, which is this session's from then on, or nil.
	// It may wait for a second.
	Resume func(context.Context) Conversation[any]
	// Forget drops what Resume would return. It returns at once.
	Forget func()
	Log    *slog.Logger
}

// Session is one connection. It is safe for concurrent use.
type Session struct {
	socket *websocket.Conn
	o      Options
	since  time.Time
	work   sync.WaitGroup // the writer and the answers

	mu      sync.Mutex
	out     *bytes.Buffer // what waits to be written; nil: nothing
	room    sync.Cond     // tells the reader that the backlog went, or that there is no point in waiting
	writing bool

	conversation Conversation[any]
	silentSince  time.Time // when the last conversation ended, or the session began
	begun        bool      // something was said, or forgotten: what an earlier connection left is of no interest any more
	running      *call
	waiting      []*call     // in order
	owed         []string    // the ids of calls that a restart broke off
	settling     *time.Timer // until they are completed

	probe chan struct{} // closed when the client answers a ping; nil: none is under way

	shaken    bool      // the handshake is done
	pingAt    time.Time // when to ping next
	heardAt   time.Time // when the last record came; zero until the client has pinged
	quietEnd  time.Time // from when on the session ends as soon as no answer runs
	latestEnd time.Time // when it ends whether or not one does
	ended     string    // how it ended, for the log; empty: it goes on
	code      int       // with which the websocket is closed
	cutAt     time.Time // when an ended session stops waiting for the client

	calls, records, bytesIn, bytesOut int64
}

// New makes a session of a connection that was just upgraded. It has to be served, ticked about once a second, and ends by
// itself in the first quiet moment after quietEnd, or at latestEnd.
func New(socket *websocket.Conn, o Options, quietEnd, latestEnd time.Time) *Session {
	now := time.Now()
	s := &Session{
		socket: socket, o: o, since: now, silentSince: now, quietEnd: quietEnd, latestEnd: latestEnd, code: websocket.CloseNormalClosure,
	}
	s.room.L = &s.mu
	socket.SetPongHandler(s.pong)
	return s
}

// Serve reads until the connection is over and returns when nothing of it is left, neither goroutine nor socket. If it was lost, and
// neither broke the rules nor was closed by its client, what was said is returned for another one to go on with.
func (s *Session) Serve() (left Conversation[any]) {
	how := s.read()
	s.mu.Lock()
	s.end(how, "")
	s.mu.Unlock()
	s.work.Wait()
	_ = s.socket.Close()
	s.o.Log.LogAttrs(context.Background(), slog.LevelInfo, "connection",
		slog.String("ended", s.ended),
		slog.Int64("durationMs", time.Since(s.since).Milliseconds()),
		slog.Int64("calls", s.calls),
		slog.Int64("records", s.records),
		slog.Int64("bytesIn", s.bytesIn),
		slog.Int64("bytesOut", s.bytesOut),
	)
	switch s.ended {
	case endLost, endSlow, endSilent, endGivenUp, endRetired:
		return s.conversation
	default:
		return nil
	}
}

// The ends after which another connection may go on with the conversation.
const (
	endLost    = "lost"
	endSlow    = "slow client"    // it took nothing for writeTimeout
	endSilent  = "client timeout" // it said nothing for clientTimeout
	endGivenUp = "given up"       // it closed the websocket after it had heard nothing for a while
	endRetired = "retired"
)

// Other ends.
const (
	endClosed = "closed by client" // who meant to
	endCut    = "cut"              // since it took too long to end by itself
)

// Retire moves the session's end: it is over as soon as no answer runs, and at latest at that time.
func (s *Session) Retire(latest time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.quietEnd = time.Time{}
	if latest.Before(s.latestEnd) {
		s.latestEnd = latest
	}
	s.tick(time.Now())
}

// Cut ends the connection without a word.
func (s *Session) Cut() { s.cut(endCut) }

func (s *Session) cut(how string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end(how, "")
	_ = s.socket.Close()
}

// SilentSince returns since when there has been no conversation, if there is none.
func (s *Session) SilentSince() (since time.Time, silent bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.silentSince, s.conversation == nil && s.running == nil
}

// Probe has the client answer a ping, and ends the connection as lost when nothing comes for a second: a phone that changed its
// network never says so. It reports whether the connection goes on, which it does as well when ctx ends before.
func (s *Session) Probe(ctx context.Context) bool {
	s.mu.Lock()
	if s.probe == nil {
		s.probe = make(chan struct{})
	}
	answered := s.probe
	s.mu.Unlock()
	deadline := time.NewTimer(probeTimeout)
	defer deadline.Stop()
	_ = s.socket.WriteControl(websocket.PingMessage, nil, time.Now().Add(probeTimeout)) // whether it went out shows below
	select {
	case <-answered:
		return true
	case <-ctx.Done():
		return true
	case <-deadline.C:
		s.cut(endLost)
		return false
	}
}

// pong takes the answer to a ping.
func (s *Session) pong(string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.probe != nil {
		close(s.probe)
		s.probe = nil
	}
	return nil
}

// Tick does what is due at that time: pings, time limits and the session's end. It never waits for the client.
func (s *Session) Tick(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tick(now)
}

func (s *Session) tick(now time.Time) {
	switch {
	case s.ended != "":
		if !now.Before(s.cutAt) {
			_ = s.socket.Close()
		}
	case !s.shaken && now.Sub(s.since) >= handshakeTimeout:
		s.refuse("handshake timeout", signalr.HandshakeCanceled)
	case !s.heardAt.IsZero() && now.Sub(s.heardAt) >= clientTimeout:
		s.end(endSilent, signalr.Rejected)
	case s.running == nil && now.After(s.quietEnd), !now.Before(s.latestEnd):
		s.cutOff()
		s.end(endRetired, signalr.Leaving)
	case s.shaken && !now.Before(s.pingAt):
		s.pingAt = s.pingAt.Add(pingEvery)
		signalr.WritePing(s.queue())
	}
}

// chunks holds the memory into which the bytes of a message are read while it comes in.
var chunks = sync.Pool{New: func() any { return new([4 << 10]byte) }}

// read takes records until the connection is over, and returns how it ended if nobody has said so yet. When the session
// was ended on this side it reads on, for the client's closing frame: to close a socket with something unread in it
// takes back what was written last.
func (s *Session) read() (how string) {
	defer s.contain(context.Background())
	var splitter signalr.Splitter
	for {
		kind, message, err := s.socket.NextReader()
		if err == nil {
			err = s.readMessage(message, kind == websocket.TextMessage, &splitter)
		}
		var closed *websocket.CloseError
		switch {
		case err == nil:
		case !errors.As(err, &closed) || closed.Code == websocket.CloseAbnormalClosure:
			return endLost
		case s.missesPings():
			return endGivenUp
		default:
			return endClosed
		}
	}
}

// missesPings reports whether the client's pings have been missing for so long that it must have lost the connection, which it
// closed when it noticed.
func (s *Session) missesPings() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.heardAt.IsZero() && time.Since(s.heardAt) >= clientPatience
}

// readMessage takes what the message holds. Its boundaries mean nothing, and whether it is a text or a binary one no more than
// that a text has to be UTF-8, as RFC 6455 demands (8.1).
func (s *Session) readMessage(message io.Reader, text bool, splitter *signalr.Splitter) error {
	chunk, _ := chunks.Get().(*[4 << 10]byte)
	defer chunks.Put(chunk)
	begun := 0 // bytes of a character that goes on in the next chunk
	for {
		n, err := message.Read(chunk[begun:])
		part, rest := chunk[:begun+n], chunk[:0]
		if text {
			_, whole, invalid := encoding.UTF8Validator.Transform(part, part, errors.Is(err, io.EOF))
			if errors.Is(invalid, encoding.ErrInvalidUTF8) {
				s.refuseText()
				whole = len(part)
			}
			part, rest = part[:whole], part[whole:]
		}
		if len(part) > 0 {
			var taken sync.WaitGroup
			taken.Go(func() { s.take(part, splitter) }) // in another goroutine, because the reader's stack would keep the size that this takes
			taken.Wait()
		}
		begun = copy(chunk[:], rest)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// refuseText ends the session for a text message that is not UTF-8.
func (s *Session) refuseText() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended == "" {
		s.code = websocket.CloseInvalidFramePayloadData
	}
	s.end("not UTF-8", "")
}

// take acts on the bytes that came in.
func (s *Session) take(chunk []byte, splitter *signalr.Splitter) {
	defer s.contain(context.Background())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bytesIn += int64(len(chunk))
	if s.ended != "" {
		return
	}
	if err := splitter.Split(chunk, s.record); err == nil || s.ended != "" {
		return
	}
	if s.shaken {
		s.end("protocol error", signalr.Rejected)
	} else {
		s.refuse("handshake refused", signalr.HandshakeCanceled)
	}
}

// errEnded stops the splitter when a record has ended the session.
var errEnded = errors.New("the session has ended")

// record acts on one record. An error ends the session.
func (s *Session) record(record []byte) error {
	s.records++
	for s.out != nil && s.out.Len() > maxBacklog && s.ended == "" {
		s.room.Wait()
	}
	switch {
	case s.ended != "":
	case !s.shaken:
		s.handshake(record)
	default:
		m, err := signalr.Parse(record)
		if err != nil {
			return err
		}
		s.receive(m)
	}
	if s.ended != "" {
		return errEnded
	}
	return nil
}

func (s *Session) handshake(record []byte) {
	if refusal := signalr.Handshake(record); refusal != "" {
		s.refuse("handshake refused", refusal)
		return
	}
	signalr.WriteHandshake(s.queue(), "")
	s.shaken = true
	s.pingAt = time.Now().Add(pingEvery)
}

// refuse ends a session whose handshake failed: with its own record instead of a farewell.
func (s *Session) refuse(how, refusal string) {
	signalr.WriteHandshake(s.queue(), refusal)
	s.end(how, "")
}

// receive acts on a message of a client that has shaken hands. It ignores types that are not in use here or not known.
func (s *Session) receive(m signalr.Message) {
	if m.Type == signalr.Ping || !s.heardAt.IsZero() {
		s.heardAt = time.Now()
	}
	switch m.Type {
	case signalr.Invocation, signalr.StreamInvocation:
		s.calls++
		s.invoke(m)
	case signalr.Close:
		s.end(endClosed, signalr.Goodbye)
	case signalr.Ping, signalr.StreamItem, signalr.Completion, signalr.CancelInvocation, signalr.Ack, signalr.Sequence:
	}
}

// end ends the session, once: nothing comes after the farewell but the websocket's closing frame, and the answer is
// broken off.
func (s *Session) end(how string, farewell signalr.Farewell) {
	if s.ended != "" {
		return
	}
	if farewell != "" && s.shaken { // before the handshake the client takes no records
		_, _ = s.queue().WriteString(string(farewell))
	}
	s.wake()
	s.ended, s.cutAt = how, time.Now().Add(closeTimeout)
	s.waiting, s.owed = nil, nil
	s.settle()
	if s.running != nil {
		s.running.cancel()
	}
	if how == endClosed {
		s.forget()
	}
	s.room.Broadcast()
}

// buffers holds the memory of what waits to be written.
var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// maxKeptBuffer is the size above which that memory is not kept for the next one.
const maxKeptBuffer = 64 << 10

// queue returns where to append what is to be written next, until the session's lock is given back. What is appended to an
// ended session goes nowhere.
func (s *Session) queue() *bytes.Buffer {
	if s.ended != "" {
		return new(bytes.Buffer)
	}
	if s.out == nil {
		s.out, _ = buffers.Get().(*bytes.Buffer)
		s.out.Reset()
	}
	s.wake()
	return s.out
}

// wake starts the writer unless it is at work.
func (s *Session) wake() {
	if !s.writing && s.ended == "" {
		s.writing = true
		s.work.Go(s.write)
	}
}

// write writes until there is nothing left, and closes the websocket behind the last words of an ended session.
func (s *Session) write() {
	defer s.contain(context.Background())
	for {
		out, last, code := s.next()
		if out != nil {
			_ = s.socket.SetWriteDeadline(time.Now().Add(writeTimeout))
			err := s.socket.WriteMessage(websocket.TextMessage, out.Bytes())
			s.written(out, err)
		}
		if last {
			farewell := websocket.FormatCloseMessage(code, "")
			_ = s.socket.WriteControl(websocket.CloseMessage, farewell, time.Now().Add(writeTimeout)) // the client may have gone
			return
		}
		if out == nil {
			return
		}
	}
}

// next returns what to write now, and whether nothing will come after it but the websocket's end, with that code.
func (s *Session) next() (out *bytes.Buffer, last bool, code int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out, s.out = s.out, nil
	s.writing = out != nil
	return out, s.ended != "", s.code
}

func (s *Session) written(out *bytes.Buffer, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bytesOut += int64(out.Len())
	if out.Cap() <= maxKeptBuffer {
		buffers.Put(out)
	}
	if err != nil {
		how := endLost
		if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
			how = endSlow
		}
		s.end(how, "")
		_ = s.socket.Close()
	}
	s.room.Broadcast()
}

// contain keeps a panic from leaving the connection's goroutine. It ends the connection.
func (s *Session) contain(ctx context.Context) {
	v := recover()
	if v == nil {
		return
	}
	s.o.Log.LogAttrs(context.WithoutCancel(ctx), slog.LevelError, logging.PanicMessage(v))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end("panic", signalr.Rejected)
}
