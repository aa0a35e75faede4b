package outbound_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/liftlog/liftlog-api/shared/apierr"
	"github.com/liftlog/liftlog-api/shared/purchase/outbound"
)

func TestAStoreIsNotFollowedFurtherThanAnHour(t *testing.T) {
	t.Parallel()
	now := time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC)
	for text, want := range map[string]time.Time{"": {}, "90": now.Add(90 * time.Second), "4000": now.Add(time.Hour)} {
		assert.Equal(t, want, outbound.RetryAt(http.Header{"Retry-After": {text}}, now), text)
	}
}

func TestWaitingEndsBeforeTheTimeIsUp(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	begin := time.Now()
	assert.False(t, outbound.Wait(ctx, time.Minute))
	assert.Less(t, time.Since(begin), 30*time.Second)
	assert.True(t, outbound.Wait(ctx, time.Millisecond))
	cancel()
	assert.False(t, outbound.Wait(ctx, 200*time.Millisecond))
	assert.True(t, outbound.Wait(t.Context(), time.Millisecond))
}

func TestFaultsOfStatuses(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]outbound.Fault{
		401: outbound.Refused, 403: outbound.Refused, 408: outbound.Timeout, 423: outbound.Limited, 429: outbound.Limited, 500: outbound.Failed,
		503: outbound.Failed, 504: outbound.Timeout, 200: outbound.Unreadable, 302: outbound.Unreadable, 418: outbound.Unreadable,
	} {
		assert.Equal(t, want, outbound.FaultOfStatus(status), status)
	}
}

func TestUnknownIsUnavailableAndNamesItsFault(t *testing.T) {
	t.Parallel()
	err := outbound.Unknown(outbound.Limited, time.Time{})
	assert.Equal(t, apierr.Unavailable, apierr.KindOf(err))
	assert.ErrorIs(t, err, outbound.Limited)
	assert.Equal(t, outbound.Unreadable, outbound.FaultOf(errors.New("any")))
}
