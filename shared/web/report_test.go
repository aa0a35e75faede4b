package web_test

import (
	"errors"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/liftlog/liftlog-api/shared/apierr"
	"github.com/liftlog/liftlog-api/shared/web"
)

// figures stands for pools.
type figures struct{}

func (figures) LogValue() slog.Value { return slog.GroupValue(slog.Int("timedOut", 2)) }

func TestAFailureOfOursIsLoggedWithItsPlace(t *testing.T) {
	t.Parallel()
	server, lines := setup(t, web.Service{Pools: figures{}}, errors.New("plain"))
	send(t, server, "GET", "/fail", "")
	line := lines.last(t)
	assert.Equal(t, map[string]any{"reportLocation": map[string]any{"functionName": "GET /fail"}}, line["context"])
	assert.Equal(t, map[string]any{"timedOut": 2.0}, line["pool"])

	server, lines = setup(t, web.Service{}, apierr.Traced(errors.New("traced")))
	send(t, server, "GET", "/fail", "")
	line = lines.last(t)
	assert.Regexp(t, `^GET /fail: traced\n\ngoroutine 1 \[running\]:\n.*TestAFailureOfOursIsLoggedWithItsPlace`, line["msg"])
	assert.NotContains(t, line, "pool")

	server, lines = setup(t, web.Service{}, apierr.Busy("Later.", nil))
	send(t, server, "GET", "/fail", "")
	assert.NotContains(t, lines.last(t), "context", "what passes is none of ours")
}
