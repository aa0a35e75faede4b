package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path"
	"runtime/debug"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/rs/cors"

	"github.com/liftlog/liftlog-api/shared/apierr"
	"github.com/liftlog/liftlog-api/shared/clientaddr"
	"github.com/liftlog/liftlog-api/shared/logging"
)

// Route is what the adapter has to know of a route beside its [Endpoint].
type Route struct {
	Method  string        // GET serves HEAD as well; empty: the endpoint takes all methods, and refuses those that it has not
	Path    string        // a pattern of [http.ServeMux] without a method
	MaxBody int64         // in bytes; 0: the route takes no body
	Timeout time.Duration // bounds a request from its first header to its last byte
}

// Mount is an endpoint with its route.
type Mount struct {
	Route
	Endpoint
}

// Service is what all routes of a process share.
type Service struct {
	Log     *slog.Logger
	Origins []string // origins that browsers may call from; empty: any, as v1 allowed
	// Credentials lets browsers at these origins send theirs, as SignalR's client does; it takes origins that are named.
	Credentials bool
	Project     string // Google Cloud project for trace names; may be empty
	// Ready is asked before every request. While it fails, the request is answered with its error; nil is always ready.
	Ready func(context.Context) error
}

// The paths for probes. Unlike GET /health no load balancer routes them.
const (
	LivePath  = "/health/live"
	ReadyPath = "/health/ready"
)

// Single serves one route and nothing else, as the cloud runs it: another method is 405, and another path is 421,
// because to an app a 404 says that the user is gone.
func (s *Service) Single(m Mount) http.Handler {
	mux := http.NewServeMux()
	mux.Handle(m.Method+" "+m.Path, s.endpoint(m))
	return s.Probed(s.chain(mux, &statusError{http.StatusMisdirectedRequest, "This function does not serve this path."}))
}

// Probed answers the platform's probes, which are not logged, and hands everything else to next.
func (s *Service) Probed(next http.Handler) http.Handler {
	probes := http.NewServeMux()
	probes.HandleFunc("GET "+LivePath, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	probes.HandleFunc("GET "+ReadyPath, func(w http.ResponseWriter, r *http.Request) {
		if err := s.ready(r.Context()); err != nil {
			respond(w, err)
		}
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == LivePath || r.URL.Path == ReadyPath {
			probes.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// All serves many routes side by side; any other path is 404.
func (s *Service) All(mounts []Mount) http.Handler {
	mux := http.NewServeMux()
	for _, m := range mounts {
		mux.Handle(strings.TrimSpace(m.Method+" "+m.Path), s.endpoint(m))
	}
	return s.chain(mux, &statusError{http.StatusNotFound, "Nothing is served here."})
}

func (s *Service) ready(ctx context.Context) error {
	if s.Ready == nil {
		return nil
	}
	return s.Ready(ctx)
}

// endpoint serves a request that has come to the right path with the right method.
func (s *Service) endpoint(m Mount) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), m.Timeout)
		defer cancel()
		setDeadlines(w, m.Timeout+writeTimeout)
		err := s.ready(ctx)
		if err == nil {
			err = m.serve(w, r.WithContext(ctx), m.Route)
		}
		if err != nil {
			fail(w, r, err)
		}
	})
}

// setDeadlines bounds what the connection may take for this request, a body that trickles in as well as a reader
// who takes nothing. Every request sets its own, because a connection keeps them. A recorder in a test has none.
func setDeadlines(w http.ResponseWriter, after time.Duration) {
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(after))
	_ = control.SetWriteDeadline(time.Now().Add(after))
}

// fail answers err, or breaks the connection when a part of the answer is on its way, and leaves the cause for the log.
func fail(w http.ResponseWriter, r *http.Request, err error) {
	event(r).err = err
	if _, broken := errors.AsType[*brokenError](err); broken {
		breakOff(w)
		return
	}
	respond(w, err)
}

// breakOff ends the connection so that the caller sees a broken answer. The functions framework swallows
// [http.ErrAbortHandler] and then ends the answer as if it were whole, hence the connection is taken and closed.
func breakOff(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	_ = conn.Close()
}

// preflightMaxAge is for how long a browser need not ask again what it may call, in seconds: two hours are the most that
// Chromium's take.
const preflightMaxAge = 7200

// chain puts around the mux what every request needs, whether it is served or refused.
func (s *Service) chain(mux *http.ServeMux, elsewhere error) http.Handler {
	crossOrigin := cors.New(cors.Options{
		AllowedOrigins: s.Origins, // none means any
		AllowedMethods: []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodPatch},
		AllowedHeaders: []string{"*"},
		ExposedHeaders: []string{requestIDHeader, "Retry-After"},
		MaxAge:         preflightMaxAge,

		AllowCredentials: s.Credentials && len(s.Origins) > 0,
	})
	routed := crossOrigin.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if path.Clean(r.URL.Path) != r.URL.Path { // the mux would redirect
			fail(w, r, elsewhere)
			return
		}
		refusal, pattern := mux.Handler(r)
		if pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		// The mux knows which methods a path has; its words are replaced by ours.
		var mux muxAnswer
		refusal.ServeHTTP(&mux, r)
		if mux.status == http.StatusMethodNotAllowed {
			w.Header().Set("Allow", mux.Header().Get("Allow"))
			fail(w, r, &statusError{http.StatusMethodNotAllowed, "This path has other methods."})
			return
		}
		fail(w, r, elsewhere)
	}))
	compressed := compress(routed)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		e := &Event{RequestID: requestID(r)}
		w.Header().Set(requestIDHeader, e.RequestID)
		recorder := &responseRecorder{ResponseWriter: w}
		setDeadlines(recorder, writeTimeout)
		ctx := clientaddr.With(context.WithValue(r.Context(), eventKey{}, e), r)
		r = r.WithContext(logging.WithModelUse(ctx, &e.model))
		r.Pattern = "" // the framework's own is "/"
		defer func() {
			if v := recover(); v != nil {
				e.err, e.stack = fmt.Errorf("panic: %v", v), debug.Stack()
				if recorder.status == 0 {
					respond(recorder, e.err)
				} else {
					defer breakOff(recorder)
				}
			}
			s.log(r, e, recorder, time.Since(start))
		}()
		compressed.ServeHTTP(recorder, r)
	})
}

// muxAnswer catches what a mux answers when no pattern fits.
type muxAnswer struct {
	header http.Header
	status int
}

func (a *muxAnswer) Header() http.Header {
	if a.header == nil {
		a.header = http.Header{}
	}
	return a.header
}
func (a *muxAnswer) WriteHeader(status int)      { a.status = status }
func (a *muxAnswer) Write(p []byte) (int, error) { return len(p), nil }

const requestIDHeader = "X-Request-Id"

// requestID takes the caller's id when it is short and plain, and makes one otherwise.
func requestID(r *http.Request) string {
	id := r.Header.Get(requestIDHeader)
	plain := func(c rune) bool {
		return c == '-' || c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
	}
	if id == "" || len(id) > 64 || strings.ContainsFunc(id, func(c rune) bool { return !plain(c) }) {
		return uuid.NewString()
	}
	return id
}

// logLevel is the severity of a request's line: a caller's mistake is no news to the operator.
func logLevel(status int, err error) slog.Level {
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, os.ErrDeadlineExceeded): // the caller left, or took nothing
		return slog.LevelInfo
	case err != nil && status == http.StatusOK, status == http.StatusInternalServerError:
		return slog.LevelError
	case status > http.StatusInternalServerError, apierr.KindOf(err) == apierr.Unavailable:
		return slog.LevelWarn
	default:
		return slog.LevelInfo
	}
}
