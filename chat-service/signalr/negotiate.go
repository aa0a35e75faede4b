package signalr

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"strconv"

	"github.com/go-json-experiment/json"
)

// Transport is a way to connect that negotiation offers.
type Transport struct {
	Transport       string   `json:"transport"`
	TransferFormats []string `json:"transferFormats"`
}

// transports are what is offered: the client tries nothing that is not listed.
var transports = []Transport{{"WebSockets", []string{"Text", "Binary"}}}

// Negotiation is the answer to a negotiate request. It may not have members that the client takes for something else.
type Negotiation struct {
	Version    int         `json:"negotiateVersion"`
	ID         string      `json:"connectionId"`
	Token      string      `json:"connectionToken,omitzero"`
	Transports []Transport `json:"availableTransports"`
}

// Refusal is the answer to a negotiate request that makes the client give up.
type Refusal struct {
	Error string `json:"error"`
}

// Negotiate answers a negotiate request that asks for the version; asked is false if it names none, which means 0. token is the
// secret with which the client is to connect; in version 0 it is the id as well.
func Negotiate(version string, asked bool, token string) ([]byte, error) {
	number := 0
	if asked {
		var err error
		if number, err = strconv.Atoi(version); err != nil {
			return json.Marshal(Refusal{"The client requested a non-integer protocol version."})
		}
	}
	if number < 0 {
		return json.Marshal(Refusal{fmt.Sprintf("The client requested version '%d', but the server does not support this version.", number)})
	}
	if number == 0 {
		return json.Marshal(Negotiation{ID: token, Transports: transports})
	}
	return json.Marshal(Negotiation{Version: 1, ID: newID(), Token: token, Transports: transports})
}

// idLength is the length in bytes of ids, as in ASP.NET Core.
const idLength = 16

// newID makes a public name of a connection. It proves nothing.
func newID() string {
	id := make([]byte, idLength)
	_, _ = rand.Read(id) // it does not fail
	return base64.RawURLEncoding.EncodeToString(id)
}
