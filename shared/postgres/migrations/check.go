package migrations

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/liftlog/liftlog-api/shared/postgres"
)

// Report says what [Up] would do, and what keeps it from doing so.
type Report struct {
	Pending     []string // files of migrations, such as user/00002_password_tags.sql, those of lost or invalid indexes among them
	Obstacles   []string // sentences
	Differences []string // sentences: where the schema is not v1's and the service works all the same
}

// ObstaclesError says what stands in the way of the migrations.
type ObstaclesError struct{ Obstacles []string }

func (e *ObstaclesError) Error() string { return strings.Join(e.Obstacles, "; ") }

// Check compares both databases with what the migrations build on, and changes nothing.
func Check(ctx context.Context, databases postgres.Databases) (report Report, err error) {
	err = each(databases, func(s set, pool *postgres.DB) error {
		now, err := s.state(ctx, pool)
		if err != nil {
			return err
		}
		pending := now.pending()
		obstacles, differences, err := s.obstacles(ctx, pool, len(pending) > 0)
		obstacles = append(obstacles, now.lost()...)
		for _, migration := range pending {
			report.Pending = append(report.Pending, s.folder+"/"+migration)
		}
		for _, obstacle := range obstacles {
			report.Obstacles = append(report.Obstacles, s.folder+": "+obstacle)
		}
		for _, difference := range differences {
			report.Differences = append(report.Differences, s.folder+": "+difference)
		}
		return err
	})
	return report, err
}

func exists(ctx context.Context, db postgres.Querier, table string) (there bool, err error) {
	err = db.QueryRow(ctx, `SELECT to_regclass(quote_ident($1)) IS NOT NULL`, table).Scan(&there)
	return there, postgres.Wrap("look for a table", err)
}

// obstacles finds what keeps the migrations from being applied, or the service from working on the result. What else differs from
// v1's schema are differences.
func (s set) obstacles(ctx context.Context, pool *postgres.DB, isPending bool) (obstacles, differences []string, err error) {
	made, err := exists(ctx, pool, s.root)
	if err != nil {
		return nil, nil, err
	}
	if isPending {
		referenced, indexed := s.referenced, s.indexed
		if !made {
			referenced, indexed = nil, nil
		}
		if obstacles, err = collect(ctx, pool, lackingRights, referenced, indexed); err != nil {
			return nil, nil, err
		}
	}
	if !made {
		return obstacles, nil, nil
	}
	fatal, differences, err := s.compare(ctx, pool)
	return append(obstacles, fatal...), differences, err
}

// lackingRights is a sentence for each right that the role lacks.
const lackingRights = `
	SELECT 'the role may not create tables in the schema ' || coalesce(current_schema(), '(none)')
	WHERE NOT coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)
	UNION ALL
	SELECT 'the role may not reference the table ' || name
	FROM unnest($1::text[]) AS name
	WHERE NOT has_table_privilege(to_regclass(name), 'REFERENCES')
	UNION ALL
	SELECT 'the role does not own the table ' || relname || ', as a new index needs'
	FROM pg_class JOIN unnest($2::text[]) AS name ON pg_class.oid = to_regclass(name)
	WHERE NOT pg_has_role(relowner, 'USAGE')`

// errRollback ends a transaction that must not be committed.
var errRollback = errors.New("roll back")

// compare makes v1's schema as it should be out of temporary tables, says how the database differs from it, and undoes it.
// What is fatal keeps the service from working.
func (s set) compare(ctx context.Context, pool *postgres.DB) (fatal, differences []string, err error) {
	err = postgres.InTx(ctx, pool, "compare with v1's schema", func(tx pgx.Tx) error {
		fatal, differences = nil, nil
		var schema string
		if err := tx.QueryRow(ctx, `SELECT current_schema()`).Scan(&schema); err != nil {
			return postgres.Wrap("read schema", err)
		}
		if _, err := tx.Exec(ctx, `SET LOCAL search_path = pg_temp`); err != nil {
			return postgres.Wrap("make v1's schema", err)
		}
		history := pgx.Identifier{schema, "__EFMigrationsHistory"}.Sanitize()
		for _, step := range []struct {
			make  set
			found *[]string
			query string
			args  []any
		}{
			{s, &fatal, differentColumns, []any{schema}},
			{s, &fatal, missingKeys, []any{schema}},
			{s, &differences, otherDifferences, []any{schema}},
			{s, &fatal, fmt.Sprintf(missingHistory, history), nil},
			{s.other(), &fatal, fmt.Sprintf(unknownHistory, history), nil}, // where the databases are one, it holds both sets
		} {
			if err := step.make.makeV1(ctx, tx); err != nil {
				return err
			}
			found, err := collect(ctx, tx, step.query, step.args...)
			if err != nil {
				return err
			}
			if *step.found = append(*step.found, found...); len(fatal) > 0 {
				break // the history may be among what is missing
			}
		}
		return errRollback
	})
	if !errors.Is(err, errRollback) {
		return nil, nil, err
	}
	return fatal, differences, nil
}

// makeV1 makes v1's tables where they do not exist. The marks in the file that goose reads are comments to the server.
func (s set) makeV1(ctx context.Context, tx pgx.Tx) error {
	file, err := files.ReadFile(s.folder + "/00001_v1_schema.sql")
	if err != nil {
		return fmt.Errorf("make v1's schema: %w", err)
	}
	_, err = tx.Exec(ctx, string(file))
	return postgres.Wrap("make v1's schema", err)
}

const differentColumns = `
	SELECT CASE WHEN actual.attname IS NULL
		THEN format('the column %I.%I is missing', c.relname, expected.attname)
		ELSE format('the column %I.%I is of another type than %s', c.relname, expected.attname, format_type(expected.atttypid, expected.atttypmod))
			|| CASE WHEN expected.attnotnull THEN ' not null' ELSE '' END END
	FROM pg_class c
	JOIN pg_attribute expected ON expected.attrelid = c.oid AND expected.attnum > 0
	LEFT JOIN pg_attribute actual ON actual.attrelid = to_regclass(format('%I.%I', $1::text, c.relname))
		AND actual.attname = expected.attname AND NOT actual.attisdropped
	WHERE c.relnamespace = pg_my_temp_schema() AND c.relkind = 'r'
		AND (actual.attname IS NULL OR (actual.atttypid, actual.atttypmod, actual.attnotnull)
			IS DISTINCT FROM (expected.atttypid, expected.atttypmod, expected.attnotnull))
	ORDER BY c.relname, expected.attnum`

// shapes lists what each of v1's tables has beside its columns' types: as it should be (the temporary tables) and as it is.
// Names of constraints and indexes do not count, and v2's own are left out.
const shapes = `
	WITH tables AS (
		SELECT oid, relname, relnamespace = pg_my_temp_schema() AS expected
		FROM pg_class
		WHERE relkind IN ('r', 'p') AND (relnamespace = pg_my_temp_schema() OR relnamespace = to_regnamespace(quote_ident($1::text))
			AND relname IN (SELECT relname FROM pg_class WHERE relnamespace = pg_my_temp_schema() AND relkind = 'r'))
	), keys AS (
		SELECT t.relname, t.expected, o.conname AS name, o.contype <> 'c' AS is_key,
			CASE o.contype
				WHEN 'p' THEN 'primary key'
				WHEN 'u' THEN 'unique constraint'
				WHEN 'f' THEN 'foreign key to ' || (SELECT relname FROM pg_class WHERE oid = o.confrelid)
					|| CASE o.confdeltype WHEN 'c' THEN ' on delete cascade' ELSE '' END || CASE WHEN o.convalidated THEN '' ELSE ' that was never validated' END
				ELSE 'constraint ' || o.conname END
			|| coalesce(' (' || (SELECT string_agg(attname, ', ' ORDER BY n) FROM unnest(o.conkey) WITH ORDINALITY AS k (attnum, n)
				JOIN pg_attribute USING (attnum) WHERE attrelid = t.oid) || ')', '') AS shape
		FROM pg_constraint o JOIN tables t ON t.oid = o.conrelid
		WHERE o.contype IN ('p', 'u', 'f', 'c', 'x')
		UNION ALL
		SELECT t.relname, t.expected, c.relname, i.indisunique,
			CASE WHEN i.indisunique THEN 'unique ' ELSE '' END || 'index (' || (
				SELECT string_agg(pg_get_indexdef(i.indexrelid, n::int, false), ', ' ORDER BY n) FROM generate_series(1, i.indnkeyatts) AS n) || ')'
				|| CASE WHEN i.indisvalid THEN '' ELSE ' that is invalid' END
				|| coalesce(' where ' || pg_get_expr(i.indpred, i.indrelid), '')
		FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN tables t ON t.oid = i.indrelid
		WHERE NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = i.indexrelid AND conrelid = i.indrelid) AND c.relname NOT LIKE 'v2\_%'
	), members AS (
		SELECT t.relname, t.expected, attname, attnotnull, pg_get_expr(d.adbin, d.adrelid) AS value
		FROM pg_attribute a JOIN tables t ON t.oid = a.attrelid LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
		WHERE attnum > 0 AND NOT attisdropped
	)`

// missingKeys are the constraints and unique indexes that statements of ours rely on, and columns that they do not fill.
const missingKeys = shapes + `
	SELECT format('the table %I has no %s', relname, shape) FROM keys wanted
	WHERE expected AND is_key AND NOT EXISTS (SELECT FROM keys k WHERE NOT k.expected AND (k.relname, k.shape) = (wanted.relname, wanted.shape))
	UNION ALL
	SELECT format('the column %I.%I is not v1''s and has to be filled, which v2 does not', relname, attname) FROM members found
	WHERE NOT expected AND attnotnull AND value IS NULL
		AND NOT EXISTS (SELECT FROM members m WHERE m.expected AND (m.relname, m.attname) = (found.relname, found.attname))
	ORDER BY 1`

const otherDifferences = shapes + `
	SELECT format('the table %I has no %s', relname, shape) FROM keys wanted
	WHERE expected AND NOT is_key AND NOT EXISTS (SELECT FROM keys k WHERE NOT k.expected AND (k.relname, k.shape) = (wanted.relname, wanted.shape))
	UNION ALL
	SELECT format('the table %I has another %s: %I', relname, shape, name) FROM keys found
	WHERE NOT expected AND NOT EXISTS (SELECT FROM keys k WHERE k.expected AND (k.relname, k.shape) = (found.relname, found.shape))
	UNION ALL
	SELECT format('the column %I.%I is not v1''s', relname, attname) FROM members found
	WHERE NOT expected AND (NOT attnotnull OR value IS NOT NULL)
		AND NOT EXISTS (SELECT FROM members m WHERE m.expected AND (m.relname, m.attname) = (found.relname, found.attname))
	UNION ALL
	SELECT format('the column %I.%I has the default %s and not %s', relname, attname, coalesce(found.value, 'none'), coalesce(wanted.value, 'none'))
	FROM members found JOIN members wanted USING (relname, attname)
	WHERE wanted.expected AND NOT found.expected AND found.value IS DISTINCT FROM wanted.value
	ORDER BY 1`

const missingHistory = `
	SELECT 'v1''s migration ' || "MigrationId" || ' has not been applied'
	FROM pg_temp."__EFMigrationsHistory"
	WHERE "MigrationId" NOT IN (SELECT "MigrationId" FROM %s)
	ORDER BY "MigrationId"`

const unknownHistory = `
	SELECT 'v1''s migration ' || "MigrationId" || ' is not known: v1 is newer than this program'
	FROM %s
	WHERE "MigrationId" NOT IN (SELECT "MigrationId" FROM pg_temp."__EFMigrationsHistory")
	ORDER BY "MigrationId"`

func collect(ctx context.Context, db postgres.Querier, query string, args ...any) ([]string, error) {
	rows, _ := db.Query(ctx, query, args...) // a failed Query is reported by the next line
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return found, postgres.Wrap("look for obstacles", err)
}
