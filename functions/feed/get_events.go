package feed

import (
	"context"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"github.com/liftlog/liftlog-api/shared/apierr"
	"github.com/liftlog/liftlog-api/shared/feed"
	"github.com/liftlog/liftlog-api/shared/web"
)

// GetEventsRequest names the users whose events to read.
type GetEventsRequest struct {
	Users []Followed `json:"users" maxItems:"1000"`
}

// Followed is one of them, with the secret that they gave out.
type Followed struct {
	UserID       uuid.UUID `json:"userId"`
	FollowSecret *string   `json:"followSecret"`
	Since        time.Time `json:"since"` // the newest timestamp seen so far: only later events are sent
}

// maxAskedSecret bounds a secret that is asked with, in bytes; no stored one is longer.
const maxAskedSecret = 4 * MaxSecret

// Validate reports a list that is missing, and what is wrong with its parts. An empty secret is one that fits nobody.
func (r *GetEventsRequest) Validate() error {
	var faults apierr.Faults
	faults.Check(len(r.Users) > 0, "users", "At least one user is required.")
	for i, user := range r.Users {
		faults.CheckItem(user.UserID != uuid.Nil, "users", i, "userId", "A user id is required.")
		faults.CheckItem(!user.Since.IsZero(), "users", i, "since", "A time is required.")
		secret := user.FollowSecret
		faults.CheckItem(secret != nil, "users", i, "followSecret", "A follow secret is required.")
		plain := secret == nil || len(*secret) <= maxAskedSecret && !strings.ContainsRune(*secret, 0)
		faults.CheckItem(plain, "users", i, "followSecret", "This is no follow secret.")
	}
	return faults.Err()
}

// GetEventsResponse holds the events, and the secrets that let nobody's be read any more.
type GetEventsResponse struct {
	Events               []Event  `json:"events"`
	InvalidFollowSecrets []string `json:"invalidFollowSecrets"`
}

// Event is one on the wire.
type Event struct {
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
		return json.MarshalEncode(out, Event{
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
