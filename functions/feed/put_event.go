package feed

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/liftlog/liftlog-api/shared/feed"
)

// PutEventRequest is an event to publish.
type PutEventRequest struct {
	UserID                uuid.UUID `json:"userId" name:"user id" required:"true"`
	Password              string    `json:"password" name:"password" required:"true"`
	EventID               uuid.UUID `json:"eventId" name:"event id" required:"true"`
	EncryptedEventPayload []byte    `json:"encryptedEventPayload" name:"payload" required:"true" minBytes:"1" maxBytes:"128Ki"`
	EncryptedEventIV      []byte    `json:"encryptedEventIV" name:"initialization vector" required:"true" minBytes:"1" maxBytes:"16"`
	Expiry                time.Time `json:"expiry" name:"expiry" required:"true"` // followers do not get it afterwards
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
