package auth

import (
	"context"
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/liftlog/liftlog-api/shared/apierr"
	"github.com/liftlog/liftlog-api/shared/clientaddr"
	"github.com/liftlog/liftlog-api/shared/postgres/pgtest"
)

// from is a context of the client at the address.
func from(t *testing.T, address string) context.Context {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", http.NoBody)
	r.RemoteAddr = address + ":1234"
	return clientaddr.With(t.Context(), r)
}

// holdHashes makes the slow hash say when it begins, and wait until it is let go.
func holdHashes(v *Verifier) (begun, goOn chan struct{}) {
	begun, goOn = make(chan struct{}, 1000), make(chan struct{})
	v.slowHash = func(password string, salt []byte) ([]byte, error) {
		begun <- struct{}{}
		<-goOn
		return hash(password, salt)
	}
	return begun, goOn
}

// requireUserCallers waits until this many are at work or waiting for the user, and nobody waits for a slot.
func requireUserCallers(t *testing.T, v *Verifier, user uuid.UUID, n int) {
	t.Helper()
	require.Eventually(t, func() bool {
		v.perUser.mu.Lock()
		defer v.perUser.mu.Unlock()
		mine := v.perUser.users[user]
		return mine != nil && mine.callers == n
	}, 10*time.Second, time.Millisecond)
}

func TestGuessingAtAPasswordDoesNotShutItsUserOut(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	person := vectors(t)[0]
	id := v1User(t, db, person)
	v := New([][]byte{firstKey})
	begun, goOn := holdHashes(v)

	var guesses errgroup.Group
	guess := func() error {
		switch kind := apierr.KindOf(v.Verify(from(t, "192.0.2.6"), db, id, uuid.NewString())); kind {
		case apierr.Unauthenticated, apierr.Unavailable:
			return nil
		default:
			return kindError(kind)
		}
	}
	guesses.Go(guess)
	<-begun // one is at work, and all others want to be
	const more = 20
	busy := make(chan struct{}, more)
	for range more {
		guesses.Go(func() error {
			err := guess()
			busy <- struct{}{}
			return err
		})
	}
	for range more - 3 { // who holds a quarter of sixteen places is sent away
		<-busy
	}
	requireUserCallers(t, v, id, 4)

	right := make(chan error, 1)
	go func() { right <- v.Verify(from(t, "198.51.100.1"), db, id, person.Password) }()
	requireUserCallers(t, v, id, 5)
	goOn <- struct{}{}
	<-begun
	goOn <- struct{}{}
	require.NoError(t, <-right, "the second turn is the user's, though three guesses came before")
	close(goOn)
	require.NoError(t, guesses.Wait())
	assert.Empty(t, v.perUser.users)
}

type kindError apierr.Kind

func (k kindError) Error() string { return "an error of the kind " + apierr.Kind(k).String() }

func TestCreatingManyAccountsLeavesRoomForOthers(t *testing.T) {
	t.Parallel()
	v := New([][]byte{firstKey})
	begun, goOn := holdHashes(v)
	var strangers errgroup.Group
	results := make(chan error, 40)
	for range 40 {
		strangers.Go(func() error {
			_, _, err := v.Create(from(t, "192.0.2.6"), uuid.New())
			results <- err
			return nil
		})
	}
	<-begun
	quarter := (max(1, runtime.GOMAXPROCS(0)/2) + maxWaiting) / 4
	for range 40 - quarter {
		assert.Equal(t, apierr.Unavailable, apierr.KindOf(<-results))
	}
	var others errgroup.Group
	for _, address := range []string{"198.51.100.1", "198.51.100.2", "2001:db8::1", "2001:db8:0:1::1"} {
		others.Go(func() error {
			_, _, err := v.Create(from(t, address), uuid.New())
			return err
		})
	}
	close(goOn)
	require.NoError(t, others.Wait())
	require.NoError(t, strangers.Wait())
}
