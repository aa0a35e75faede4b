package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liftlog/liftlog-api/functions"
	"github.com/liftlog/liftlog-api/functions/manifest"
	"github.com/liftlog/liftlog-api/shared/auth"
	"github.com/liftlog/liftlog-api/shared/postgres"
	"github.com/liftlog/liftlog-api/shared/postgres/grants"
	"github.com/liftlog/liftlog-api/shared/postgres/migrations"
)

// checks are all that the report looks at, in this order. Each says what it asks, and most are one statement.
var checks = []struct {
	name, asks string
	ask        func(context.Context, *preflight) ([]finding, error)
}{
	{"reached", "are both databases there, and primaries?", reached},
	{"schema", "is the schema the one that v1's migrations leave behind?", schema},
	{"pending", "what will be migrated, and how long does that take?", pending},
	{"v1", "is it the database that v1 serves?", servedByV1},
	{"rights", "may each program's login do what it has to, in v1's tables and ours?", rights},
	{"server", "does the server write and sort texts as v1's did?", server},
	{"sizes", "how much is there, and is it looked after?", sizes},
	{"indexes", "are all indexes used, and in good health?", indexes},
	{"rows", "which rows does v2 read otherwise than v1?", rows},
	{"passwords", "do v1's passwords fit?", passwords},
	{"connections", "does the server take the connections of all programs?", connections},
}

// query collects a statement's findings: rows of level, text and what to do.
func query(ctx context.Context, db *postgres.DB, sql string, args ...any) ([]finding, error) {
	rows, _ := db.Query(ctx, sql, args...) // a failed Query is reported by the next line
	return pgx.CollectRows(rows, pgx.RowToStructByPos[finding])
}

// both asks the users' and the rate limits' database, and says which one it speaks of.
func (p *preflight) both(ctx context.Context, sql string, args ...any) ([]finding, error) {
	user, err := query(ctx, p.databases.User, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("user: %w", err)
	}
	rateLimit, err := query(ctx, p.databases.RateLimit, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("ratelimit: %w", err)
	}
	for i, f := range user {
		if n := slices.Index(rateLimit, f); n >= 0 { // often both are one database
			rateLimit = slices.Delete(rateLimit, n, n+1)
			user[i].Text = "both: " + f.Text
		} else {
			user[i].Text = "user: " + f.Text
		}
	}
	for i, f := range rateLimit {
		rateLimit[i].Text = "ratelimit: " + f.Text
	}
	return append(user, rateLimit...), nil
}

func reached(ctx context.Context, p *preflight) ([]finding, error) {
	found, err := p.both(ctx, `
		SELECT CASE WHEN pg_is_in_recovery() THEN 'obstacle' ELSE 'note' END,
			format('%s on PostgreSQL %s, %s', current_database(), current_setting('server_version'),
				CASE WHEN pg_is_in_recovery() THEN 'a replica' ELSE 'a primary' END),
			CASE WHEN pg_is_in_recovery() THEN 'give the address of the primary: a replica may lack what is there' ELSE '' END`)
	if err != nil {
		return []finding{{obstacle, "there is no such database, or it does not answer: " + err.Error(),
			"see to DATABASE_URL, RATE_LIMIT_DATABASE_URL, CLOUD_SQL_INSTANCE, the network and the login"}}, errNotUsable
	}
	return found, nil
}

// foreign finds a database with tables that v1's migrations did not make.
const foreign = `
	SELECT 'obstacle', format('%s holds %s tables (such as %s) and no history of v1''s migrations', current_database(), count(*), min(relname)),
		'this is another application''s database, or not all was restored: give the one that v1 serves, or an empty one'
	FROM pg_class c
	WHERE relkind IN ('r', 'p') AND relnamespace = to_regnamespace(current_schema()) AND relname NOT LIKE 'v2\_%'
		AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = c.oid AND deptype = 'e')
		AND to_regclass('"__EFMigrationsHistory"') IS NULL
	HAVING count(*) > 0`

func schema(ctx context.Context, p *preflight) (found []finding, err error) {
	if p.migrations, err = migrations.Check(ctx, p.databases); err != nil {
		return nil, err
	}
	for _, text := range p.migrations.Obstacles {
		found = append(found, finding{obstacle, text, "nothing is changed as long as this is so: see whether this is v1's database, whole and " +
			"migrated by the v1 that runs"})
	}
	for _, text := range p.migrations.Differences {
		found = append(found, finding{warning, text, "v2 works all the same: find out who changed it, and whether v1 counts on it"})
	}
	others, err := p.both(ctx, foreign)
	if err != nil {
		return found, err
	}
	if found = append(found, others...); len(p.migrations.Obstacles)+len(others) > 0 {
		return found, errNotUsable
	}
	var there bool
	if err := p.databases.User.QueryRow(ctx, `SELECT to_regclass('users') IS NOT NULL`).Scan(&there); err != nil {
		return found, err
	}
	if there {
		return found, nil
	}
	if p.logins.V1 != "" || p.v1 != "" || len(p.users) > 0 {
		return append(found, finding{obstacle, "user: the database is empty, and v1 is said to work on it",
			"give v1's own database: on this one every account would be missing, and apps would abandon theirs"}), errNotUsable
	}
	return append(found, finding{note, "user: the database is empty: v1's tables will be made", ""}), errNotUsable
}

// Cautious assumptions about a small server's disk and processor: making an index concurrently reads its table twice and sorts
// it.
const (
	scanBytesPerSecond = 20 << 20
	sortRowsPerSecond  = 500_000
)

// duration estimates migrations by the size of what they read.
const duration = `
	SELECT 'note', format('%s: an index on %s (%s, %s rows) takes about %s', $1::text, relname, pg_size_pretty(pg_table_size(c.oid)),
		greatest(reltuples, 0)::bigint,
		justify_interval(make_interval(secs => ceil(2 * pg_table_size(c.oid) / $3::float8 + greatest(reltuples, 0) / $4::float8)))
		|| coalesce(', after the oldest transaction has ended that runs for ' || date_trunc('second', (
			SELECT max(now() - xact_start) FROM pg_stat_activity
			WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start < now() - interval '1 minute')), '')
		|| '; nobody waits for it'),
		CASE WHEN reltuples < 0 THEN 'ANALYZE the table for a better estimate' ELSE '' END
	FROM pg_class c WHERE c.oid = ANY (SELECT to_regclass(name) FROM unnest($2::text[]) AS name)`

func pending(ctx context.Context, p *preflight) (found []finding, err error) {
	for _, migration := range p.migrations.Pending {
		indexed, referred, err := migrations.Touches(migration)
		if err != nil {
			return found, err
		}
		switch {
		case len(indexed) > 0:
			estimates, err := query(ctx, p.databases.User, duration, migration, indexed, float64(scanBytesPerSecond), float64(sortRowsPerSecond))
			if err != nil {
				return found, err
			}
			found = append(found, estimates...)
		case len(referred) > 0:
			found = append(found, finding{note, fmt.Sprintf("%s: a moment, with a lock on %s that writers wait for; it gives up after 3 s and tries 5 times",
				migration, strings.Join(referred, ", ")), ""})
		default:
			found = append(found, finding{note, migration + ": a moment", ""})
		}
	}
	return found, nil
}

// newest is the last user that v1 or v2 made.
const newest = `SELECT id, coalesce(extract(epoch FROM now() - created), -1)::float8 FROM users ORDER BY created DESC NULLS LAST, id LIMIT 1`

func servedByV1(ctx context.Context, p *preflight) (found []finding, err error) {
	missing, err := query(ctx, p.databases.User, `
		SELECT 'obstacle', format('the user %s of v1''s is not there', id), 'this is a copy, or an older state: give the database that v1 serves'
		FROM unnest($1::uuid[]) AS id WHERE id NOT IN (SELECT id FROM users)`, append([]uuid.UUID{}, p.users...))
	if err != nil {
		return nil, err
	}
	if found = missing; len(p.users) > len(missing) {
		found = append(found, finding{note, fmt.Sprintf("%d of %d users that v1 is said to have are there", len(p.users)-len(missing), len(p.users)), ""})
	}
	var id uuid.UUID
	var age float64
	err = p.databases.User.QueryRow(ctx, newest).Scan(&id, &age)
	if err == pgx.ErrNoRows { //nolint:errorlint // Scan returns it as it is
		f := finding{warning, "there is no user at all", "make one through v1, and look again"}
		if p.v1 != "" {
			f.Level = obstacle
		}
		return append(found, f), nil
	}
	if err != nil {
		return found, err
	}
	if age >= 0 {
		found = append(found, finding{note, fmt.Sprintf("the newest user was made %s ago", time.Duration(age*float64(time.Second)).Round(time.Second)), ""})
	}
	switch {
	case p.v1 != "":
		return append(found, p.askV1(ctx, id)), nil
	case len(p.users) == 0 && p.logins.V1 != "":
		found = append(found, finding{warning, "nothing proves that v1 serves this database", "give --v1 with v1's own base URL, or --v1-users with " +
			"the ids of users just made through v1"})
	}
	return found, nil
}

// v1Patience is how long v1 may take to answer.
const v1Patience = 15 * time.Second

// askV1 reads the user's profile through v1, which notes the time of each such reading in the user's row: in this database, if it
// is v1's.
func (p *preflight) askV1(ctx context.Context, id uuid.UUID) finding {
	ctx, cancel := context.WithTimeout(ctx, v1Patience)
	defer cancel()
	const wrong = "give --v1 the base URL of v1 itself, and not of the load balancer"
	var before time.Time
	if err := p.databases.User.QueryRow(ctx, `SELECT clock_timestamp()`).Scan(&before); err != nil {
		return finding{obstacle, "the database's clock could not be read: " + err.Error(), "look again"}
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(p.v1, "/")+"/user/"+id.String(), nil)
	if err != nil {
		return finding{obstacle, "--v1 is not a URL", wrong}
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return finding{obstacle, "v1 does not answer: " + err.Error(), "see that v1 runs, and can be reached from here"}
	}
	defer func() { _ = response.Body.Close() }()
	const maxAnswer = 8 << 20 // a profile with its picture
	var profile struct {
		ID uuid.UUID `json:"id"`
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	switch {
	case err != nil:
		return finding{obstacle, "v1's answer broke off: " + err.Error(), "look again"}
	case response.StatusCode == http.StatusNotFound:
		return finding{obstacle, "v1 does not know the newest user of this database", "this is not the database that v1 serves: give that one"}
	case response.StatusCode != http.StatusOK || json.Unmarshal(body, &profile) != nil || profile.ID != id:
		return finding{obstacle, fmt.Sprintf("what --v1 names answers %s with %q instead of a profile",
			response.Status, response.Header.Get("Content-Type")), wrong}
	}
	var noted bool
	err = p.databases.User.QueryRow(ctx, `
		SELECT last_accessed >= $2::timestamptz - interval '1 minute' FROM users WHERE id = $1`, id, before).Scan(&noted)
	if err != nil {
		return finding{obstacle, "the user could not be read again: " + err.Error(), "look again"}
	}
	if !noted {
		return finding{obstacle, "v1 knows the newest user, but its reading was not noted in this database",
			"this is a copy of the database that v1 serves, or --v1 does not lead to v1: give the ones that belong together"}
	}
	return finding{note, "v1 has just noted here that it read the newest user: it serves this database", ""}
}

func rights(ctx context.Context, p *preflight) ([]finding, error) {
	if p.logins.Pattern == "" {
		return []finding{{note, "DATABASE_LOGINS is not set: programs log in as somebody else", ""}}, nil
	}
	missing, err := grants.Missing(ctx, p.databases, functions.Logins(p.logins))
	var found []finding
	for _, text := range missing {
		found = append(found, finding{warning, text, "apply Terraform, and execute migrate with --grants"})
	}
	return found, err
}

func server(ctx context.Context, p *preflight) ([]finding, error) {
	return p.both(ctx, `
		SELECT CASE WHEN pg_encoding_to_char(encoding) = 'UTF8' THEN 'note' ELSE 'obstacle' END,
			format('encoding %s, collation %s, time zone %s, extensions %s', pg_encoding_to_char(encoding), datcollate, current_setting('TimeZone'),
				(SELECT coalesce(string_agg(extname, ', ' ORDER BY extname), 'none') FROM pg_extension)),
			CASE WHEN pg_encoding_to_char(encoding) = 'UTF8' THEN '' ELSE 'v1''s database is in UTF8: restore it into one that is' END
		FROM pg_database WHERE datname = current_database()
		UNION ALL
		SELECT 'warning', format('texts were sorted by version %s of the collation, and the server has %s',
				datcollversion, pg_database_collation_actual_version(oid)),
			format('REINDEX DATABASE %I, and then ALTER DATABASE %1$I REFRESH COLLATION VERSION: lookups may miss rows until then', datname)
		FROM pg_database WHERE datname = current_database() AND datcollversion <> pg_database_collation_actual_version(oid)
		UNION ALL
		SELECT 'obstacle', 'the database only lets itself be read', 'ALTER DATABASE … SET default_transaction_read_only = off'
		WHERE current_setting('default_transaction_read_only') = 'on'`)
}

// ours is a condition: tables of v1's and v2's.
const ours = `c.relnamespace = to_regnamespace(current_schema()) AND (c.relname = ANY ($1::text[]) OR c.relname LIKE 'v2\_%')`

var ownTables = slices.Concat(postgres.UserTables, postgres.RateLimitTables)

func sizes(ctx context.Context, p *preflight) ([]finding, error) {
	return p.both(ctx, `
		SELECT CASE WHEN dead THEN 'warning' ELSE 'note' END,
			format('%s: %s, of which indexes %s; %s rows', relname, pg_size_pretty(pg_total_relation_size(oid)), pg_size_pretty(pg_indexes_size(oid)),
				CASE WHEN reltuples < 0 THEN 'nobody has counted the' ELSE reltuples::bigint::text END)
			|| CASE WHEN dead THEN format(', %s dead ones', n_dead_tup) ELSE '' END,
			CASE WHEN dead THEN format('VACUUM %I: autovacuum does not keep up, or an old transaction holds it up', relname) ELSE '' END
		FROM (
			SELECT c.oid, c.relname, c.reltuples, s.n_dead_tup, coalesce(n_dead_tup > 10000 AND n_dead_tup > n_live_tup / 2, false) AS dead
			FROM pg_class c LEFT JOIN pg_stat_user_tables s ON s.relid = c.oid
			WHERE c.relkind = 'r' AND `+ours+`
		) t
		ORDER BY pg_total_relation_size(oid) DESC`, ownTables)
}

// indexes takes an index for bloated if it has four times the pages that its entries would need in a tree that is two thirds
// full.
func indexes(ctx context.Context, p *preflight) ([]finding, error) {
	return p.both(ctx, `
		WITH measured AS (
			SELECT x.relname, i.indisvalid AND i.indisready AS valid, pg_relation_size(x.oid) AS bytes,
				x.reltuples * (12 + (SELECT coalesce(sum(coalesce(s.avg_width, 16)), 16) FROM pg_attribute a
					LEFT JOIN pg_stats s ON (s.schemaname, s.tablename, s.attname) = (current_schema(), c.relname, a.attname)
					WHERE a.attrelid = c.oid AND a.attnum = ANY (i.indkey))) / 0.66 AS needed
			FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_class x ON x.oid = i.indexrelid
			WHERE `+ours+`
		)
		SELECT 'warning', format('the index %I is invalid: writes keep it up, and no read uses it', relname),
			CASE WHEN relname LIKE 'v2\_%' THEN 'migrate makes it anew' ELSE format('REINDEX INDEX CONCURRENTLY %I', relname) END
		FROM measured WHERE NOT valid
		UNION ALL
		SELECT 'warning', format('the index %I takes %s where about %s would do', relname, pg_size_pretty(bytes), pg_size_pretty(needed::bigint)),
			format('REINDEX INDEX CONCURRENTLY %I', relname)
		FROM measured WHERE valid AND needed >= 0 AND bytes > 16 << 20 AND bytes > 4 * needed`, ownTables)
}

func rows(ctx context.Context, p *preflight) ([]finding, error) {
	return query(ctx, p.databases.User, `
		SELECT level, format('%s %s', n, kind), advice FROM (
			SELECT 'note' AS level, count(*) AS n, 'shared items have expired: v1 still serves them, and v2 answers 404' AS kind, '' AS advice
			FROM shared_items WHERE expiry <= now()
			UNION ALL
			SELECT 'note', count(*), 'follow secrets are stored more than once: to delete one removes every copy in v2, and one in v1', ''
			FROM (SELECT FROM user_follow_secrets GROUP BY user_id, value HAVING count(*) > 1) repeated
			UNION ALL
			SELECT 'warning', count(*), 'events are newer than the database''s clock: those that v2 stores for the same users are newer still',
				'see to the clock of v1''s machine'
			FROM user_events WHERE "timestamp" > now() + interval '1 minute' AND isfinite("timestamp")
			UNION ALL
			SELECT 'warning', count(*), 'users have a password hash that is not v1''s form: v2 refuses their passwords',
				'find out what wrote them: SELECT id FROM users WHERE hashed_password !~ ''^[0-9A-Fa-f]{128}$'' OR octet_length(salt) <> 64'
			FROM users WHERE hashed_password !~ '^[0-9A-Fa-f]{128}$' OR octet_length(salt) <> 64
			UNION ALL
			SELECT 'warning', count(*), 'rows are left of users that are gone', 'the database was not restored as a whole: restore it again'
			FROM (
				SELECT user_id FROM user_events UNION ALL SELECT user_id FROM user_follow_secrets
				UNION ALL SELECT user_id FROM user_inbox_items UNION ALL SELECT user_id FROM shared_items
			) theirs
			WHERE NOT EXISTS (SELECT FROM users WHERE id = user_id)
		) counted
		WHERE n > 0`)
}

func passwords(ctx context.Context, p *preflight) (found []finding, err error) {
	if p.accounts == "" {
		return nil, nil
	}
	text, err := os.ReadFile(p.accounts)
	if err != nil {
		return nil, err
	}
	fit := 0
	for i, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		fields := strings.Fields(line)
		if len(fields) != 2 || uuid.Validate(fields[0]) != nil {
			found = append(found, finding{obstacle, fmt.Sprintf("line %d of the accounts is not an id and a password", i+1), "write one account a line"})
			continue
		}
		var hashed string
		var salt []byte
		err := p.databases.User.QueryRow(ctx, `SELECT hashed_password, salt FROM users WHERE id = $1`, fields[0]).Scan(&hashed, &salt)
		switch {
		case err == pgx.ErrNoRows: //nolint:errorlint // Scan returns it as it is
			found = append(found, finding{obstacle, fmt.Sprintf("the account of line %d is not there", i+1),
				"this is not the database that v1 serves, or the account was deleted"})
		case err != nil:
			return found, err
		case auth.Fits(hashed, salt, fields[1]):
			fit++
		default:
			found = append(found, finding{obstacle, fmt.Sprintf("the password of line %d does not fit", i+1),
				"try it through v1: if it fits there, v2 must not take over"})
		}
	}
	return append(found, finding{note, fmt.Sprintf("%d passwords fit", fit), ""}), nil
}

// people is how many connections are left for those who look after the databases. Terraform counts the same.
const people = 10

func connections(ctx context.Context, p *preflight) ([]finding, error) {
	functionsConns, others := 0, 0
	for _, r := range functions.Manifest() {
		functionsConns += min(r.MaxInstances, p.instances) * r.Pool * len(r.Databases)
	}
	for _, program := range manifest.Programs() {
		others += min(program.MaxInstances, p.instances) * program.Pool * len(program.Databases)
	}
	sum := functionsConns + others + p.v1Conns + people
	text := fmt.Sprintf("all together may open %d connections (functions %d, chat and jobs %d, v1 %d, people %d)",
		sum, functionsConns, others, p.v1Conns, people)
	return query(ctx, p.databases.User, `
		SELECT CASE WHEN $1 > 0.8 * n THEN 'warning' ELSE 'note' END,
			format('%s; max_connections is %s, of which 80 %% are %s', $2::text, n, floor(0.8 * n)),
			CASE WHEN $1 > 0.8 * n THEN 'raise max_connections, or lower max_instances; --max-instances says what the environment has' ELSE '' END
		FROM (SELECT current_setting('max_connections')::int AS n) server
		UNION ALL
		SELECT 'note', format('connected now: %s', coalesce(string_agg(format('%s of %s', n, who), ', ' ORDER BY n DESC, who), 'nobody')), ''
		FROM (SELECT count(*) AS n, coalesce(nullif(application_name, ''), usename::text) AS who FROM pg_stat_activity
			WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() GROUP BY 2 LIMIT 20) sessions`, sum, text)
}
