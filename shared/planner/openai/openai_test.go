package openai_test

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/liftlog/liftlog-api/shared/apierr"
	"github.com/liftlog/liftlog-api/shared/config"
	"github.com/liftlog/liftlog-api/shared/planner"
	"github.com/liftlog/liftlog-api/shared/planner/openai"
	"github.com/liftlog/liftlog-api/shared/planner/plannertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	key    = "sk-secret"
	prompt = "tell me about squats"
)

var (
	chat = planner.Shape{
		Name: "answer", Description: "an answer", Strict: true,
		Schema: jsontext.Value(`{"type":"object","properties":{"A":{"type":"string"}},"required":["A"],"additionalProperties":false}`),
	}
	call = planner.Shape{Way: planner.Called, Name: "GetGymPlan", Description: "a plan", Schema: chat.Schema, Strict: true}

	// offer is a function that may be called.
	offer = planner.Shape{Way: planner.Offered, Name: "create_workout_plan", Description: "a plan", Schema: chat.Schema}

	// quick and impatient are limits that make tests short.
	quick     = openai.Limits{Connect: 10 * time.Second, Answer: time.Minute, Pause: 2 * time.Millisecond}
	impatient = openai.Limits{Connect: 10 * time.Second, Answer: time.Second, Pause: 2 * time.Millisecond}
)

func request(shape planner.Shape) planner.Request {
	return planner.Request{
		Messages: []planner.Message{{Role: planner.System, Text: "be kind"}, {Role: planner.User, Text: ""}, {Role: planner.User, Text: prompt}},
		Shape:    shape,
	}
}

// model is one whose service knows all that OpenAI's does.
func model(url string) config.Model {
	return config.Model{Key: config.NewSecret(key), Name: "gpt-4o", BaseURL: url, Features: config.AllModelFeatures, MaxTokens: 1000}
}

// start returns a stand-in and a client of it.
func start(tb testing.TB, limits openai.Limits, options ...plannertest.Option) (*plannertest.Server, *openai.Client) {
	tb.Helper()
	server, err := plannertest.Start(append([]plannertest.Option{plannertest.WithKey(key), plannertest.WithPace(0, 8)}, options...)...)
	require.NoError(tb, err)
	tb.Cleanup(server.Close)
	client := openai.New(model(server.URL()), openai.WithLimits(limits))
	tb.Cleanup(client.Close)
	return server, client
}

// way is a way to ask: with or without a stream, for an object or for a call.
type way struct {
	name   string
	shape  planner.Shape
	stream bool
}

var ways = []way{{"object", chat, false}, {"streamed object", chat, true}, {"call", call, false}, {"streamed call", call, true}}

// ask asks this way and returns the pieces as well.
func (w way) ask(ctx context.Context, c *openai.Client) (text string, pieces []string, usage planner.Usage, err error) {
	var yield func(planner.Piece) error
	if w.stream {
		yield = func(piece planner.Piece) error {
			pieces = append(pieces, piece.Text+piece.Input)
			return nil
		}
	}
	answer, usage, err := c.Answer(ctx, request(w.shape), yield)
	if answer.Call != nil {
		return answer.Call.Input, pieces, usage, err
	}
	return answer.Text, pieces, usage, err
}

// requireKind checks that err is of the kind, is fit to be shown and to be logged, and has the reason in its log.
func requireKind(t *testing.T, err error, kind apierr.Kind, reason string) apierr.Error {
	t.Helper()
	require.Error(t, err)
	e, ok := errors.AsType[*apierr.Error](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, kind, e.Kind, "%v", err)
	require.ErrorContains(t, e.Err, reason)
	require.Regexp(t, `^The planner('s answer)? [a-z ]+\. Please [a-z ]+\.$`, e.Detail)
	require.Equal(t, kind == apierr.Unavailable, !e.RetryAt.IsZero(), "when to come back")
	for _, text := range []string{key, prompt, "be kind", "http://", "told to fail"} {
		require.NotContains(t, err.Error(), text)
	}
	return *e
}

func TestTheWholeAnswer(t *testing.T) {
	t.Parallel()
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			server, client := start(t, openai.DefaultLimits)
			server.Script(plannertest.Reply{Text: `{"A":"<é>日本\u0007"}`, Usage: plannertest.Usage{In: 11, Out: 7, Cached: 5}})
			text, pieces, usage, err := w.ask(t.Context(), client)
			require.NoError(t, err)
			assert.Equal(t, `{"A":"<é>日本\u0007"}`, text)
			assert.Equal(t, planner.Usage{In: 11, Out: 7, Cached: 5}, usage)
			if w.stream {
				assert.Equal(t, []string{`{"A":"<é`, `>日本\u000`, `7"}`}, pieces)
			}
		})
	}
}

func TestWhatIsSent(t *testing.T) {
	t.Parallel()
	const messages = `"messages":[{"role":"system","content":"be kind"},{"role":"user","content":""},{"role":"user","content":"` + prompt + `"}],`
	const object = `"response_format":{"type":"json_schema","json_schema":{"name":"answer","description":"an answer","strict":true,"schema":`
	const function = `"parallel_tool_calls":false,"tool_choice":"required",` +
		`"tools":[{"type":"function","function":{"name":"GetGymPlan","description":"a plan","strict":true,"parameters":`
	want := map[string]string{
		"object":          object + string(chat.Schema) + `}},"stream":false}`,
		"streamed object": object + string(chat.Schema) + `}},"stream":true,"stream_options":{"include_usage":true}}`,
		"call":            function + string(chat.Schema) + `}}],"stream":false}`,
		"streamed call":   function + string(chat.Schema) + `}}],"stream":true,"stream_options":{"include_usage":true}}`,
	}
	for _, w := range ways {
		server, client := start(t, openai.DefaultLimits)
		_, _, _, err := w.ask(t.Context(), client)
		require.NoError(t, err, w.name)
		requests := server.Requests()
		require.Len(t, requests, 1)
		assert.JSONEq(t, `{"model":"gpt-4o","store":false,"max_completion_tokens":1000,`+messages+want[w.name], string(requests[0].Body), w.name)
	}
}

func TestMembersGoOnlyToServicesThatKnowThem(t *testing.T) {
	t.Parallel()
	const others = `{"model":"gpt-4o","max_tokens":1000,`
	const said = `"messages":[{"role":"system","content":"be kind"},{"role":"user","content":""},{"role":"user","content":"` + prompt + `"}],`
	const tool = `"tools":[{"type":"function","function":{"name":"GetGymPlan","description":"a plan","parameters":`
	form := others + `"messages":[{"role":"system","content":"be kind\n\nAnswer with one JSON object and nothing around it. It has to fit this JSON schema:\n` +
		strings.ReplaceAll(string(chat.Schema), `"`, `\"`) + `"},` + strings.SplitN(said, "},", 2)[1]
	for _, c := range []struct {
		features []config.ModelFeature
		way      way
		want     string
	}{
		{nil, ways[0], form + `"response_format":{"type":"json_schema","json_schema":{"name":"answer","description":"an answer","schema":` +
			string(chat.Schema) + `}},"stream":false}`},
		{[]config.ModelFeature{"none"}, ways[1], form + `"stream":true}`},
		{nil, ways[2], others + said + `"tool_choice":"required",` + tool + string(chat.Schema) + `}}],"stream":false}`},
		{[]config.ModelFeature{"none"}, ways[3], others + said + tool + string(chat.Schema) + `}}],"stream":true}`},
		{[]config.ModelFeature{config.FeatureMaxCompletionTokens, config.FeatureStrict}, ways[2], strings.Replace(others, "max_tokens", "max_completion_tokens", 1) +
			said + strings.Replace(tool, `"parameters"`, `"strict":true,"parameters"`, 1) + string(chat.Schema) + `}}],"stream":false}`},
	} {
		server, err := plannertest.Start()
		require.NoError(t, err)
		t.Cleanup(server.Close)
		m := model(server.URL())
		m.Features = c.features
		client := openai.New(m)
		if c.way.shape.Way == planner.Called {
			server.Script(plannertest.Reply{Function: c.way.shape.Name, Text: `{}`})
		}
		_, _, _, err = c.way.ask(t.Context(), client)
		client.Close()
		require.NoError(t, err)
		assert.JSONEq(t, c.want, string(server.Requests()[0].Body))
	}
}

func TestAServiceThatRefusesUnknownMembersWorks(t *testing.T) {
	t.Parallel()
	server, err := plannertest.Start(plannertest.WithPlainProtocol())
	require.NoError(t, err)
	t.Cleanup(server.Close)
	client := openai.New(config.Model{Name: "m", BaseURL: server.URL(), MaxTokens: 1000})
	t.Cleanup(client.Close)
	for _, w := range ways {
		r := request(w.shape)
		r.Messages = []planner.Message{
			{Role: planner.System, Text: "be kind"}, {Role: planner.User, Text: "a plan"},
			{Role: planner.Assistant, Call: &planner.Call{ID: "c", Name: "GetGymPlan", Input: "{}"}}, {Role: planner.Tool, Text: "done"}, {Role: planner.Assistant, Text: "x"},
			{Role: planner.User, Text: "thanks"},
		}
		_, usage, err := client.Answer(t.Context(), r, nil)
		require.NoError(t, err, w.name)
		assert.Positive(t, usage.In)
	}
	server.Script(plannertest.Reply{Status: 400})
	_, _, err = client.Answer(t.Context(), request(chat), nil)
	requireKind(t, err, apierr.Unavailable, "status 400")
}

func TestCallsAreSentBackAsTheyCame(t *testing.T) {
	t.Parallel()
	server, client := start(t, openai.DefaultLimits)
	server.Script(plannertest.Reply{Body: `{"choices":[{"message":{"tool_calls":[{"id":"x-1","function":{"name":"create_workout_plan","arguments":"{\"A\":1}"},` +
		`"extra_content":{"google":{"thought_signature":"abc"}}}]},"finish_reason":"tool_calls"}]}`})
	answer, _, err := client.Answer(t.Context(), request(offer), nil)
	require.NoError(t, err)
	r := request(offer)
	r.Messages = append(r.Messages, planner.Message{Role: planner.Assistant, Call: answer.Call}, planner.Message{Role: planner.Tool, Text: "done"})
	_, _, err = client.Answer(t.Context(), r, nil)
	require.NoError(t, err)
	var sent struct{ Messages []json.RawMessage }
	require.NoError(t, json.Unmarshal(server.Requests()[1].Body, &sent))
	assert.JSONEq(t, `{"role":"assistant","content":null,"tool_calls":[{"id":"x-1","type":"function",`+
		`"function":{"name":"create_workout_plan","arguments":"{\"A\":1}"},"extra_content":{"google":{"thought_signature":"abc"}}}]}`, string(sent.Messages[3]))
	assert.JSONEq(t, `{"role":"tool","content":"done","tool_call_id":"x-1"}`, string(sent.Messages[4]))
}

func TestModelsThatCallOnlyWithoutReasoningAreAskedSo(t *testing.T) {
	t.Parallel()
	server, err := plannertest.Start()
	require.NoError(t, err)
	t.Cleanup(server.Close)
	ask := func(name string, features ...config.ModelFeature) error {
		m := model(server.URL())
		m.Name, m.Features = name, features
		client := openai.New(m)
		defer client.Close()
		_, _, err := client.Answer(t.Context(), request(call), nil)
		return err
	}
	for model, effort := range map[string]string{"gpt-6-luna": "none", "gpt-6-sol": "none", "other": ""} {
		require.NoError(t, ask(model, "all"), model)
		requests := server.Requests()
		assert.Equal(t, effort, requests[len(requests)-1].ReasoningEffort, model)
	}
	server.Script(plannertest.Reply{Function: call.Name, Text: `{}`})
	require.NoError(t, ask("gpt-6-luna", "none"))
	requests := server.Requests()
	assert.Empty(t, requests[len(requests)-1].ReasoningEffort, "it is another service's name")
}

func TestAnswersOfNoUse(t *testing.T) {
	t.Parallel()
	usage := plannertest.Usage{In: 3, Out: 2, Cached: 1}
	streams := []way{ways[1], ways[3]}
	cases := map[string]struct {
		reply  plannertest.Reply
		reason string
		ways   []way // nil: all
	}{
		"the limit of tokens":         {plannertest.Reply{Text: `{"A`, Finish: "length"}, "limit of tokens", nil},
		"the limit, when whole":       {plannertest.Reply{Text: `{"A":"b"}`, Finish: "max_tokens"}, "limit of tokens", nil},
		"the content filter":          {plannertest.Reply{Text: `{"A`, Finish: "content_filter"}, "content filter", nil},
		"the filter, before anything": {plannertest.Reply{Finish: "SAFETY"}, "content filter", nil},
		"an error as the finish":      {plannertest.Reply{Text: `{"A":"b"}`, Finish: "error"}, "with an error", nil},
		"a refusal":                   {plannertest.Reply{Refusal: "no, " + prompt}, "refused", nil},
		"nothing":                     {plannertest.Reply{}, "is empty", ways[:2]},
		"no call":                     {plannertest.Reply{Text: `a plan`, Function: "-"}, "did not call", ways[2:]},
		"another function":            {plannertest.Reply{Text: `{}`, Function: "GetSession"}, "not offered", ways[2:]},
		"a cut":                       {plannertest.Reply{Text: `{"A":"b"`, End: plannertest.Cut}, "unexpected EOF", streams},
		"an error event":              {plannertest.Reply{Text: `{"A":"b"}`, End: plannertest.Failed, Code: "overloaded"}, "code overloaded", streams},
		"too much":                    {plannertest.Reply{Text: strings.Repeat("x", 257<<10)}, "too long", nil},
		"too much in one":             {plannertest.Reply{Pieces: []string{strings.Repeat("x", 10<<20)}}, "too long", nil},
		"events that turn to nonsense": {
			plannertest.Reply{Events: "data: {\"choices\":[{\"delta\":{\"content\":\"{\"}}]}\n\ndata: " + prompt + "\n\n"}, "not Chat Completions", ways[1:2],
		},
	}
	for name, c := range cases {
		if c.ways == nil {
			c.ways = ways
		}
		for _, w := range c.ways {
			t.Run(name+", "+w.name, func(t *testing.T) {
				t.Parallel()
				server, client := start(t, quick)
				reply := c.reply
				reply.Usage = usage
				server.Script(reply)
				_, _, cost, err := w.ask(t.Context(), client)
				requireKind(t, err, apierr.Upstream, c.reason)
				assert.Equal(t, 1, server.Count(), "an answer that began is not asked for again")
				if c.reply.Finish != "" || c.reply.Refusal != "" {
					assert.Equal(t, planner.Usage(usage), cost)
				}
			})
		}
	}
}

func TestJSONThatIsNoneIsForTheCallerToSee(t *testing.T) {
	t.Parallel()
	for _, text := range []string{prompt, `{"A"`, `[]`} {
		for _, end := range []plannertest.End{plannertest.Whole, plannertest.Unfinished} {
			for _, w := range ways {
				server, client := start(t, quick)
				server.Script(plannertest.Reply{Text: text, End: end})
				got, _, _, err := w.ask(t.Context(), client)
				require.NoError(t, err)
				assert.Equal(t, text, got)
			}
		}
	}
}

func TestAnswersThatNeverCame(t *testing.T) {
	t.Parallel()
	const long = "never a word of this"
	cases := map[string]struct {
		reply  plannertest.Reply
		reason string
		asked  int
	}{
		"400":                      {plannertest.Reply{Status: 400, Code: "bad"}, "status 400, code bad", 1},
		"401":                      {plannertest.Reply{Status: 401, Code: "invalid_api_key"}, "status 401, code invalid_api_key", 1},
		"403":                      {plannertest.Reply{Status: 403}, "status 403", 1},
		"404":                      {plannertest.Reply{Status: 404, Code: "model_not_found"}, "status 404, code model_not_found", 1},
		"408":                      {plannertest.Reply{Status: 408}, "status 408", 3},
		"409":                      {plannertest.Reply{Status: 409}, "status 409", 3},
		"429":                      {plannertest.Reply{Status: 429, Code: "rate_limit_exceeded"}, "status 429, code rate_limit_exceeded", 3},
		"the quota":                {plannertest.Reply{Status: 429, Code: "insufficient_quota"}, "status 429, code insufficient_quota", 1},
		"the credit":               {plannertest.Reply{Status: 429, Code: "credit_balance_exhausted"}, "code credit_balance_exhausted", 1},
		"500":                      {plannertest.Reply{Status: 500}, "status 500, code server_error", 3},
		"502 in HTML":              {plannertest.Reply{Status: 502, Body: "<html>" + long}, "status 502", 3},
		"503 without an end":       {plannertest.Reply{Status: 503, Body: `{"error":` + strings.Repeat(" ", 1<<20) + `{}}`}, "status 503", 3},
		"a code of text":           {plannertest.Reply{Status: 500, Body: `{"error":{"code":"` + long + `","type":5}}`}, "status 500", 3},
		"a redirect":               {plannertest.Reply{Status: 307, Header: http.Header{"Location": {"/v1/chat/completions"}}}, "status 307", 1},
		"a cut before anything":    {plannertest.Reply{Pieces: []string{}, End: plannertest.Cut}, "EOF", 3},
		"another protocol":         {plannertest.Reply{Body: "<html>" + long}, "", 3},
		"another protocol in JSON": {plannertest.Reply{Body: `{"choices":"` + long + `"}`}, "not Chat Completions", 3},
		"no choices":               {plannertest.Reply{Body: `{"choices":[]}`}, "no end", 3},
		"an error of status 200":   {plannertest.Reply{Body: `{"error":{"message":"` + long + `","code":"overloaded"}}`}, "code overloaded", 3},
		"a lasting one":            {plannertest.Reply{Body: `{"error":{"message":"` + long + `","code":"insufficient_quota"}}`}, "code insufficient_quota", 1},
		"a wrapped one":            {plannertest.Reply{Body: `{"type":"error","error":{"type":"overloaded_error","message":"` + long + `"}}`}, "code overloaded_error", 3},
		"a status as its code":     {plannertest.Reply{Body: `{"error":{"message":"` + long + `","code":502}}`}, "status 502", 3},
		"a lasting status":         {plannertest.Reply{Body: `{"error":{"message":"` + long + `","code":400}}`}, "status 400", 1},
		"a list of errors":         {plannertest.Reply{Status: 503, Body: `[{"error":{"code":503,"status":"UNAVAILABLE","message":"` + long + `"}}]`}, "status 503", 3},
		"an error without any":     {plannertest.Reply{Status: 500, Body: `{"object":"error","message":"` + long + `","type":"InternalServerError","code":500}`}, "code InternalServerError", 3},
		"an error that is a text":  {plannertest.Reply{Body: `{"error":"` + long + `"}`}, "broke off with an error", 3},
	}
	for name, c := range cases {
		for _, w := range []way{ways[0], ways[3]} {
			if c.reply.End == plannertest.Cut && !w.stream {
				continue // half of an answer comes
			}
			t.Run(name+", "+w.name, func(t *testing.T) {
				t.Parallel()
				server, client := start(t, quick)
				server.Script(c.reply, c.reply, c.reply)
				_, _, usage, err := w.ask(t.Context(), client)
				e := requireKind(t, err, apierr.Unavailable, c.reason)
				assert.WithinDuration(t, time.Now().Add(10*time.Second), e.RetryAt, 9*time.Second)
				assert.NotContains(t, err.Error(), long)
				assert.Equal(t, c.asked, server.Count())
				assert.Zero(t, usage)
			})
		}
	}
}

func TestARetryThatSucceeds(t *testing.T) {
	t.Parallel()
	server, client := start(t, quick)
	server.Script(plannertest.Reply{Status: 500}, plannertest.Reply{Pieces: []string{}, End: plannertest.Cut}, plannertest.Reply{Text: `{}`})
	text, pieces, _, err := ways[1].ask(t.Context(), client)
	require.NoError(t, err)
	assert.Equal(t, `{}`, text)
	assert.Equal(t, []string{`{}`}, pieces)
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	busy := func(after string) plannertest.Reply {
		return plannertest.Reply{Status: 429, Header: http.Header{"Retry-After": {after}}}
	}
	t.Run("IsWaitedOut", func(t *testing.T) {
		t.Parallel()
		server, client := start(t, quick)
		server.Script(busy("1"), plannertest.Reply{Text: `{}`})
		started := time.Now()
		_, _, err := client.Answer(t.Context(), request(chat), nil)
		require.NoError(t, err)
		assert.GreaterOrEqual(t, time.Since(started), 900*time.Millisecond)
	})
	t.Run("IsHandedOn", func(t *testing.T) {
		t.Parallel()
		for after, want := range map[string]time.Duration{
			"60": time.Minute, "1e99": 24 * time.Hour, time.Now().Add(time.Minute).UTC().Format(http.TimeFormat): time.Minute,
		} {
			server, client := start(t, openai.DefaultLimits)
			server.Script(busy(after), busy(after), busy(after))
			_, _, err := client.Answer(t.Context(), request(chat), nil)
			e := requireKind(t, err, apierr.Unavailable, "429")
			assert.WithinDuration(t, time.Now().Add(want), e.RetryAt, 3*time.Second, after)
			assert.Equal(t, 1, server.Count(), "nobody waits that long")
		}
	})
	t.Run("IsNotWaitedForBeyondTheDeadline", func(t *testing.T) {
		t.Parallel()
		server, client := start(t, openai.DefaultLimits)
		server.Script(busy("5"))
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		_, _, err := client.Answer(ctx, request(chat), nil)
		e := requireKind(t, err, apierr.Unavailable, "429")
		assert.WithinDuration(t, time.Now().Add(5*time.Second), e.RetryAt, time.Second)
		require.NoError(t, ctx.Err(), "it does not use the deadline up")
	})
	t.Run("Nonsense", func(t *testing.T) {
		t.Parallel()
		for _, after := range []string{"-1", "NaN", "soon", "Mon, 01 Jan 2024 00:00:00 GMT"} {
			server, client := start(t, quick)
			server.Script(busy(after), plannertest.Reply{Text: `{}`})
			_, _, err := client.Answer(t.Context(), request(chat), nil)
			require.NoError(t, err, after)
		}
	})
}

func TestAServiceThatIsNotThere(t *testing.T) {
	t.Parallel()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	client := openai.New(config.Model{Key: config.NewSecret(key), Name: "m", BaseURL: "http://" + listener.Addr().String() + "/v1"}, openai.WithLimits(quick))
	for _, w := range ways {
		_, _, _, err := w.ask(t.Context(), client)
		requireKind(t, err, apierr.Unavailable, "connection refused")
	}
}

func TestASilentService(t *testing.T) {
	t.Parallel()
	for _, w := range ways[:2] {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			server, client := start(t, impatient)
			server.Script(plannertest.Reply{Pieces: []string{}, End: plannertest.Silent})
			_, _, _, err := w.ask(t.Context(), client)
			requireKind(t, err, apierr.Unavailable, "took too long")
			assert.Equal(t, 1, server.Count(), "it may be at work")
			requireIdle(t, server)
		})
	}
	t.Run("AfterSomething", func(t *testing.T) {
		t.Parallel()
		server, client := start(t, impatient)
		server.Script(plannertest.Reply{Text: `{"A`, End: plannertest.Silent})
		_, pieces, usage, err := ways[1].ask(t.Context(), client)
		requireKind(t, err, apierr.Upstream, "took too long")
		assert.NotEmpty(t, pieces)
		assert.Positive(t, usage.In, "it is estimated")
		requireIdle(t, server)
	})
	t.Run("AfterTheAnswer", func(t *testing.T) {
		t.Parallel()
		server, client := start(t, openai.DefaultLimits)
		server.Script(plannertest.Reply{Events: `data: {"choices":[{"index":0,"delta":{"content":"{}"},"finish_reason":"stop"}]}` + "\n\n@sleep 100\n"})
		text, _, _, err := ways[1].ask(t.Context(), client)
		require.NoError(t, err, "the answer is whole without what it cost")
		assert.Equal(t, `{}`, text)
	})
	t.Run("AfterAWholeAnswerWithoutAFinish", func(t *testing.T) {
		t.Parallel()
		server, client := start(t, impatient)
		server.Script(plannertest.Reply{Events: `data: {"choices":[{"index":0,"delta":{"content":"{}"}}]}` + "\n\n@sleep 100\n"})
		text, _, _, err := ways[1].ask(t.Context(), client)
		require.NoError(t, err)
		assert.Equal(t, `{}`, text)
	})
}

func TestAStreamMayTakeLongAsAWholeButNotForEver(t *testing.T) {
	t.Parallel()
	limits := impatient
	limits.Answer = 2 * time.Second
	server, client := start(t, limits)
	pieces := strings.Split(strings.Repeat("x", 1000), "")
	server.Script(plannertest.Reply{Pieces: pieces, Wait: 20 * time.Millisecond})
	_, got, _, err := ways[1].ask(t.Context(), client)
	requireKind(t, err, apierr.Upstream, "took too long")
	assert.Greater(t, len(got), 5)
	requireIdle(t, server)
}

func TestCommentsWithoutEndEndWithTheAnswersTime(t *testing.T) {
	t.Parallel()
	server, client := start(t, impatient)
	server.Script(plannertest.Reply{Events: strings.Repeat(": processing\n\n@sleep 0.01\n", 10_000)})
	_, _, _, err := ways[1].ask(t.Context(), client)
	requireKind(t, err, apierr.Unavailable, "took too long")
	requireIdle(t, server)
}

// requireIdle waits until the stand-in has noticed that nobody listens.
func requireIdle(t *testing.T, server *plannertest.Server) {
	t.Helper()
	require.Eventually(t, func() bool { return server.Active() == 0 && server.Left() == 1 }, 5*time.Second, time.Millisecond)
}

func TestTheCallerEndsTheAnswer(t *testing.T) {
	t.Parallel()
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			server, client := start(t, openai.DefaultLimits)
			server.Script(plannertest.Reply{Pieces: []string{`{"A`, `":`}, End: plannertest.Silent})
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan time.Time, 1)
			go func() {
				for server.Active() == 0 {
					time.Sleep(time.Millisecond)
				}
				time.Sleep(20 * time.Millisecond)
				ended <- time.Now()
				cancel()
			}()
			_, _, _, err := w.ask(ctx, client)
			assert.Less(t, time.Since(<-ended), 10*time.Second, "it is not waited for")
			require.ErrorIs(t, err, context.Canceled)
			assert.Equal(t, apierr.Internal, apierr.KindOf(err))
			requireIdle(t, server)
		})
	}
	t.Run("while it pauses", func(t *testing.T) {
		t.Parallel()
		limits := quick
		limits.Pause = 8 * time.Second
		server, client := start(t, limits)
		server.Script(plannertest.Reply{Status: 500})
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(50*time.Millisecond, cancel)
		_, _, err := client.Answer(ctx, request(chat), nil)
		require.ErrorIs(t, err, context.Canceled)
	})
	t.Run("before it began", func(t *testing.T) {
		t.Parallel()
		server, client := start(t, quick)
		ctx, cancel := context.WithTimeout(t.Context(), 0)
		defer cancel()
		_, _, err := client.Answer(ctx, request(chat), nil)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Zero(t, server.Count())
	})
	t.Run("by an error of its callback", func(t *testing.T) {
		t.Parallel()
		server, client := start(t, openai.DefaultLimits)
		server.Script(plannertest.Reply{Pieces: []string{`{"A`, `":`}, End: plannertest.Silent})
		enough := errors.New("enough")
		_, _, err := client.Answer(t.Context(), request(call), func(planner.Piece) error { return enough })
		require.Equal(t, enough, err)
		requireIdle(t, server)
	})
}

func TestConnectionsServeAgain(t *testing.T) {
	t.Parallel()
	var opened int
	server := plannertest.New(plannertest.WithPace(0, 8))
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	web := &http.Server{Handler: server, ReadHeaderTimeout: time.Minute, ConnState: func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			opened++ // by the one goroutine that accepts
		}
	}}
	go func() { _ = web.Serve(listener) }()
	client := openai.New(model("http://" + listener.Addr().String() + "/v1"))
	for range 3 {
		for _, w := range ways {
			_, _, _, err := w.ask(t.Context(), client)
			require.NoError(t, err)
		}
	}
	client.Close()
	require.NoError(t, web.Shutdown(t.Context()))
	assert.Equal(t, 1, opened)
}

func TestManyStreamsAtOnce(t *testing.T) {
	t.Parallel()
	server, client := start(t, openai.DefaultLimits, plannertest.WithPace(time.Millisecond, 8))
	const n = 50
	errs := make(chan error, n)
	for range n {
		go func() {
			text, pieces, _, err := ways[3].ask(t.Context(), client)
			if err == nil && (strings.Join(pieces, "") != text || !json.Valid([]byte(text))) {
				err = errors.New("the pieces are not the text")
			}
			errs <- err
		}()
	}
	for range n {
		require.NoError(t, <-errs)
	}
	assert.Zero(t, server.Left())
}

// BenchmarkPiece measures the reading of one piece of a stream that is there already.
func BenchmarkPiece(b *testing.B) {
	const pieces = 1000
	server, client := start(b, openai.DefaultLimits)
	var body strings.Builder
	for range pieces {
		body.WriteString(`data: {"id":"chatcmpl-AAAAAAAAAAAAAAAAAAAAAAAAAAAAA","object":"chat.completion.chunk","created":1790000000,` +
			`"model":"gpt-4o-2024-08-06","service_tier":"default","system_fingerprint":"fp_0000000000","choices":[{"index":0,` +
			`"delta":{"content":" word"},"logprobs":null,"finish_reason":null}],"usage":null}` + "\n\n")
	}
	b.ReportAllocs()
	for got := 0; got < b.N; {
		server.Script(plannertest.Reply{Body: body.String()})
		_, _, _ = client.Answer(b.Context(), request(chat), func(planner.Piece) error {
			got++
			return nil
		})
	}
}
