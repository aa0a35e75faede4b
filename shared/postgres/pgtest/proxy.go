package pgtest

import (
	"context"
	"net"
	"net/url"
	"sync"
	"testing"
)

// Proxy is a network between a program and a server, which can fail. It is safe for concurrent use.
type Proxy struct {
	listener net.Listener
	mu       sync.Mutex
	to       string // host:port; empty: nobody answers
	links    map[*link]bool
}

// link is a connection through a [Proxy].
type link struct {
	near, far net.Conn
	frozen    chan struct{} // closed: nothing passes any more
	once      sync.Once
}

// NewProxy runs a proxy to the database at the URL until the test ends, and returns the URL by which to reach it.
func NewProxy(tb testing.TB, database string) (p *Proxy, through string) {
	tb.Helper()
	u, err := url.Parse(database)
	if err != nil {
		tb.Fatal(err)
	}
	p = &Proxy{to: u.Host, links: map[*link]bool{}}
	if p.listener, err = new(net.ListenConfig).Listen(tb.Context(), "tcp", "127.0.0.1:0"); err != nil {
		tb.Fatal(err)
	}
	go p.accept(context.WithoutCancel(tb.Context()))
	tb.Cleanup(func() {
		_ = p.listener.Close()
		p.Cut()
	})
	u.Host = p.listener.Addr().String()
	return p, u.String()
}

// Lead makes new connections lead to the server of that URL, and to nobody if it is empty.
func (p *Proxy) Lead(database string) {
	u, _ := url.Parse(database)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.to = u.Host
}

// Cut resets the connections there are.
func (p *Proxy) Cut() {
	p.each(func(l *link) {
		for _, conn := range []net.Conn{l.near, l.far} {
			if tcp, ok := conn.(*net.TCPConn); ok {
				_ = tcp.SetLinger(0)
			}
			_ = conn.Close()
		}
	})
}

// Freeze makes all present connections stop passing anything on, without closing them. New ones work.
func (p *Proxy) Freeze() {
	p.each(func(l *link) { l.once.Do(func() { close(l.frozen) }) })
}

func (p *Proxy) each(do func(*link)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		do(l)
	}
}

func (p *Proxy) accept(ctx context.Context) {
	for {
		near, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		to := p.to
		p.mu.Unlock()
		far, err := new(net.Dialer).DialContext(ctx, "tcp", to) // fails as well when there is nobody
		if err != nil {
			_ = near.Close()
			continue
		}
		l := &link{near: near, far: far, frozen: make(chan struct{})}
		p.mu.Lock()
		p.links[l] = true
		p.mu.Unlock()
		var ways sync.WaitGroup
		ways.Go(func() { l.pass(far, near) })
		ways.Go(func() { l.pass(near, far) })
		go func() {
			ways.Wait()
			p.mu.Lock()
			defer p.mu.Unlock()
			delete(p.links, l)
		}()
	}
}

// pass carries one direction until it ends, and then closes the other side. A frozen link takes what comes, its end included, and
// passes nothing on.
func (l *link) pass(to, from net.Conn) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		isFrozen := false
		select {
		case <-l.frozen:
			isFrozen = true
		default:
		}
		if err == nil && !isFrozen {
			_, err = to.Write(buffer[:n])
		}
		switch {
		case err != nil && isFrozen:
			return
		case err != nil:
			_, _ = l.near.Close(), l.far.Close()
			return
		}
	}
}
