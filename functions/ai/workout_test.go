package ai_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/functions"
	"github.com/liftlog/liftlog-api/functions/functionstest"
	"github.com/liftlog/liftlog-api/shared/apierr"
	"github.com/liftlog/liftlog-api/shared/planner/plannertest"
	"github.com/liftlog/liftlog-api/shared/postgres"
	"github.com/liftlog/liftlog-api/shared/postgres/pgtest"
	"github.com/liftlog/liftlog-api/shared/ratelimit"
)

// counted is how many requests the web's key has spent.
func counted(t *testing.T, deps functions.Deps) (n int) {
	t.Helper()
	require.NoError(t, deps.DB.QueryRow(t.Context(), `SELECT coalesce((SELECT cardinality(requests) FROM rate_limit_consumptions WHERE key = $1), 0)`,
		string(ratelimit.PlanKey(functionstest.WebKey))).Scan(&n))
	return n
}

func TestThePlannerChecksTokenThenBodyThenLimit(t *testing.T) {
	t.Parallel()
	handler, deps, model := functionstest.NewPlanner(t)
	send := func(authorization, body string) (status int, retryAfter string) {
		r := functionstest.NewRequest(t, http.MethodPost, "/v2/ai/workout", body)
		r.Header.Set("Authorization", authorization)
		w := functionstest.Serve(t, handler, r)
		return w.Code, w.Header().Get("Retry-After")
	}
	status, _ := send("Web wrong", "{")
	assert.Equal(t, http.StatusUnauthorized, status)
	status, _ = send("Web "+functionstest.WebKey, "{}")
	assert.Equal(t, http.StatusBadRequest, status)
	assert.Zero(t, counted(t, deps), "neither has cost a request")
	for range deps.Limits.WebPerDay {
		status, _ = send("Web "+functionstest.WebKey, functionstest.GoodWorkout)
		assert.Equal(t, http.StatusOK, status)
	}
	status, retryAfter := send("Bearer Web "+functionstest.WebKey, functionstest.GoodWorkout)
	assert.Equal(t, http.StatusTooManyRequests, status)
	at, err := http.ParseTime(retryAfter)
	require.NoError(t, err)
	assert.WithinDuration(t, time.Now().Add(24*time.Hour), at, time.Minute)
	status, _ = send("Web "+functionstest.WebKey, "{}")
	assert.Equal(t, http.StatusBadRequest, status, "the body comes before the limit")
	assert.Equal(t, deps.Limits.WebPerDay, model.Count())
}

func TestOnlyWhatTheModelAnsweredIsSpent(t *testing.T) {
	t.Parallel()
	handler, deps, model := functionstest.NewPlanner(t)
	away := plannertest.Reply{Status: http.StatusInternalServerError}
	model.Script(away, away, away)
	w := functionstest.Call(t, handler, http.MethodPost, "/v2/ai/workout", functionstest.GoodWorkout)
	assert.Equal(t, http.StatusServiceUnavailable, w.Code)
	assert.NotEmpty(t, w.Header().Get("Retry-After"))
	assert.Zero(t, counted(t, deps), "it never answered")

	model.Script(plannertest.Reply{Refusal: "No."})
	w = functionstest.Call(t, handler, http.MethodPost, "/v2/ai/workout", functionstest.GoodWorkout)
	assert.Equal(t, http.StatusBadGateway, w.Code)
	assert.Equal(t, "application/problem+json; charset=utf-8", w.Header().Get("Content-Type"))
	var problem struct {
		Detail string `json:"detail"`
	}
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &problem))
	assert.NotEmpty(t, problem.Detail, "the app may show it")
	assert.Equal(t, 1, counted(t, deps))

	model.Script(plannertest.Reply{End: plannertest.Silent})
	ctx, hangUp := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, hangUp)
	functionstest.Serve(t, handler, functionstest.NewRequest(t, http.MethodPost, "/v2/ai/session",
		`{"attributes":{"areasToWorkout":["Chest"],"volume":50,"exerciseToKilograms":{},"useImperialUnits":false,"additionalInfo":""}}`).WithContext(ctx))
	assert.Equal(t, 2, counted(t, deps), "who hangs up has spent it")
	require.Eventually(t, func() bool { return model.Active() == 0 }, 5*time.Second, time.Millisecond, "and nobody waits for the model any more")
}

func TestWhatARestartBreaksOffIsGivenBack(t *testing.T) {
	t.Parallel()
	handler, deps, model := functionstest.NewPlanner(t)
	model.Script(plannertest.Reply{End: plannertest.Silent})
	ctx, cut := context.WithCancelCause(t.Context())
	go func() {
		for model.Active() == 0 && t.Context().Err() == nil {
			time.Sleep(time.Millisecond)
		}
		cut(apierr.Busy("The service is restarting.", nil))
	}()
	functionstest.Serve(t, handler, functionstest.NewRequest(t, http.MethodPost, "/v2/ai/workout", functionstest.GoodWorkout).WithContext(ctx))
	assert.Zero(t, counted(t, deps))
}

func TestARepairCountsAsWell(t *testing.T) {
	t.Parallel()
	handler, deps, model := functionstest.NewPlanner(t)
	model.Script(plannertest.Reply{Text: `{"Name":1}`, Usage: plannertest.Usage{In: 1000, Out: 10}})
	w := functionstest.Call(t, handler, http.MethodPost, "/v2/ai/workout", functionstest.GoodWorkout)
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	require.Equal(t, 2, model.Count())
	var tokens int
	require.NoError(t, deps.DB.QueryRow(t.Context(), `SELECT tokens FROM v2_model_tokens`).Scan(&tokens))
	second := len(model.Requests()[1].Body) / 4 // as the stand-in counts a prompt
	assert.Greater(t, tokens, 1010+second)
	assert.Less(t, tokens, 1010+second+5000, "what was set aside is not counted beside it")
	assert.Equal(t, 1, counted(t, deps))
}

func TestThePlannerCanBeSwitchedOff(t *testing.T) {
	t.Parallel()
	deps := functionstest.NewDeps(t, postgres.Options{URL: pgtest.URL(t), MaxConns: 2})
	deps.Limiter = ratelimit.New(ratelimit.Options{Closed: true})
	w := functionstest.Call(t, functionstest.Handler(deps), http.MethodPost, "/v2/ai/workout", functionstest.GoodWorkout)
	assert.Equal(t, http.StatusServiceUnavailable, w.Code)
	assert.Contains(t, w.Body.String(), "The planner is switched off for now.")
}

func TestAWorkoutsBounds(t *testing.T) {
	t.Parallel()
	handler, _, model := functionstest.NewPlanner(t)
	workout := func(from, to string) string { return strings.Replace(functionstest.GoodWorkout, from, to, 1) }
	for body, field := range map[string]string{
		workout(`"none"`, `"`+strings.Repeat("x", 2001)+`"`):               "attributes.additionalInfo",
		workout(`"70-80"`, `"70-80 and some more characters"`):             "attributes.weightRange",
		workout(`"Beginner"`, `4`):                                         "attributes.experience",
		workout(`"Male"`, `null`):                                          "attributes.gender",
		workout(`"Male"`, `"PreferNotToſay"`):                              "attributes.gender",
		workout(`30`, `null`):                                              "attributes.age",
		workout(`false`, `null`):                                           "attributes.useImperialUnits",
		workout(`["Build muscle"]`, `[`+strings.Repeat(`"Goal",`, 9)+`7]`): "attributes.goals",
		workout(`30`, `30.5`):                                              "attributes.age",
		workout(`["Build muscle"]`, `["`+strings.Repeat("x", 31)+`"]`):     "attributes.goals[0]",
		workout(`["Build muscle"]`, `"x"`):                                 "attributes.goals",
	} {
		w := functionstest.Call(t, handler, http.MethodPost, "/v2/ai/workout", body)
		assert.Equal(t, http.StatusBadRequest, w.Code, body)
		assert.Contains(t, w.Body.String(), `"`+field+`"`)
	}
	assert.Zero(t, model.Count(), "the model was not asked")
}

func TestPlanWorkoutReadsBodiesAsV1Did(t *testing.T) {
	t.Parallel()
	handler := functionstest.NewHandler(t)
	functionstest.PlayBodies(t, handler, "PlanWorkout", functionstest.GoodWorkout, []functionstest.Refusal{
		{`}}`, `},"attributes":{}}`, "attributes.goals"}, {`}}`, `},"attributes":null}`, "attributes"}, {`"goals"`, `"goalſ"`, "attributes.goals"},
		{`"goals":[`, `"goals":["Goal","Goal","Goal","Goal","Goal","Goal","Goal","Goal","Goal",`, "attributes.goals"},
	})
}
