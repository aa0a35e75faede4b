package retryafter_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/liftlog/liftlog-api/shared/retryafter"
)

func TestRead(t *testing.T) {
	t.Parallel()
	now := time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"": {}, "soon": {}, "-1": {}, "NaN": {}, "1 s": {},
		"0": now, "90": now.Add(90 * time.Second), "1.5": now.Add(1500 * time.Millisecond),
		"2147483647": now.Add(time.Hour), "99999999999999999999": now.Add(time.Hour), "1e99": now.Add(time.Hour),
		"Thu, 02 Jan 2025 03:05:05 GMT": now.Add(time.Minute), "Thu, 02 Jan 2125 03:05:05 GMT": now.Add(time.Hour),
		"Mon, 01 Jan 2024 00:00:00 GMT": now,
	} {
		assert.Equal(t, want, retryafter.Read(http.Header{"Retry-After": {text}}, now, time.Hour), text)
	}
	assert.Zero(t, retryafter.Read(nil, now, time.Hour))
}
