// Package apierr holds the kinds of failure that a caller may be told about. It knows no HTTP: package web
// turns a kind into a status, and everything that is not an [Error] into a bare 500.
package apierr

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf16"
)

// Kind says what sort of failure an [Error] is.
type Kind int

// The kinds. Internal is that of every error that is not an [Error].
const (
	Internal        Kind = iota
	Invalid              // the request breaks the contract; Fields say where
	Unauthenticated      // the caller did not prove who they are or what they bought
	NotFound             // looked for in the primary database and not there
	Limited              // too much was asked for or is stored; RetryAt says when to come back, if known
	Unavailable          // something we depend on is away or busy; the same request may succeed later
	Upstream             // a service we depend on answered, but not with anything we can use
)

var kindNames = [...]string{"internal", "invalid", "unauthenticated", "not found", "limited", "unavailable", "upstream"}

// String names the kind, for logs and tests.
func (k Kind) String() string {
	if k < 0 || int(k) >= len(kindNames) {
		return fmt.Sprintf("kind %d", int(k))
	}
	return kindNames[k]
}

// Error is a failure the caller may be told about.
type Error struct {
	Kind    Kind
	Detail  string              // shown to the caller: never SQL, a secret, what was sent, or another person's id
	Fields  map[string][]string // for Invalid: faults by the request's own path, such as users[0].since
	RetryAt time.Time           // for Limited and Unavailable: when to try again; zero when that is not known
	Broken  bool                // for Unavailable: it does not pass before an operator has mended something, and is logged as an error
	Err     error               // logged, never sent
}

// Error says the kind, the detail and the cause. It is meant for logs.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Kind.String())
	if e.Detail != "" {
		b.WriteString(": " + e.Detail)
	}
	if len(e.Fields) > 0 {
		b.WriteString(" (" + strings.Join(slices.Sorted(maps.Keys(e.Fields)), ", ") + ")")
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	return b.String()
}

// Unwrap gives the cause to errors.Is and errors.As.
func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the kind of the first [Error] in err's tree, and [Internal] when there is none.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Internal
}

// Busy is an [Unavailable] error that asks the caller to come back in a second.
func Busy(detail string, cause error) *Error {
	return &Error{Kind: Unavailable, Detail: detail, RetryAt: time.Now().Add(time.Second), Err: cause}
}

// Broken is like [Busy] for what does not pass before an operator has mended something.
func Broken(detail string, cause error) *Error {
	err := Busy(detail, cause)
	err.Broken = true
	return err
}

// IsBroken reports whether the first [Error] in err's tree waits for an operator.
func IsBroken(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Broken
}

// roomAfter is when a store that is full may have room again: what has expired is removed every hour.
const roomAfter = time.Hour

// Full is a [Limited] error of a store that has no room for more, which asks the caller to come back in an hour.
func Full(detail string) *Error {
	return &Error{Kind: Limited, Detail: detail, RetryAt: time.Now().Add(roomAfter)}
}

// Faults collects what is wrong with a request, the first [MaxFaults] of it. The zero value is ready to use.
type Faults map[string][]string

// MaxFaults is how many faults of one request are told: a list can have thousands.
const MaxFaults = 20

// Check records the message about the field at path unless ok.
func (f *Faults) Check(ok bool, path, message string) {
	if ok || f.count() == MaxFaults {
		return
	}
	if *f == nil {
		*f = Faults{}
	}
	(*f)[path] = append((*f)[path], message)
}

func (f *Faults) count() (n int) {
	for _, messages := range *f {
		n += len(messages)
	}
	return n
}

// Err returns nil when nothing was recorded, else an [Invalid] error with everything that was.
func (f Faults) Err() error {
	if len(f) == 0 {
		return nil
	}
	return &Error{Kind: Invalid, Detail: "The request is not valid.", Fields: f}
}

// Length is a text's length in UTF-16 units, which are v1's characters.
func Length(text string) (units int) {
	for _, char := range text {
		units += max(1, utf16.RuneLen(char)) // invalid UTF-8 counts as U+FFFD
	}
	return units
}
