package ratelimit_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/shared/apierr"
	"github.com/liftlog/liftlog-api/shared/ratelimit"
)

// BenchmarkTake measures calls of four instances on a server that waits for its disk.
func BenchmarkTake(b *testing.B) {
	b.Run("passing", func(b *testing.B) {
		service := start(b, budget*1000)
		var caller atomic.Int32
		b.SetParallelism(atOnce)
		b.RunParallel(func(pb *testing.PB) {
			n := int(caller.Add(1))
			for pb.Next() {
				settle, err := service.take(b.Context(), n, ratelimit.Key(fmt.Sprint("KEY", n)), 1)
				if err != nil {
					b.Error(err)
					return
				}
				settle(b.Context(), neverAnswered)
			}
		})
	})
	b.Run("refused", func(b *testing.B) {
		service := start(b, budget)
		_, err := service.take(b.Context(), 0, key, 1)
		require.NoError(b, err)
		var caller atomic.Int32
		b.SetParallelism(atOnce)
		b.RunParallel(func(pb *testing.PB) {
			n := int(caller.Add(1))
			for pb.Next() {
				if _, err := service.take(b.Context(), n, key, 1); apierr.KindOf(err) != apierr.Limited {
					b.Error(err)
					return
				}
			}
		})
	})
}
