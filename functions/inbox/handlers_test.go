package inbox_test

import (
	"bytes"
	"os"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/shared/auth"
	"github.com/liftlog/liftlog-api/shared/inbox"
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

var limits = inbox.Limits{Messages: 5000, Bytes: 8 << 20}
