package logging_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/shared/logging"
)

func TestTheCloudGetsItsOwnNames(t *testing.T) {
	t.Parallel()
	var output bytes.Buffer
	log := logging.New(&output, slog.LevelInfo)
	log.DebugContext(t.Context(), "quiet")
	log.WarnContext(t.Context(), "careful", slog.Group("httpRequest", "level", "kept"))
	var line map[string]any
	require.NoError(t, json.Unmarshal(output.Bytes(), &line))
	assert.Contains(t, line, "time")
	delete(line, "time")
	assert.Equal(t, map[string]any{"severity": "WARNING", "message": "careful", "httpRequest": map[string]any{"level": "kept"}}, line)
}

func TestPeopleGetShortLines(t *testing.T) {
	t.Parallel()
	var output bytes.Buffer
	logging.ForPeople(&output, slog.LevelInfo).InfoContext(t.Context(), "GET /x",
		slog.Group("httpRequest", "requestMethod", "GET", "requestUrl", "/x", "status", 200, "protocol", "HTTP/1.1"))
	assert.Regexp(t, `^time=\d\d:\d\d:\d\d\.\d{3} level=INFO msg="GET /x" httpRequest\.status=200\n$`, output.String())
}
