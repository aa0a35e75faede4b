// Package serve is how every program serves HTTP: the bounds of connections, and the end. It knows nothing of routes.
package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"time"

	"github.com/liftlog/liftlog-api/shared/apierr"
)

const (
	// drainTime is how long running requests may go on once the program has to end, and cancelTime how long they then have to
	// answer that they were canceled. The platform kills ten seconds after SIGTERM, and closing what the program has open takes
	// its time, too.
	drainTime, cancelTime = 7 * time.Second, time.Second
	// headerTimeout bounds the header of a request from the connection's first byte, or from its beginning, and maxHeader its
	// size in bytes: a purchase's receipt has to fit, escaped in a URL.
	headerTimeout = 10 * time.Second
	maxHeader     = 160 << 10
	// idleTimeout is how long a connection without a request is kept.
	idleTimeout = 2 * time.Minute
)

// ErrStopping is wrapped by the cause of a request's context that was canceled because the program ends.
var ErrStopping = errors.New("the program ends")

// Options are what [Run] serves, and how it ends.
type Options struct {
	Handler http.Handler
	Log     *slog.Logger
	// Fatal ends the program: an error from it is returned within a second, which running requests have to end. It may be nil.
	Fatal <-chan error
	// Drain ends the connections that the handler has taken over, as soon as the program has to end; requests are still
	// served meanwhile. It returns soon after its context has ended. It may be nil.
	Drain func(context.Context)
}

// Listen opens the port on all of the machine's addresses; port 0 is any that is free. A program begins with it, because nothing
// else is found out as quickly as that the port is taken.
func Listen(ctx context.Context, port int) (net.Listener, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", ":"+strconv.Itoa(port))
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("port %d is in use: end the program that has it, or set PORT to another one", port)
	}
	if err != nil {
		return nil, fmt.Errorf("listen on port %d: %w", port, err)
	}
	return listener, nil
}

// Run serves on the listener, which it closes, until ctx ends, and then for as long as requests run, but no longer than eight
// seconds: after seven their contexts are canceled with an [apierr.Unavailable] error as the cause, which wraps [ErrStopping], and in the end their
// connections are reset, so that no answer seems whole that is not. A reader who takes nothing of an answer for
// [WriteStall] is cut off at any time.
func Run(ctx context.Context, listener net.Listener, o Options) error {
	requests, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	paced := &pacedListener{Listener: listener, stall: WriteStall}
	server := &http.Server{
		Handler: o.Handler, ReadHeaderTimeout: headerTimeout, MaxHeaderBytes: maxHeader, IdleTimeout: idleTimeout,
		DisableGeneralOptionsHandler: true, // "OPTIONS *" is the handler's, like everything
		BaseContext:                  func(net.Listener) context.Context { return requests },
		ErrorLog:                     slog.NewLogLogger(o.Log.Handler(), slog.LevelWarn),
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(paced) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case err := <-o.Fatal:
		latest, done := context.WithTimeout(context.WithoutCancel(ctx), cancelTime)
		defer done()
		_ = server.Shutdown(latest) // whoever is being refused for the same reason is told so
		return errors.Join(err, cut(server, paced))
	case <-ctx.Done():
		o.Log.InfoContext(ctx, "stopping")
	}
	latest, done := context.WithTimeout(context.WithoutCancel(ctx), drainTime+cancelTime)
	defer done()
	drained := make(chan error, 1)
	go func() { drained <- drain(latest, server, o.Drain) }()
	select {
	case err := <-drained:
		return err
	case <-time.After(drainTime):
		cancel(apierr.Busy("The service is restarting.", ErrStopping))
	}
	select {
	case err := <-drained:
		if err == nil {
			return nil
		}
	case <-latest.Done():
	}
	o.Log.WarnContext(latest, "requests were cut off")
	return cut(server, paced)
}

// drain returns nil when everything has ended by itself.
func drain(ctx context.Context, server *http.Server, others func(context.Context)) error {
	if others != nil {
		within, cancel := context.WithTimeout(ctx, drainTime)
		defer cancel()
		others(within)
	}
	return server.Shutdown(ctx)
}

// cut resets the connections there are.
func cut(server *http.Server, listener *pacedListener) error {
	listener.cut.Store(true)
	if err := server.Close(); err != nil {
		return fmt.Errorf("close connections: %w", err)
	}
	return nil
}
