package web

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/liftlog/liftlog-api/shared/apierr"
	"github.com/liftlog/liftlog-api/shared/logging"
)

// Event is what a request's log line may hold. Of what a caller sent, it has room only for the ids of the request and of its
// trace, whose form is checked.
type Event struct {
	RequestID string

	begun time.Time
	quiet bool // there is no line
	model logging.ModelUse
	err   error
	panic string // the message of a panic's line
}

type eventKey struct{}

func event(r *http.Request) *Event {
	if e, ok := r.Context().Value(eventKey{}).(*Event); ok {
		return e
	}
	return &Event{}
}

// log writes the one line of a request, with the route's pattern in place of its URL. Field names are those that
// Cloud Logging lifts out of a line.
func (s *Service) log(r *http.Request, e *Event, w *responseRecorder) {
	if e.quiet {
		return
	}
	pattern := cmp.Or(r.Pattern, "(none)")
	_, path, _ := strings.Cut(pattern, " ")
	level := logLevel(w.status, e.err)
	attrs := []slog.Attr{
		slog.Group("httpRequest",
			slog.String("requestMethod", method(r)),
			slog.String("requestUrl", cmp.Or(path, pattern)),
			slog.Int("status", w.status),
			slog.String("requestSize", strconv.FormatInt(max(r.ContentLength, 0), 10)),
			slog.String("responseSize", strconv.FormatInt(w.size, 10)),
			slog.String("latency", fmt.Sprintf("%.6fs", time.Since(e.begun).Seconds())),
			slog.String("protocol", r.Proto),
		),
		slog.String("requestId", e.RequestID),
		slog.Any("model", &e.model), // empty when no model was asked
	}
	if name, ok := traceName(r, s.Project); ok {
		attrs = append(attrs, slog.String("logging.googleapis.com/trace", name))
	}
	if s.Pools != nil {
		attrs = append(attrs, slog.Attr{Key: "pool", Value: s.Pools.LogValue()}) // read once: it reports what has come since the last time
	}
	message := cmp.Or(e.panic, pattern)
	if e.err != nil {
		attrs = append(attrs, slog.String("error", e.err.Error()))
		if stack := apierr.StackOf(e.err); stack != "" && level == slog.LevelError {
			message = pattern + ": " + e.err.Error() + "\n\n" + stack // as Error Reporting finds a stack
		}
	}
	if level == slog.LevelError {
		attrs = append(attrs, logging.Place(pattern)) // a stack names the place itself
	}
	s.Log.LogAttrs(context.WithoutCancel(r.Context()), level, message, attrs...)
}

// method is the request's method if it is one that HTTP knows, since the others are the caller's own text.
func method(r *http.Request) string {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return r.Method
	default:
		return "(other)"
	}
}

var (
	traceParent  = regexp.MustCompile(`^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}$`)
	cloudContext = regexp.MustCompile(`^([0-9a-f]{32})(/|;|$)`)
)

// traceName is the full resource name that joins the line to its trace.
func traceName(r *http.Request, project string) (string, bool) {
	if project == "" {
		return "", false
	}
	match := traceParent.FindStringSubmatch(r.Header.Get("Traceparent"))
	if match == nil {
		match = cloudContext.FindStringSubmatch(r.Header.Get("X-Cloud-Trace-Context"))
	}
	if match == nil {
		return "", false
	}
	return "projects/" + project + "/traces/" + match[1], true
}

// responseRecorder remembers the status and counts the bytes of an answer.
type responseRecorder struct {
	http.ResponseWriter
	status int
	size   int64
	taken  bool // the connection has been taken over, and what is written here goes nowhere
}

// Unwrap lets [http.ResponseController] reach the connection.
func (w *responseRecorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// errEarly is the failure to take over a connection whose caller did not wait for the answer.
var errEarly = errors.New("web: the caller sent something before the answer")

// Hijack hands the connection over. Where nothing was answered yet, that is the answer: that the protocol is switched, or,
// to a caller who has sent something before being told so, 400 and the connection's end.
func (w *responseRecorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	w.taken = w.taken || err == nil
	switch {
	case err != nil || w.status != 0:
		return conn, rw, err
	case rw.Reader.Buffered() > 0:
		w.status = http.StatusBadRequest
		_, _ = io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n") // the caller may have gone
		_ = conn.Close()
		return nil, nil, errEarly
	default:
		w.status = http.StatusSwitchingProtocols
		return conn, rw, nil
	}
}

func (w *responseRecorder) WriteHeader(status int) {
	if w.taken {
		return
	}
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *responseRecorder) Write(p []byte) (int, error) {
	if w.taken {
		return len(p), nil
	}
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(p)
	w.size += int64(n)
	return n, err
}
