package serve

import (
	"errors"
	"net"
	"os"
	"sync/atomic"
	"time"
)

// WriteStall is how long a reader may go without taking anything of an answer. The time for all of it is not bounded here.
const WriteStall = 30 * time.Second

// looks is how often in that time a waiting writer looks for room by itself. Linux wakes a writer only when a third of its buffer
// is free: a reader who has taken half a megabyte would seem to have taken nothing.
const looks = 10

// writeBuffer is the kernel's buffer for sending, in bytes, before Linux doubles it. Left to itself, it grows to megabytes for
// each slow reader, which count as the program's memory, and as taken. The way to the platform's load balancer is short: it needs
// no more.
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

// conn is a connection whose writes go on for as long as the other side takes something, and no longer than a deadline that is
// set.
type conn struct {
	net.Conn

	tcp      *net.TCPConn // nil: of another kind
	listener *pacedListener
	deadline atomic.Pointer[time.Time] // for writes; nil: none
}

func (c *conn) Write(p []byte) (n int, err error) {
	taken := time.Now()
	for {
		last, err := c.allow(c.listener.stall / looks)
		if err != nil {
			return n, err
		}
		m, err := c.Conn.Write(p[n:])
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return n + m, err
		}
		if n += m; m > 0 {
			taken = time.Now()
		}
		if last || time.Since(taken) > c.listener.stall {
			_ = c.SetLinger(0) // half an answer must not pass for a whole one
			return n, err
		}
	}
}

// allow gives the next write this much time, and reports whether the deadline that was set comes first.
func (c *conn) allow(timeout time.Duration) (last bool, err error) {
	for {
		deadline := c.deadline.Load()
		until := time.Now().Add(timeout)
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
