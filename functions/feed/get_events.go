package feed

import (
	"context"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"github.com/liftlog/liftlog-api/shared/feed"
	"github.com/liftlog/liftlog-api/shared/web"
)

// GetEventsRequest names the users whose events to read.
type GetEventsRequest struct {
	Users []FollowedUser `json:"users" minItems:"1" maxItems:"1000" eachName:"user"`
}

// FollowedUser is one of them, with the secret that they gave out.
type FollowedUser struct {
	UserID uuid.UUID `json:"userId" name:"user id" required:"true"`
	Since  time.Time `json:"since" name:"time" required:"true"` // the newest timestamp seen so far: only later events are sent
	// One that is empty, or longer than any stored one, fits nobody.
	FollowSecret *string `json:"followSecret" name:"follow secret" required:"true" storable:"true" fault:"This is no follow secret."`
}

// GetEventsResponse holds the events, and the secrets that fit none of the users they were sent with: whose reader may no longer follow.
type GetEventsResponse struct {
	Events               []FollowedEvent `json:"events"`
	InvalidFollowSecrets []string        `json:"invalidFollowSecrets"`
}

// FollowedEvent is one of the events that a follower reads.
type FollowedEvent struct {
	UserID                uuid.UUID `json:"userId"`
	EventID               uuid.UUID `json:"eventId"`
	Timestamp             time.Time `json:"timestamp"`
	EncryptedEventPayload []byte    `json:"encryptedEventPayload"`
	EncryptedEventIV      []byte    `json:"encryptedEventIV"`
	Expiry                time.Time `json:"expiry"`
}

// GetEvents writes a [GetEventsResponse] event by event: there is no bound on their number.
func (h *Handlers) GetEvents(ctx context.Context, req GetEventsRequest, out *jsontext.Encoder) error {
	asked := make([]feed.Followed, len(req.Users))
	for i, user := range req.Users {
		asked[i] = feed.Followed{UserID: user.UserID, Secret: *user.FollowSecret, Since: user.Since}
	}
	if err := web.WriteTokens(out, jsontext.BeginObject, jsontext.String("events"), jsontext.BeginArray); err != nil {
		return err
	}
	invalid, err := feed.Each(ctx, h.DB, asked, time.Now(), func(e feed.Event) error {
		return json.MarshalEncode(out, FollowedEvent{
			UserID: e.UserID, EventID: e.ID, Timestamp: e.Timestamp, Expiry: e.Expiry,
			EncryptedEventPayload: e.EncryptedPayload, EncryptedEventIV: e.EncryptionIV,
		})
	})
	if err != nil {
		return err
	}
	if err := web.WriteTokens(out, jsontext.EndArray, jsontext.String("invalidFollowSecrets")); err != nil {
		return err
	}
	if err := json.MarshalEncode(out, invalid); err != nil {
		return err
	}
	return web.WriteTokens(out, jsontext.EndObject)
}
