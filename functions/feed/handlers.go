// Package feed holds the endpoints of events and follow secrets: one file each.
package feed

import (
	"strings"

	"github.com/google/uuid"

	"github.com/liftlog/liftlog-api/shared/apierr"
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

// MaxSecret is the length of a follow secret in UTF-16 units, which are v1's characters.
const MaxSecret = 40

// SecretRequest names a follow secret of the caller's.
type SecretRequest struct {
	UserID       uuid.UUID `json:"userId"`
	Password     string    `json:"password"`
	FollowSecret string    `json:"followSecret"`
}

// Validate reports every field that is missing or too long.
func (r *SecretRequest) Validate() error {
	var faults apierr.Faults
	faults.Check(r.UserID != uuid.Nil, "userId", "A user id is required.")
	auth.CheckForm(&faults, "password", r.Password)
	faults.Check(strings.TrimSpace(r.FollowSecret) != "", "followSecret", "A follow secret is required.")
	faults.Check(apierr.Length(r.FollowSecret) <= MaxSecret, "followSecret", "The follow secret is too long.")
	faults.Check(!strings.ContainsRune(r.FollowSecret, 0), "followSecret", "The follow secret holds a character that cannot be stored.")
	return faults.Err()
}
