package inbox

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"github.com/liftlog/liftlog-api/shared/apierr"
	"github.com/liftlog/liftlog-api/shared/inbox"
)

// PutRequest is a message to somebody. Anybody may send one.
type PutRequest struct {
	ToUserID         uuid.UUID `json:"toUserId"`
	EncryptedMessage [][]byte  `json:"encryptedMessage"`
}

// The largest message: so many chunks, of so many bytes each.
const (
	MaxChunks = 20
	MaxChunk  = 1 << 10
)

// Validate reports every field that is missing or too large.
func (r *PutRequest) Validate() error {
	var faults apierr.Faults
	faults.Check(r.ToUserID != uuid.Nil, "toUserId", "A user id is required.")
	faults.Check(len(r.EncryptedMessage) > 0, "encryptedMessage", "A message is required.")
	faults.Check(len(r.EncryptedMessage) <= MaxChunks, "encryptedMessage", "The message has too many chunks.")
	for i, chunk := range r.EncryptedMessage[:min(len(r.EncryptedMessage), MaxChunks)] {
		faults.Check(chunk != nil, fmt.Sprintf("encryptedMessage[%d]", i), "A chunk is bytes.")
		faults.Check(len(chunk) <= MaxChunk, fmt.Sprintf("encryptedMessage[%d]", i), "The chunk is too large.")
	}
	return faults.Err()
}

// Put leaves a message in a user's inbox.
func (h *Handlers) Put(ctx context.Context, req PutRequest) error {
	return inbox.Put(ctx, h.DB, req.ToUserID, req.EncryptedMessage, h.MaxWaiting)
}
