// Package share holds the endpoints of items behind links: one file each.
package share

import (
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/liftlog/liftlog-api/shared/auth"
)

// Handlers are the endpoints' functions with what they need.
type Handlers struct {
	DB       *pgxpool.Pool
	Verifier *auth.Verifier
}

// Encrypted is a ciphertext on the wire.
type Encrypted struct {
	EncryptedPayload []byte `json:"encryptedPayload"`
	IV               *IV    `json:"iv"`
}

// IV is an initialization vector on the wire.
type IV struct {
	Value []byte `json:"value"`
}
