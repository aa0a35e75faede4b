package inbox

import (
	"context"

	"github.com/google/uuid"

	"github.com/liftlog/liftlog-api/shared/inbox"
)

// GetRequest names whose inbox to empty.
type GetRequest struct {
	UserID   uuid.UUID `json:"userId" name:"user id" required:"true"`
	Password string    `json:"password" name:"password" required:"true" maxBytes:"40"`
}

// GetResponse holds what was in the inbox.
type GetResponse struct {
	InboxMessages []WaitingMessage `json:"inboxMessages"`
}

// WaitingMessage is one of them.
type WaitingMessage struct {
	ID               uuid.UUID `json:"id"`
	EncryptedMessage [][]byte  `json:"encryptedMessage" eachNullable:"true"` // v1 stored chunks that were null
}

// MaxMessages is how many messages are handed over at a time.
const MaxMessages = 500

// Get hands over the caller's messages and forgets them.
func (h *Handlers) Get(ctx context.Context, req GetRequest) (GetResponse, error) {
	if err := h.Verifier.Verify(ctx, h.DB, req.UserID, req.Password); err != nil {
		return GetResponse{}, err
	}
	messages, err := inbox.Take(ctx, h.DB, req.UserID, MaxMessages)
	if err != nil {
		return GetResponse{}, err
	}
	response := GetResponse{InboxMessages: make([]WaitingMessage, len(messages))}
	for i, m := range messages {
		response.InboxMessages[i] = WaitingMessage{ID: m.ID, EncryptedMessage: m.Chunks}
	}
	return response, nil
}
