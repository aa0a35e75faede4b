package functions_test

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/functions/functionstest"
	"github.com/liftlog/liftlog-api/shared/config"
	"github.com/liftlog/liftlog-api/shared/planner"
	"github.com/liftlog/liftlog-api/shared/planner/openai"
	"github.com/liftlog/liftlog-api/shared/planner/plannertest"
	"github.com/liftlog/liftlog-api/shared/postgres"
	"github.com/liftlog/liftlog-api/shared/postgres/pgtest"
	"github.com/liftlog/liftlog-api/shared/ratelimit"
)

// BenchmarkPlanWorkout compares the whole handler, limit and database included, with the planner's model alone: what lies
// between their medians is ours.
func BenchmarkPlanWorkout(b *testing.B) {
	deps := functionstest.NewDeps(b, postgres.Options{URL: pgtest.URL(b), MaxConns: 4})
	model, err := plannertest.Start(plannertest.WithPace(20*time.Millisecond, 1<<20))
	require.NoError(b, err)
	b.Cleanup(model.Close)
	client := openai.New(config.Model{Name: "gpt-4o", BaseURL: model.URL()})
	deps.Planner, deps.Limits.WebPerDay = planner.New(client), 10_000
	deps.Limiter = ratelimit.New(ratelimit.Options{DB: deps.DB, TokensPerDay: 1 << 40})
	service := functionstest.Handler(deps)
	request := planner.Request{
		Messages: []planner.Message{{Role: planner.System, Text: "x"}, {Role: planner.User, Text: "x"}},
		Shape:    planner.Shape{Name: "GetGymPlan", Way: planner.Called, Strict: true, Schema: []byte(`{"type":"object","properties":{},"required":[],"additionalProperties":false}`)},
	}
	for _, c := range []struct {
		name string
		call func(b *testing.B)
	}{
		{"model alone", func(b *testing.B) {
			b.Helper()
			_, _, err := client.Answer(b.Context(), request, nil)
			require.NoError(b, err)
		}},
		{"whole", func(b *testing.B) {
			b.Helper()
			require.Equal(b, http.StatusOK, functionstest.Call(b, service, http.MethodPost, "/v2/ai/workout", functionstest.GoodWorkout).Code)
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			var times []time.Duration
			for b.Loop() {
				_, err := deps.DB.Exec(b.Context(), `DELETE FROM rate_limit_consumptions`) // a full row is no usual one
				require.NoError(b, err)
				began := time.Now()
				c.call(b)
				times = append(times, time.Since(began))
			}
			slices.Sort(times)
			b.ReportMetric(float64(times[len(times)/2].Microseconds())/1000, "ms/median")
		})
	}
}
