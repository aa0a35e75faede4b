package postgres_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/shared/postgres"
	"github.com/liftlog/liftlog-api/shared/postgres/pgtest"
)

func TestUseCountsWaitsOnce(t *testing.T) {
	t.Parallel()
	assert.Empty(t, postgres.NewUse(nil).LogValue().Group())
	db := pgtest.Pool(t, postgres.Options{URL: pgtest.URL(t), MaxConns: 1})
	use := postgres.NewUse(db, nil)
	told := func() map[string]int64 {
		numbers := map[string]int64{}
		for _, member := range use.LogValue().Group() {
			require.Equal(t, slog.KindInt64, member.Value.Kind())
			numbers[member.Key] = member.Value.Int64()
		}
		return numbers
	}
	held, err := db.Acquire(t.Context())
	require.NoError(t, err)
	before := told() // making the first connection counts as a wait
	assert.Equal(t, map[string]int64{"acquired": 1, "max": 1, "waited": before["waited"], "timedOut": 0}, before)

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err = db.Acquire(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	after := told()
	assert.EqualValues(t, 1, after["timedOut"])
	assert.Zero(t, told()["timedOut"], "it is told once")
	held.Release()
	assert.Zero(t, told()["acquired"])
}
