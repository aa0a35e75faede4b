package purchase

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/liftlog/liftlog-api/shared/postgres"
)

const remember = `
	INSERT INTO v2_purchase_verdicts (digest, subject, verified_at) VALUES ($1, $2, $3)
	ON CONFLICT (digest) DO UPDATE
	SET subject = excluded.subject, verified_at = greatest(v2_purchase_verdicts.verified_at, excluded.verified_at)`

const forget = `DELETE FROM v2_purchase_verdicts WHERE digest = $1`

const recall = `SELECT subject, verified_at FROM v2_purchase_verdicts WHERE digest = $1 AND verified_at > $2`

// table is what all instances remember of tokens that a store has confirmed. It holds no token.
type table struct{ db postgres.Querier }

func (t table) remember(ctx context.Context, key digest, subject string, now time.Time) error {
	_, err := t.db.Exec(ctx, remember, key[:], subject, now)
	return postgres.Wrap("store purchase verdict", err)
}

func (t table) forget(ctx context.Context, key digest) error {
	_, err := t.db.Exec(ctx, forget, key[:])
	return postgres.Wrap("delete purchase verdict", err)
}

// recall finds the token's subject if it was confirmed after that time, and says when.
func (t table) recall(ctx context.Context, key digest, after time.Time) (subject string, at time.Time, found bool, err error) {
	err = t.db.QueryRow(ctx, recall, key[:], after).Scan(&subject, &at)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", at, false, nil
	}
	return subject, at, err == nil, postgres.Wrap("read purchase verdict", err)
}
