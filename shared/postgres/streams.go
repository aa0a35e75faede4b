package postgres

import (
	"context"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/liftlog/liftlog-api/shared/apierr"
)

// Streams bounds how many answers are read from the database at the speed of their reader, so that slow readers never
// hold all of a pool. It is safe for concurrent use.
type Streams struct{ free *semaphore.Weighted }

// streamWait is how long a stream waits for another one to end.
const streamWait = 5 * time.Second

// NewStreams leaves one connection of a pool of that size to others, if it has more than one.
func NewStreams(poolSize int) *Streams {
	return &Streams{semaphore.NewWeighted(int64(max(1, poolSize-1)))}
}

// Begin waits for its turn and returns what the caller does at the end. Without a turn for long it is
// [apierr.Unavailable].
func (s *Streams) Begin(ctx context.Context) (end func(), err error) {
	wait, cancel := context.WithTimeout(ctx, streamWait)
	defer cancel()
	if err := s.free.Acquire(wait, 1); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, apierr.Busy("Too many long answers are being read.", err)
	}
	return func() { s.free.Release(1) }, nil
}
