package user_test

import (
	"bytes"
	"os"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/shared/auth"
	"github.com/liftlog/liftlog-api/shared/postgres"
	"github.com/liftlog/liftlog-api/shared/postgres/pgtest"
	"github.com/liftlog/liftlog-api/shared/user"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }

var credential = auth.Credential{
	HashedPassword: "AB", Salt: []byte{1},
	Tag: auth.Tag{KeyFingerprint: bytes.Repeat([]byte{1}, 16), HashDigest: bytes.Repeat([]byte{2}, 32), Tag: bytes.Repeat([]byte{3}, 32)},
}

func create(t *testing.T, db *postgres.DB) user.Profile {
	t.Helper()
	id := uuid.New()
	lookup, err := user.Create(t.Context(), db, id, credential)
	require.NoError(t, err)
	return user.Profile{ID: id, Lookup: lookup, Content: user.Content{EncryptionIV: []byte{}, RSAPublicKey: []byte{}}}
}
