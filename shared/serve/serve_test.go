package serve_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/shared/apierr"
	"github.com/liftlog/liftlog-api/shared/serve"
)

// enough is longer than anything here takes, even on a machine under load.
const enough = time.Minute

// program is a server that runs.
type program struct {
	address string
	stop    func()     // tells it to end
	ended   chan error // what it returned
}

func start(t *testing.T, o serve.Options) *program {
	t.Helper()
	o.Log = slog.New(slog.DiscardHandler)
	listener, err := serve.Listen(t.Context(), 0)
	require.NoError(t, err)
	_, port, err := net.SplitHostPort(listener.Addr().String())
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	p := &program{"127.0.0.1:" + port, stop, make(chan error, 1)}
	go func() { p.ended <- serve.Run(ctx, listener, o) }()
	return p
}

// wait returns what the program returned.
func (p *program) wait(t *testing.T) error {
	t.Helper()
	select {
	case err := <-p.ended:
		return err
	case <-time.After(enough):
		t.Fatal("it goes on for ever")
		return nil
	}
}

// send opens a connection and sends a text on it.
func (p *program) send(t *testing.T, text string) net.Conn {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", p.address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(enough)))
	_, err = io.WriteString(conn, text)
	require.NoError(t, err)
	return conn
}

const get = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"

// gate lets a handler say that it runs, and go on when it is told to.
type gate struct{ running, open chan struct{} }

func newGate() gate { return gate{make(chan struct{}, 100), make(chan struct{})} }

func TestRunningRequestsEnd(t *testing.T) {
	t.Parallel()
	g := newGate()
	p := start(t, serve.Options{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.running <- struct{}{}
		<-g.open
		assert.NoError(t, r.Context().Err())
		_, _ = io.WriteString(w, "whole")
	})})
	conn := p.send(t, get)
	<-g.running
	p.stop()
	require.Eventually(t, func() bool {
		other, err := new(net.Dialer).DialContext(t.Context(), "tcp", p.address)
		if err == nil {
			_ = other.Close()
		}
		return err != nil
	}, enough, time.Millisecond, "it still takes connections")
	close(g.open)
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	assert.Equal(t, "whole", string(body))
	require.NoError(t, p.wait(t))
}

func TestItEndsInTimeWhateverRuns(t *testing.T) {
	t.Parallel()
	g := newGate()
	causes := make(chan error, 1)
	drained := make(chan struct{})
	p := start(t, serve.Options{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, strings.Repeat("begun", 1000))
			_ = http.NewResponseController(w).Flush()
			g.running <- struct{}{}
			if r.URL.Path == "/obedient" {
				<-r.Context().Done()
				causes <- context.Cause(r.Context())
				return
			}
			<-g.open // whatever happens
		}),
		Drain: func(ctx context.Context) {
			<-ctx.Done()
			close(drained)
			<-g.open // as long as it likes
		},
	})
	defer close(g.open)
	obedient := p.send(t, "GET /obedient HTTP/1.1\r\nHost: x\r\n\r\n")
	// The end of an answer without a length, as HTTP 1.0 has them, is that of its connection: such a one has to be reset.
	hanging := []net.Conn{p.send(t, get), p.send(t, "GET / HTTP/1.0\r\n\r\n")}
	for range 3 {
		<-g.running
	}
	p.stop()
	require.NoError(t, p.wait(t))
	<-drained
	cause := <-causes
	require.ErrorIs(t, cause, serve.ErrStopping)
	assert.Equal(t, apierr.Unavailable, apierr.KindOf(cause))
	response, err := http.ReadResponse(bufio.NewReader(obedient), nil)
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, response.Body)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	for _, conn := range hanging {
		_, err := io.Copy(io.Discard, conn)
		require.Error(t, err, "what is cut off must not pass for whole")
	}
}

func TestWhoNeverFinishesAHeaderIsCutOff(t *testing.T) {
	t.Parallel()
	p := start(t, serve.Options{Handler: http.NotFoundHandler()})
	var group sync.WaitGroup
	for i := range 200 {
		conn := p.send(t, strings.Repeat("G", i%2)) // half of them send nothing
		group.Go(func() {
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				_, _ = io.Copy(io.Discard, conn)
			}()
			for i := 0; ; i++ {
				select {
				case <-ended:
					return
				case <-time.After(time.Second):
					_, _ = fmt.Fprint(conn, "ET / HTTP/1.1\r\nHost: x\r\nX: endless"[min(i, 30):min(i, 30)+1])
				}
				if i > 60 {
					t.Error("a connection that trickles is still open")
					return
				}
			}
		})
	}
	group.Wait()
	p.stop()
	require.NoError(t, p.wait(t))
}

func TestEveryRequestIsTheHandlers(t *testing.T) {
	t.Parallel()
	p := start(t, serve.Options{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, "*", r.RequestURI)
		_, _ = io.WriteString(w, "mine")
	})})
	defer p.stop()
	answer, err := io.ReadAll(p.send(t, "OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
	require.NoError(t, err)
	assert.True(t, bytes.HasSuffix(answer, []byte("\r\n\r\nmine")), "%s", answer)
	answer, err = io.ReadAll(p.send(t, "GET / HTTP/1.1\r\nHost: x\r\nX: "+strings.Repeat("x", 200<<10)+"\r\n\r\n"))
	if err == nil {
		assert.True(t, bytes.HasPrefix(answer, []byte("HTTP/1.1 431 ")), "%s", answer)
	}
}

func TestWhatIsFatalEndsItSoon(t *testing.T) {
	t.Parallel()
	g, fatal := newGate(), make(chan error, 1)
	p := start(t, serve.Options{Fatal: fatal, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		g.running <- struct{}{}
		<-g.open
	})})
	defer close(g.open)
	conn := p.send(t, get)
	<-g.running
	fatal <- errors.New("the wrong database")
	require.EqualError(t, p.wait(t), "the wrong database")
	_, err := io.Copy(io.Discard, conn)
	require.Error(t, err)
}

func TestWhoeverFindsWhatIsFatalIsAnswered(t *testing.T) {
	t.Parallel()
	fatal := make(chan error)
	p := start(t, serve.Options{Fatal: fatal, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fatal <- errors.New("the wrong database")
		w.WriteHeader(http.StatusServiceUnavailable)
	})})
	answer, err := io.ReadAll(p.send(t, get))
	require.NoError(t, err)
	assert.True(t, bytes.HasPrefix(answer, []byte("HTTP/1.1 503 ")), "%s", answer)
	require.EqualError(t, p.wait(t), "the wrong database")
}

func TestAPortThatIsTakenIsNamed(t *testing.T) {
	t.Parallel()
	listener, err := serve.Listen(t.Context(), 0)
	require.NoError(t, err)
	defer func() { _ = listener.Close() }()
	address, ok := listener.Addr().(*net.TCPAddr)
	require.True(t, ok)
	_, err = serve.Listen(t.Context(), address.Port)
	require.EqualError(t, err, fmt.Sprintf("port %d is in use: end the program that has it, or set PORT to another one", address.Port))
	_, err = serve.Listen(t.Context(), 1<<17)
	require.ErrorContains(t, err, "listen on port 131072")
}
