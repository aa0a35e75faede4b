package signalr_test

import (
	"encoding/base64"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/chat-service/signalr"
)

const (
	oldKey = "1:MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
	newKey = "2:dGhpcnR5LXR3byBieXRlcyBvZiBhIGtleSBmb3IgdGVzdHM="
)

func tokens(t *testing.T, keys string) (tokens signalr.Tokens) {
	t.Helper()
	require.NoError(t, tokens.Keys.UnmarshalText([]byte(keys)))
	return tokens
}

func TestATokenIsGoodForItsCallerAndItsTime(t *testing.T) {
	t.Parallel()
	now := time.Now()
	ring := tokens(t, newKey)
	token := ring.New("somebody", now)
	assert.Equal(t, token, url.QueryEscape(token))
	id, until, err := ring.Verify(token, "somebody", now.Add(12*time.Second))
	require.NoError(t, err)
	assert.Len(t, id, 22)
	assert.WithinDuration(t, now.Add(signalr.TokenLifetime), until, time.Millisecond)
	late, _, err := ring.Verify(token, "somebody", now.Add(signalr.TokenLifetime))
	require.ErrorIs(t, err, signalr.ErrExpired)
	assert.Equal(t, id, late)
	_, _, err = ring.Verify(token, "somebody else", now)
	require.ErrorIs(t, err, signalr.ErrToken)
	assert.NotEqual(t, token, ring.New("somebody", now))
}

func TestKeysMayBeChanged(t *testing.T) {
	t.Parallel()
	now := time.Now()
	before := tokens(t, oldKey).New("x", now)
	both := tokens(t, newKey+","+oldKey)
	_, _, err := both.Verify(before, "x", now)
	require.NoError(t, err)
	_, _, err = tokens(t, newKey).Verify(both.New("x", now), "x", now)
	require.NoError(t, err)
	_, _, err = tokens(t, newKey).Verify(before, "x", now)
	require.ErrorIs(t, err, signalr.ErrToken)
}

func TestWhatIsNoToken(t *testing.T) {
	t.Parallel()
	now := time.Now()
	ring := tokens(t, newKey)
	raw, err := base64.RawURLEncoding.DecodeString(ring.New("x", now))
	require.NoError(t, err)
	for i := range raw {
		raw[i] ^= 1
		_, _, err := ring.Verify(base64.RawURLEncoding.EncodeToString(raw), "x", now)
		require.ErrorIs(t, err, signalr.ErrToken, i)
		raw[i] ^= 1
	}
	for _, token := range []string{"", "never-given-out", "!", base64.RawURLEncoding.EncodeToString(raw[1:]), base64.StdEncoding.EncodeToString(raw) + "="} {
		_, _, err := ring.Verify(token, "x", now)
		require.ErrorIs(t, err, signalr.ErrToken, token)
	}
}
