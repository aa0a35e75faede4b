package inbox

import (
	"context"

	"github.com/google/uuid"

	"github.com/liftlog/liftlog-api/shared/inbox"
)

// PutRequest is a message to somebody. Anybody may send one.
type PutRequest struct {
	ToUserID         uuid.UUID `json:"toUserId" name:"user id" required:"true"`
	EncryptedMessage [][]byte  `json:"encryptedMessage" name:"message" minItems:"1" maxItems:"20" eachName:"chunk" eachRequired:"true" eachMaxBytes:"1Ki"`
}

// Put leaves a message in a user's inbox.
func (h *Handlers) Put(ctx context.Context, req PutRequest) error {
	return inbox.Put(ctx, h.DB, req.ToUserID, req.EncryptedMessage, h.Limits)
}
