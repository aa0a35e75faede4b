package postgres

import (
	"time"

	"github.com/jackc/pgx/v5/pgtype"
)

// The ends of time, as v1 writes PostgreSQL's infinity and -infinity.
var (
	Forever = time.Date(9999, 12, 31, 23, 59, 59, 999_999_900, time.UTC)
	Never   = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)
)

// ToTimestamp is how v1 stores a time: [Forever] and [Never] as the infinities.
func ToTimestamp(t time.Time) pgtype.Timestamptz {
	switch {
	case !t.Before(Forever):
		return pgtype.Timestamptz{InfinityModifier: pgtype.Infinity, Valid: true}
	case !t.After(Never):
		return pgtype.Timestamptz{InfinityModifier: pgtype.NegativeInfinity, Valid: true}
	default:
		return pgtype.Timestamptz{Time: t, Valid: true} // sent in microseconds, cut
	}
}

// FromTimestamp is how v1 reads a stored time that is not null.
func FromTimestamp(t pgtype.Timestamptz) time.Time {
	switch t.InfinityModifier {
	case pgtype.Infinity:
		return Forever
	case pgtype.NegativeInfinity:
		return Never
	default:
		return t.Time
	}
}
