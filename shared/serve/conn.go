package serve

import (
	"errors"
	"net"
	"os"
	"sync/atomic"
	"time"
)

// WriteStall is how long a reader may take nothing at all of an answer. How long all of it takes is not bounded here. It
// is long because the kernel tells of progress only when a third of its buffer for sending is free.
// Together with writeBuffer that makes a least pace of about a kilobyte a second.
const WriteStall = 30 * time.Second

// writeBuffer is the kernel's buffer for sending, in bytes, before Linux doubles it. Left to itself, it grows to megabytes, and
// readers at 50 KB/s seem to take nothing for half a minute. The way to the platform's load balancer is short: it needs no more.
const writeBuffer = 64 << 10

// pacedListener bounds the stalls of its connections, and resets those that are closed once cut is set.
type pacedListener struct {
	net.Listener

	stall time.Duration
	cut   atomic.Bool
}

func (l *pacedListener) Accept() (net.Conn, error) {
	accepted, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: accepted, listener: l}
	if tcp, ok := accepted.(*net.TCPConn); ok {
		c.tcp = tcp
		_ = tcp.SetWriteBuffer(writeBuffer) // one that is gone is found out by reading
	}
	return c, nil
}

// conn is one whose writes go on for as long as the other side takes something. A deadline that is set holds as well.
type conn struct {
	net.Conn

	tcp      *net.TCPConn // nil: of another kind
	listener *pacedListener
	deadline atomic.Pointer[time.Time] // for writes; nil: none
}

func (c *conn) Write(p []byte) (n int, err error) {
	for {
		last, err := c.allow()
		if err != nil {
			return n, err
		}
		m, err := c.Conn.Write(p[n:])
		n += m
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
		if m == 0 || last {
			_ = c.SetLinger(0) // what has not been taken is not to look like all there is
			return n, err
		}
	}
}

// allow gives the next write its time, and says whether that is all there is.
func (c *conn) allow() (last bool, err error) {
	for {
		deadline := c.deadline.Load()
		until := time.Now().Add(c.listener.stall)
		if last = deadline != nil && deadline.Before(until); last {
			until = *deadline
		}
		err := c.Conn.SetWriteDeadline(until)
		if err != nil || c.deadline.Load() == deadline { // nobody has set another meanwhile
			return last, err
		}
	}
}

// SetDeadline is [net.Conn]'s.
func (c *conn) SetDeadline(t time.Time) error {
	c.setWrite(t)
	return c.Conn.SetDeadline(t)
}

// SetWriteDeadline is [net.Conn]'s.
func (c *conn) SetWriteDeadline(t time.Time) error {
	c.setWrite(t)
	return c.Conn.SetWriteDeadline(t)
}

func (c *conn) setWrite(t time.Time) {
	if t.IsZero() {
		c.deadline.Store(nil)
		return
	}
	c.deadline.Store(&t)
}

// Close resets the connection if it is cut.
func (c *conn) Close() error {
	if c.listener.cut.Load() {
		_ = c.SetLinger(0)
	}
	return c.Conn.Close()
}

// CloseWrite is [net.TCPConn]'s: package http says goodbye by it to a sender who has not finished.
func (c *conn) CloseWrite() error {
	if c.tcp == nil {
		return errors.ErrUnsupported
	}
	return c.tcp.CloseWrite()
}

// SetLinger is [net.TCPConn]'s: with 0, closing resets the connection.
func (c *conn) SetLinger(seconds int) error {
	if c.tcp == nil {
		return errors.ErrUnsupported
	}
	return c.tcp.SetLinger(seconds)
}
