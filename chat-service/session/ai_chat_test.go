package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/shared/apierr"
	"github.com/liftlog/liftlog-api/shared/planner"
)

func TestRestTimes(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0:                              "00:00:00",
		90 * time.Second:               "00:01:30",
		3661*time.Second + 999_999_999: "01:01:01",
		24*time.Hour - 1:               "23:59:59",
		25 * time.Hour:                 "1.01:00:00",
		-time.Second:                   "00:00:00",
	} {
		got, err := restTime(d).MarshalText()
		require.NoError(t, err)
		assert.Equal(t, want, string(got))
	}
}

func TestEveryMemberOfAPlanIsWritten(t *testing.T) {
	t.Parallel()
	for step, want := range map[*planner.Step]string{
		{}:                      `{"message":"","type":"messageResponse"}`,
		{Plan: &planner.Plan{}}: `{"plan":{"name":"","description":"","sessions":[]},"type":"chatPlan"}`,
		{Plan: &planner.Plan{Sessions: []planner.Session{{}}}}: `{"plan":{"name":"","description":"","sessions":[` +
			`{"name":"","exercises":[],"notes":""}]},"type":"chatPlan"}`,
		{Plan: &planner.Plan{Sessions: []planner.Session{{Description: "d", Exercises: []planner.Exercise{{}}}}}}: `{"plan":` +
			`{"name":"","description":"","sessions":[{"name":"","exercises":[{"name":"","sets":0,"repsPerSet":0,"weightIncreaseOnSuccess":0,` +
			`"restBetweenSets":{"minRest":"00:00:00","maxRest":"00:00:00","failureRest":"00:00:00"},"supersetWithNext":false,"notes":"","link":""}],` +
			`"notes":"d"}]},"type":"chatPlan"}`,
	} {
		got, err := json.Marshal(aiChat{}.form(*step))
		require.NoError(t, err)
		assert.Equal(t, want, string(got), "the order of members, too")
	}
}

func TestFailuresInWords(t *testing.T) {
	t.Parallel()
	now := time.Now()
	limited := func(wait time.Duration) error {
		return fmt.Errorf("wrapped: %w", &apierr.Error{Kind: apierr.Limited, Detail: "Enough.", RetryAt: now.Add(wait)})
	}
	for want, err := range map[string]error{
		"Enough.":                                               limited(time.Second),
		"Enough. Please come back in 2 minutes.":                limited(61 * time.Second),
		"Enough. Please come back in 90 minutes.":               limited(90 * time.Minute),
		"Enough. Please come back in 2 hours.":                  limited(91 * time.Minute),
		"Enough. Please come back in 24 hours.":                 limited(24 * time.Hour),
		"Something went wrong here. Please try again.":          errors.New("secret"),
		"The answer took too long. Please try again.":           context.DeadlineExceeded,
		"No detail of this is known, but there is one to show.": &apierr.Error{Kind: apierr.Upstream, Detail: "No detail of this is known, but there is one to show."},
	} {
		assert.Equal(t, want, explain(err, now))
	}
}
