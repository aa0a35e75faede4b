package share

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/liftlog/liftlog-api/shared/apierr"
	"github.com/liftlog/liftlog-api/shared/share"
)

// CreateRequest is an item to share.
type CreateRequest struct {
	UserID           uuid.UUID  `json:"userId" name:"user id" required:"true"`
	Password         string     `json:"password" name:"password" required:"true" maxBytes:"40"`
	EncryptedPayload *Encrypted `json:"encryptedPayload" name:"payload" required:"true"`
	Expiry           time.Time  `json:"expiry" name:"expiry" required:"true"` // it is not found afterwards
}

// CreateResponse names the item for its link.
type CreateResponse struct {
	ID string `json:"id" pattern:"^[a-z][a-z0-9]{11}$"`
}

// Create stores an item of the caller's. Unlike elsewhere a user who is not known is as good as a wrong password.
func (h *Handlers) Create(ctx context.Context, req CreateRequest) (CreateResponse, error) {
	err := h.Verifier.Verify(ctx, h.DB, req.UserID, req.Password)
	if err != nil {
		return CreateResponse{}, hideUnknown(err)
	}
	id, err := share.Create(ctx, h.DB, req.UserID, req.EncryptedPayload.EncryptedPayload, req.EncryptedPayload.IV.Value, req.Expiry, h.MaxItems)
	return CreateResponse{ID: id}, hideUnknown(err)
}

func hideUnknown(err error) error {
	if apierr.KindOf(err) == apierr.NotFound {
		return &apierr.Error{Kind: apierr.Unauthenticated, Detail: "User and password do not fit.", Err: err}
	}
	return err
}
