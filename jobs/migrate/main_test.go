package main

import (
	"bytes"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/functions/manifest"
	"github.com/liftlog/liftlog-api/shared/postgres"
	"github.com/liftlog/liftlog-api/shared/postgres/migrations"
	"github.com/liftlog/liftlog-api/shared/postgres/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }

// fill makes the sample of v1's data that v1 itself made.
func fill(t *testing.T, url string) {
	t.Helper()
	script, err := os.ReadFile("../../functions/cmd/emulator/testdata/v1/sample.sql")
	require.NoError(t, err)
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), string(script))
	require.NoError(t, err)
	require.NoError(t, conn.Close(t.Context()))
}

func TestMigrateV1sDatabase(t *testing.T) {
	t.Parallel()
	url := pgtest.EmptyURL(t)
	fill(t, url)
	for i, args := range [][]string{{"--check"}, nil, {"--check"}, nil, {"--check"}} {
		var output bytes.Buffer
		require.NoError(t, run(t.Context(), args, []string{"DATABASE_URL=" + url}, &output), output.String())
		if args != nil {
			assert.Equal(t, i > 0, strings.Contains(output.String(), " 0 migrations pending"), output.String())
		}
	}
}

func TestMigrate(t *testing.T) {
	t.Parallel()
	url := pgtest.EmptyURL(t)
	migrate := func(args ...string) (string, error) {
		var output bytes.Buffer
		err := run(t.Context(), args, []string{"DATABASE_URL=" + url}, &output)
		return output.String(), err
	}
	said, err := migrate("--check")
	require.NoError(t, err)
	assert.Contains(t, said, "the database is empty: v1's tables will be made")
	assert.Regexp(t, `0 obstacles, 0 warnings, [1-9][0-9]* migrations pending\nnothing is in the way`, said)

	for range 2 {
		said, err = migrate()
		require.NoError(t, err)
		assert.Contains(t, said, "the databases are up to date")
	}
	said, err = migrate("--check")
	require.NoError(t, err)
	assert.Contains(t, said, "0 migrations pending")

	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), `INSERT INTO "__EFMigrationsHistory" VALUES ('20300101000000_Later', '11')`)
	require.NoError(t, err)
	require.NoError(t, conn.Close(t.Context()))
	said, err = migrate("--check")
	require.ErrorContains(t, err, "2 obstacles are in the way") // for either set, as both share the history
	assert.Contains(t, said, "20300101000000_Later is not known")
	_, err = migrate()
	require.ErrorContains(t, err, "20300101000000_Later is not known")
}

func TestANewIdentity(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	db := pgtest.Pool(t, postgres.Options{URL: url, MaxConns: 1, Tables: postgres.UserTables, Gate: postgres.NewGate()})
	require.NoError(t, db.Ping(t.Context()))
	var output bytes.Buffer
	require.NoError(t, run(t.Context(), []string{"--new-identity"}, []string{"DATABASE_URL=" + url}, &output))
	assert.Contains(t, output.String(), "the databases have new identities")
	require.NoError(t, pgtest.Pool(t, postgres.Options{URL: url, MaxConns: 1, Tables: postgres.UserTables}).Ping(t.Context()), "who begins now finds nothing wrong")
	db.Reset()
	require.ErrorContains(t, db.Ping(t.Context()), "its identity has changed")

	err := run(t.Context(), []string{"--new-identity"}, []string{"DATABASE_URL=" + pgtest.EmptyURL(t)}, &output)
	require.ErrorContains(t, err, "users' database: it has no identity to replace: has it been restored, and migrated?")
}

func TestHelpAndFaults(t *testing.T) {
	t.Parallel()
	var output bytes.Buffer
	require.ErrorIs(t, run(t.Context(), []string{"--help"}, nil, &output), flag.ErrHelp)
	assert.Contains(t, output.String(), "-check")
	assert.Contains(t, output.String(), "DATABASE_URL")
	require.ErrorContains(t, run(t.Context(), nil, nil, &output), "DATABASE_URL: is required")
	require.Error(t, run(t.Context(), []string{"--nonsense"}, nil, &output))
}

func TestTheListOfProgramsKnowsTheConnections(t *testing.T) {
	t.Parallel()
	assert.Equal(t, migrations.MaxConns, manifest.ProgramOf("migrate").Pool)
}

func TestGrants(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	give := func(environ []string, args ...string) (string, error) {
		var output bytes.Buffer
		err := run(t.Context(), args, append(environ, "DATABASE_URL="+url), &output)
		return output.String(), err
	}
	_, err := give(nil, "--grants")
	require.EqualError(t, err, "DATABASE_LOGINS: is required for --grants")
	logins := []string{"DATABASE_LOGINS=run-*@nowhere.iam", "V1_DATABASE_LOGIN=liftlog's"}
	said, err := give(logins, "--grants", "--print")
	require.NoError(t, err)
	for _, want := range []string{
		`GRANT "liftlog_writer" TO "run-put-event@nowhere.iam"`, `GRANT "liftlog_reader" TO "run-get-events@nowhere.iam"`,
		`GRANT "liftlog_limits" TO "run-chat-service@nowhere.iam"`, `GRANT "liftlog_owner" TO "run-migrate@nowhere.iam"`, `GRANT "liftlog_owner" TO "liftlog's"`,
		`GRANT SELECT ON "users" TO "liftlog_reader"`,
	} {
		assert.Contains(t, said, want)
	}
	assert.NotContains(t, said, "run-health")
	_, err = give(logins, "--grants")
	require.ErrorContains(t, err, "the server has no login run-")
	require.ErrorContains(t, err, "terraform apply")
}
