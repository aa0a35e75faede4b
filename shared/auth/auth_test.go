package auth

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/liftlog/liftlog-api/shared/apierr"
	"github.com/liftlog/liftlog-api/shared/postgres"
	"github.com/liftlog/liftlog-api/shared/postgres/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }

var (
	firstKey  = []byte("a key of thirty-two bytes, the first")
	secondKey = []byte("a key of thirty-two bytes, the second")
	thirdKey  = []byte("a key of thirty-two bytes, the third")
)

// counting is a Verifier that counts its slow hashes.
func counting(keys ...[]byte) (v *Verifier, hashes *atomic.Int32) {
	v, hashes = New(keys), &atomic.Int32{}
	v.slowHash = func(password string, salt []byte) ([]byte, error) {
		hashes.Add(1)
		return hash(password, salt)
	}
	return v, hashes
}

// vector is a password as v1 stored it.
type vector struct {
	Password       string `json:"password"`
	SaltHex        string `json:"salt_hex"`
	HashedPassword string `json:"hashed_password"`
}

func vectors(t *testing.T) []vector {
	t.Helper()
	file, err := os.ReadFile("testdata/v1/passwords.json")
	require.NoError(t, err)
	var list []vector
	require.NoError(t, json.Unmarshal(file, &list))
	require.NotEmpty(t, list)
	return list
}

// v1User stores a user as v1 did, without a tag.
func v1User(t *testing.T, db *postgres.DB, v vector) uuid.UUID {
	t.Helper()
	salt, err := hex.DecodeString(v.SaltHex)
	require.NoError(t, err)
	id := uuid.New()
	_, err = db.Exec(t.Context(), `INSERT INTO users (id, user_lookup, hashed_password, salt) VALUES ($1, $2, $3, $4)`,
		id, id.String()[:12], v.HashedPassword, salt)
	require.NoError(t, err)
	return id
}

// keyOf returns the fingerprint of the key that the user's tag was made by, if there is one.
func keyOf(t *testing.T, db *postgres.DB, id uuid.UUID) (fingerprint []byte) {
	t.Helper()
	err := db.QueryRow(t.Context(), `SELECT key_fingerprint FROM v2_password_proofs WHERE user_id = $1`, id).Scan(&fingerprint)
	if err != pgx.ErrNoRows { //nolint:errorlint // it is never wrapped
		require.NoError(t, err)
	}
	return fingerprint
}

func TestV1sPasswordsAreKnownSlowlyOnce(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	verifier, hashes := counting(firstKey)
	for i, v := range vectors(t) {
		id := v1User(t, db, v)
		wrong := uuid.NewString()
		require.Equal(t, apierr.Unauthenticated, apierr.KindOf(verifier.Verify(t.Context(), db, id, wrong)))
		assert.Empty(t, keyOf(t, db, id), "a wrong password leaves no tag")
		require.NoError(t, verifier.Verify(t.Context(), db, id, v.Password))
		require.EqualValues(t, 2*(i+1), hashes.Load())

		require.NoError(t, verifier.Verify(t.Context(), db, id, v.Password))
		require.Equal(t, apierr.Unauthenticated, apierr.KindOf(verifier.Verify(t.Context(), db, id, wrong)))
		require.EqualValues(t, 2*(i+1), hashes.Load(), "with a tag nothing is hashed slowly")
	}
}

func TestWhatIsNoPasswordIsNotHashed(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	verifier, hashes := counting(firstKey)
	v := vectors(t)[0]
	id := v1User(t, db, v)
	for _, password := range []string{"", "x", v.Password + " ", "D8AC3CDA-492b-4e77-9d86-861f89f233c2", "d8ac3cda492b4e779d86861f89f233c2"} {
		assert.Equal(t, apierr.Unauthenticated, apierr.KindOf(verifier.Verify(t.Context(), db, id, password)), password)
	}
	assert.Equal(t, apierr.NotFound, apierr.KindOf(verifier.Verify(t.Context(), db, uuid.New(), v.Password)))
	assert.Zero(t, hashes.Load())
}

func TestATagOfAnotherStoredHashDoesNotCount(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	list := vectors(t)
	id := v1User(t, db, list[0])
	verifier, hashes := counting(firstKey)
	require.NoError(t, verifier.Verify(t.Context(), db, id, list[0].Password))
	salt, err := hex.DecodeString(list[1].SaltHex)
	require.NoError(t, err)
	_, err = db.Exec(t.Context(), `UPDATE users SET hashed_password = $2, salt = $3 WHERE id = $1`, id, list[1].HashedPassword, salt)
	require.NoError(t, err)

	assert.Equal(t, apierr.Unauthenticated, apierr.KindOf(verifier.Verify(t.Context(), db, id, list[0].Password)))
	require.NoError(t, verifier.Verify(t.Context(), db, id, list[1].Password))
	assert.EqualValues(t, 3, hashes.Load())
}

func TestATagOfAnotherUserDoesNotCount(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	list := vectors(t)
	one, two := v1User(t, db, list[0]), v1User(t, db, list[0])
	verifier, hashes := counting(firstKey)
	require.NoError(t, verifier.Verify(t.Context(), db, one, list[0].Password))
	_, err := db.Exec(t.Context(), `INSERT INTO v2_password_proofs SELECT $2, key_fingerprint, hash_digest, tag FROM v2_password_proofs WHERE user_id = $1`, one, two)
	require.NoError(t, err)
	require.Equal(t, apierr.Unauthenticated, apierr.KindOf(verifier.Verify(t.Context(), db, two, list[0].Password)))
	assert.EqualValues(t, 1, hashes.Load())
}

func TestCreatedPasswordsAreV1s(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	verifier, hashes := counting(firstKey)
	id := uuid.New()
	password, credential, err := verifier.Create(t.Context(), id)
	require.NoError(t, err)
	assert.Regexp(t, `^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`, password)
	assert.Regexp(t, `^[0-9A-F]{128}$`, credential.HashedPassword)
	assert.Len(t, credential.Salt, SaltLength)
	stored := vector{HashedPassword: credential.HashedPassword, SaltHex: hex.EncodeToString(credential.Salt)}
	require.NoError(t, verifier.Verify(t.Context(), db, v1User(t, db, stored), password), "as v1 would check it")
	assert.EqualValues(t, 2, hashes.Load())
}

func TestOneSlowCheckAtATimeForAUser(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	v := vectors(t)[0]
	id := v1User(t, db, v)
	verifier, hashes := counting(firstKey)
	var right, busy atomic.Int32
	var group errgroup.Group
	for range 16 {
		group.Go(func() error {
			switch err := verifier.Verify(t.Context(), db, id, v.Password); apierr.KindOf(err) {
			case apierr.Unavailable:
				busy.Add(1)
			default:
				if err != nil {
					return err
				}
				right.Add(1)
			}
			return nil
		})
	}
	require.NoError(t, group.Wait())
	assert.EqualValues(t, 1, hashes.Load(), "those who waited find the tag")
	assert.EqualValues(t, 16, right.Load()+busy.Load())
	assert.Positive(t, right.Load())
}

func TestAUserDeletedMeanwhileIsNoFailure(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	require.NoError(t, New([][]byte{firstKey}).remember(t.Context(), db, uuid.New(), "AB", uuid.NewString()))
}
