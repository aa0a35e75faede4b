package main

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liftlog/liftlog-api/shared/auth"
	"github.com/liftlog/liftlog-api/shared/config"
	"github.com/liftlog/liftlog-api/shared/shortid"
)

// account is a user who can write.
type account struct {
	ID       uuid.UUID
	Password string
}

// storeAccounts stores users whose passwords are known by their tags, as everybody's is after the first write. v1's hash of them
// is no password's, which nobody finds out: to make it takes a sixth of a second of a core for each.
func (b *bench) storeAccounts(ctx context.Context, n int) ([]account, error) {
	var keys config.KeyRing
	if err := keys.UnmarshalText([]byte(credentialKey)); err != nil {
		return nil, err
	}
	verifier := auth.New(keys.All())
	const hashedPassword = "00"
	accounts := make([]account, n)
	var users, proofs [][]any
	for i := range accounts {
		a := account{uuid.New(), uuid.NewString()}
		t := verifier.Tag(a.ID, hashedPassword, a.Password)
		users = append(users, []any{a.ID, shortid.New(), hashedPassword, []byte{}})
		proofs = append(proofs, []any{a.ID, t.KeyFingerprint, t.HashDigest, t.Tag})
		accounts[i] = a
	}
	for _, table := range []struct {
		name    string
		columns []string
		rows    [][]any
	}{
		{"users", []string{"id", "user_lookup", "hashed_password", "salt"}, users},
		{"v2_password_proofs", []string{"user_id", "key_fingerprint", "hash_digest", "tag"}, proofs},
	} {
		if _, err := b.conn.CopyFrom(ctx, pgx.Identifier{table.name}, table.columns, pgx.CopyFromRows(table.rows)); err != nil {
			return nil, fmt.Errorf("store accounts: %w", err)
		}
	}
	return accounts, nil
}
