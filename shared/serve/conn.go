package serve

import (
	"errors"
	"net"
	"os"
	"sync/atomic"
	"time"
)

// WriteStall is how long a reader may take nothing at all of an answer. How long all of it takes is not bounded here.
const WriteStall = 30 * time.Second

// looks is how often in that time a writer that waits looks whether there is room, by itself. Linux wakes one only when a
// third of its buffer is free: readers who have taken half a megabyte seem to have taken nothing.
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

// conn is one whose writes go on for as long as the other side takes something. A deadline that is set holds as well.
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
			_ = c.SetLinger(0) // what has not been taken is not to look like all there is
			return n, err
		}
	}
}

// allow gives the next write that time, and says whether its deadline is the one that was set.
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
