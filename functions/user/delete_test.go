package user_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/functions/functionstest"
	"github.com/liftlog/liftlog-api/shared/postgres/pgtest"
	"github.com/liftlog/liftlog-api/shared/user"
)

func TestDeleteTakesEverythingAlong(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	id := create(t, db).ID
	_, err := db.Exec(t.Context(), `
		WITH e AS (INSERT INTO user_events (id, user_id, "timestamp", last_accessed, expiry, encrypted_event) VALUES ($1, $1, now(), now(), now(), '')),
			s AS (INSERT INTO user_follow_secrets VALUES ($1, $1, 'secret')),
			i AS (INSERT INTO user_inbox_items VALUES ($1, $1, '{}'))
		INSERT INTO shared_items (user_id, "timestamp", expiry, encrypted_payload, encryption_iv, id) VALUES ($1, now(), now(), '', '', 'item')`, id)
	require.NoError(t, err)
	require.NoError(t, user.Delete(t.Context(), db, id))
	var left int
	require.NoError(t, db.QueryRow(t.Context(), `
		SELECT (SELECT count(*) FROM users) + (SELECT count(*) FROM user_events) + (SELECT count(*) FROM user_follow_secrets)
			+ (SELECT count(*) FROM user_inbox_items) + (SELECT count(*) FROM shared_items) + (SELECT count(*) FROM v2_password_proofs)`).Scan(&left))
	assert.Zero(t, left)
	require.NoError(t, user.Delete(t.Context(), db, id), "a second time")
}

func TestDeleteUserReadsBodiesAsV1Did(t *testing.T) {
	t.Parallel()
	handler := functionstest.NewHandler(t)
	account := functionstest.NewAccount(t, handler)
	functionstest.PlayBodies(t, handler, "DeleteUser", account.Login("id")+`}`, []functionstest.Refusal{{`"password"`, `"paſsword"`, "password"}, {`}`, `,"id":null}`, "id"}})
}
