package gcloud

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/api"
	prometheus "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
)

// MonitoringAddress is Cloud Monitoring's.
const MonitoringAddress = "https://monitoring.googleapis.com"

// Monitoring asks Cloud Monitoring, by Prometheus's interface, about one project. It may be used by several goroutines at once.
type Monitoring struct {
	prometheus prometheus.API
	limit      time.Duration
}

// Monitoring returns a client of the server at the address, with a limit on the time of each query. It works for an hour, as long
// as the token of the tool's account is good.
func (c CLI) Monitoring(ctx context.Context, address string, limit time.Duration) (*Monitoring, error) {
	token, err := c.Run(ctx, "", "auth", "print-access-token")
	if err != nil {
		return nil, err
	}
	client, err := api.NewClient(api.Config{
		Address: address + "/v1/projects/" + c.Project + "/location/global/prometheus",
		Client: &http.Client{
			Transport:     bearer{strings.TrimSpace(token)},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // the token is for one host
		},
	})
	if err != nil {
		return nil, err
	}
	return &Monitoring{prometheus.NewAPI(client), limit}, nil
}

// Query returns what a query in PromQL finds at the time.
func (m *Monitoring) Query(ctx context.Context, query string, at time.Time) (model.Vector, error) {
	ctx, cancel := context.WithTimeout(ctx, m.limit)
	defer cancel()
	value, _, _, err := m.prometheus.Query(ctx, query, at)
	if err != nil {
		return nil, err
	}
	samples, ok := value.(model.Vector)
	if !ok {
		return nil, fmt.Errorf("it answers with a %s", value.Type())
	}
	return samples, nil
}

// bearer authenticates requests.
type bearer struct{ token string }

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+b.token)
	return http.DefaultTransport.RoundTrip(r)
}
