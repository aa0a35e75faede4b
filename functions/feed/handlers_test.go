package feed_test

import (
	"bytes"
	"os"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/shared/auth"
	"github.com/liftlog/liftlog-api/shared/feed"
	"github.com/liftlog/liftlog-api/shared/postgres"
	"github.com/liftlog/liftlog-api/shared/postgres/pgtest"
	"github.com/liftlog/liftlog-api/shared/user"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }

func newUser(t *testing.T, db *postgres.DB) uuid.UUID {
	t.Helper()
	id := uuid.New()
	_, err := user.Create(t.Context(), db, id, auth.Credential{
		Salt: []byte{1}, Tag: auth.Tag{KeyFingerprint: bytes.Repeat([]byte{1}, 16), HashDigest: bytes.Repeat([]byte{2}, 32), Tag: bytes.Repeat([]byte{3}, 32)},
	})
	require.NoError(t, err)
	return id
}

// limit is far from what a test stores.
const limit = 10_000

func newEvent(owner uuid.UUID) feed.Event {
	return feed.Event{
		UserID: owner, ID: uuid.New(), Expiry: time.Now().Add(time.Hour).UTC().Truncate(time.Microsecond),
		EncryptedPayload: []byte("payload"), EncryptionIV: []byte("iv"),
	}
}

// get returns what a follower sees.
func get(t *testing.T, db *postgres.DB, asked ...feed.Followed) (events []feed.Event, invalid []string) {
	t.Helper()
	invalid, err := feed.Each(t.Context(), db, asked, time.Now(), func(e feed.Event) error {
		events = append(events, e)
		return nil
	})
	require.NoError(t, err)
	return events, invalid
}

func count(t *testing.T, db *postgres.DB, table string) (n int) {
	t.Helper()
	require.NoError(t, db.QueryRow(t.Context(), `SELECT count(*) FROM `+pgx.Identifier{table}.Sanitize()).Scan(&n))
	return n
}
