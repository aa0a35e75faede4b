package feed

import (
	"context"

	"github.com/liftlog/liftlog-api/shared/feed"
)

// PutSecret lets whoever holds the secret read the caller's feed. A secret stored twice is one secret.
func (h *Handlers) PutSecret(ctx context.Context, req SecretRequest) error {
	if err := h.Verifier.Verify(ctx, h.DB, req.UserID, req.Password); err != nil {
		return err
	}
	return feed.AddSecret(ctx, h.DB, req.UserID, req.FollowSecret, h.MaxSecrets)
}
