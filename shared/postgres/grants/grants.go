// Package grants gives the logins of programs the rights that they need, and no others. Rights belong to groups of programs,
// which are roles that nobody logs in as; a login is a member of its program's groups.
package grants

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Group is a role that programs are members of.
type Group string

// The groups. The owner has v1's tables, because an index needs that, and may make others beside them.
const (
	Reader  Group = "liftlog_reader"  // functions that change nothing
	Writer  Group = "liftlog_writer"  // functions that do
	Limits  Group = "liftlog_limits"  // whatever asks the model
	Cleanup Group = "liftlog_cleanup" // the clean-up
	Owner   Group = "liftlog_owner"   // migrations, and v1 while it serves
)

// members are the groups that have rights to single tables.
var members = []Group{Reader, Writer, Limits, Cleanup}

// table is what the groups may do with a table; whoever adds one to a migration adds it here.
type table struct {
	name   string
	rights map[Group]string
}

// Locking rows needs the right to update them, and so does an insert that replaces what is there. What a foreign key removes or
// looks up needs none.
var (
	userTables = []table{
		{"__EFMigrationsHistory", nil},
		{"users", map[Group]string{Reader: "SELECT", Writer: "SELECT, INSERT, UPDATE, DELETE"}},
		{"user_events", map[Group]string{Reader: "SELECT", Writer: "SELECT, INSERT, UPDATE", Cleanup: "SELECT, UPDATE, DELETE"}},
		{"user_follow_secrets", map[Group]string{Reader: "SELECT", Writer: "SELECT, INSERT, DELETE"}},
		{"user_inbox_items", map[Group]string{Writer: "SELECT, INSERT, UPDATE, DELETE"}},
		{"shared_items", map[Group]string{Reader: "SELECT", Writer: "SELECT, INSERT", Cleanup: "SELECT, UPDATE, DELETE"}},
		{"v2_password_tags", map[Group]string{Writer: "SELECT"}},
		{"v2_password_proofs", map[Group]string{Writer: "SELECT, INSERT, UPDATE"}},
		{"v2_feed_clocks", map[Group]string{Writer: "SELECT, INSERT, UPDATE"}},
		{"v2_identity", map[Group]string{Reader: "SELECT", Writer: "SELECT", Cleanup: "SELECT"}},
	}
	rateLimitTables = []table{
		{"__EFMigrationsHistory", nil},
		{"rate_limit_consumptions", map[Group]string{Limits: "SELECT, INSERT, UPDATE", Cleanup: "SELECT, UPDATE, DELETE"}},
		{"v2_purchase_verdicts", map[Group]string{Limits: "SELECT, INSERT, UPDATE, DELETE", Cleanup: "SELECT, UPDATE, DELETE"}},
		{"v2_model_calls", nil},
		{"v2_model_tokens", map[Group]string{Limits: "SELECT, INSERT, UPDATE"}},
		{"v2_identity", map[Group]string{Limits: "SELECT", Cleanup: "SELECT"}},
	}
)

// Right is one that a group has.
type Right struct {
	Group     Group
	Privilege string
	Table     string
}

// Rights lists all rights in both databases, each once.
func Rights() (rights []Right) {
	for _, t := range slices.Concat(userTables, rateLimitTables) {
		for _, group := range slices.Sorted(maps.Keys(t.rights)) {
			for privilege := range strings.SplitSeq(t.rights[group], ", ") {
				if r := (Right{group, privilege, t.name}); !slices.Contains(rights, r) {
					rights = append(rights, r)
				}
			}
		}
	}
	return rights
}

// Tables lists the tables of both databases for which it is decided who has rights to them, each once.
func Tables() (names []string) {
	for _, t := range slices.Concat(userTables, rateLimitTables) {
		if !slices.Contains(names, t.name) {
			names = append(names, t.name)
		}
	}
	return names
}

// Login is the role that a program logs in as, and the groups that it is a member of.
type Login struct {
	Name   string
	Groups []Group
}

// Logins are those of all programs, and v1's own, empty where v1 does not work on the databases.
type Logins struct {
	Programs []Login
	V1       string
}

func quoted[T ~string](name T) string { return pgx.Identifier{string(name)}.Sanitize() }

// literal writes a name as an SQL string.
func literal[T ~string](name T) string {
	return "'" + strings.ReplaceAll(string(name), "'", "''") + "'"
}

// notMembers ends memberships that known logins have and should not have.
const notMembers = `DO $$
DECLARE no record;
BEGIN
	FOR no IN
		SELECT g.rolname AS of, l.rolname AS login
		FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid JOIN pg_roles l ON l.oid = m.member
		WHERE l.rolname IN (%s) AND g.rolname IN (%s, %s) AND g.rolname || ' ' || l.rolname NOT IN (%s)
	LOOP
		EXECUTE format('REVOKE %%I FROM %%I', no.of, no.login);
	END LOOP;
END $$;
`

// literals writes names as SQL strings.
func literals[T ~string](names []T) string {
	list := make([]string, len(names))
	for i, name := range names {
		list[i] = literal(name)
	}
	return strings.Join(list, ", ")
}

// roles makes the groups, and each login a member of its own. It is for a role that may make roles, once for a server.
func roles(logins Logins) string {
	var sql strings.Builder
	for _, group := range append(slices.Clone(members), Owner) {
		fmt.Fprintf(&sql, "DO $$ BEGIN IF to_regrole(%s) IS NULL THEN CREATE ROLE %s NOLOGIN; END IF; END $$;\n", literal(group), quoted(group))
	}
	var known, wanted []string
	for _, login := range logins.Programs {
		known = append(known, literal(login.Name))
		for _, group := range login.Groups {
			wanted = append(wanted, literal(string(group)+" "+login.Name))
			fmt.Fprintf(&sql, "GRANT %s TO %s;\n", quoted(group), quoted(login.Name))
		}
	}
	// A program's entry may have changed: it leaves the groups that it no longer names.
	fmt.Fprintf(&sql, notMembers, strings.Join(known, ", "), literal(Owner), literals(members), strings.Join(wanted, ", "))
	if logins.V1 != "" {
		fmt.Fprintf(&sql, "GRANT %s TO %s;\n", quoted(Owner), quoted(logins.V1))
	}
	return sql.String()
}

// rights gives the groups what they may do with the tables that are there. It is for a member of the tables' owner.
func rights(tables []table) string {
	var all []string
	for _, group := range members {
		all = append(all, quoted(group))
	}
	var sql strings.Builder
	for _, t := range tables {
		statements := []string{fmt.Sprintf("REVOKE ALL ON %s FROM %s", quoted(t.name), strings.Join(all, ", "))}
		for _, group := range slices.Sorted(maps.Keys(t.rights)) {
			statements = append(statements, fmt.Sprintf("GRANT %s ON %s TO %s", t.rights[group], quoted(t.name), quoted(group)))
		}
		fmt.Fprintf(&sql, "DO $$ BEGIN IF to_regclass(%s) IS NOT NULL THEN %s; END IF; END $$;\n", literal(quoted(t.name)), strings.Join(statements, "; "))
	}
	return sql.String()
}

// combined joins the lists of a table that both have: the databases may be one.
func combined(lists ...[]table) (tables []table) {
	for _, t := range slices.Concat(lists...) {
		i := slices.IndexFunc(tables, func(other table) bool { return other.name == t.name })
		if i < 0 {
			tables = append(tables, table{t.name, maps.Clone(t.rights)})
			continue
		}
		if tables[i].rights == nil {
			tables[i].rights = map[Group]string{}
		}
		maps.Copy(tables[i].rights, t.rights)
	}
	return tables
}

// SQL is all statements of [Apply] as a text to read, or to run by hand. It may be run again at any time.
func SQL(logins Logins) string {
	return "-- On any database of the server, as a role that may make roles:\n" + roles(logins) +
		"-- On the users' database, as a member of " + string(Owner) + ":\n" + rights(userTables) +
		"-- On the rate limits' database, likewise. Where both are one, jobs/migrate joins what is said of a table here twice:\n" + rights(rateLimitTables)
}
