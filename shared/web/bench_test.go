package web_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/shared/web"
)

// feedRequest has the form of a request for the events of many users.
type feedRequest struct {
	Users []struct {
		UserID       uuid.UUID `json:"userId"`
		FollowSecret string    `json:"followSecret"`
		Since        time.Time `json:"since"`
	} `json:"users" maxItems:"1000"`
}

// eventRequest has the form of an event to publish.
type eventRequest struct {
	UserID   uuid.UUID `json:"userId"`
	Password string    `json:"password"`
	Payload  []byte    `json:"encryptedEventPayload"`
	Expiry   time.Time `json:"expiry"`
}

// BenchmarkDecode reads the two kinds of body that cost the most: many small members, and few large ones.
func BenchmarkDecode(b *testing.B) {
	followed := func(n int) string {
		users := make([]string, n)
		for i := range users {
			users[i] = fmt.Sprintf(`{"userId":%q,"followSecret":%q,"since":"2024-02-03T04:05:06.789Z"}`, uuid.New(), uuid.New())
		}
		return `{"users":[` + strings.Join(users, ",") + `]}`
	}
	event := func(size int) string {
		return fmt.Sprintf(`{"userId":"0e000000-0000-4000-8000-000000000001","password":"9a1b6a0e-1111-4222-8333-444444444444",`+
			`"encryptedEventPayload":%q,"expiry":"2024-02-03T04:05:06.789Z"}`, base64.StdEncoding.EncodeToString(make([]byte, size)))
	}
	feed := web.Act(func(context.Context, feedRequest) error { return nil })
	put := web.Act(func(context.Context, eventRequest) error { return nil })
	for _, c := range []struct {
		name     string
		endpoint web.Endpoint
		body     string
	}{
		{"1 followed", feed, followed(1)},
		{"1000 followed", feed, followed(1000)},
		{"event of 2 KB", put, event(2 << 10)},
		{"event of 60 KB", put, event(60 << 10)},
		{"event of 128 KB", put, event(128 << 10)},
	} {
		b.Run(c.name, func(b *testing.B) {
			service := web.Service{Log: slog.New(slog.DiscardHandler)}
			handler := service.Handler([]web.Mount{{
				Route:    web.Route{Method: http.MethodPost, Path: "/", MaxBody: 1 << 20, Timeout: time.Minute},
				Endpoint: c.endpoint,
			}})
			b.SetBytes(int64(len(c.body)))
			b.ReportAllocs()
			for b.Loop() {
				r := httptest.NewRequestWithContext(b.Context(), http.MethodPost, "/", strings.NewReader(c.body))
				r.Header.Set("Content-Type", "application/json")
				w := httptest.NewRecorder()
				handler.ServeHTTP(w, r)
				require.Equal(b, http.StatusOK, w.Code)
			}
		})
	}
}
