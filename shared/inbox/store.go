// Package inbox carries messages between users. Each is encrypted for its receiver, in chunks.
package inbox

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liftlog/liftlog-api/shared/apierr"
	"github.com/liftlog/liftlog-api/shared/postgres"
)

// Message is one that waits for its receiver.
type Message struct {
	ID     uuid.UUID
	Chunks [][]byte // v1 let nil ones through
}

// Counting stops at the limit, so that a full inbox costs no more than that.
const put = `
	WITH receiver AS (
		SELECT id FROM users WHERE id = $2
	), waiting AS (
		SELECT count(*) AS n FROM (SELECT FROM user_inbox_items WHERE user_id = $2 LIMIT $4) AS items
	), stored AS (
		INSERT INTO user_inbox_items (id, user_id, encrypted_message)
		SELECT $1, receiver.id, $3 FROM receiver, waiting WHERE waiting.n < $4
		RETURNING id
	)
	SELECT EXISTS (SELECT FROM receiver), EXISTS (SELECT FROM stored)`

// outcome says whether the receiver is there, and whether there was room for the message.
type outcome struct{ Known, Stored bool }

var (
	errNoUser = &apierr.Error{Kind: apierr.NotFound, Detail: "There is no such user."}
	errFull   = &apierr.Error{Kind: apierr.Limited, Detail: "The user's inbox is full."}
)

// Put leaves a message for the user: [apierr.NotFound] when there is none, [apierr.Limited] when as many messages as
// limit are waiting. Messages put at the same moment may exceed the limit by as many.
func Put(ctx context.Context, db *postgres.DB, to uuid.UUID, chunks [][]byte, limit int) error {
	id, err := uuid.NewV7() // grows with time, which is the order of handing over
	if err != nil {
		return fmt.Errorf("put message: %w", err)
	}
	done, err := postgres.One(ctx, db, "put message", pgx.RowToStructByPos[outcome], nil, put, id, to, chunks, limit)
	switch {
	case postgres.HasCode(err, postgres.ForeignKeyViolation), err == nil && !done.Known:
		return db.Missing(ctx, errNoUser)
	case err == nil && !done.Stored:
		return errFull
	default:
		return err
	}
}

// The user's row is locked first, as deleting the user does, so that the two never wait for each other. A message that
// another reader is just taking is passed by.
const take = `
	WITH owner AS MATERIALIZED (
		SELECT id FROM users WHERE id = $1 FOR NO KEY UPDATE
	), touched AS (
		UPDATE users SET last_accessed = now() WHERE id = $1 AND last_accessed < now() - interval '1 day'
	), next AS MATERIALIZED (
		SELECT i.id FROM owner JOIN user_inbox_items i ON i.user_id = owner.id ORDER BY i.id LIMIT $2 FOR UPDATE OF i SKIP LOCKED
	), taken AS (
		DELETE FROM user_inbox_items i USING next WHERE i.id = next.id
		RETURNING i.id, i.encrypted_message
	)
	SELECT id, encrypted_message FROM taken ORDER BY id`

// Take hands over at most maxMessages of the user's messages and forgets them. Those that v2 stored come oldest first.
func Take(ctx context.Context, db *postgres.DB, user uuid.UUID, maxMessages int) ([]Message, error) {
	return postgres.All(ctx, db, "take messages", pgx.RowToStructByPos[Message], take, user, maxMessages)
}
