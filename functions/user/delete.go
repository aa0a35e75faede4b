package user

import (
	"context"

	"github.com/google/uuid"

	users "github.com/liftlog/liftlog-api/shared/user"
)

// DeleteRequest names the user to remove.
type DeleteRequest struct {
	ID       uuid.UUID `json:"id" name:"id" required:"true"`
	Password string    `json:"password" name:"password" required:"true" maxBytes:"40"`
}

// Delete removes the caller and everything of theirs.
func (h *Handlers) Delete(ctx context.Context, req DeleteRequest) error {
	if err := h.Verifier.Verify(ctx, h.DB, req.ID, req.Password); err != nil {
		return err
	}
	return users.Delete(ctx, h.DB, req.ID)
}
