// Command modelcheck tries the model's service that the environment configures with one message, one plan and one
// session, and says in plain words what works, what does not, and which setting would help.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/liftlog/liftlog-api/shared/apierr"
	"github.com/liftlog/liftlog-api/shared/config"
	"github.com/liftlog/liftlog-api/shared/planner"
	"github.com/liftlog/liftlog-api/shared/planner/openai"
)

// settings are what is read of the environment.
type settings struct {
	Service config.Service
	Model   config.Model
	Plans   struct {
		Schema string `env:"AI_PLAN_SCHEMA"`
	}
}

// errFailed says that something does not work, which has been printed already.
var errFailed = errors.New("something does not work")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := run(ctx, os.Environ(), os.Stdout)
	if err != nil && !errors.Is(err, errFailed) {
		fmt.Fprintln(os.Stderr, "model-check:", err)
	}
	if err != nil {
		os.Exit(1)
	}
}

func run(ctx context.Context, environ []string, output io.Writer) error {
	var s settings
	if err := config.Load(ctx, environ, &s); err != nil {
		return err
	}
	contract, err := planner.LoadPlanContract(s.Plans.Schema)
	if err != nil {
		return fmt.Errorf("AI_PLAN_SCHEMA: %w", err)
	}
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(output, format+"\n", args...) }
	say("%s at %s, plans of version %d", s.Model.Name, s.Model.BaseURL, contract.Version())
	say("using %s, %d tokens an answer", featureList(s.Model), s.Model.MaxTokens)
	failed := false
	for _, c := range checks(contract) {
		say("\n%s", c.name)
		result := try(ctx, s.Model, c)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if result.err == nil {
			say("  works: %s", result.words())
			continue
		}
		failed = true
		say("  does not work: %s", result.failure())
		for _, advice := range advise(ctx, s.Model, c, result) {
			say("  %s", advice)
		}
	}
	if failed {
		return errFailed
	}
	say("\nAll of it works.")
	return nil
}

// check is something that the service has to be able to do.
type check struct {
	name string
	// ask does it, and calls step whenever something of an answer has come.
	ask func(ctx context.Context, p *planner.Planner, step func()) error
}

// errWords says that the model answered in words where it should have made a plan.
var errWords = errors.New("the model answered in words and did not call the function")

func checks(contract *planner.PlanContract) []check {
	return []check{
		{"A message in the chat of older apps (an answer in JSON)", func(ctx context.Context, p *planner.Planner, step func()) error {
			return p.NewConversation().Introduce(ctx, "en-AU", "", func(read func() (planner.Step, bool)) error {
				if _, ok := read(); ok {
					step()
				}
				return nil
			})
		}},
		{"A plan in the chat of today's app (a function that may be called)", func(ctx context.Context, p *planner.Planner, step func()) error {
			const message = "Make me a plan for two days a week with three exercises each: I am a beginner and have dumbbells. Ask nothing, just hand it over."
			var plan *planner.BlueprintPlan
			err := p.NewBlueprintConversation(contract).Send(ctx, message, func(read func() (planner.BlueprintStep, bool)) error {
				if s, ok := read(); ok {
					plan = s.Plan
					step()
				}
				return nil
			})
			if err == nil && plan == nil {
				return errWords
			}
			return err
		}},
		{"A session (a function that has to be called)", func(ctx context.Context, p *planner.Planner, step func()) error {
			_, err := p.Session(ctx, planner.SessionRequest{Areas: []string{"Chest"}, MinimumExercises: 2, WeightUnit: planner.Kilograms})
			if err == nil {
				step()
			}
			return err
		}},
	}
}

// result is what came of a check.
type result struct {
	err         error
	first, last time.Duration // when something of the answer had come, and all of it
	steps       int
	said        *said // by the service, when it refused
}

// try does a check with the model.
func try(ctx context.Context, m config.Model, c check) (r result) {
	listener := newListener()
	client := openai.New(m, openai.WithTransport(listener))
	defer client.Close()
	begun := time.Now()
	r.err = c.ask(ctx, planner.New(client), func() {
		if r.steps == 0 {
			r.first = time.Since(begun)
		}
		r.steps++
	})
	r.last = time.Since(begun)
	r.said = listener.refusal()
	return r
}

// words tell of a check that succeeded.
func (r *result) words() string {
	text := "all of it after " + seconds(r.last)
	if r.steps > 2 {
		return text + ", the first of it after " + seconds(r.first)
	}
	return text + ", at once"
}

func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s" }

// failure tells of a check that failed.
func (r *result) failure() string {
	text := r.err.Error()
	if e, ok := errors.AsType[*apierr.Error](r.err); ok {
		if text = e.Detail; e.Err != nil {
			text = e.Err.Error()
		}
	}
	if r.said != nil && r.said.text != "" {
		text += "\n  the service says: " + r.said.text
	}
	return text
}

// featureList names the features that requests use.
func featureList(m config.Model) string {
	var names []string
	for _, feature := range config.AllModelFeatures {
		if m.Knows(feature) {
			names = append(names, string(feature))
		}
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ",")
}

// with returns the model with exactly those features.
func with(m config.Model, features []config.ModelFeature) config.Model {
	m.Features = features
	if len(features) == 0 {
		m.Features = []config.ModelFeature{"none"}
	}
	return m
}

// used are the features that requests use.
func used(m config.Model) (features []config.ModelFeature) {
	for _, feature := range config.AllModelFeatures {
		if m.Knows(feature) {
			features = append(features, feature)
		}
	}
	return features
}

// advise says which setting would help with a failure. Where the service refuses the request as it is, other settings are
// tried until one works.
func advise(ctx context.Context, m config.Model, c check, r result) []string {
	if r.said == nil {
		return adviseOnAnswer(m, r)
	}
	switch r.said.status {
	case 0:
		return []string{"OPENAI_BASE_URL: nothing answers there. Is it running, and is the host right? The path usually ends in /v1."}
	case 401, 403:
		return []string{"OPENAI_API_KEY: the service does not accept it, or it may not use this model."}
	case 404:
		return []string{"OPENAI_MODEL or OPENAI_BASE_URL: the service does not know the model, or the path, which usually ends in /v1."}
	case 429:
		return []string{"It has had enough requests for now, or the account has no credit left. Try again later."}
	case 400, 422:
		return adviseByTrying(ctx, m, c)
	default:
		return []string{"The service itself fails. Try again later."}
	}
}

// adviseOnAnswer says what would help with an answer that is of no use.
func adviseOnAnswer(m config.Model, r result) []string {
	text := r.failure()
	switch {
	case strings.Contains(text, "limit of tokens"):
		return []string{"MODEL_MAX_TOKENS: more than " + strconv.Itoa(m.MaxTokens) +
			" are needed, if the model can write as much; one that thinks needs more."}
	case strings.Contains(text, "took too long"):
		return []string{"OPENAI_MODEL: another one may be quick enough."}
	case strings.Contains(text, "call the function") && !m.Knows(config.FeatureToolChoice):
		return []string{"MODEL_FEATURES: add tool_choice, if the service knows it. Otherwise OPENAI_MODEL: another one may call functions."}
	case !m.Knows(config.FeatureStrict):
		return []string{
			"MODEL_FEATURES: add strict, if the service knows it, which holds the model to what is asked for.",
			"OPENAI_MODEL: otherwise a larger one may keep to it.",
		}
	default:
		return []string{"OPENAI_MODEL: another one may keep to what is asked for."}
	}
}

// adviseByTrying finds settings with which the service takes the request.
func adviseByTrying(ctx context.Context, m config.Model, c check) []string {
	type candidate struct {
		model  config.Model
		advice string
	}
	var candidates []candidate
	now := used(m)
	change := func(features []config.ModelFeature) {
		changed := with(m, features)
		candidates = append(candidates, candidate{changed, "MODEL_FEATURES=" + featureList(changed)})
	}
	if !slices.Contains(now, config.FeatureMaxCompletionTokens) {
		change(append(slices.Clone(now), config.FeatureMaxCompletionTokens))
	}
	for _, feature := range now {
		change(slices.DeleteFunc(slices.Clone(now), func(f config.ModelFeature) bool { return f == feature }))
	}
	change([]config.ModelFeature{config.FeatureResponseFormat, config.FeatureToolChoice})
	change(nil)
	if fewer := m.MaxTokens / 4; fewer > 0 {
		changed := m
		changed.MaxTokens = fewer
		candidates = append(candidates, candidate{changed, "MODEL_MAX_TOKENS=" + strconv.Itoa(fewer)})
	}
	for _, candidate := range candidates {
		if try(ctx, candidate.model, c).err == nil {
			return []string{"It works with " + candidate.advice + "."}
		}
		if ctx.Err() != nil {
			return nil
		}
	}
	return []string{"No other setting that was tried helps. Does the service speak Chat Completions with tools, and can the model call functions?"}
}
