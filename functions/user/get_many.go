package user

import (
	"context"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	users "github.com/liftlog/liftlog-api/shared/user"
	"github.com/liftlog/liftlog-api/shared/web"
)

// GetManyRequest names the users to read.
type GetManyRequest struct {
	IDs []uuid.UUID `json:"ids" minItems:"1" maxItems:"1000" eachName:"id"`
}

// GetManyResponse holds the users that exist, by id.
type GetManyResponse struct {
	Users map[uuid.UUID]Profile `json:"users"`
}

// GetMany writes a [GetManyResponse] profile by profile: a thousand of them can be gigabytes.
func (h *Handlers) GetMany(ctx context.Context, req GetManyRequest, out *jsontext.Encoder) error {
	if err := web.WriteTokens(out, jsontext.BeginObject, jsontext.String("users"), jsontext.BeginObject); err != nil {
		return err
	}
	err := users.Each(ctx, h.DB, req.IDs, func(p users.Profile) error {
		if err := web.WriteTokens(out, jsontext.String(p.ID.String())); err != nil {
			return err
		}
		return json.MarshalEncode(out, toWire(p))
	})
	if err != nil {
		return err
	}
	return web.WriteTokens(out, jsontext.EndObject, jsontext.EndObject)
}
