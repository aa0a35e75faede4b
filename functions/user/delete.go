package user

import (
	"context"

	"github.com/google/uuid"

	"github.com/liftlog/liftlog-api/shared/apierr"
	"github.com/liftlog/liftlog-api/shared/auth"
	users "github.com/liftlog/liftlog-api/shared/user"
)

// DeleteRequest names the user to remove.
type DeleteRequest struct {
	ID       uuid.UUID `json:"id"`
	Password string    `json:"password"`
}

// Validate reports every field that is missing or too long.
func (r *DeleteRequest) Validate() error {
	var faults apierr.Faults
	faults.Check(r.ID != uuid.Nil, "id", "An id is required.")
	auth.CheckForm(&faults, "password", r.Password)
	return faults.Err()
}

// Delete removes the caller and everything of theirs.
func (h *Handlers) Delete(ctx context.Context, req DeleteRequest) error {
	if err := h.Verifier.Verify(ctx, h.DB, req.ID, req.Password); err != nil {
		return err
	}
	return users.Delete(ctx, h.DB, req.ID)
}
