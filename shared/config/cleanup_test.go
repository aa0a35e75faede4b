package config_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/shared/config"
)

func TestCleanup(t *testing.T) {
	t.Parallel()
	var p struct{ Cleanup config.Cleanup }
	require.NoError(t, config.Load(t.Context(), nil, &p))
	assert.Zero(t, p.Cleanup.EventGrace)
	require.NoError(t, config.Load(t.Context(), []string{"CLEANUP_EVENT_GRACE=24h"}, &p))
	assert.Equal(t, 24*time.Hour, p.Cleanup.EventGrace)
	for _, value := range []string{"-1s", "721h", "24", "a day"} {
		require.ErrorContains(t, config.Load(t.Context(), []string{"CLEANUP_EVENT_GRACE=" + value}, &p), "CLEANUP_EVENT_GRACE: ", value)
	}
}
