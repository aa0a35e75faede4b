package user

import (
	"context"

	"github.com/google/uuid"

	"github.com/liftlog/liftlog-api/shared/apierr"
	"github.com/liftlog/liftlog-api/shared/auth"
	users "github.com/liftlog/liftlog-api/shared/user"
)

// PutRequest replaces all of a profile: what is absent or null becomes null.
type PutRequest struct {
	ID                      uuid.UUID `json:"id"`
	Password                string    `json:"password"`
	EncryptedCurrentPlan    []byte    `json:"encryptedCurrentPlan"`
	EncryptedProfilePicture []byte    `json:"encryptedProfilePicture"`
	EncryptedName           []byte    `json:"encryptedName"`
	EncryptionIV            []byte    `json:"encryptionIV"`
	RSAPublicKey            []byte    `json:"rsaPublicKey"`
}

// The largest parts of a profile, in bytes.
const (
	MaxPlan    = 64 << 10
	MaxPicture = 2000 << 10
	MaxName    = 2 << 10
	MaxIV      = 1 << 10
	MaxKey     = 8 << 10
)

// Validate reports every field that is missing or too large.
func (r *PutRequest) Validate() error {
	var faults apierr.Faults
	faults.Check(r.ID != uuid.Nil, "id", "An id is required.")
	auth.CheckPresence(&faults, "password", r.Password)
	faults.Check(len(r.EncryptedCurrentPlan) <= MaxPlan, "encryptedCurrentPlan", "The plan is too large.")
	faults.Check(len(r.EncryptedProfilePicture) <= MaxPicture, "encryptedProfilePicture", "The picture is too large.")
	faults.Check(len(r.EncryptedName) <= MaxName, "encryptedName", "The name is too large.")
	faults.Check(r.EncryptionIV != nil, "encryptionIV", "An initialization vector is required.")
	faults.Check(len(r.EncryptionIV) <= MaxIV, "encryptionIV", "The initialization vector is too large.")
	faults.Check(r.RSAPublicKey != nil, "rsaPublicKey", "A public key is required.")
	faults.Check(len(r.RSAPublicKey) <= MaxKey, "rsaPublicKey", "The public key is too large.")
	return faults.Err()
}

// Put replaces the caller's profile.
func (h *Handlers) Put(ctx context.Context, req PutRequest) error {
	if err := h.Verifier.Verify(ctx, h.DB, req.ID, req.Password); err != nil {
		return err
	}
	return users.Replace(ctx, h.DB, req.ID, users.Content{
		EncryptedCurrentPlan:    req.EncryptedCurrentPlan,
		EncryptedProfilePicture: req.EncryptedProfilePicture,
		EncryptedName:           req.EncryptedName,
		EncryptionIV:            req.EncryptionIV,
		RSAPublicKey:            req.RSAPublicKey,
	})
}
