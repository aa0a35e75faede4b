package web_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/liftlog/liftlog-api/shared/clientaddr"
	"github.com/liftlog/liftlog-api/shared/web"
)

func TestEndpointsKnowTheirClientAndTheLogDoesNot(t *testing.T) {
	t.Parallel()
	lines := &logLines{}
	var client clientaddr.Client
	service := web.Service{Log: slog.New(slog.NewJSONHandler(lines, nil))}
	handler := service.Handler([]web.Mount{{
		Route: web.Route{Method: http.MethodGet, Path: "/", Timeout: time.Minute},
		Endpoint: web.Act(func(ctx context.Context, _ struct{}) error {
			client = clientaddr.From(ctx)
			return nil
		}),
	}})
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody)
	r.RemoteAddr = "192.0.2.77:1234"
	handler.ServeHTTP(httptest.NewRecorder(), r)
	assert.Equal(t, clientaddr.From(clientaddr.With(t.Context(), r)), client)
	assert.NotZero(t, client)
	assert.NotContains(t, lines.String(), "192.0.2.77")
}
