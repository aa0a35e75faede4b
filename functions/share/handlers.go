// Package share holds the endpoints of items behind links: one file each.
package share

import (
	"github.com/liftlog/liftlog-api/shared/auth"
	"github.com/liftlog/liftlog-api/shared/postgres"
)

// Handlers are the endpoints' functions with what they need.
type Handlers struct {
	DB       *postgres.DB
	Verifier *auth.Verifier
	MaxItems int // of one user, without expired ones
}

// Encrypted is a ciphertext on the wire.
type Encrypted struct {
	EncryptedPayload []byte `json:"encryptedPayload" name:"payload" required:"true" maxBytes:"64Ki"`
	IV               *IV    `json:"iv" name:"initialization vector" required:"true"`
}

// IV is an initialization vector on the wire.
type IV struct {
	Value []byte `json:"value" name:"initialization vector" minBytes:"16" maxBytes:"16"`
}
