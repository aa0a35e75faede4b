package signalr

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Type says what a record is.
type Type int

// The types of records. Acknowledgements and sequences belong to stateful reconnect, which is never agreed on here.
const (
	Invocation       Type = 1
	StreamItem       Type = 2
	Completion       Type = 3
	StreamInvocation Type = 4
	CancelInvocation Type = 5
	Ping             Type = 6
	Close            Type = 7
	Ack              Type = 8
	Sequence         Type = 9
)

// Message is a record of a client's. Types that the protocol does not know are no error: they are to be ignored.
type Message struct {
	Type      Type
	ID        string           // of the invocation; empty: it is not to be answered
	Target    string           // as the client wrote it
	Arguments []jsontext.Value // of an invocation
	Streams   int              // how many streams the client wants to send
}

// lenient reads what ASP.NET Core reads. Halves of surrogate pairs, which a browser sends when a person's text was cut
// between them, become U+FFFD.
var lenient = json.JoinOptions(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))

// errProtocol is any breach of the protocol: each ends the connection, and nobody is told the details.
var errProtocol = errors.New("signalr: the record breaks the protocol")

// Parse reads a record without its separator. Every error ends the connection, as it does in ASP.NET Core: not a JSON
// object, nested too deep, no numeric type, a member of a wrong type, or one that the type requires missing.
func Parse(record []byte) (m Message, err error) {
	var wire struct {
		Type      jsontext.Value `json:"type"`
		ID        jsontext.Value `json:"invocationId"`
		Target    jsontext.Value `json:"target"`
		Arguments jsontext.Value `json:"arguments"`
		StreamIDs jsontext.Value `json:"streamIds"`
		Headers   jsontext.Value `json:"headers"`
		Error     jsontext.Value `json:"error"`
	}
	if !shallow(record) || jsontext.Value(record).Kind() != '{' || json.Unmarshal(record, &wire, lenient) != nil {
		return m, errProtocol
	}
	number, err := integer(wire.Type)
	if err != nil {
		return m, err
	}
	m.Type = Type(number)
	for _, member := range []struct {
		value jsontext.Value
		text  *string
	}{{wire.ID, &m.ID}, {wire.Target, &m.Target}, {wire.Error, new(string)}} {
		if member.value == nil {
			continue
		}
		if *member.text, err = text(member.value); err != nil {
			return m, err
		}
	}
	var streams []jsontext.Value
	for _, member := range []struct {
		value jsontext.Value
		kind  jsontext.Kind
		into  any
	}{{wire.Arguments, '[', &m.Arguments}, {wire.StreamIDs, '[', &streams}, {wire.Headers, '{', &map[string]jsontext.Value{}}} {
		if member.value == nil {
			continue
		}
		if member.value.Kind() != member.kind || json.Unmarshal(member.value, member.into, lenient) != nil {
			return m, errProtocol
		}
		if headers, ok := member.into.(*map[string]jsontext.Value); ok && !texts(*headers) {
			return m, errProtocol
		}
	}
	m.Streams = len(streams)
	return m, m.complete(wire.ID != nil, wire.Target != nil && wire.Arguments != nil)
}

// complete checks for what the type requires: an id, or a target, which may be empty, and arguments.
func (m *Message) complete(id, call bool) error {
	ok := true
	switch m.Type {
	case Invocation:
		ok = call
	case StreamInvocation:
		ok = call && id
	case StreamItem, Completion, CancelInvocation:
		ok = id
	case Ping, Close, Ack, Sequence:
	}
	if !ok {
		return errProtocol
	}
	return nil
}

func texts(headers map[string]jsontext.Value) bool {
	for _, value := range headers {
		if value.Kind() != '"' {
			return false
		}
	}
	return true
}

func text(value jsontext.Value) (s string, err error) {
	if value.Kind() != '"' || json.Unmarshal(value, &s, lenient) != nil {
		return "", errProtocol
	}
	return s, nil
}

// integer reads a 32-bit number that is written as one: neither "1" nor 1.0 is.
func integer(value jsontext.Value) (int, error) {
	n, err := strconv.ParseInt(string(value), 10, 32)
	if err != nil {
		return 0, errProtocol
	}
	return int(n), nil
}

// Text reads the argument as a text, which may be null. ok is false for anything else.
func Text(argument jsontext.Value) (value string, null, ok bool) {
	if argument.Kind() == 'n' {
		return "", true, true
	}
	value, err := text(argument)
	return value, false, err == nil
}

// Integer reads the argument as an integer of 32 bits. As in ASP.NET Core neither "3" nor 3.0 is one.
func Integer(argument jsontext.Value) (value int, ok bool) {
	value, err := integer(argument)
	return value, err == nil
}

// What the completion of a call says that failed, in the words of ASP.NET Core without detailed errors. target is the
// method's name as the server spells it.

// NoSuchMethod is the error of a call of a method that does not exist, of which only the client knows how it is spelled.
func NoSuchMethod(target string) string {
	return WrongArguments(target) + " HubException: Method does not exist."
}

// WrongArguments is the error of a call whose arguments are not those of the method.
func WrongArguments(target string) string {
	return fmt.Sprintf("Failed to invoke '%s' due to an error on the server.", target)
}

// Failed is the error of a call whose method failed.
func Failed(target string) string {
	return fmt.Sprintf("An unexpected error occurred invoking '%s' on the server.", target)
}

// NotStreaming is the error of a call that asks for a stream where there is none.
func NotStreaming(target string) string {
	return fmt.Sprintf("The client attempted to invoke the non-streaming '%s' method with a streaming invocation.", target)
}

// NoStreams is the error of a call that wants to send streams.
func NoStreams(target string, streams int) string {
	return fmt.Sprintf("%s HubException: Client sent %d stream(s), Hub method expects 0.", Failed(target), streams)
}

// encoding writes values: invalid UTF-8 becomes U+FFFD, since a text message of a websocket must not hold any, and values that
// are JSON already keep their strings as they are written.
var encoding = json.JoinOptions(jsontext.AllowInvalidUTF8(true), jsontext.PreserveRawStrings(true))

// WriteInvocation appends a call of the client's method with one argument. It has no invocationId, not even an empty one,
// which the client would take for a fault. After an error nothing is appended.
func WriteInvocation(b *bytes.Buffer, target string, argument any) error {
	start := b.Len()
	b.WriteString(`{"type":1,"target":`)
	writeText(b, target)
	b.WriteString(`,"arguments":[`)
	if err := json.MarshalWrite(b, argument, encoding); err != nil {
		b.Truncate(start)
		return fmt.Errorf("encode argument of %s: %w", target, err)
	}
	b.WriteString("]}")
	b.WriteByte(Separator)
	return nil
}

// WriteCompletion appends the end of the client's call id: a success without result when failure is empty.
func WriteCompletion(b *bytes.Buffer, id, failure string) {
	b.WriteString(`{"type":3,"invocationId":`)
	writeText(b, id)
	if failure == "" {
		b.WriteString(`,"result":null}`)
	} else {
		b.WriteString(`,"error":`)
		writeText(b, failure)
		b.WriteByte('}')
	}
	b.WriteByte(Separator)
}

// WritePing appends a sign of life.
func WritePing(b *bytes.Buffer) { b.WriteString("{\"type\":6}\x1e") }

// Farewell is a record that ends a connection.
type Farewell string

const (
	// Goodbye answers a client's own.
	Goodbye Farewell = "{\"type\":7}\x1e"
	// Leaving says that the server goes, or wants a fresh connection.
	Leaving Farewell = "{\"type\":7,\"allowReconnect\":true}\x1e"
	// Rejected says that the client broke the protocol or fell silent.
	Rejected Farewell = "{\"type\":7,\"error\":\"Connection closed with an error.\",\"allowReconnect\":true}\x1e"
)

// writeText appends s as a JSON string.
func writeText(b *bytes.Buffer, s string) {
	quoted, _ := jsontext.AppendQuote(b.AvailableBuffer(), s) // it complains of invalid UTF-8 after having replaced it
	b.Write(quoted)
}
