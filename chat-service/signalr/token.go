package signalr

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"time"

	"github.com/liftlog/liftlog-api/shared/config"
)

// TokenLifetime is how long a negotiated connection may be opened, as in ASP.NET Core.
const TokenLifetime = 15 * time.Second

// Tokens makes and checks connection tokens. They are signed, not remembered, so that any instance with the same keys can
// take a connection which another negotiated. They are safe in a URL. Safe for concurrent use.
type Tokens struct{ Keys config.KeyRing }

// What is wrong with a connection token.
var (
	ErrToken   = errors.New("signalr: not a connection token of this caller")
	ErrExpired = errors.New("signalr: the connection token has expired")
)

// The parts of a token in bytes: the key's version, the connection's id, the time it ends in Unix milliseconds, and a
// signature over all of them and the caller.
const (
	versionEnd = 4
	idEnd      = versionEnd + idLength
	timeEnd    = idEnd + 8
	tokenSize  = timeEnd + sha256.Size
)

// purpose keeps signatures apart from any other use of the same key.
const purpose = "chat connection\x00"

// New makes a token for the caller that is good until now + [TokenLifetime].
func (t Tokens) New(caller string, now time.Time) string {
	version, key := t.Keys.Signing()
	token := make([]byte, timeEnd, tokenSize)
	binary.BigEndian.PutUint32(token, uint32(version)) //nolint:gosec // a key ring's versions are positive and below 1<<30
	_, _ = rand.Read(token[versionEnd:idEnd])          // it does not fail
	binary.BigEndian.PutUint64(token[idEnd:], uint64(now.Add(TokenLifetime).UnixMilli()))
	return base64.RawURLEncoding.EncodeToString(append(token, sign(key, token, caller)...))
}

// Verify returns the id and the end of a token that was made for the caller. The error is ErrToken for anything else, and
// ErrExpired, beside the id, when its time is over.
func (t Tokens) Verify(token, caller string, now time.Time) (id string, until time.Time, err error) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(raw) != tokenSize {
		return "", time.Time{}, ErrToken
	}
	key, ok := t.Keys.Key(int(binary.BigEndian.Uint32(raw)))
	if !ok || !hmac.Equal(raw[timeEnd:], sign(key, raw[:timeEnd], caller)) {
		return "", time.Time{}, ErrToken
	}
	id = base64.RawURLEncoding.EncodeToString(raw[versionEnd:idEnd])
	until = time.UnixMilli(int64(binary.BigEndian.Uint64(raw[idEnd:timeEnd]))) //nolint:gosec // it is ours: a time of this age
	if !now.Before(until) {
		return id, until, ErrExpired
	}
	return id, until, nil
}

func sign(key, token []byte, caller string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(purpose))
	mac.Write(token)
	mac.Write([]byte(caller))
	return mac.Sum(nil)
}
