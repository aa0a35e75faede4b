package logging

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"unicode/utf8"
)

// MaxLine is the longest line of a log, in bytes. Of a longer one every text is shortened until it fits: a hostile request
// must not cost more to log than to answer.
const MaxLine = 4 << 10

// newBounded returns a handler that keeps lines within [MaxLine]. make has to return one that writes each line by one call.
func newBounded(w io.Writer, make func(io.Writer) slog.Handler) slog.Handler {
	return bounded{make(lineWriter{w})}
}

// errLong says that nothing was written.
var errLong = errors.New("logging: a line is too long")

type lineWriter struct{ w io.Writer }

func (l lineWriter) Write(line []byte) (int, error) {
	if len(line) > MaxLine {
		return 0, errLong
	}
	return l.w.Write(line)
}

type bounded struct{ slog.Handler }

func (b bounded) WithAttrs(attrs []slog.Attr) slog.Handler {
	return bounded{b.Handler.WithAttrs(attrs)}
}
func (b bounded) WithGroup(name string) slog.Handler { return bounded{b.Handler.WithGroup(name)} }

func (b bounded) Handle(ctx context.Context, r slog.Record) error {
	err := b.Handler.Handle(ctx, r)
	for length := MaxLine / 2; errors.Is(err, errLong) && length > 0; length /= 2 {
		short := slog.NewRecord(r.Time, r.Level, shortened(r.Message, length), r.PC)
		r.Attrs(func(a slog.Attr) bool {
			short.AddAttrs(shortenedAttr(a, length))
			return true
		})
		err = b.Handler.Handle(ctx, short)
	}
	if errors.Is(err, errLong) { // shortening its texts was not enough
		return b.Handler.Handle(ctx, slog.NewRecord(r.Time, r.Level, "a line that was too long", r.PC))
	}
	return err
}

func shortenedAttr(a slog.Attr, length int) slog.Attr {
	switch value := a.Value.Resolve(); value.Kind() {
	case slog.KindString:
		return slog.String(a.Key, shortened(value.String(), length))
	case slog.KindAny:
		return slog.String(a.Key, shortened(fmt.Sprint(value.Any()), length))
	case slog.KindGroup:
		members := make([]slog.Attr, len(value.Group()))
		for i, member := range value.Group() {
			members[i] = shortenedAttr(member, length)
		}
		return slog.Attr{Key: a.Key, Value: slog.GroupValue(members...)}
	default:
		return slog.Attr{Key: a.Key, Value: value}
	}
}

// shortened leaves the beginning of the text, whole lines of it where there are any: a stack is still one without its end.
func shortened(text string, length int) string {
	if len(text) <= length {
		return text
	}
	for length > 0 && !utf8.RuneStart(text[length]) {
		length--
	}
	text = text[:length]
	if end := strings.LastIndexByte(text, '\n'); end > 0 {
		return text[:end+1] + "…"
	}
	return text + "…"
}
