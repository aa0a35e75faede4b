package config

import (
	"fmt"
	"io"
	"log/slog"
)

// Secret is a value that prints as nothing, however it is printed.
type Secret struct{ value string }

// hidden is what is shown of a secret.
const hidden = "(secret)"

// NewSecret wraps value.
func NewSecret(value string) Secret { return Secret{value} }

// Reveal returns the value, for the one place that needs it.
func (s Secret) Reveal() string { return s.value }

// IsSet reports whether there is a value.
func (s Secret) IsSet() bool { return s.value != "" }

// UnmarshalText sets the value.
func (s *Secret) UnmarshalText(text []byte) error {
	s.value = string(text)
	return nil
}

// Format prints the same for every verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// String prints nothing of the value.
func (Secret) String() string { return hidden }

// MarshalText writes nothing of the value, to JSON as well.
func (Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// LogValue logs nothing of the value.
func (Secret) LogValue() slog.Value { return slog.StringValue(hidden) }
