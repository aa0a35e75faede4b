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
	assert.Equal(t, config.Model{Name: "gpt-4o", BaseURL: "https://api.openai.com/v1", PlannerEnabled: true, MaxTokens: 16000}, p.Model)
	require.NoError(t, config.Load(t.Context(), []string{"OPENAI_MODEL=m", "OPENAI_BASE_URL=http://localhost:1/v1", "OPENAI_API_KEY=k"}, &p))
	assert.Equal(t, config.Model{Key: config.NewSecret("k"), Name: "m", BaseURL: "http://localhost:1/v1", PlannerEnabled: true, MaxTokens: 16000}, p.Model)
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
	assert.Equal(t, config.Model{BaseURL: "https://api.openai.com/v1", MaxTokens: 16000}, off.Model)
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

func TestFeaturesOfServices(t *testing.T) {
	t.Parallel()
	load := func(environ ...string) config.Model {
		var p plannerProgram
		require.NoError(t, config.Load(t.Context(), environ, &p))
		return p.Model
	}
	for _, url := range []string{"https://api.openai.com/v1", "https://EU.API.OpenAI.com/v1"} {
		m := load("OPENAI_BASE_URL=" + url)
		for _, feature := range config.AllModelFeatures {
			assert.True(t, m.Knows(feature), "%s %s", url, feature)
		}
		m = load("OPENAI_BASE_URL="+url, "MODEL_FEATURES=none")
		assert.False(t, m.Knows(config.FeatureStore))
	}
	for _, url := range []string{"https://api.openai.com.example/v1", "https://notapi.openai.com/v1", "http://localhost:11434/v1"} {
		m := load("OPENAI_BASE_URL=" + url)
		assert.False(t, m.Knows(config.FeatureStore), url)
		assert.True(t, m.Knows(config.FeatureResponseFormat), url)
		m = load("OPENAI_BASE_URL="+url, "MODEL_FEATURES= Store, strict")
		assert.True(t, m.Knows(config.FeatureStore), url)
		assert.True(t, m.Knows(config.FeatureStrict), url)
		assert.False(t, m.Knows(config.FeatureResponseFormat), url)
		m = load("OPENAI_BASE_URL="+url, "MODEL_FEATURES=all")
		assert.True(t, m.Knows(config.FeatureReasoningEffort), url)
	}
	err := config.Load(t.Context(), []string{"MODEL_FEATURES=store," + secret, "MODEL_MAX_TOKENS=0"}, &plannerProgram{})
	require.ErrorContains(t, err, "MODEL_FEATURES: holds what is none of its values")
	require.ErrorContains(t, err, "MODEL_MAX_TOKENS: is not positive")
	assert.NotContains(t, err.Error(), secret)
}

func TestTheWarningIsAboutAModelThatIsConfigured(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, time.November, 25, 12, 0, 0, 0, time.UTC)
	const url = "https://api.openai.com/v1"
	key := config.NewSecret("k")
	assert.Contains(t, (&config.Model{Name: "gpt-4o", BaseURL: url, Key: key}).Warning(at), "is to be shut down on 2027-01-14")
	assert.Contains(t, (&config.Model{Name: "o1", BaseURL: url, Key: key}).Warning(at), "was to be shut down on 2026-10-23")
	assert.Empty(t, (&config.Model{Name: "gpt-6-luna", BaseURL: url, Key: key}).Warning(at))
	assert.Empty(t, (&config.Model{Name: "gpt-4o", BaseURL: url}).Warning(at))
	assert.Empty(t, (&config.Model{Name: "gpt-4o", BaseURL: "http://127.0.0.1:1/v1", Key: key}).Warning(at))
}
