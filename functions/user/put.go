package user

import (
	"context"

	"github.com/google/uuid"

	users "github.com/liftlog/liftlog-api/shared/user"
)

// PutRequest replaces all of a profile: what is absent or null becomes null.
type PutRequest struct {
	ID                      uuid.UUID `json:"id" name:"id" required:"true"`
	Password                string    `json:"password" name:"password" required:"true"`
	EncryptedCurrentPlan    []byte    `json:"encryptedCurrentPlan" name:"plan" maxBytes:"64Ki"`
	EncryptedProfilePicture []byte    `json:"encryptedProfilePicture" name:"picture" maxBytes:"2000Ki"`
	EncryptedName           []byte    `json:"encryptedName" name:"name" maxBytes:"2Ki"`
	EncryptionIV            []byte    `json:"encryptionIV" name:"initialization vector" required:"true" maxBytes:"1Ki"`
	RSAPublicKey            []byte    `json:"rsaPublicKey" name:"public key" required:"true" maxBytes:"8Ki"`
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
