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

// Limits bound what waits in one inbox.
type Limits struct {
	Messages int
	Bytes    int // of chunks, with some for each message that the database needs
}

// MaxMessage is the largest message that is put, in bytes.
const MaxMessage = 20 << 10

// overhead is more than the database needs for a message beside the bytes of its chunks, which are few.
const overhead = 256

// Counting stops at the limit, and bytes are added up only when that many messages could exceed the limit. Messages that are stored as
// they are, as ciphertext is, tell their size without being read; others have to be unpacked, because what counts is what the
// receiver has to fetch.
const put = `
	WITH receiver AS (
		SELECT id FROM users WHERE id = $2
	), waiting AS MATERIALIZED (
		SELECT count(*) AS n FROM (SELECT FROM user_inbox_items WHERE user_id = $2 LIMIT (SELECT $4::bigint)) counted
	), stored AS (
		INSERT INTO user_inbox_items (id, user_id, encrypted_message)
		SELECT $1, receiver.id, $3 FROM receiver, waiting
		WHERE n < $4 AND ((n + 1) * $6::bigint <= $5::bigint OR $5 >= $7::bigint + (
			SELECT coalesce(sum(CASE WHEN pg_column_compression(encrypted_message) IS NULL
				THEN pg_column_size(encrypted_message)
				ELSE (SELECT sum(octet_length(chunk)) FROM unnest(encrypted_message) AS chunk) END), 0)
			FROM user_inbox_items WHERE user_id = $2
		))
		RETURNING id
	)
	SELECT EXISTS (SELECT FROM receiver), EXISTS (SELECT FROM stored)`

// outcome says whether the receiver is there, and whether there was room for the message.
type outcome struct{ Known, Stored bool }

var errNoUser = &apierr.Error{Kind: apierr.NotFound, Detail: "There is no such user."}

// Put leaves a message of at most [MaxMessage] bytes for the user: [apierr.NotFound] when there is no such user, [apierr.Limited]
// when the inbox is full. Messages put at the same moment may exceed the limits by as many.
func Put(ctx context.Context, db *postgres.DB, to uuid.UUID, chunks [][]byte, limits Limits) error {
	id, err := uuid.NewV7() // grows with time, which is the order of handing over
	if err != nil {
		return fmt.Errorf("put message: %w", err)
	}
	size := 0
	for _, chunk := range chunks {
		size += len(chunk)
	}
	done, err := postgres.One(ctx, db, "put message", pgx.RowToStructByPos[outcome], nil,
		put, id, to, chunks, limits.Messages, limits.Bytes, MaxMessage+overhead, size)
	switch {
	case postgres.HasCode(err, postgres.ForeignKeyViolation), err == nil && !done.Known:
		return db.Missing(ctx, errNoUser)
	case err == nil && !done.Stored:
		return apierr.Full("The user's inbox is full.")
	default:
		return err
	}
}

// The user's row is locked first, for its key only, so that neither v1 nor a deletion of the user waits in a circle: v1 locks
// messages before their user. Where none wait, as at most of an app's starts, it is not locked: a lock is written to the disk, which
// the reader would wait for. A message that another reader is just taking is skipped.
const take = `
	WITH owner AS MATERIALIZED (
		SELECT id FROM users WHERE id = $1 AND EXISTS (SELECT FROM user_inbox_items WHERE user_id = $1) FOR KEY SHARE
	), next AS MATERIALIZED (
		SELECT id FROM user_inbox_items WHERE user_id = (SELECT id FROM owner) ORDER BY id LIMIT (SELECT $2::bigint) FOR UPDATE SKIP LOCKED
	), taken AS (
		DELETE FROM user_inbox_items i USING next WHERE i.id = next.id
		RETURNING i.id, i.encrypted_message
	), touched AS (
		UPDATE users SET last_accessed = now()
		WHERE id = $1 AND last_accessed < now() - interval '1 day' AND (SELECT count(*) FROM taken) >= 0 -- afterwards
	)
	SELECT id, encrypted_message FROM taken ORDER BY id`

// Take hands over at most maxMessages of the user's messages and forgets them. Those that v2 stored come oldest first.
func Take(ctx context.Context, db *postgres.DB, user uuid.UUID, maxMessages int) ([]Message, error) {
	return postgres.All(ctx, db, "take messages", pgx.RowToStructByPos[Message], take, user, maxMessages)
}
