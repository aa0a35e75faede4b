package feed

import (
	"context"

	"github.com/liftlog/liftlog-api/shared/feed"
)

// DeleteSecret takes back a follow secret. One that is not there counts as taken back.
func (h *Handlers) DeleteSecret(ctx context.Context, req SecretRequest) error {
	if err := h.Verifier.Verify(ctx, h.DB, req.UserID, req.Password); err != nil {
		return err
	}
	return feed.RemoveSecret(ctx, h.DB, req.UserID, req.FollowSecret)
}
