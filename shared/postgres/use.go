package postgres

import (
	"log/slog"
	"sync/atomic"
)

// Use reports pools to a log line: how many connections are taken of how many there may be, and how often since the last line
// somebody had to wait for one, or waited in vain. It is safe for concurrent use.
type Use struct {
	pools            []*DB
	waited, timedOut atomic.Int64 // reported already
}

// NewUse is for these pools; those that are nil are left out.
func NewUse(pools ...*DB) *Use {
	u := &Use{}
	for _, pool := range pools {
		if pool != nil {
			u.pools = append(u.pools, pool)
		}
	}
	return u
}

// LogValue is a group of the numbers, empty when there is no pool. Each wait is reported by one line only.
func (u *Use) LogValue() slog.Value {
	if len(u.pools) == 0 {
		return slog.GroupValue()
	}
	var acquired, most, waited, timedOut int64
	for _, pool := range u.pools {
		stat := pool.Stat()
		acquired += int64(stat.AcquiredConns())
		most += int64(stat.MaxConns())
		waited += stat.EmptyAcquireCount()
		timedOut += stat.CanceledAcquireCount()
	}
	return slog.GroupValue(slog.Int64("acquired", acquired), slog.Int64("max", most),
		slog.Int64("waited", max(waited-u.waited.Swap(waited), 0)), slog.Int64("timedOut", max(timedOut-u.timedOut.Swap(timedOut), 0)))
}
