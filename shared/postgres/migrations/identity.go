package migrations

import (
	"context"
	"errors"

	"github.com/liftlog/liftlog-api/shared/postgres"
)

var errNoIdentity = errors.New("it has no identity to replace: has it been restored, and migrated?")

// NewIdentity gives the databases new identities, which copies need before they are used: a program that began with the originals
// ends when it sees a copy. See [postgres.WrongDatabaseError].
func NewIdentity(ctx context.Context, databases postgres.Databases) error {
	return each(databases, func(_ set, db *postgres.DB) error {
		there, err := exists(ctx, db, "v2_identity")
		if err != nil {
			return err
		}
		if !there {
			return errNoIdentity
		}
		_, err = postgres.Exec(ctx, db, "replace the identity", `
			INSERT INTO v2_identity (id) VALUES (gen_random_uuid()) ON CONFLICT (one) DO UPDATE SET id = excluded.id`)
		return err
	})
}
