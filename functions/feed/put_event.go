package feed

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/liftlog/liftlog-api/shared/apierr"
	"github.com/liftlog/liftlog-api/shared/auth"
	"github.com/liftlog/liftlog-api/shared/feed"
)

// PutEventRequest is an event to publish.
type PutEventRequest struct {
	UserID                uuid.UUID `json:"userId"`
	Password              string    `json:"password"`
	EventID               uuid.UUID `json:"eventId"`
	EncryptedEventPayload []byte    `json:"encryptedEventPayload"`
	EncryptedEventIV      []byte    `json:"encryptedEventIV"`
	Expiry                time.Time `json:"expiry"`
}

// The largest parts of an event, in bytes.
const (
	MaxPayload = 128 << 10
	MaxIV      = 16
)

// Validate reports every field that is missing or too large.
func (r *PutEventRequest) Validate() error {
	var faults apierr.Faults
	faults.Check(r.UserID != uuid.Nil, "userId", "A user id is required.")
	auth.CheckPresence(&faults, "password", r.Password)
	faults.Check(r.EventID != uuid.Nil, "eventId", "An event id is required.")
	faults.Check(len(r.EncryptedEventPayload) > 0, "encryptedEventPayload", "A payload is required.")
	faults.Check(len(r.EncryptedEventPayload) <= MaxPayload, "encryptedEventPayload", "The payload is too large.")
	faults.Check(len(r.EncryptedEventIV) > 0, "encryptedEventIV", "An initialization vector is required.")
	faults.Check(len(r.EncryptedEventIV) <= MaxIV, "encryptedEventIV", "The initialization vector is too large.")
	faults.Check(!r.Expiry.IsZero(), "expiry", "An expiry is required.")
	return faults.Err()
}

// PutEvent publishes an event of the caller's, or replaces the one with the same id.
func (h *Handlers) PutEvent(ctx context.Context, req PutEventRequest) error {
	if err := h.Verifier.Verify(ctx, h.DB, req.UserID, req.Password); err != nil {
		return err
	}
	return feed.Put(ctx, h.DB, feed.Event{
		UserID:           req.UserID,
		ID:               req.EventID,
		Expiry:           req.Expiry,
		EncryptedPayload: req.EncryptedEventPayload,
		EncryptionIV:     req.EncryptedEventIV,
	}, h.MaxEvents)
}
