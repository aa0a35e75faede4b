package user_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/functions/functionstest"
	"github.com/liftlog/liftlog-api/shared/apierr"
	"github.com/liftlog/liftlog-api/shared/postgres/pgtest"
	"github.com/liftlog/liftlog-api/shared/user"
)

func TestReplaceWritesEveryPart(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	profile := create(t, db)
	profile.Content = user.Content{
		EncryptedCurrentPlan: []byte{1}, EncryptedProfilePicture: []byte{2}, EncryptedName: []byte{3},
		EncryptionIV: []byte{4}, RSAPublicKey: []byte{5},
	}
	for _, content := range []user.Content{profile.Content, {EncryptionIV: []byte{6}, RSAPublicKey: []byte{}}} {
		profile.Content = content
		require.NoError(t, user.Replace(t.Context(), db, profile.ID, content))
		got, err := user.Find(t.Context(), db, profile.ID)
		require.NoError(t, err)
		assert.Equal(t, profile, got)
	}
	assert.Equal(t, apierr.NotFound, apierr.KindOf(user.Replace(t.Context(), db, uuid.New(), profile.Content)))
}

func TestLastAccessIsNotedOnceADay(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	id := create(t, db).ID
	lastAccess := func() (at time.Time) {
		require.NoError(t, db.QueryRow(t.Context(), `SELECT last_accessed FROM users WHERE id = $1`, id).Scan(&at))
		return at
	}
	content := user.Content{EncryptionIV: []byte{}, RSAPublicKey: []byte{}}
	before := lastAccess()
	require.NoError(t, user.Replace(t.Context(), db, id, content))
	assert.Equal(t, before, lastAccess())
	_, err := db.Exec(t.Context(), `UPDATE users SET last_accessed = '-infinity' WHERE id = $1`, id)
	require.NoError(t, err)
	require.NoError(t, user.Replace(t.Context(), db, id, content))
	assert.WithinDuration(t, before, lastAccess(), time.Minute)
}

func TestPutUserReadsBodiesAsV1Did(t *testing.T) {
	t.Parallel()
	handler := functionstest.NewHandler(t)
	account := functionstest.NewAccount(t, handler)
	functionstest.PlayBodies(t, handler, "PutUser", account.Login("id")+`,"encryptedCurrentPlan":"QUJDZA==","encryptedProfilePicture":"QUJDZA==","encryptedName":"QUJDZA==","encryptionIV":"QUJDZA==","rsaPublicKey":"QUJDZA=="}`, []functionstest.Refusal{
		{`"id"`, `"ıd"`, "id"}, {`"password"`, `"paſsword"`, "password"}, {`"encryptionIV":"QUJDZA=="`, `"encryptionIV":"","encryptionIV":null`, "encryptionIV"},
		{`"rsaPublicKey"`, `"rsaPublic\u212aey"`, "rsaPublicKey"},
		{`"encryptedCurrentPlan":"QUJDZA=="`, `"encryptedCurrentPlan":"QUJDZB=="`, "encryptedCurrentPlan"},
		{`"encryptedProfilePicture":"QUJDZA=="`, `"encryptedProfilePicture":"QUJDZDF="`, "encryptedProfilePicture"},
		{`"encryptedName":"QUJDZA=="`, `"encryptedName":"QUJD ZB=="`, "encryptedName"},
		{`"encryptionIV":"QUJDZA=="`, `"encryptionIV":"QUJDZB=="`, "encryptionIV"},
		{`"rsaPublicKey":"QUJDZA=="`, `"rsaPublicKey":"QUJDZP=="`, "rsaPublicKey"},
		{`"encryptedCurrentPlan":"QUJDZA=="`, `"encryptedCurrentPlan":"` + strings.Repeat("A", 4*(64<<10)/3+4) + `"`, "encryptedCurrentPlan"},
	})
}
