package auth

import (
	"crypto/sha512"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/liftlog/liftlog-api/shared/apierr"
	"github.com/liftlog/liftlog-api/shared/postgres"
	"github.com/liftlog/liftlog-api/shared/postgres/pgtest"
)

// person is a user who knows the password.
type person struct {
	id       uuid.UUID
	password string
}

// instance is a Verifier of a process of its own, whose slow hash is quick, and counted.
type instance struct {
	*Verifier
	hashes atomic.Int32
}

func newInstance(keys ...[]byte) *instance {
	i := &instance{Verifier: New(keys)}
	i.slowHash = func(password string, salt []byte) ([]byte, error) {
		i.hashes.Add(1)
		sum := sha512.Sum512(append(salt, password...))
		return sum[:], nil
	}
	return i
}

// people are created by the instance, with tags of its first key.
func people(t *testing.T, db *postgres.DB, by *instance, n int) (all []person) {
	t.Helper()
	for range n {
		p := person{id: uuid.New()}
		var c Credential
		var err error
		p.password, c, err = by.Create(t.Context(), p.id)
		require.NoError(t, err)
		_, err = db.Exec(t.Context(), `INSERT INTO users (id, user_lookup, hashed_password, salt) VALUES ($1, $2, $3, $4)`,
			p.id, p.id.String()[:12], c.HashedPassword, c.Salt)
		require.NoError(t, err)
		require.NoError(t, by.remember(t.Context(), db, p.id, c.HashedPassword, p.password))
		all = append(all, p)
	}
	by.hashes.Store(0)
	return all
}

// requireSideBySide has the people call all instances at once, over and over, with right passwords and wrong ones.
func requireSideBySide(t *testing.T, db *postgres.DB, all []person, instances ...*instance) {
	t.Helper()
	var group errgroup.Group
	for n := range 8 {
		group.Go(func() error {
			for round := range 25 {
				p, instance := all[(n+round)%len(all)], instances[(n*round)%len(instances)]
				if err := instance.Verify(t.Context(), db, p.id, p.password); err != nil {
					return fmt.Errorf("a right password: %w", err)
				}
				if err := instance.Verify(t.Context(), db, p.id, uuid.NewString()); apierr.KindOf(err) != apierr.Unauthenticated {
					return fmt.Errorf("a wrong password: %w", err)
				}
			}
			return nil
		})
	}
	require.NoError(t, group.Wait())
}

func TestRotatingAKeyIsTwoDeployments(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	before, added, moved, after := newInstance(firstKey), newInstance(firstKey, secondKey), newInstance(secondKey, firstKey), newInstance(secondKey)
	all := people(t, db, before, 5)
	away := people(t, db, before, 1)[0]

	requireSideBySide(t, db, all, before, added)
	assert.Equal(t, before.keys[0].fingerprint, keyOf(t, db, all[0].id), "the new key makes no tag yet")
	requireSideBySide(t, db, all, added, moved)
	requireSideBySide(t, db, all, moved)
	for _, p := range all {
		assert.Equal(t, moved.keys[0].fingerprint, keyOf(t, db, p.id), "renewed by whom came")
	}
	requireSideBySide(t, db, all, moved, after)
	for name, i := range map[string]*instance{"before": before, "added": added, "moved": moved, "after": after} {
		assert.Zero(t, i.hashes.Load(), "nobody waits for the slow check: %s", name)
	}

	require.Equal(t, apierr.Unauthenticated, apierr.KindOf(after.Verify(t.Context(), db, away.id, uuid.NewString())))
	require.NoError(t, after.Verify(t.Context(), db, away.id, away.password))
	require.NoError(t, after.Verify(t.Context(), db, away.id, away.password))
	assert.EqualValues(t, 2, after.hashes.Load(), "who was away has a tag of a retired key, which says nothing of the password")
	assert.Equal(t, after.keys[0].fingerprint, keyOf(t, db, away.id))
}

// TestInstancesThatDoNotKnowEachOthersKeys is what a key changed in one deployment, under the same version even, leads to.
func TestInstancesThatDoNotKnowEachOthersKeys(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	one, other := newInstance(firstKey), newInstance(thirdKey)
	all := people(t, db, one, 3)
	requireSideBySide(t, db, all, one)
	assert.Zero(t, one.hashes.Load())
	for range 10 {
		for _, p := range all {
			for _, i := range []*instance{one, other} {
				require.Equal(t, apierr.Unauthenticated, apierr.KindOf(i.Verify(t.Context(), db, p.id, uuid.NewString())))
				require.NoError(t, i.Verify(t.Context(), db, p.id, p.password), "slowly, but right")
			}
		}
	}
	assert.Positive(t, other.hashes.Load())
}

// TestTagsThatDoNotSayTheirKey are those of programs that know keys by versions, and may be at work beside this one.
func TestTagsThatDoNotSayTheirKey(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	maker, v := newInstance(firstKey), newInstance(secondKey, firstKey)
	store := func(p person, by key) {
		t.Helper()
		var hashed string
		require.NoError(t, db.QueryRow(t.Context(), `SELECT hashed_password FROM users WHERE id = $1`, p.id).Scan(&hashed))
		tag := by.tag(p.id, hashed, p.password)
		_, err := db.Exec(t.Context(), `INSERT INTO v2_password_tags VALUES ($1, 1, $2, $3)`, p.id, tag.HashDigest, tag.Tag)
		require.NoError(t, err)
		_, err = db.Exec(t.Context(), `DELETE FROM v2_password_proofs WHERE user_id = $1`, p.id)
		require.NoError(t, err)
	}
	all := people(t, db, maker, 2)
	known, unknown := all[0], all[1]
	store(known, newKey(firstKey))
	store(unknown, newKey(thirdKey))

	require.NoError(t, v.Verify(t.Context(), db, known.id, known.password))
	assert.Zero(t, v.hashes.Load(), "one of a known key is as good")
	assert.Equal(t, v.keys[0].fingerprint, keyOf(t, db, known.id))
	require.Equal(t, apierr.Unauthenticated, apierr.KindOf(v.Verify(t.Context(), db, known.id, uuid.NewString())))
	assert.Zero(t, v.hashes.Load())

	require.NoError(t, v.Verify(t.Context(), db, unknown.id, unknown.password))
	assert.EqualValues(t, 1, v.hashes.Load())
	require.NoError(t, v.Verify(t.Context(), db, unknown.id, unknown.password))
	assert.EqualValues(t, 1, v.hashes.Load())

	var tags int
	require.NoError(t, db.QueryRow(t.Context(), `SELECT count(*) FROM v2_password_tags WHERE key_version = 1`).Scan(&tags))
	assert.Equal(t, 2, tags, "theirs are left to them")
}
