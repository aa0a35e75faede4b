package purchase

import (
	"context"
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

// table is what all instances remember of tokens that a store has confirmed. It holds digests of tokens, and the subject where
// the store has named another than the token: RevenueCat answers an alias with the customer's own id.
type table struct{ db *postgres.DB }

func (t table) remember(ctx context.Context, key digest, subject string, now time.Time) error {
	_, err := postgres.Exec(ctx, t.db, "store purchase verdict", remember, key[:], subject, now)
	return err
}

func (t table) forget(ctx context.Context, key digest) error {
	_, err := postgres.Exec(ctx, t.db, "delete purchase verdict", forget, key[:])
	return err
}

// confirmed is a verdict that is remembered.
type confirmed struct {
	Subject string
	At      time.Time
}

// recall finds the token's subject if it was confirmed after that time, and says when.
func (t table) recall(ctx context.Context, key digest, after time.Time) (subject string, at time.Time, found bool, err error) {
	rows, err := postgres.All(ctx, t.db, "read purchase verdict", pgx.RowToStructByPos[confirmed], recall, key[:], after)
	if err != nil || len(rows) == 0 { // nothing is lost by not finding one: the store is asked
		return "", at, false, err
	}
	return rows[0].Subject, rows[0].At, true, nil
}
