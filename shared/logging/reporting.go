package logging

import (
	"context"
	"log/slog"
	"os"
	"runtime"
)

// reporting gives errors the form in which Error Reporting finds and groups them: the service and its version, and the place.
// https://cloud.google.com/error-reporting/reference/rest/v1beta1/projects.events/report
type reporting struct {
	slog.Handler

	service slog.Attr
}

// newReporting takes the name of the service, or of the job, from the platform's variables. Off the platform it returns h as it
// is.
func newReporting(h slog.Handler) slog.Handler {
	name, version := os.Getenv("K_SERVICE"), os.Getenv("K_REVISION")
	if name == "" {
		name, version = os.Getenv("CLOUD_RUN_JOB"), os.Getenv("CLOUD_RUN_EXECUTION")
	}
	if name == "" {
		return h
	}
	return reporting{h, slog.Group("serviceContext", "service", name, "version", version)}
}

func (h reporting) WithAttrs(attrs []slog.Attr) slog.Handler {
	return reporting{h.Handler.WithAttrs(attrs), h.service}
}

func (h reporting) WithGroup(name string) slog.Handler {
	return reporting{h.Handler.WithGroup(name), h.service}
}

// placeKey is the member that holds an error's place.
const placeKey = "context"

// Place names the function that an error came from, where that is not the one that logs it.
func Place(function string) slog.Attr {
	return slog.Group(placeKey, slog.Group("reportLocation", "functionName", function))
}

func (h reporting) Handle(ctx context.Context, r slog.Record) error {
	if r.Level < slog.LevelError {
		return h.Handler.Handle(ctx, r)
	}
	placed := false
	r.Attrs(func(a slog.Attr) bool {
		placed = placed || a.Key == placeKey
		return !placed
	})
	r = r.Clone()
	r.AddAttrs(slog.String("@type", "type.googleapis.com/google.devtools.clouderrorreporting.v1beta1.ReportedErrorEvent"), h.service)
	if !placed {
		frame, _ := runtime.CallersFrames([]uintptr{r.PC}).Next()
		r.AddAttrs(slog.Group(placeKey, slog.Group("reportLocation", "filePath", frame.File, "lineNumber", frame.Line, "functionName", frame.Function)))
	}
	return h.Handler.Handle(ctx, r)
}
