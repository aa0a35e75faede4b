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

func TestErrorsHaveTheFormOfErrorReporting(t *testing.T) {
	t.Setenv("K_SERVICE", "put-event")
	t.Setenv("K_REVISION", "put-event-00007-abc")
	var output bytes.Buffer
	log := logging.New(&output, slog.LevelInfo).With("always", 1)
	line := func() (line map[string]any) {
		require.NoError(t, json.Unmarshal(output.Bytes(), &line))
		output.Reset()
		return line
	}
	log.WarnContext(t.Context(), "careful")
	assert.NotContains(t, line(), "serviceContext")

	log.ErrorContext(t.Context(), "broken")
	got := line()
	assert.Equal(t, "type.googleapis.com/google.devtools.clouderrorreporting.v1beta1.ReportedErrorEvent", got["@type"])
	assert.Equal(t, map[string]any{"service": "put-event", "version": "put-event-00007-abc"}, got["serviceContext"])
	place, _ := got["context"].(map[string]any)
	location, _ := place["reportLocation"].(map[string]any)
	assert.Regexp(t, `logging_test\.go$`, location["filePath"])
	assert.Regexp(t, `TestErrorsHaveTheFormOfErrorReporting$`, location["functionName"])
	assert.Greater(t, location["lineNumber"], 0.0)

	log.ErrorContext(t.Context(), "broken", logging.Place("PUT /v2/event"))
	assert.Equal(t, map[string]any{"reportLocation": map[string]any{"functionName": "PUT /v2/event"}}, line()["context"])
}
