// Package feed holds the endpoints of events and follow secrets: one file each.
package feed

import (
	"github.com/google/uuid"

	"github.com/liftlog/liftlog-api/shared/auth"
	"github.com/liftlog/liftlog-api/shared/postgres"
)

// Handlers are the endpoints' functions with what they need.
type Handlers struct {
	DB         *postgres.DB
	Verifier   *auth.Verifier
	MaxEvents  int // of one user, without expired ones
	MaxSecrets int // of one user
}

// SecretRequest names a follow secret of the caller's.
type SecretRequest struct {
	UserID       uuid.UUID `json:"userId" name:"user id" required:"true"`
	Password     string    `json:"password" name:"password" required:"true" maxBytes:"40"`
	FollowSecret string    `json:"followSecret" name:"follow secret" required:"true" maxLength:"40" storable:"true"`
}
