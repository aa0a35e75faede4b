package config

import (
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Model is the language model that makes plans, behind a service that speaks OpenAI's Chat Completions.
type Model struct {
	Key            Secret `env:"OPENAI_API_KEY" doc:"the key of the model's service; required in production, unless the planner is off"`
	Name           string `env:"OPENAI_MODEL" doc:"the model; required in production, unless the planner is off; elsewhere gpt-4o when unset"`
	BaseURL        string `env:"OPENAI_BASE_URL" envDefault:"https://api.openai.com/v1" doc:"the model's service; in production it has to be https"`
	PlannerEnabled bool   `env:"PLANNER_ENABLED" envDefault:"true" doc:"false turns the planner off"`

	Features  []ModelFeature `env:"MODEL_FEATURES" doc:"what the service knows beyond plain Chat Completions, or all or none; unset: by its host"`
	MaxTokens int            `env:"MODEL_MAX_TOKENS" envDefault:"16000" doc:"how long one answer of the model may be, in tokens"`
}

// ModelFeature is a part of a request that not every service of models knows, and that some refuse.
type ModelFeature string

// The features there are.
const (
	FeatureStore               ModelFeature = "store"                 // whether the answer is kept there
	FeatureStrict              ModelFeature = "strict"                // holds answers to their schema
	FeatureStreamOptions       ModelFeature = "stream_options"        // has a stream say what it cost
	FeatureParallelToolCalls   ModelFeature = "parallel_tool_calls"   // whether functions may be called twice at once
	FeatureMaxCompletionTokens ModelFeature = "max_completion_tokens" // the newer name of max_tokens
	FeatureReasoningEffort     ModelFeature = "reasoning_effort"      // how long to think
	FeatureResponseFormat      ModelFeature = "response_format"       // the schema of an answer that is JSON
	FeatureToolChoice          ModelFeature = "tool_choice"           // that a function has to be called
)

// AllModelFeatures are those that OpenAI's own host knows.
var AllModelFeatures = []ModelFeature{
	FeatureStore, FeatureStrict, FeatureStreamOptions, FeatureParallelToolCalls, FeatureMaxCompletionTokens, FeatureReasoningEffort,
	FeatureResponseFormat, FeatureToolChoice,
}

// commonFeatures are those that nearly every service knows.
var commonFeatures = []ModelFeature{FeatureResponseFormat, FeatureToolChoice}

// Knows reports whether requests to the model's service may use the feature.
func (m *Model) Knows(feature ModelFeature) bool {
	switch {
	case len(m.Features) == 0 && m.isOpenAI(), slices.Contains(m.Features, "all"):
		return true
	case len(m.Features) == 0:
		return slices.Contains(commonFeatures, feature)
	default:
		return slices.Contains(m.Features, feature)
	}
}

// isOpenAI reports whether the service is OpenAI's own.
func (m *Model) isOpenAI() bool {
	u, err := url.Parse(m.BaseURL)
	if err != nil {
		return false
	}
	host := strings.ToLower(u.Hostname())
	return host == "api.openai.com" || strings.HasSuffix(host, ".api.openai.com")
}

// developmentModel is used where none is named, outside production.
const developmentModel = "gpt-4o"

func (m *Model) check(e Environment) (faults []error) {
	switch {
	case e != Production:
		if m.Name == "" {
			m.Name = developmentModel
		}
	case m.PlannerEnabled:
		if m.Name == "" {
			faults = append(faults, errors.New("OPENAI_MODEL: is required in production"))
		}
		if !m.Key.IsSet() {
			faults = append(faults, errors.New("OPENAI_API_KEY: is required in production"))
		}
	}
	u, err := url.Parse(m.BaseURL)
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		faults = append(faults, errors.New("OPENAI_BASE_URL: is not scheme://host[:port][/path]"))
	case e == Production && u.Scheme != "https":
		faults = append(faults, errors.New("OPENAI_BASE_URL: has to be https in production"))
	}
	for i, feature := range m.Features {
		feature = ModelFeature(strings.ToLower(strings.TrimSpace(string(feature))))
		m.Features[i] = feature
		if feature != "all" && feature != "none" && !slices.Contains(AllModelFeatures, feature) {
			faults = append(faults, errors.New("MODEL_FEATURES: holds what is none of its values"))
		}
	}
	if m.MaxTokens <= 0 {
		faults = append(faults, errors.New("MODEL_MAX_TOKENS: is not positive"))
	}
	return faults
}

// The days on which OpenAI shuts models down, or did. A name that always stands for the newest model of a family ends with the
// family's last one.
var (
	firstEnd  = time.Date(2026, time.October, 23, 0, 0, 0, 0, time.UTC)
	secondEnd = time.Date(2026, time.December, 11, 0, 0, 0, 0, time.UTC)
	thirdEnd  = time.Date(2027, time.January, 14, 0, 0, 0, 0, time.UTC)

	modelEnds = map[string]time.Time{
		"gpt-4.1-nano":            firstEnd,
		"gpt-4.1-nano-2025-04-14": firstEnd,
		"gpt-4o-2024-05-13":       firstEnd,
		"o1":                      firstEnd,
		"o3-mini":                 firstEnd,
		"o4-mini":                 firstEnd,
		"gpt-5":                   secondEnd,
		"gpt-5-mini":              secondEnd,
		"gpt-5-nano":              secondEnd,
		"gpt-4o":                  thirdEnd,
		"gpt-4o-2024-08-06":       thirdEnd,
		"gpt-4o-2024-11-20":       thirdEnd,
		"gpt-4o-mini":             thirdEnd,
		"gpt-4o-mini-2024-07-18":  thirdEnd,
		"gpt-4.1":                 thirdEnd,
		"gpt-4.1-2025-04-14":      thirdEnd,
		"gpt-4.1-mini":            thirdEnd,
		"gpt-4.1-mini-2025-04-14": thirdEnd,
	}
)

// End returns the day from which the model is no longer served, and whether that day has come. It knows what was
// announced by November 2026; the end is zero for a model of which nothing was.
func (m *Model) End(now time.Time) (end time.Time, past bool) {
	end, known := modelEnds[m.Name]
	return end, known && !now.Before(end)
}

// Warning is a sentence for the log of a start with a model of OpenAI's whose end is known, and empty for any other or for none.
func (m *Model) Warning(now time.Time) string {
	if !m.Key.IsSet() || !m.isOpenAI() {
		return ""
	}
	switch end, past := m.End(now); {
	case past:
		return "OPENAI_MODEL: the model was to be shut down on " + end.Format(time.DateOnly) + ": the planner may not answer"
	case !end.IsZero():
		return "OPENAI_MODEL: the model is to be shut down on " + end.Format(time.DateOnly) + ": another one has to be chosen by then"
	}
	return ""
}
