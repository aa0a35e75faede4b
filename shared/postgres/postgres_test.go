package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/shared/apierr"
	"github.com/liftlog/liftlog-api/shared/postgres"
	"github.com/liftlog/liftlog-api/shared/postgres/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }

func TestOpenMakesAPoolAsAskedFor(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t, postgres.Options{
		URL: pgtest.URL(t), MaxConns: 3, Application: "test", StatementTimeout: 7 * time.Second, LockTimeout: 2 * time.Second,
	})
	assert.Zero(t, pool.Stat().TotalConns(), "it connects when it is first used")
	settings, err := postgres.All(t.Context(), pool, "read settings", pgx.RowTo[string], `
		SELECT name || '=' || current_setting(name) FROM pg_settings WHERE source = 'client' ORDER BY name`)
	require.NoError(t, err)
	assert.Subset(t, []string{"application_name=test", "jit=off", "lock_timeout=2s", "statement_timeout=7s", "client_encoding=UTF8"}, settings)
	assert.Subset(t, settings, []string{"application_name=test", "jit=off", "lock_timeout=2s", "statement_timeout=7s"})
	assert.EqualValues(t, 3, pool.Config().MaxConns)
}

func TestABadURLIsNotRepeated(t *testing.T) {
	t.Parallel()
	_, err := postgres.Open(t.Context(), postgres.Options{URL: "postgres://u:hunter2@h:notaport/d", MaxConns: 1})
	require.Error(t, err)
	assert.NotContains(t, err.Error(), "hunter2")
}

func TestCloudSQLIsDialedWithoutTheURLsHost(t *testing.T) {
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", writeCredentials(t))
	pool := pgtest.Pool(t, postgres.Options{
		URL: "postgres://iam-user@ignored.invalid/liftlog", CloudSQLInstance: "project:region:instance", MaxConns: 1,
	})
	assert.Nil(t, pool.Config().ConnConfig.TLSConfig)
	assert.Empty(t, pool.Config().ConnConfig.Fallbacks)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	_, err := pool.Exec(ctx, `SELECT 1`)
	require.Error(t, err)
	assert.Equal(t, apierr.Unavailable, apierr.KindOf(postgres.Wrap("query", err)))
	assert.NotContains(t, err.Error(), "lookup ignored.invalid")
}

// writeCredentials makes a login of nobody's, whose token service refuses connections.
func writeCredentials(t *testing.T) string {
	t.Helper()
	path := t.TempDir() + "/credentials.json"
	require.NoError(t, os.WriteFile(path, []byte(`{"type": "authorized_user", "client_id": "a", "client_secret": "b", "refresh_token": "c",
		"token_uri": "http://127.0.0.1:1/token"}`), 0o600))
	return path
}

func TestInTx(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	_, err := db.Exec(t.Context(), `CREATE TABLE numbers (n int)`)
	require.NoError(t, err)
	insert := func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), `INSERT INTO numbers VALUES (1)`)
		return err
	}
	count := func() (n int) {
		require.NoError(t, db.QueryRow(t.Context(), `SELECT count(*) FROM numbers`).Scan(&n))
		return n
	}
	require.NoError(t, postgres.InTx(t.Context(), db, "try", insert))
	assert.Equal(t, 1, count())

	failed := errors.New("failed")
	require.ErrorIs(t, postgres.InTx(t.Context(), db, "try", func(tx pgx.Tx) error { return errors.Join(insert(tx), failed) }), failed)
	assert.Equal(t, 1, count())

	assert.PanicsWithValue(t, "oh", func() {
		_ = postgres.InTx(t.Context(), db, "try", func(tx pgx.Tx) error {
			assert.NoError(t, insert(tx))
			panic("oh")
		})
	})
	assert.Equal(t, 1, count())

	ctx, cancel := context.WithCancel(t.Context())
	require.Error(t, postgres.InTx(ctx, db, "try", func(tx pgx.Tx) error {
		assert.NoError(t, insert(tx))
		cancel()
		return nil
	}))
	assert.Equal(t, 1, count())
	assert.Zero(t, db.Stat().AcquiredConns(), "no connection is left behind")
}

func TestWrapTellsWhatMayPass(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		err  error
		want apierr.Kind
	}{
		"deadlock":          {&pgconn.PgError{Code: "40P01"}, apierr.Unavailable},
		"too many":          {&pgconn.PgError{Code: "53300"}, apierr.Unavailable},
		"shutting down":     {&pgconn.PgError{Code: "57P01"}, apierr.Unavailable},
		"statement timed":   {&pgconn.PgError{Code: "57014"}, apierr.Unavailable},
		"read only":         {&pgconn.PgError{Code: "25006"}, apierr.Unavailable},
		"refused login":     {&pgconn.PgError{Code: "28P01"}, apierr.Unavailable},
		"missing right":     {&pgconn.PgError{Code: "42501"}, apierr.Unavailable},
		"missing table":     {&pgconn.PgError{Code: "42P01"}, apierr.Unavailable},
		"cached plan":       {&pgconn.PgError{Code: "0A000"}, apierr.Unavailable},
		"full disk":         {&pgconn.PgError{Code: "53100"}, apierr.Unavailable},
		"broken":            {fmt.Errorf("receive message failed: %w", io.ErrUnexpectedEOF), apierr.Unavailable},
		"syntax":            {&pgconn.PgError{Code: "42601"}, apierr.Internal},
		"unique":            {&pgconn.PgError{Code: "23505"}, apierr.Internal},
		"caller left":       {context.Canceled, apierr.Internal},
		"out of time":       {context.DeadlineExceeded, apierr.Unavailable},
		"network":           {&net.OpError{Op: "read", Err: errors.New("reset")}, apierr.Unavailable},
		"no rows":           {pgx.ErrNoRows, apierr.Internal},
		"something wrapped": {fmt.Errorf("scan: %w", &pgconn.PgError{Code: "08006"}), apierr.Unavailable},
	}
	for name, c := range cases {
		err := postgres.Wrap("try", c.err)
		assert.Equal(t, c.want, apierr.KindOf(err), name)
		assert.ErrorIs(t, err, c.err, name)
		assert.ErrorContains(t, err, "try: ", name)
	}
	assert.EqualError(t, postgres.Wrap("try", &pgconn.PgError{Code: "22P02", Message: `invalid input syntax for type integer: "secret"`}), "try: SQLSTATE 22P02")
	assert.NoError(t, postgres.Wrap("try", nil))
	assert.True(t, apierr.IsBroken(postgres.Wrap("try", &pgconn.PgError{Code: "42501"})))
	assert.False(t, apierr.IsBroken(postgres.Wrap("try", &pgconn.PgError{Code: "53100"})))
}
