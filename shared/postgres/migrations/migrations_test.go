package migrations_test

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/liftlog/liftlog-api/shared/postgres"
	"github.com/liftlog/liftlog-api/shared/postgres/migrations"
	"github.com/liftlog/liftlog-api/shared/postgres/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }

var discard = slog.New(slog.DiscardHandler)

// up migrates the databases at the URLs.
func up(t *testing.T, user, rateLimit string) error {
	t.Helper()
	databases := open(t, user, rateLimit)
	return migrations.Up(t.Context(), databases, discard)
}

func open(t *testing.T, user, rateLimit string) postgres.Databases {
	t.Helper()
	databases, err := migrations.Open(t.Context(), user, rateLimit, "")
	require.NoError(t, err)
	t.Cleanup(databases.Close)
	return databases
}

func check(t *testing.T, user, rateLimit string) migrations.Report {
	t.Helper()
	report, err := migrations.Check(t.Context(), open(t, user, rateLimit))
	require.NoError(t, err)
	return report
}

// load runs a file of v1's.
func load(t *testing.T, url string, files ...string) {
	t.Helper()
	for _, file := range files {
		script, err := os.ReadFile("testdata/v1/" + file)
		require.NoError(t, err)
		exec(t, url, string(script))
	}
}

// exec runs statements on a connection of its own, because a dump changes settings.
func exec(t *testing.T, url, statements string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer func() { assert.NoError(t, conn.Close(context.Background())) }()
	_, err = conn.Exec(t.Context(), statements)
	require.NoError(t, err)
}

// catalogV1 lists v1's columns, constraints and indexes: everything but what begins with v2_.
const catalogV1 = `
	SELECT format('column %s %s.%s %s notnull=%s default=%s', a.attnum, c.relname, a.attname,
		format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid))
	FROM pg_attribute a
	JOIN pg_class c ON c.oid = a.attrelid AND c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace
	LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
	WHERE a.attnum > 0 AND c.relname NOT LIKE 'v2\_%'
	UNION ALL
	SELECT format('constraint %s on %s: %s', conname, conrelid::regclass, pg_get_constraintdef(oid))
	FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text NOT LIKE 'v2\_%'
	UNION ALL
	SELECT 'index ' || indexdef FROM pg_indexes
	WHERE schemaname = 'public' AND tablename NOT LIKE 'v2\_%' AND indexname NOT LIKE 'v2\_%'
	UNION ALL
	SELECT 'table ' || tablename FROM pg_tables WHERE schemaname = 'public' AND tablename NOT LIKE 'v2\_%'
	ORDER BY 1`

// everything lists all relations, v2's too, with their rights.
const everything = `
	SELECT format('%s %s %s %s', relname, relkind, reltuples >= 0, relacl) FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1`

const history = `SELECT format('%s %s', "MigrationId", "ProductVersion") FROM "__EFMigrationsHistory" ORDER BY 1`

func list(t *testing.T, url, query string) []string {
	t.Helper()
	pool := pgtest.Pool(t, postgres.Options{URL: url, MaxConns: 1})
	rows, _ := pool.Query(t.Context(), query)
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	pool.Close()
	return lines
}

func count(t *testing.T, url, query string) (n int) {
	t.Helper()
	pool := pgtest.Pool(t, postgres.Options{URL: url, MaxConns: 1})
	require.NoError(t, pool.QueryRow(t.Context(), query).Scan(&n))
	return n
}

func TestEmptyDatabasesBecomeV1s(t *testing.T) {
	t.Parallel()
	t.Run("two databases", func(t *testing.T) {
		t.Parallel()
		user, rateLimit := pgtest.EmptyURL(t), pgtest.EmptyURL(t)
		require.NoError(t, up(t, user, rateLimit))

		v1User, v1RateLimit := pgtest.EmptyURL(t), pgtest.EmptyURL(t)
		load(t, v1User, "sample.sql") // holds the history, which schema.sql does not
		load(t, v1RateLimit, "schema-ratelimit.sql")
		assert.Equal(t, list(t, v1User, catalogV1), list(t, user, catalogV1))
		assert.Equal(t, list(t, v1RateLimit, catalogV1), list(t, rateLimit, catalogV1))
		assert.Equal(t, list(t, v1User, history), list(t, user, history))
		assert.Equal(t, []string{"20240110005744_InitialRateLimitMigration 10.0.15", "20240115012913_SnakeCase 10.0.15"}, list(t, rateLimit, history))
	})
	t.Run("one database", func(t *testing.T) {
		t.Parallel()
		both := pgtest.EmptyURL(t)
		require.NoError(t, up(t, both, both))

		v1 := pgtest.EmptyURL(t)
		load(t, v1, "schema.sql")
		exec(t, v1, `DROP TABLE public."__EFMigrationsHistory"`) // the next file makes the same
		load(t, v1, "schema-ratelimit.sql")
		assert.Equal(t, list(t, v1, catalogV1), list(t, both, catalogV1))
		assert.Len(t, list(t, both, history), 17)
	})
}

const contents = `
	SELECT format('%s %s', name, md5(string_agg(line, E'\n' ORDER BY line))) FROM (
		SELECT 'users' AS name, users::text AS line FROM users
		UNION ALL SELECT 'events', user_events::text FROM user_events
		UNION ALL SELECT 'secrets', user_follow_secrets::text FROM user_follow_secrets
		UNION ALL SELECT 'inbox', user_inbox_items::text FROM user_inbox_items
		UNION ALL SELECT 'shared', shared_items::text FROM shared_items
		UNION ALL SELECT 'history', h::text FROM "__EFMigrationsHistory" h
	) AS rows GROUP BY name ORDER BY name`

func TestV1sDatabaseIsOnlyAddedTo(t *testing.T) {
	t.Parallel()
	user, rateLimit := pgtest.EmptyURL(t), pgtest.EmptyURL(t)
	load(t, user, "sample.sql")
	load(t, rateLimit, "schema-ratelimit.sql")
	exec(t, rateLimit, `INSERT INTO public."__EFMigrationsHistory" VALUES
		('20240110005744_InitialRateLimitMigration', '10.0.15'), ('20240115012913_SnakeCase', '10.0.15')`)
	wantCatalog, wantContents := list(t, user, catalogV1), list(t, user, contents)
	wantRateLimit := list(t, rateLimit, catalogV1)

	report := check(t, user, rateLimit)
	assert.Empty(t, report.Obstacles)
	assert.Len(t, report.Pending, len(paths(t, "*")))
	require.NoError(t, up(t, user, rateLimit))

	assert.Equal(t, wantCatalog, list(t, user, catalogV1))
	assert.Equal(t, wantContents, list(t, user, contents))
	assert.Equal(t, wantRateLimit, list(t, rateLimit, catalogV1))
	for url, tables := range map[string][]string{user: postgres.UserTables, rateLimit: postgres.RateLimitTables} {
		require.NoError(t, pgtest.Pool(t, postgres.Options{URL: url, MaxConns: 1, Tables: tables}).Ping(t.Context()))
	}
	assert.Equal(t, migrations.Report{}, check(t, user, rateLimit))
	require.NoError(t, up(t, user, rateLimit), "a second time")
}

// paths lists the files of migrations in the folder.
func paths(t *testing.T, folder string) []string {
	t.Helper()
	paths, err := fs.Glob(migrations.Files(), folder+"/*.sql")
	require.NoError(t, err)
	return paths
}

func TestSeveralMayStartAtOnce(t *testing.T) {
	t.Parallel()
	url := pgtest.EmptyURL(t)
	var group errgroup.Group
	for range 3 {
		databases := open(t, url, url)
		group.Go(func() error { return migrations.Up(t.Context(), databases, discard) })
	}
	require.NoError(t, group.Wait())
	assert.Equal(t, migrations.Report{}, check(t, url, url))
	assert.Equal(t, len(paths(t, "user")), count(t, url, `SELECT count(*) FROM v2_user_migrations WHERE version_id > 0`))
}

func TestALockedTableIsWaitedForAndNotBlocked(t *testing.T) {
	t.Parallel()
	url := pgtest.EmptyURL(t)
	load(t, url, "sample.sql")
	pool := pgtest.Pool(t, postgres.Options{URL: url, MaxConns: 2})
	tx, err := pool.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), `UPDATE users SET last_accessed = now()`) // keeps a foreign key from being made
	require.NoError(t, err)

	// The first attempt has given up when it says so; only then does the table become free.
	var log bytes.Buffer
	released := make(chan error, 1)
	handler := &notify{Handler: slog.NewTextHandler(&log, nil), on: "a table is in use: trying again", do: func() {
		released <- tx.Commit(context.WithoutCancel(t.Context()))
	}}
	databases := open(t, url, url)
	require.NoError(t, migrations.Up(t.Context(), databases, slog.New(handler)))
	require.NoError(t, <-released)
	assert.Equal(t, migrations.Report{}, check(t, url, url))
}

// notify is a log handler that acts when a message is logged for the first time.
type notify struct {
	slog.Handler
	on   string
	do   func()
	done bool
}

func (n *notify) Handle(ctx context.Context, record slog.Record) error {
	if record.Message == n.on && !n.done {
		n.done = true
		n.do()
	}
	return n.Handler.Handle(ctx, record)
}

func TestAnIndexIsMadeBesideOpenReaders(t *testing.T) {
	t.Parallel()
	for name, read := range map[string]string{
		"of its table":     `SELECT count(*) FROM user_events`,
		"of another table": `SELECT count(*) FROM users`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := pgtest.URL(t)
			exec(t, url, `UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'v2_ix_user_events_user_id_timestamp'::regclass`)
			pool := pgtest.Pool(t, postgres.Options{URL: url, MaxConns: 2})
			reader, err := pool.BeginTx(t.Context(), pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
			require.NoError(t, err)
			_, err = reader.Exec(t.Context(), read)
			require.NoError(t, err)

			databases := open(t, url, url)
			ended := make(chan error, 1)
			go func() { ended <- migrations.Up(t.Context(), databases, discard) }()
			waits := func() bool { // longer than any other lock is waited for
				var waiting bool
				err := pool.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM pg_stat_activity
					WHERE datname = current_database() AND wait_event = 'virtualxid' AND query_start < now() - interval '4 seconds')`).Scan(&waiting)
				return err == nil && waiting
			}
			require.Eventually(t, waits, time.Minute, 50*time.Millisecond)
			exec(t, url, `UPDATE user_events SET expiry = now()`) // writers go on meanwhile
			require.NoError(t, reader.Commit(t.Context()))
			require.NoError(t, <-ended)
			assert.Equal(t, migrations.Report{}, check(t, url, url))
		})
	}
}

func TestALostOrInvalidIndexIsMended(t *testing.T) {
	t.Parallel()
	for name, harm := range map[string]string{
		"never made":  `DELETE FROM v2_user_migrations WHERE version_id = 5; UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'v2_ix_shared_items_expiry'::regclass`,
		"invalid":     `UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'v2_ix_shared_items_expiry'::regclass`,
		"lost":        `DROP INDEX v2_ix_shared_items_expiry`,
		"not in turn": `DELETE FROM v2_user_migrations WHERE version_id = 5; DROP INDEX v2_ix_shared_items_expiry`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := pgtest.URL(t)
			exec(t, url, harm)
			report := check(t, url, url)
			assert.Equal(t, migrations.Report{Pending: []string{"user/00005_shared_item_expiry.sql"}}, report)
			require.NoError(t, up(t, url, url))
			assert.Equal(t, 1, count(t, url, `SELECT count(*) FROM pg_index WHERE indisvalid AND indexrelid = 'v2_ix_shared_items_expiry'::regclass`))
			assert.Equal(t, migrations.Report{}, check(t, url, url))
		})
	}
}

func TestALostTableIsNotMadeAnew(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	exec(t, url, `DROP TABLE v2_feed_clocks`)
	const want = "user: v2_feed_clocks is missing or invalid, though 00003_feed_clocks.sql is recorded as applied: was the database restored as a whole?"
	assert.Equal(t, []string{want}, check(t, url, url).Obstacles)
	assert.ErrorContains(t, up(t, url, url), want)
}

func TestWhatMigrationsMakeIsKnown(t *testing.T) {
	t.Parallel()
	known, err := migrations.Relations()
	require.NoError(t, err)
	slices.Sort(known)
	known = slices.Compact(known) // v2_identity is in both sets
	assert.ElementsMatch(t, list(t, pgtest.URL(t), `
		SELECT relname FROM pg_class c
		WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'i') AND relname LIKE 'v2\_%' AND relname NOT LIKE '%\_migrations%'
			AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = c.oid)`), known)
}

func TestIndexesAreMadeWithoutALockTimeout(t *testing.T) {
	t.Parallel()
	for _, path := range paths(t, "*") {
		text, err := fs.ReadFile(migrations.Files(), path)
		require.NoError(t, err)
		if bytes.Contains(text, []byte("CONCURRENTLY")) {
			assert.Regexp(t, `(?s)Up\nSET lock_timeout = 0;\n.*CONCURRENTLY.*RESET lock_timeout;\n$`, string(text), path)
		}
	}
}

func TestCheckNamesWhatStandsInTheWay(t *testing.T) {
	t.Parallel()
	cases := map[string]struct{ change, want string }{
		"a newer v1": {
			`INSERT INTO public."__EFMigrationsHistory" VALUES ('20300101000000_Later', '11.0.0')`,
			"user: v1's migration 20300101000000_Later is not known: v1 is newer than this program",
		},
		"an older v1": {
			`DELETE FROM public."__EFMigrationsHistory" WHERE "MigrationId" = '20260608092703_IncreaseMaxSize'`,
			"user: v1's migration 20260608092703_IncreaseMaxSize has not been applied",
		},
		"a missing column": {`ALTER TABLE public.users DROP created`, "user: the column users.created is missing"},
		"a missing table":  {`DROP TABLE public.shared_items`, "user: the column shared_items.user_id is missing"},
		"another type": {
			`ALTER TABLE public.user_events ALTER id TYPE text`, "user: the column user_events.id is of another type than uuid not null",
		},
		"no primary key": {`ALTER TABLE public.user_events DROP CONSTRAINT pk_user_events`, "user: the table user_events has no primary key (user_id, id)"},
		"no foreign key": {
			`ALTER TABLE public.user_events DROP CONSTRAINT fk_user_events_users_user_id`,
			"user: the table user_events has no foreign key to users on delete cascade (user_id)",
		},
		"a key that keeps users": {
			`ALTER TABLE public.user_events DROP CONSTRAINT fk_user_events_users_user_id, ADD FOREIGN KEY (user_id) REFERENCES public.users`,
			"user: the table user_events has no foreign key to users on delete cascade (user_id)",
		},
		"no unique index": {`DROP INDEX public.ix_users_user_lookup`, "user: the table users has no unique index (user_lookup)"},
		"a column to be filled": {
			`ALTER TABLE public.shared_items ADD views int NOT NULL DEFAULT 0; ALTER TABLE public.shared_items ALTER views DROP DEFAULT`,
			"user: the column shared_items.views is not v1's and has to be filled, which v2 does not",
		},
		"no history": {`DROP TABLE public."__EFMigrationsHistory"`, `user: the column "__EFMigrationsHistory"."MigrationId" is missing`},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := pgtest.EmptyURL(t)
			load(t, url, "sample.sql")
			exec(t, url, c.change)
			before := list(t, url, everything)

			report := check(t, url, url)
			assert.Contains(t, report.Obstacles, c.want)
			assert.ErrorContains(t, up(t, url, url), c.want)
			assert.Equal(t, before, list(t, url, everything), "something was changed")
		})
	}
}

func TestCheckNamesWhereASchemaIsNotV1s(t *testing.T) {
	t.Parallel()
	url := pgtest.EmptyURL(t)
	load(t, url, "sample.sql")
	exec(t, url, `DROP INDEX public.ix_user_events_expiry;
		CREATE INDEX later ON public.user_events (last_accessed) WHERE expiry IS NOT NULL;
		ALTER TABLE public.users ADD note text, ALTER encryption_iv DROP DEFAULT, ADD CONSTRAINT small CHECK (octet_length(salt) < 100)`)
	report := check(t, url, url)
	assert.Empty(t, report.Obstacles)
	assert.Equal(t, []string{
		"user: the column users.encryption_iv has the default none and not '\\x'::bytea",
		"user: the column users.note is not v1's",
		"user: the table user_events has another index (last_accessed) where (expiry IS NOT NULL): later",
		"user: the table user_events has no index (expiry)",
		"user: the table users has another constraint small (salt): small",
	}, report.Differences)
}

func TestCheckNamesRightsThatAreLacking(t *testing.T) {
	t.Parallel()
	owner := pgtest.EmptyURL(t)
	load(t, owner, "sample.sql")
	parsed, err := url.Parse(owner)
	require.NoError(t, err)
	role := "role_" + strings.TrimPrefix(parsed.Path, "/")
	exec(t, owner, fmt.Sprintf(`CREATE ROLE %s LOGIN PASSWORD 'visitor'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO %[1]s`, role))
	t.Cleanup(func() { // runs before the database is dropped
		pool, err := pgxpool.New(context.Background(), owner)
		if assert.NoError(t, err) {
			_, err = pool.Exec(context.Background(), fmt.Sprintf(`DROP OWNED BY %s; DROP ROLE %[1]s`, role))
			assert.NoError(t, err)
			pool.Close()
		}
	})
	parsed.User = url.UserPassword(role, "visitor")

	report := check(t, parsed.String(), parsed.String())
	assert.ElementsMatch(t, []string{
		"user: the role may not create tables in the schema public",
		"user: the role may not reference the table users",
		"user: the role does not own the table shared_items, as a new index needs",
		"user: the role does not own the table user_events, as a new index needs",
		"user: the role does not own the table user_follow_secrets, as a new index needs",
		"user: the role does not own the table user_inbox_items, as a new index needs",
		"ratelimit: the role may not create tables in the schema public",
	}, report.Obstacles)
}

func TestAnUnreachableDatabaseIsAnError(t *testing.T) {
	t.Parallel()
	databases := open(t, "postgres://nobody@127.0.0.1:1/nothing", "postgres://nobody@127.0.0.1:1/nothing")
	require.ErrorContains(t, migrations.Up(t.Context(), databases, discard), "users' database")
}
