package grants

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/liftlog/liftlog-api/shared/postgres"
)

// lockID is the advisory lock of one change of rights at a time on a server: "Grants" in ASCII.
const lockID = 0x4772616e7473

// Apply makes groups, memberships and rights on both databases what they should be. What it does first, the roles, may be done
// while tables still belong to v1's login; it then returns an error with the statements that v1's owner has to run once.
func Apply(ctx context.Context, databases postgres.Databases, logins Logins, log *slog.Logger) error {
	names := []string{}
	for _, login := range logins.Programs {
		names = append(names, login.Name)
	}
	if logins.V1 != "" {
		names = append(names, logins.V1)
	}
	missing, err := collect(ctx, databases.User, `SELECT name FROM unnest($1::text[]) AS name WHERE to_regrole(quote_ident(name)) IS NULL`, names)
	if err != nil {
		return fmt.Errorf("look for logins: %w", err)
	}
	if len(missing) > 0 {
		return fmt.Errorf("the server has no login %s: `terraform apply` makes programs' logins, and V1_DATABASE_LOGIN has to be v1's own",
			strings.Join(missing, ", "))
	}
	if err := makeRoles(ctx, databases.User, logins); err != nil {
		return err
	}
	log.InfoContext(ctx, "roles are made", "logins", len(logins.Programs))
	return giveAll(ctx, databases, log)
}

// Renew gives rights to tables that have been added, where [Apply] has made the groups; elsewhere it does nothing.
func Renew(ctx context.Context, databases postgres.Databases, log *slog.Logger) error {
	found, err := collect(ctx, databases.User, `SELECT rolname::text FROM pg_roles WHERE rolname = $1`, string(Owner))
	if err != nil {
		return fmt.Errorf("look for groups: %w", err)
	}
	if len(found) == 0 {
		return nil
	}
	return giveAll(ctx, databases, log)
}

func giveAll(ctx context.Context, databases postgres.Databases, log *slog.Logger) error {
	same, err := one(ctx, databases)
	if err != nil {
		return err
	}
	if same {
		return giveRights(ctx, databases.User, "both kinds of data", combined(userTables, rateLimitTables), log)
	}
	return errors.Join(
		giveRights(ctx, databases.User, "users", userTables, log),
		giveRights(ctx, databases.RateLimit, "rate limits", rateLimitTables, log),
	)
}

func collect(ctx context.Context, db postgres.Querier, sql string, args ...any) ([]string, error) {
	rows, _ := db.Query(ctx, sql, args...) // a failed Query is reported by the next line
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// one reports whether both databases are the same one.
func one(ctx context.Context, databases postgres.Databases) (bool, error) {
	const name = `SELECT current_database() || ' ' || (SELECT oid FROM pg_database WHERE datname = current_database())`
	user, err := collect(ctx, databases.User, name)
	if err != nil {
		return false, fmt.Errorf("look at the users' database: %w", err)
	}
	rateLimit, err := collect(ctx, databases.RateLimit, name)
	if err != nil {
		return false, fmt.Errorf("look at the rate limits' database: %w", err)
	}
	return slices.Equal(user, rateLimit), nil
}

// mayMakeRoles finds a role that the login is, or is a member of, with the attribute to make others. Attributes are not
// inherited: it has to be taken on.
const mayMakeRoles = `
	SELECT rolname::text FROM pg_roles
	WHERE (rolcreaterole OR rolsuper) AND pg_has_role(current_user, oid, 'MEMBER')
	ORDER BY rolname <> current_user, rolname
	LIMIT 1`

func makeRoles(ctx context.Context, db *postgres.DB, logins Logins) error {
	return pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
		maker, err := collect(ctx, tx, mayMakeRoles)
		if err != nil {
			return fmt.Errorf("look for the right to make roles: %w", err)
		}
		if len(maker) == 0 {
			return errors.New("this login may not make roles: on Cloud SQL it has to be a member of cloudsqlsuperuser, which Terraform asks for")
		}
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, int64(lockID)); err != nil {
			return fmt.Errorf("wait for another change of rights: %w", err)
		}
		if _, err := tx.Exec(ctx, `SET LOCAL ROLE `+quoted(maker[0])); err != nil {
			return fmt.Errorf("take on the role that may make roles: %w", err)
		}
		if _, err := tx.Exec(ctx, roles(logins)); err != nil {
			return fmt.Errorf("make roles: %w", err)
		}
		return nil
	})
}

// foreign finds the statements that only the owner of tables, or of the schema, can run.
const foreign = `
	SELECT format('ALTER TABLE %I OWNER TO %I; -- it belongs to %s', c.relname, $2::text, pg_get_userbyid(c.relowner))
	FROM pg_class c JOIN unnest($1::text[]) AS name ON c.oid = to_regclass(quote_ident(name))
	WHERE NOT pg_has_role(c.relowner, 'USAGE')
	ORDER BY 1`

// lackingSchema finds the statement that lets the owner's group make tables, where it may not.
const lackingSchema = `
	SELECT format('GRANT CREATE ON SCHEMA %I TO %I;', nspname, $1::text)
	FROM pg_namespace
	WHERE nspname = current_schema() AND NOT has_schema_privilege($1::text, oid, 'CREATE')`

func giveRights(ctx context.Context, db *postgres.DB, what string, tables []table, log *slog.Logger) error {
	names := []string{}
	for _, t := range tables {
		names = append(names, t.name)
	}
	return pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, int64(lockID)); err != nil {
			return fmt.Errorf("wait for another change of rights: %w", err)
		}
		if err := openSchema(ctx, tx); err != nil {
			return err
		}
		schema, err := collect(ctx, tx, lackingSchema, string(Owner))
		if err != nil {
			return fmt.Errorf("look at the schema: %w", err)
		}
		others, err := collect(ctx, tx, foreign, names, string(Owner))
		if err != nil {
			return fmt.Errorf("look at the tables' owners: %w", err)
		}
		if statements := slices.Concat(schema, others); len(statements) > 0 {
			return fmt.Errorf("in the database of %s the owner of v1's tables has to run once, and then this has to run again:\n%s",
				what, strings.Join(statements, "\n"))
		}
		if _, err := tx.Exec(ctx, rights(tables)); err != nil {
			return fmt.Errorf("give rights in the database of %s: %w", what, err)
		}
		missing, err := collect(ctx, tx, `SELECT name FROM unnest($1::text[]) AS name WHERE to_regclass(quote_ident(name)) IS NULL`, names)
		if err != nil {
			return fmt.Errorf("look for tables: %w", err)
		}
		log.InfoContext(ctx, "rights are given", "database", what, "tables", len(names)-len(missing), "notThereYet", strings.Join(missing, ", "))
		return nil
	})
}

// openSchema lets the owner's group make tables, if the login, or the role that makes roles, may say so.
func openSchema(ctx context.Context, tx pgx.Tx) error {
	maker, err := collect(ctx, tx, `
		SELECT rolname::text FROM pg_roles r, pg_namespace n
		WHERE n.nspname = current_schema() AND NOT has_schema_privilege($1::text, n.oid, 'CREATE')
			AND pg_has_role(current_user, r.oid, 'MEMBER') AND pg_has_role(r.oid, n.nspowner, 'USAGE')
		ORDER BY rolname <> current_user, rolname
		LIMIT 1`, string(Owner))
	if err != nil || len(maker) == 0 {
		return err
	}
	for _, statement := range []string{
		`SET LOCAL ROLE ` + quoted(maker[0]),
		`DO $$ BEGIN EXECUTE format('GRANT CREATE ON SCHEMA %I TO %I', current_schema(), ` + literal(Owner) + `); END $$`,
		`RESET ROLE`,
	} {
		if _, err := tx.Exec(ctx, statement); err != nil {
			return fmt.Errorf("let the owner's group make tables: %w", err)
		}
	}
	return nil
}
