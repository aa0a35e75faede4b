package postgres_test

import (
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/shared/postgres"
	"github.com/liftlog/liftlog-api/shared/postgres/pgtest"
)

func TestUUIDsComeBackAsTheyWereSent(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	type row struct {
		One  uuid.UUID
		None *uuid.UUID
		Some *uuid.UUID
		Text string
		List []uuid.UUID
	}
	one, list := uuid.New(), []uuid.UUID{uuid.New(), uuid.Nil, uuid.Max}
	got, err := postgres.One(t.Context(), db, "try", pgx.RowToStructByPos[row], nil,
		`SELECT $1::uuid, $2::uuid, $3::uuid, $1::uuid::text, $4::uuid[]`, one, (*uuid.UUID)(nil), &one, list)
	require.NoError(t, err)
	assert.Equal(t, row{one, nil, &one, one.String(), list}, got)
	inText, err := postgres.One(t.Context(), db, "try", pgx.RowTo[uuid.UUID], nil, `SELECT $1::uuid`, pgx.QueryExecModeSimpleProtocol, one)
	require.NoError(t, err)
	assert.Equal(t, one, inText)
}

// BenchmarkUUID compares what a pool's connections do with UUIDs with what pgx does by itself.
func BenchmarkUUID(b *testing.B) {
	pool := pgtest.New(b)
	ours, err := pool.Acquire(b.Context())
	require.NoError(b, err)
	defer ours.Release()
	plain, err := pgx.ConnectConfig(b.Context(), ours.Conn().Config())
	require.NoError(b, err)
	defer func() { _ = plain.Close(b.Context()) }()
	list := make([]uuid.UUID, 10)
	for name, conn := range map[string]*pgx.Conn{"ours": ours.Conn(), "pgx": plain} {
		types := conn.TypeMap()
		one, err := types.Encode(pgtype.UUIDOID, pgx.BinaryFormatCode, uuid.New(), nil)
		require.NoError(b, err)
		b.Run("send ten/"+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, err := types.Encode(pgtype.UUIDArrayOID, pgx.BinaryFormatCode, list, nil)
				require.NoError(b, err)
			}
		})
		b.Run("send/"+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, err := types.Encode(pgtype.UUIDOID, pgx.BinaryFormatCode, list[0], nil)
				require.NoError(b, err)
			}
		})
		b.Run("read/"+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				require.NoError(b, types.Scan(pgtype.UUIDOID, pgx.BinaryFormatCode, one, &list[0]))
			}
		})
	}
}
