package config

import (
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
)

// KeyRing holds keys of the service's own. It is read from `version:base64`, several separated by commas: the first one
// signs, all of them verify. A key is changed by two deployments: the new one is added behind the old one, so that all
// instances know it, and then moved in front. It prints as nothing and is safe for concurrent use.
type KeyRing struct {
	signing int
	keys    map[int][]byte
	all     [][]byte
}

// minKeyLength is the shortest key in bytes: as long as the output of the hash it is used with.
const minKeyLength = 32

// keyRingError says what is wrong with a key and holds no part of it.
type keyRingError struct{ text string }

func (e *keyRingError) Error() string { return e.text }

// UnmarshalText reads the keys. Its errors hold no part of the text.
func (k *KeyRing) UnmarshalText(text []byte) error {
	ring := KeyRing{keys: map[int][]byte{}}
	for i, part := range strings.Split(string(text), ",") {
		number, encoded, _ := strings.Cut(strings.TrimSpace(part), ":")
		version, err := strconv.Atoi(number)
		if err != nil || version <= 0 || version > 1<<30 {
			return &keyRingError{fmt.Sprintf("key %d does not begin with a positive version and a colon", i+1)}
		}
		key, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(encoded, "="))
		if err != nil {
			return &keyRingError{fmt.Sprintf("key %d is not base64", i+1)}
		}
		if len(key) < minKeyLength {
			return &keyRingError{fmt.Sprintf("key %d is shorter than %d bytes", i+1, minKeyLength)}
		}
		if _, again := ring.keys[version]; again {
			return &keyRingError{"two keys have the same version"}
		}
		if i == 0 {
			ring.signing = version
		}
		ring.keys[version] = key
		ring.all = append(ring.all, key)
	}
	*k = ring
	return nil
}

// Signing returns the key that signs, and its version.
func (k KeyRing) Signing() (version int, key []byte) { return k.signing, k.keys[k.signing] }

// All returns the keys in their order; the first one signs.
func (k KeyRing) All() [][]byte { return k.all }

// Key returns the key of the version.
func (k KeyRing) Key(version int) (key []byte, ok bool) {
	key, ok = k.keys[version]
	return key, ok
}

// Format prints the same for every verb.
func (KeyRing) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// MarshalText writes nothing of the keys.
func (KeyRing) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// LogValue logs nothing of the keys.
func (KeyRing) LogValue() slog.Value { return slog.StringValue(hidden) }
