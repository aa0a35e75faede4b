// Package signalr speaks the JSON hub protocol of ASP.NET Core SignalR as bytes: records, the handshake, messages,
// negotiation and connection tokens. It knows no sockets, no clocks but those it is given, and no methods of a hub.
package signalr

import (
	"bytes"
	"errors"
	"strings"
)

const (
	// Separator ends every record.
	Separator = 0x1e
	// MaxRecord is the most bytes of a record that a client may send, its separator included.
	MaxRecord = 32 << 10
	// maxDepth is how deep a record's objects and arrays may be nested.
	maxDepth = 64
)

// ErrTooLong says that a record is longer than [MaxRecord].
var ErrTooLong = errors.New("signalr: record too long")

// Splitter cuts a stream of bytes into records. How the stream was cut before means nothing. It holds memory only while
// a record is incomplete, and never more than [MaxRecord] bytes of one. The zero value is ready to use.
type Splitter struct{ begun []byte }

// Split takes the next bytes of the stream and calls take for each record that ends in them, without its separator.
// What take gets is only lent. It stops at take's first error and returns it; ErrTooLong comes as soon as a record cannot
// end in time. After an error the splitter is of no use any more.
func (s *Splitter) Split(chunk []byte, take func(record []byte) error) error {
	for {
		end := bytes.IndexByte(chunk, Separator)
		part := chunk
		if end >= 0 {
			part = chunk[:end]
		}
		if len(s.begun)+len(part)+1 > MaxRecord {
			s.begun = nil
			return ErrTooLong
		}
		if end < 0 {
			if len(part) > 0 {
				s.begun = append(s.begun, part...)
			}
			return nil
		}
		record := part
		if s.begun != nil {
			s.begun = append(s.begun, part...)
			record, s.begun = s.begun, nil
		}
		if err := take(record); err != nil {
			return err
		}
		chunk = chunk[end+1:]
	}
}

// shallow reports whether the JSON text is nested no deeper than maxDepth. It need not be valid.
func shallow(text []byte) bool {
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{', c == '[':
			if depth++; depth > maxDepth {
				return false
			}
		case c == '}', c == ']':
			depth--
		}
	}
	return true
}

// Lower returns the text with its ASCII letters in lower case. Names of protocols, methods and parameters are compared like
// this: as in ASP.NET Core, no other letter is the same as another.
func Lower(text string) string {
	return strings.Map(func(c rune) rune {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		return c
	}, text)
}
