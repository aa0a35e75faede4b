package ratelimit

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/liftlog/liftlog-api/shared/clientaddr"
)

func TestCallsOfClientsAreForgottenAfterADay(t *testing.T) {
	t.Parallel()
	var c clients
	one, two := clientaddr.Client{1}, clientaddr.Client{2}
	begin := time.Now()
	take := func(client clientaddr.Client, after time.Duration) (time.Duration, bool) {
		retryAt, ok := c.take(clientCall{client, begin.Add(after)}, 2)
		return retryAt.Sub(begin), ok
	}
	for i, call := range []struct {
		client clientaddr.Client
		after  time.Duration
		passes bool
		retry  time.Duration
	}{
		{one, 0, true, 0},
		{two, time.Hour, true, 0},
		{one, 2 * time.Hour, true, 0},
		{one, 3 * time.Hour, false, day},
		{one, day - 1, false, day},
		{one, day, true, 0},
		{one, day, false, day + 2*time.Hour},
	} {
		retry, ok := take(call.client, call.after)
		assert.Equal(t, call.passes, ok, i)
		if !ok {
			assert.Equal(t, call.retry, retry, i)
		}
	}
	c.giveBack(clientCall{one, begin.Add(2 * time.Hour)})
	_, ok := take(one, day+1)
	assert.True(t, ok)
	_, _ = take(two, 3*day)
	assert.Len(t, c.calls, 1)
	assert.Len(t, c.count, 1)
}
