package logging_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/shared/logging"
)

func TestALineHasABound(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("long ", 10_000)
	many := make([]any, 0, 2000)
	for i := range cap(many) / 2 {
		many = append(many, fmt.Sprintf("key%d", i), i)
	}
	for name, log := range map[string]func(*slog.Logger){
		"a message": func(l *slog.Logger) { l.ErrorContext(t.Context(), long, "status", 500) },
		"a text":    func(l *slog.Logger) { l.ErrorContext(t.Context(), "message", "status", 500, "error", long) },
		"escapes":   func(l *slog.Logger) { l.ErrorContext(t.Context(), strings.Repeat("\x00\"ä", 10_000), "status", 500) },
		"an error":  func(l *slog.Logger) { l.ErrorContext(t.Context(), "message", "status", 500, "error", errors.New(long)) },
		"a group": func(l *slog.Logger) {
			l.ErrorContext(t.Context(), "message", "status", 500, slog.Group("g", "a", long, "b", long))
		},
		"what comes late": func(l *slog.Logger) { l.ErrorContext(t.Context(), "message", "status", 500, "late", late(long)) },
		"in a context":    func(l *slog.Logger) { l.With("status", 500).WithGroup("g").ErrorContext(t.Context(), long, "a", long) },
		"many":            func(l *slog.Logger) { l.ErrorContext(t.Context(), "message", many...) },
	} {
		var output bytes.Buffer
		log(logging.New(&output, slog.LevelInfo))
		assert.Less(t, output.Len(), logging.MaxLine, name)
		assert.Equal(t, 1, strings.Count(output.String(), "\n"), name)
		var line map[string]any
		require.NoError(t, json.Unmarshal(output.Bytes(), &line), name)
		assert.Equal(t, "ERROR", line["severity"], name)
		if name != "many" {
			assert.InDelta(t, 500, line["status"], 0, name)
			assert.Greater(t, output.Len(), 500, "%s: as much as there is room for", name)
		}
		output.Reset()
		log(logging.ForPeople(&output, slog.LevelInfo))
		assert.Less(t, output.Len(), logging.MaxLine, name)
	}
	var output bytes.Buffer
	logging.New(&output, slog.LevelInfo).ErrorContext(t.Context(), "panic: x\n\n"+strings.Repeat("frame\n\tfile:1\n", 1000))
	assert.Contains(t, output.String(), `\n…"}`, "whole lines of a stack")
}

// late is a value that is made when it is logged.
type late string

func (l late) LogValue() slog.Value { return slog.StringValue(string(l)) }
