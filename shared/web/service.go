package web

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/rs/cors"

	"github.com/liftlog/liftlog-api/shared/apierr"
	"github.com/liftlog/liftlog-api/shared/clientaddr"
	"github.com/liftlog/liftlog-api/shared/logging"
)

// Route says where and within which bounds an [Endpoint] is served.
type Route struct {
	Method  string        // GET serves HEAD as well; empty: all methods reach the endpoint, which refuses what it does not know
	Path    string        // a pattern of [http.ServeMux] without a method
	MaxBody int64         // in bytes; 0: the route takes no body
	Timeout time.Duration // bounds a request, from its header to the answer's last byte
	// Handler bounds the endpoint's own work: from the end of the body to the answer, or to the first byte of a stream. The body has
	// the rest of Timeout to arrive. 0: as long as Timeout.
	Handler time.Duration
}

// handlerTime is how long the endpoint may take.
func (r Route) handlerTime() time.Duration { return cmp.Or(r.Handler, r.Timeout) }

// Mount is an endpoint with its route.
type Mount struct {
	Route
	Endpoint
}

// Service holds what all routes of a process share.
type Service struct {
	Log     *slog.Logger
	Origins []string // origins that browsers may call from; empty: any, as v1 allowed
	// Credentials allows requests with credentials from browsers at Origins, as SignalR's client makes them. It has no effect while
	// Origins is empty.
	Credentials bool
	Project     string // Google Cloud project for trace names; may be empty
	// Pools adds the state of the connection pools to a request's log line; nil: nothing is added.
	Pools slog.LogValuer
	// Ready is asked before every request. While it fails, the request is answered with its error; nil is always ready.
	Ready func(context.Context) error
}

// The paths for probes. Unlike GET /health no load balancer routes them.
const (
	LivePath  = "/health/live"
	ReadyPath = "/health/ready"
)

// Handler serves the routes and the platform's probes, which are not logged. Another method of a path is 405. Another path is 421
// and not 404: to an app a 404 says that the user is gone, so only code that looked for the row may answer that.
func (s *Service) Handler(mounts []Mount) http.Handler {
	mux := http.NewServeMux()
	for _, m := range mounts {
		mux.Handle(strings.TrimSpace(m.Method+" "+m.Path), s.endpoint(m))
	}
	mux.HandleFunc("GET "+LivePath, func(w http.ResponseWriter, r *http.Request) {
		event(r).quiet = true
		w.WriteHeader(http.StatusOK)
	})
	mux.HandleFunc("GET "+ReadyPath, func(w http.ResponseWriter, r *http.Request) {
		event(r).quiet = true
		if err := s.ready(r.Context()); err != nil {
			respond(w, err)
		}
	})
	return s.chain(mux)
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
		latest := event(r).begun.Add(m.Timeout)
		ctx, cancel := context.WithDeadline(r.Context(), latest)
		defer cancel()
		// Not every writer has deadlines (a test's recorder has none); those that matter do.
		_ = http.NewResponseController(w).SetWriteDeadline(latest.Add(answerTime))
		err := s.ready(ctx)
		if err == nil {
			err = m.serve(w, r.WithContext(ctx), m.Route)
		}
		if err != nil {
			fail(w, r, err)
		}
	})
}

// answerTime bounds the writing of a refusal, and how long an answer may go on being written past its request's Timeout.
const answerTime = 10 * time.Second

// fail answers err and leaves it for the log. When a part of the answer has gone out already, it breaks the connection instead. If
// the program itself canceled the request, its reason is answered rather than the cancellation.
func fail(w http.ResponseWriter, r *http.Request, err error) {
	e := event(r)
	e.err = err
	if cause := stopped(r); cause != nil && errors.Is(err, context.Canceled) {
		e.err = cause
	}
	if _, broken := errors.AsType[*brokenError](err); broken {
		breakOff(w)
		return
	}
	respond(w, e.err)
}

// stopped returns the error that the request was canceled with by the program, or nil.
func stopped(r *http.Request) error {
	if cause, ok := errors.AsType[*apierr.Error](context.Cause(r.Context())); ok {
		return cause
	}
	return nil
}

// breakOff resets the connection, so that the caller notices that the answer is broken even if it has no length. It hijacks the
// connection because the functions framework swallows [http.ErrAbortHandler] and then ends the answer as if it were whole.
func breakOff(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(interface{ SetLinger(seconds int) error }); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// preflightMaxAge is how long a browser may cache the answer to a preflight, in seconds. Chromium caps it at two hours.
const preflightMaxAge = 7200

// chain wraps the mux in what every request needs, served or refused: an id, deadlines, CORS, compression, recovery, a log line.
func (s *Service) chain(mux *http.ServeMux) http.Handler {
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
			fail(w, r, errElsewhere)
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
		fail(w, r, errElsewhere)
	}))
	compressed := compress(routed)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e := &Event{RequestID: requestID(r), begun: time.Now()}
		w.Header().Set(requestIDHeader, e.RequestID)
		recorder := &responseRecorder{ResponseWriter: w}
		setDeadlines(recorder, r)
		ctx := clientaddr.With(context.WithValue(r.Context(), eventKey{}, e), r)
		r = r.WithContext(logging.WithModelUse(ctx, &e.model))
		r.Pattern = "" // the framework's own is "/"
		defer func() {
			if v := recover(); v != nil {
				e.err, e.panic, e.quiet = errPanic, logging.PanicMessage(v), false
				if recorder.status == 0 {
					respond(recorder, e.err)
				} else {
					defer breakOff(recorder)
				}
			}
			s.log(r, e, recorder)
		}()
		compressed.ServeHTTP(recorder, r)
	})
}

// errPanic is the error that a panic becomes, which is a bare 500.
var errPanic = errors.New("panic")

// errElsewhere refuses what is not served by this program.
var errElsewhere = &statusError{http.StatusMisdirectedRequest, "This path is not served here."}

// setDeadlines bounds a request that stops being read or answered. Every request sets the deadlines anew, because they belong to
// the connection and outlive a request. A request without a body gets no read deadline: package http reads on in the background to
// notice that the caller leaves, and would take an expired deadline for that.
func setDeadlines(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	_ = control.SetWriteDeadline(time.Now().Add(answerTime))
	if r.ContentLength != 0 {
		_ = control.SetReadDeadline(time.Now().Add(bodyStall))
	}
}

// muxAnswer records the answer of a mux in which no pattern matches.
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

// requestID returns the caller's own id when it is short and plain, and a new one otherwise.
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

// logLevel is the severity of a request's log line. A caller's mistake is no news to the operator, and neither is a caller who
// hangs up or stops reading.
func logLevel(status int, err error) slog.Level {
	_, gone := errors.AsType[*goneError](err)
	switch {
	case gone, errors.Is(err, context.Canceled):
		return slog.LevelInfo
	case apierr.IsBroken(err):
		return slog.LevelError
	case apierr.KindOf(err) == apierr.Unavailable, errors.Is(err, context.DeadlineExceeded), status > http.StatusInternalServerError:
		return slog.LevelWarn
	case status == http.StatusInternalServerError, err != nil && status == http.StatusOK:
		return slog.LevelError
	default:
		return slog.LevelInfo
	}
}
