package config_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/shared/config"
)

// plannerProgram needs a model.
type plannerProgram struct {
	Service config.Service
	Model   config.Model
}

func TestAModelHasDefaultsOutsideProduction(t *testing.T) {
	t.Parallel()
	var p plannerProgram
	require.NoError(t, config.Load(t.Context(), nil, &p))
	assert.Equal(t, config.Model{Name: "gpt-4o", BaseURL: "https://api.openai.com/v1", PlannerEnabled: true}, p.Model)
	require.NoError(t, config.Load(t.Context(), []string{"OPENAI_MODEL=m", "OPENAI_BASE_URL=http://localhost:1/v1", "OPENAI_API_KEY=k"}, &p))
	assert.Equal(t, config.Model{Key: config.NewSecret("k"), Name: "m", BaseURL: "http://localhost:1/v1", PlannerEnabled: true}, p.Model)
}

func TestTheModelInProduction(t *testing.T) {
	t.Parallel()
	var p plannerProgram
	err := config.Load(t.Context(), []string{"ENVIRONMENT=production"}, &p)
	assert.ErrorContains(t, err, "OPENAI_MODEL: is required in production")
	assert.ErrorContains(t, err, "OPENAI_API_KEY: is required in production")
	require.NoError(t, config.Load(t.Context(), []string{"ENVIRONMENT=production", "OPENAI_MODEL=m", "OPENAI_API_KEY=k"}, &p))
	var off plannerProgram
	require.NoError(t, config.Load(t.Context(), []string{"ENVIRONMENT=production", "PLANNER_ENABLED=false"}, &off))
	assert.Equal(t, config.Model{BaseURL: "https://api.openai.com/v1"}, off.Model)
}

func TestTheModelsURL(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"https://u:" + secret + "@h/v1":    "is not scheme://host[:port][/path]",
		"https://h/v1?key=" + secret:       "is not scheme://host[:port][/path]",
		"https://h/v1#" + secret:           "is not scheme://host[:port][/path]",
		"ftp://h/" + secret:                "is not scheme://host[:port][/path]",
		"https:///" + secret:               "is not scheme://host[:port][/path]",
		"https://h:" + secret:              "is not scheme://host[:port][/path]",
		"http://" + secret + ".example/v1": "has to be https in production",
	} {
		err := config.Load(t.Context(), []string{"ENVIRONMENT=production", "OPENAI_BASE_URL=" + url}, &plannerProgram{})
		assert.ErrorContains(t, err, "OPENAI_BASE_URL: "+want)
		assert.NotContains(t, err.Error(), secret)
	}
}

func TestTheEndOfAModel(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, time.November, 25, 12, 0, 0, 0, time.UTC)
	cases := map[string]struct {
		now  time.Time
		end  string
		past bool
	}{
		"gpt-4o":       {at, "2027-01-14", false},
		"gpt-4.1-mini": {time.Date(2027, time.January, 14, 0, 0, 0, 0, time.UTC), "2027-01-14", true},
		"o1":           {at, "2026-10-23", true},
		"gpt-5-mini":   {at, "2026-12-11", false},
		"gpt-6-luna":   {at, "0001-01-01", false},
	}
	for name, c := range cases {
		end, past := (&config.Model{Name: name}).End(c.now)
		assert.Equal(t, c.end, end.Format(time.DateOnly), name)
		assert.Equal(t, c.past, past, name)
	}
}
