package share_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/functions/functionstest"
	"github.com/liftlog/liftlog-api/shared/apierr"
	"github.com/liftlog/liftlog-api/shared/auth"
	"github.com/liftlog/liftlog-api/shared/postgres/pgtest"
	"github.com/liftlog/liftlog-api/shared/share"
	"github.com/liftlog/liftlog-api/shared/user"
)

func TestItemsAreBounded(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	owner := uuid.New()
	_, err := user.Create(t.Context(), db, owner, auth.Credential{
		Salt: []byte{1}, Tag: auth.Tag{KeyFingerprint: bytes.Repeat([]byte{1}, 16), HashDigest: bytes.Repeat([]byte{2}, 32), Tag: bytes.Repeat([]byte{3}, 32)},
	})
	require.NoError(t, err)
	create := func(expiry time.Time) error {
		_, err := share.Create(t.Context(), db, owner, []byte("payload"), []byte("iv"), expiry, 3)
		return err
	}
	later, before := time.Now().Add(time.Hour), time.Now().Add(-time.Hour)
	for range 2 {
		require.NoError(t, create(before))
	}
	for range 3 {
		require.NoError(t, create(later), "expired ones do not count")
	}
	assert.Equal(t, apierr.Limited, apierr.KindOf(create(later)))
	_, err = db.Exec(t.Context(), `UPDATE shared_items SET expiry = now()`)
	require.NoError(t, err)
	require.NoError(t, create(later))
	assert.Equal(t, apierr.Limited, apierr.KindOf(create(later)), "twice as many in all")
}

func TestCreateSharedItemReadsBodiesAsV1Did(t *testing.T) {
	t.Parallel()
	handler := functionstest.NewHandler(t)
	account := functionstest.NewAccount(t, handler)
	const expiry = `"expiry":"2099-01-02T03:04:05.678Z"`
	functionstest.PlayBodies(t, handler, "CreateSharedItem", account.Login("userId")+`,"encryptedPayload":{"encryptedPayload":"QUJDZA==","iv":{"value":"QUJDREVGR0hJSktMTU5PUA=="}},`+expiry+`}`, []functionstest.Refusal{
		{`,"expiry"`, `,"encryptedPayload":{},"expiry"`, "encryptedPayload.encryptedPayload"}, {`,"expiry"`, `,"encryptedPayload":null,"expiry"`, "encryptedPayload"},
		{`}},`, `},"iv":{}},`, "encryptedPayload.iv.value"}, {`}},`, `},"iv":null},`, "encryptedPayload.iv"},
		{`"QUJDZA=="`, `"QUJDZB=="`, "encryptedPayload.encryptedPayload"}, {`UA==`, `UB==`, "encryptedPayload.iv.value"},
		{`5.678Z`, `5.678+15:00`, "expiry"}, {`5.678Z`, `5.678-14`, ""},
		{`"QUJDZA=="`, `"` + strings.Repeat("A", 4*(64<<10)/3+4) + `"`, "encryptedPayload.encryptedPayload"},
	})
}
