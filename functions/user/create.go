package user

import (
	"context"

	"github.com/google/uuid"

	users "github.com/liftlog/liftlog-api/shared/user"
)

// CreateRequest is empty: the server makes everything.
type CreateRequest struct{}

// CreateResponse holds the only copy of the password that is ever shown.
type CreateResponse struct {
	ID       uuid.UUID `json:"id"`
	Lookup   string    `json:"lookup" pattern:"^[a-z][a-z0-9]{11}$"`
	Password string    `json:"password"`
}

// Create makes a user with an empty profile.
func (h *Handlers) Create(ctx context.Context, _ CreateRequest) (CreateResponse, error) {
	id := uuid.New()
	password, credential, err := h.Verifier.Create(ctx, id)
	if err != nil {
		return CreateResponse{}, err
	}
	lookup, err := users.Create(ctx, h.DB, id, credential)
	if err != nil {
		return CreateResponse{}, err
	}
	return CreateResponse{ID: id, Lookup: lookup, Password: password}, nil
}
