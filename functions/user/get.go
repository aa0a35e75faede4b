package user

import (
	"context"
	"strings"

	"github.com/google/uuid"

	users "github.com/liftlog/liftlog-api/shared/user"
)

// GetRequest names a user by id, in any of the forms of [parseID], or by lookup. No lookup that v1 gave out comes near the bound.
type GetRequest struct {
	IDOrLookup string `json:"-" path:"idOrLookup" maxBytes:"64" trim:"true" storable:"true" fault:"This is neither an id nor a lookup."`
}

// Get reads one user's public profile.
func (h *Handlers) Get(ctx context.Context, req GetRequest) (Profile, error) {
	if id, ok := parseID(req.IDOrLookup); ok {
		profile, err := users.Find(ctx, h.DB, id)
		return toWire(profile), err
	}
	profile, err := users.FindByLookup(ctx, h.DB, req.IDOrLookup)
	return toWire(profile), err
}

// parseID reads the forms that v1 takes in a path: 32 digits, or 36 characters with dashes, which may be in braces or
// parentheses; and white space around all of it.
func parseID(text string) (uuid.UUID, bool) {
	text = strings.TrimSpace(text)
	const bracketed = 38
	if len(text) == bracketed {
		if around := text[:1] + text[bracketed-1:]; around != "{}" && around != "()" {
			return uuid.Nil, false
		}
		text = text[1 : bracketed-1]
	}
	if len(text) != 36 && len(text) != 32 {
		return uuid.Nil, false
	}
	id, err := uuid.Parse(text)
	return id, err == nil
}
