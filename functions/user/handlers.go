// Package user holds the endpoints of users: one file each.
package user

import (
	"github.com/google/uuid"

	"github.com/liftlog/liftlog-api/shared/auth"
	"github.com/liftlog/liftlog-api/shared/postgres"
	users "github.com/liftlog/liftlog-api/shared/user"
)

// Handlers are the endpoints' functions with what they need.
type Handlers struct {
	DB       *postgres.DB
	Verifier *auth.Verifier
}

// Profile is a user on the wire.
type Profile struct {
	ID                      uuid.UUID `json:"id"`
	Lookup                  string    `json:"lookup"`
	EncryptedCurrentPlan    []byte    `json:"encryptedCurrentPlan" nullable:"true"`
	EncryptedProfilePicture []byte    `json:"encryptedProfilePicture" nullable:"true"`
	EncryptedName           []byte    `json:"encryptedName" nullable:"true"`
	EncryptionIV            []byte    `json:"encryptionIV"` // empty as long as the profile is
	RSAPublicKey            []byte    `json:"rsaPublicKey"` // empty as long as the profile is
}

func toWire(p users.Profile) Profile {
	return Profile{
		ID:                      p.ID,
		Lookup:                  p.Lookup,
		EncryptedCurrentPlan:    p.EncryptedCurrentPlan,
		EncryptedProfilePicture: p.EncryptedProfilePicture,
		EncryptedName:           p.EncryptedName,
		EncryptionIV:            p.EncryptionIV,
		RSAPublicKey:            p.RSAPublicKey,
	}
}
