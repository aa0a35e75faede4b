// Package logging makes the one logger of a program: Cloud Logging's JSON in the cloud, lines for people on a terminal.
package logging

import (
	"io"
	"log/slog"
	"os"
)

// New returns a logger on w for a program in the cloud: one JSON object a line with the members that Cloud Logging
// knows (severity, message), errors in Error Reporting's form, or lines for people where w is a terminal. A line is at most
// [MaxLine] long. It is safe for use by many goroutines.
func New(w io.Writer, level slog.Level) *slog.Logger {
	if isTerminal(w) {
		return ForPeople(w, level)
	}
	return slog.New(newReporting(newBounded(w, func(w io.Writer) slog.Handler {
		return slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: forCloud})
	})))
}

// ForPeople returns a logger on w that writes lines for people, of [MaxLine] at most. It is safe for use by many goroutines.
func ForPeople(w io.Writer, level slog.Level) *slog.Logger {
	return slog.New(newBounded(w, func(w io.Writer) slog.Handler {
		return slog.NewTextHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: shorten})
	}))
}

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// forCloud renames slog's members to those of Cloud Logging's structured logs.
func forCloud(groups []string, a slog.Attr) slog.Attr {
	if len(groups) > 0 {
		return a
	}
	switch a.Key {
	case slog.MessageKey:
		a.Key = "message"
	case slog.LevelKey:
		a.Key = "severity"
		if level, ok := a.Value.Any().(slog.Level); ok && level == slog.LevelWarn {
			a.Value = slog.StringValue("WARNING")
		}
	}
	return a
}

// shorten leaves out the date, which a person at a terminal knows, and what a request's message says already.
func shorten(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		return slog.String(slog.TimeKey, a.Value.Time().Format("15:04:05.000"))
	}
	switch a.Key {
	case "requestMethod", "requestUrl", "requestSize", "protocol":
		return slog.Attr{}
	}
	return a
}
