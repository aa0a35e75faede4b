package main

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/liftlog/liftlog-api/shared/logging"
	"github.com/liftlog/liftlog-api/shared/postgres/pgtest"
)

// TestBodiesOfManyItemsCostLittle sends the most items that a body has room for, and as many faults as a list may have.
func TestBodiesOfManyItemsCostLittle(t *testing.T) {
	t.Parallel()
	s := start(t, "GetEvents", pgtest.URL(t))
	idle := s.resident(t, "VmRSS")
	refused := func(body string) {
		var group sync.WaitGroup
		for range 12 {
			group.Go(func() {
				response, err := http.DefaultClient.Do(s.request(t, "POST", "/v2/events", strings.NewReader(body)))
				if !assert.NoError(t, err) {
					return
				}
				defer func() { _ = response.Body.Close() }()
				answer, err := io.ReadAll(response.Body)
				assert.NoError(t, err)
				assert.Equal(t, http.StatusBadRequest, response.StatusCode)
				assert.Contains(t, string(answer), `"users`)
				assert.Less(t, len(answer), 4<<10)
			})
		}
		group.Wait()
	}
	items := func(n int) string { return `{"users":[` + strings.Repeat("{},", n-1) + `{}]}` }
	refused(items(1000))
	for range 5 {
		refused(items(349_000))
	}
	grown := s.resident(t, "VmHWM") - idle
	t.Logf("grew by %d MiB", grown>>20)
	if !raced() {
		assert.Less(t, grown, int64(64<<20), "twelve bodies of 1 MiB, and little else")
	}
	for line := range strings.Lines(s.Log.String()) {
		assert.LessOrEqual(t, len(line), logging.MaxLine)
	}
}
