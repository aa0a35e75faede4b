package share

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/liftlog/liftlog-api/shared/apierr"
	"github.com/liftlog/liftlog-api/shared/auth"
	"github.com/liftlog/liftlog-api/shared/share"
)

// CreateRequest is an item to share.
type CreateRequest struct {
	UserID           uuid.UUID  `json:"userId"`
	Password         string     `json:"password"`
	EncryptedPayload *Encrypted `json:"encryptedPayload"`
	Expiry           time.Time  `json:"expiry"`
}

// The sizes of an item's parts, in bytes.
const (
	MaxPayload = 64 << 10
	IVLength   = 16
)

// Validate reports every field that is missing or of a wrong size.
func (r *CreateRequest) Validate() error {
	var faults apierr.Faults
	faults.Check(r.UserID != uuid.Nil, "userId", "A user id is required.")
	auth.CheckForm(&faults, "password", r.Password)
	faults.Check(r.EncryptedPayload != nil, "encryptedPayload", "A payload is required.")
	if payload := r.EncryptedPayload; payload != nil {
		faults.Check(payload.EncryptedPayload != nil, "encryptedPayload.encryptedPayload", "A payload is required.")
		faults.Check(len(payload.EncryptedPayload) <= MaxPayload, "encryptedPayload.encryptedPayload", "The payload is too large.")
		faults.Check(payload.IV != nil, "encryptedPayload.iv", "An initialization vector is required.")
		faults.Check(payload.IV == nil || len(payload.IV.Value) == IVLength, "encryptedPayload.iv.value", "An initialization vector has 16 bytes.")
	}
	faults.Check(!r.Expiry.IsZero(), "expiry", "An expiry is required.")
	return faults.Err()
}

// CreateResponse names the item for its link.
type CreateResponse struct {
	ID string `json:"id"`
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
