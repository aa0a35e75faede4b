package grants

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/liftlog/liftlog-api/shared/postgres"
)

// missingLogins finds logins that do not exist, or are not members of their group.
const missingLogins = `
	SELECT CASE WHEN to_regrole(quote_ident(login)) IS NULL THEN format('the server has no login %s', login)
		ELSE format('the login %s is no member of %s', login, "group") END
	FROM unnest($1::text[], $2::text[]) AS l (login, "group")
	WHERE to_regrole(quote_ident(login)) IS NULL OR to_regrole(quote_ident("group")) IS NULL
		OR NOT pg_has_role(to_regrole(quote_ident(login)), to_regrole(quote_ident("group")), 'USAGE')`

// missingRights finds rights to existing tables that a group lacks.
const missingRights = `
	SELECT format('%s may not %s %s', "group", privilege, "table")
	FROM unnest($1::text[], $2::text[], $3::text[]) AS r ("group", privilege, "table")
	WHERE to_regrole(quote_ident("group")) IS NOT NULL AND to_regclass(quote_ident("table")) IS NOT NULL
		AND NOT has_table_privilege(to_regrole(quote_ident("group")), to_regclass(quote_ident("table")), privilege)`

// Missing returns a sentence for each thing that [Apply] gives logins and groups and that they lack. It changes nothing.
func Missing(ctx context.Context, databases postgres.Databases, logins Logins) (sentences []string, err error) {
	var names, groups []string
	for _, login := range logins.Programs {
		for _, group := range login.Groups {
			names, groups = append(names, login.Name), append(groups, string(group))
		}
	}
	if logins.V1 != "" {
		names, groups = append(names, logins.V1), append(groups, string(Owner))
	}
	if sentences, err = collect(ctx, databases.User, missingLogins, names, groups); err != nil {
		return nil, fmt.Errorf("look for logins: %w", err)
	}
	same, err := one(ctx, databases)
	if err != nil {
		return nil, err
	}
	type place struct {
		name   string
		db     *postgres.DB
		tables []table
	}
	places := []place{{"users", databases.User, userTables}, {"rate limits", databases.RateLimit, rateLimitTables}}
	if same {
		places = []place{{"both kinds of data", databases.User, combined(userTables, rateLimitTables)}}
	}
	for _, p := range places {
		var who, what, where []string
		for _, t := range p.tables {
			for _, group := range slices.Sorted(maps.Keys(t.rights)) {
				for privilege := range strings.SplitSeq(t.rights[group], ", ") {
					who, what, where = append(who, string(group)), append(what, privilege), append(where, t.name)
				}
			}
		}
		found, err := collect(ctx, p.db, missingRights, who, what, where)
		if err != nil {
			return nil, fmt.Errorf("look for rights in the database of %s: %w", p.name, err)
		}
		for _, sentence := range found {
			sentences = append(sentences, "in the database of "+p.name+" "+sentence)
		}
	}
	return slices.Compact(sentences), nil
}
