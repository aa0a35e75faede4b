package share_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/shared/apierr"
	"github.com/liftlog/liftlog-api/shared/auth"
	"github.com/liftlog/liftlog-api/shared/postgres"
	"github.com/liftlog/liftlog-api/shared/postgres/pgtest"
	"github.com/liftlog/liftlog-api/shared/share"
	"github.com/liftlog/liftlog-api/shared/user"
)

func TestAnItemLivesUntilItsExpiry(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	owner := uuid.New()
	_, err := user.Create(t.Context(), db, owner, auth.Credential{
		Salt: []byte{1}, Tag: auth.Tag{KeyFingerprint: bytes.Repeat([]byte{1}, 16), HashDigest: bytes.Repeat([]byte{2}, 32), Tag: bytes.Repeat([]byte{3}, 32)},
	})
	require.NoError(t, err)
	require.NoError(t, user.Replace(t.Context(), db, owner, user.Content{EncryptionIV: []byte{}, RSAPublicKey: []byte("key")}))
	expiry := time.Now().Add(time.Hour).Truncate(time.Microsecond)
	id, err := share.Create(t.Context(), db, owner, []byte("payload"), []byte("iv"), expiry, 1000)
	require.NoError(t, err)
	assert.Regexp(t, `^[a-z][a-z0-9]{11}$`, id)

	item, err := share.Find(t.Context(), db, id, expiry.Add(-time.Microsecond))
	require.NoError(t, err)
	assert.Equal(t, share.Item{RSAPublicKey: []byte("key"), EncryptedPayload: []byte("payload"), EncryptionIV: []byte("iv")}, item)
	_, err = share.Find(t.Context(), db, id, expiry)
	assert.Equal(t, apierr.NotFound, apierr.KindOf(err), "at its expiry it is gone")
	_, err = share.Find(t.Context(), db, "nothing", time.Now())
	assert.Equal(t, apierr.NotFound, apierr.KindOf(err))

	endless, err := share.Create(t.Context(), db, owner, []byte{}, []byte("iv"), postgres.Forever, 1000)
	require.NoError(t, err)
	_, err = share.Find(t.Context(), db, endless, time.Now())
	require.NoError(t, err)

	require.NoError(t, user.Delete(t.Context(), db, owner))
	_, err = share.Find(t.Context(), db, endless, time.Now())
	assert.Equal(t, apierr.NotFound, apierr.KindOf(err))
	_, err = share.Create(t.Context(), db, owner, nil, nil, expiry, 1000)
	assert.Error(t, err)
	_, err = share.Create(t.Context(), db, owner, []byte{}, []byte{}, expiry, 1000)
	assert.Equal(t, apierr.NotFound, apierr.KindOf(err))
}
