package config_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/shared/config"
)

func TestChat(t *testing.T) {
	t.Parallel()
	var p struct{ Chat config.Chat }
	require.NoError(t, config.Load(t.Context(), []string{"CHAT_TOKEN_KEY=1:" + key32}, &p))
	assert.Equal(t, 900, p.Chat.MaxConnections)
	version, _ := p.Chat.TokenKeys.Signing()
	assert.Equal(t, 1, version)

	err := config.Load(t.Context(), []string{"CHAT_MAX_CONNECTIONS=0"}, &p)
	require.ErrorContains(t, err, "CHAT_TOKEN_KEY: is required")
	require.ErrorContains(t, err, "CHAT_MAX_CONNECTIONS: is not positive")
}
