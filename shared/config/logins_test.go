package config_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/shared/config"
)

func TestLogins(t *testing.T) {
	t.Parallel()
	var p struct{ Logins config.Logins }
	require.NoError(t, config.Load(t.Context(), []string{"DATABASE_LOGINS=run-*@liftlog.iam"}, &p))
	assert.Equal(t, "run-put-user@liftlog.iam", p.Logins.Login("put-user"))
	for _, wrong := range []string{"run@liftlog.iam", "*-*"} {
		assert.ErrorContains(t, config.Load(t.Context(), []string{"DATABASE_LOGINS=" + wrong}, &p), "DATABASE_LOGINS: has not exactly one star")
	}
}
