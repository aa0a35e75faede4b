package ratelimit_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/shared/apierr"
	"github.com/liftlog/liftlog-api/shared/clientaddr"
	"github.com/liftlog/liftlog-api/shared/ratelimit"
)

func TestAClientHasItsOwnLimitBeneathTheOneOfTheKey(t *testing.T) {
	t.Parallel()
	limiter, db := setup(t, ratelimit.Options{})
	one, two := clientaddr.Client{1}, clientaddr.Client{2}
	take := func(client clientaddr.Client) (ratelimit.Settle, error) {
		return limiter.TakeFor(t.Context(), client, 2, key, 3)
	}
	for range 2 {
		_, err := take(one)
		require.NoError(t, err)
	}
	_, err := take(one)
	var refused *apierr.Error
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, apierr.Limited, refused.Kind)
	assert.WithinDuration(t, time.Now().Add(24*time.Hour), refused.RetryAt, time.Minute)
	requests, _ := counted(t, db)
	assert.Equal(t, 2, requests, "the others have the rest")

	settle, err := take(two)
	require.NoError(t, err)
	_, err = take(two)
	assert.Equal(t, apierr.Limited, apierr.KindOf(err), "of the key")
	settle(t.Context(), neverAnswered)
	for range 2 { // the refusal has cost the client nothing, nor what was given back
		settle, err = take(two)
		require.NoError(t, err)
		settle(t.Context(), neverAnswered)
	}
}

func TestAClientIsNotCountedWhereNothingIs(t *testing.T) {
	t.Parallel()
	limiter, _ := setup(t, ratelimit.Options{Unlimited: true})
	for range 3 {
		_, err := limiter.TakeFor(t.Context(), clientaddr.Client{1}, 1, key, 1)
		require.NoError(t, err)
	}
}
