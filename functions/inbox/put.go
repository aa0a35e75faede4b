package inbox

import (
	"context"

	"github.com/google/uuid"

	"github.com/liftlog/liftlog-api/shared/apierr"
	"github.com/liftlog/liftlog-api/shared/inbox"
)

// PutRequest is a message to somebody. Anybody may send one.
type PutRequest struct {
	ToUserID         uuid.UUID `json:"toUserId"`
	EncryptedMessage [][]byte  `json:"encryptedMessage" maxItems:"20"`
}

// MaxChunk is the largest chunk of a message, in bytes.
const MaxChunk = 1 << 10

// Validate reports every field that is missing or too large.
func (r *PutRequest) Validate() error {
	var faults apierr.Faults
	faults.Check(r.ToUserID != uuid.Nil, "toUserId", "A user id is required.")
	faults.Check(len(r.EncryptedMessage) > 0, "encryptedMessage", "A message is required.")
	for i, chunk := range r.EncryptedMessage {
		faults.CheckItem(chunk != nil, "encryptedMessage", i, "", "A chunk is bytes.")
		faults.CheckItem(len(chunk) <= MaxChunk, "encryptedMessage", i, "", "The chunk is too large.")
	}
	return faults.Err()
}

// Put leaves a message in a user's inbox.
func (h *Handlers) Put(ctx context.Context, req PutRequest) error {
	return inbox.Put(ctx, h.DB, req.ToUserID, req.EncryptedMessage, h.Limits)
}
