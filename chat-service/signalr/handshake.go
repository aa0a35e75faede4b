package signalr

import (
	"bytes"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const (
	protocolName = "json"
	// maxProtocolVersion is the highest version that ASP.NET Core takes. The client asks for 2 only when it was offered
	// stateful reconnect.
	maxProtocolVersion = 2
)

// What a client is told whose handshake fails, in the words of ASP.NET Core.
const (
	HandshakeFailed   = "An unexpected error occurred during connection handshake."
	HandshakeCanceled = "Handshake was canceled." // it was too long or did not come in time
)

// Handshake reads the first record of a client. The text says why it is refused, and is empty when it is not.
func Handshake(record []byte) (refusal string) {
	var request struct {
		Protocol jsontext.Value `json:"protocol"`
		Version  jsontext.Value `json:"version"`
	}
	if !shallow(record) || jsontext.Value(record).Kind() != '{' || json.Unmarshal(record, &request, lenient) != nil {
		return HandshakeFailed
	}
	protocol, err := text(request.Protocol)
	if err != nil {
		return HandshakeFailed
	}
	version, err := integer(request.Version)
	if err != nil {
		return HandshakeFailed
	}
	if Lower(protocol) != protocolName {
		return fmt.Sprintf("The protocol '%s' is not supported.", protocol)
	}
	if version > maxProtocolVersion {
		return fmt.Sprintf("The server does not support version %d of the '%s' protocol.", version, protocolName)
	}
	return ""
}

// WriteHandshake appends the answer to a handshake: its success when refusal is empty.
func WriteHandshake(b *bytes.Buffer, refusal string) {
	if refusal == "" {
		b.WriteString("{}")
	} else {
		b.WriteString(`{"error":`)
		writeText(b, refusal)
		b.WriteByte('}')
	}
	b.WriteByte(Separator)
}
