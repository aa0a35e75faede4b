package openai_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/shared/apierr"
	"github.com/liftlog/liftlog-api/shared/planner"
	"github.com/liftlog/liftlog-api/shared/planner/openai"
	"github.com/liftlog/liftlog-api/shared/planner/plannertest"
)

// pipes is a network in memory, for a bubble of [synctest], where time costs nothing.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error { return nil }

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	p.conns <- theirs
	return ours, nil
}

// inBubble returns a stand-in and a client of it, both within the bubble of the test.
func inBubble(t *testing.T) (*plannertest.Server, *openai.Client) {
	t.Helper()
	network := &pipes{make(chan net.Conn), make(chan struct{})}
	server := plannertest.New(plannertest.WithPace(0, 8))
	web := &http.Server{Handler: server, ReadHeaderTimeout: time.Minute}
	go func() { _ = web.Serve(network) }()
	m := model("http://service/v1")
	m.Features = nil
	client := openai.New(m, openai.WithTransport(&http.Transport{DialContext: network.dial}))
	t.Cleanup(func() {
		client.Close()
		close(network.closed)
		_ = web.Close()
		synctest.Wait()
	})
	return server, client
}

// answerFile is the reply that a file of testdata holds.
func answerFile(t *testing.T, name string) plannertest.Reply {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "answers", name))
	require.NoError(t, err)
	if filepath.Ext(name) == ".sse" {
		return plannertest.Reply{Events: string(text)}
	}
	return plannertest.Reply{Body: string(text)}
}

// said sends a message in a conversation and returns its steps.
func said(t *testing.T, p *planner.Planner) (steps []planner.Step, err error) {
	t.Helper()
	err = p.NewConversation().Send(t.Context(), "hello", func(read func() (planner.Step, bool)) error {
		if step, ok := read(); ok {
			steps = append(steps, step)
		}
		return nil
	})
	return steps, err
}

func TestOddAnswersOfChats(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"ok.sse": "Three sets of squats.", "quiet.sse": "Three sets of squats.", "usage-tail.sse": "Three sets of squats.", "eos.sse": "Three sets of squats.",
		"parts.sse": "Three sets of squats.", "comments.sse": "Three sets of squats.", "emoji.sse": "Lift 💪 now",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server, client := inBubble(t)
				server.Script(answerFile(t, name))
				steps, err := said(t, planner.New(client))
				require.NoError(t, err)
				for _, step := range steps {
					assert.True(t, strings.HasPrefix(want, step.Message), step.Message)
				}
				assert.Equal(t, want, steps[len(steps)-1].Message)
				assert.Equal(t, 1, server.Count())
			})
		})
	}
}

func TestAPlanOfIntegralNumbers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server, client := inBubble(t)
		server.Script(answerFile(t, "plan-integral.sse"))
		steps, err := said(t, planner.New(client))
		require.NoError(t, err)
		for _, step := range steps {
			for _, e := range step.Plan.Sessions[0].Exercises {
				assert.Equal(t, 3, e.Sets)
			}
		}
	})
}

func TestErrorsBeforeTheFirstPieceAreLikeA503(t *testing.T) {
	t.Parallel()
	for name, code := range map[string]string{"overloaded.sse": "overloaded", "comment-error.sse": "rate_limit_exceeded", "event-error.sse": "server_error"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server, client := inBubble(t)
				reply := answerFile(t, name)
				server.Script(reply, reply, answerFile(t, "ok.sse"))
				steps, err := said(t, planner.New(client))
				require.NoError(t, err)
				assert.Equal(t, "Three sets of squats.", steps[len(steps)-1].Message)

				server.Script(reply, reply, reply)
				_, err = said(t, planner.New(client))
				require.Equal(t, apierr.Unavailable, apierr.KindOf(err), "%v", err)
				require.ErrorContains(t, err, "code "+code)
				failure, _ := errors.AsType[*apierr.Error](err)
				assert.Equal(t, "The planner is not available at the moment. Please try again in a little while.", failure.Detail)
				assert.Equal(t, 6, server.Count())
			})
		})
	}
}

func TestOddAnswersOfCalls(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"call-ok.json", "call-created.json"} {
		synctest.Test(t, func(t *testing.T) {
			server, client := inBubble(t)
			server.Script(answerFile(t, name))
			session, err := planner.New(client).Session(t.Context(), planner.SessionRequest{})
			require.NoError(t, err)
			assert.Equal(t, "A", session.Name)
			assert.Len(t, session.Exercises, 2)
		})
	}
}

// events writes a stream of those events, with a finish reason and an end unless last is empty.
func events(last string, all ...string) plannertest.Reply {
	var text strings.Builder
	for _, event := range all {
		text.WriteString("data: " + event + "\n\n")
	}
	if last != "" {
		text.WriteString(`data: {"choices":[{"delta":{},"finish_reason":` + last + "}]}\n\ndata: [DONE]\n\n")
	}
	return plannertest.Reply{Events: text.String()}
}

// delta is an event that goes on with that.
func delta(what string) string { return `{"choices":[{"delta":{` + what + `}}]}` }

// fragment is an event that goes on with that of a call.
func fragment(what string) string { return delta(`"tool_calls":[{` + what + `}]`) }

func TestOddStreams(t *testing.T) {
	t.Parallel()
	const (
		begun = `"function":{"name":"create_workout_plan","arguments":"{\"A\":"}`
		ended = `"function":{"arguments":"1}"}`
		text  = `"content":"Hello."`
	)
	plan := &planner.Call{ID: "call00001", Name: "create_workout_plan", Input: `{"A":1}`}
	named := &planner.Call{ID: "x", Name: "create_workout_plan", Input: `{"A":1}`}
	cases := map[string]struct {
		reply plannertest.Reply
		want  planner.Answer
	}{
		"fragments with index, id and type": {
			events(`"tool_calls"`, fragment(`"index":0,"id":"x","type":"function",`+begun), fragment(`"index":0,`+ended)), planner.Answer{Call: named},
		},
		"fragments without any":          {events(`"stop"`, fragment(begun), fragment(ended)), planner.Answer{Call: plan}},
		"an id again with each fragment": {events(`"stop"`, fragment(`"id":"x",`+begun), fragment(`"id":"x",`+ended)), planner.Answer{Call: named}},
		"a name again with each fragment": {
			events(`"stop"`, fragment(begun), fragment(`"function":{"name":"create_workout_plan","arguments":"1}"}`)), planner.Answer{Call: plan},
		},
		"another id with each fragment": {events(`"stop"`, fragment(`"index":0,"id":"x",`+begun), fragment(`"index":0,"id":"y",`+ended)), planner.Answer{Call: named}},
		"a name before anything": {
			events(`"stop"`, fragment(`"id":"x","function":{"name":"create_workout_plan"}`), fragment(`"function":{"arguments":""}`),
				fragment(`"function":{"arguments":"{\"A\":"}`), fragment(ended)), planner.Answer{Call: named},
		},
		"whole":     {events(`"stop"`, fragment(`"function":{"name":"create_workout_plan","arguments":"{\"A\":1}"}`)), planner.Answer{Call: plan}},
		"an object": {events(`"stop"`, fragment(`"function":{"name":"create_workout_plan","arguments":{"A":1}}`)), planner.Answer{Call: plan}},
		"the older form": {
			events(`"function_call"`, delta(`"function_call":{"name":"create_workout_plan","arguments":"{\"A\":"}`), delta(`"function_call":{"arguments":"1}"}`)),
			planner.Answer{Call: plan},
		},
		"text before a call": {events(`"tool_calls"`, delta(text), fragment(begun), fragment(ended)), planner.Answer{Text: "Hello.", Call: plan}},
		"two calls by index": {
			events(`"tool_calls"`, fragment(`"index":0,"id":"x",`+begun), fragment(`"index":1,"id":"y","function":{"name":"other","arguments":"{\"A\":"}`),
				fragment(`"index":0,`+ended), fragment(`"index":1,"function":{"arguments":"2}"}`)),
			planner.Answer{Call: named},
		},
		"two calls of one index": {
			events(`"tool_calls"`, fragment(`"index":0,"id":"x",`+begun), fragment(`"index":0,`+ended),
				fragment(`"index":0,"id":"y","function":{"name":"create_workout_plan","arguments":"{\"A\":2}"}`)),
			planner.Answer{Call: named},
		},
		"two calls without anything": {
			events(`"tool_calls"`, fragment(begun), fragment(ended), fragment(begun), fragment(ended)), planner.Answer{Call: plan},
		},
		"two calls in one event": {
			events(`"tool_calls"`, delta(`"tool_calls":[{"function":{"name":"create_workout_plan","arguments":"{\"A\":1}"}},`+
				`{"function":{"name":"create_workout_plan","arguments":"{\"A\":2}"}}]`)),
			planner.Answer{Call: plan},
		},
		"no finish before the end":         {events("", delta(text), "[DONE]"), planner.Answer{Text: "Hello."}},
		"a call without finish or end":     {events("", fragment(begun), fragment(ended)), planner.Answer{Call: plan}},
		"finished as end_turn":             {events(`"end_turn"`, delta(text)), planner.Answer{Text: "Hello."}},
		"finished as tool_use":             {events(`"tool_use"`, fragment(begun), fragment(ended)), planner.Answer{Call: plan}},
		"finished with the last piece":     {events("", `{"choices":[{"delta":{`+text+`},"finish_reason":"stop"}]}`), planner.Answer{Text: "Hello."}},
		"an empty finish with each piece":  {events(`"stop"`, `{"choices":[{"delta":{"content":"Hel"},"finish_reason":""}]}`, `{"choices":[{"delta":{"content":"lo."},"finish_reason":""}]}`), planner.Answer{Text: "Hello."}},
		"nonsense after the finish":        {events("", `{"choices":[{"delta":{`+text+`},"finish_reason":"stop"}]}`, `nonsense`, `{"error":{"code":"late"}}`, "[DONE]"), planner.Answer{Text: "Hello."}},
		"a message in place of a delta":    {events("", `{"choices":[{"message":{`+text+`},"finish_reason":"stop"}]}`), planner.Answer{Text: "Hello."}},
		"usage as a text, created as well": {events(`"stop"`, `{"created":"now","usage":"much","choices":[{"index":"0","delta":{`+text+`}}]}`), planner.Answer{Text: "Hello."}},
		"usage of texts":                   {events(`"stop"`, delta(text), `{"choices":null,"usage":{"prompt_tokens":"12"}}`), planner.Answer{Text: "Hello."}},
		"thinking apart":                   {events(`"stop"`, delta(`"reasoning_content":"hm","reasoning":{"a":1}`), delta(text)), planner.Answer{Text: "Hello."}},
		"thinking in the text":             {events(`"stop"`, delta(`"content":"<thi"`), delta(`"content":"nk>hm</think>\n\n"`), delta(text)), planner.Answer{Text: "Hello."}},
		"parts":                            {events(`"stop"`, delta(`"content":[{"type":"text","text":"Hel"},{"type":"thinking","thinking":"hm"},{"type":"text","text":"lo."}]`)), planner.Answer{Text: "Hello."}},
		"halves in parts":                  {events(`"stop"`, delta(`"content":[{"type":"text","text":"\ud83d"}]`), delta(`"content":[{"type":"text","text":"\udcaa"}]`)), planner.Answer{Text: "💪"}},
		"halves in a call": {
			events(`"stop"`, fragment(`"function":{"name":"create_workout_plan","arguments":"{\"A\":\"\ud83d"}`), fragment(`"function":{"arguments":"\udcaa\"}"}`)),
			planner.Answer{Call: &planner.Call{ID: "call00001", Name: "create_workout_plan", Input: `{"A":"💪"}`}},
		},
		"an event over several lines": {plannertest.Reply{Events: "\uFEFF: hi\r\nevent: message\r\ndata: {\"choices\":\r\ndata: [{\"delta\":{" + text + "}}]}\r\n\r\ndata: [DONE]\r\n\r\n"}, planner.Answer{Text: "Hello."}},
		"no stream at all":            {plannertest.Reply{Body: `{"choices":[{"message":{"content":"Hello."},"finish_reason":"stop"}]}`}, planner.Answer{Text: "Hello."}},
		"no stream and no finish":     {plannertest.Reply{Body: `{"choices":[{"message":{"content":"Hello."}}]}`}, planner.Answer{Text: "Hello."}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, client := start(t, quick)
			server.Script(c.reply)
			var pieces planner.Piece
			got, usage, err := client.Answer(t.Context(), request(offer), func(p planner.Piece) error {
				pieces.Text += p.Text
				pieces.Input += p.Input
				return nil
			})
			require.NoError(t, err)
			assert.Equal(t, c.want, got)
			assert.Equal(t, got.Text, pieces.Text)
			if got.Call != nil {
				assert.Equal(t, got.Call.Input, pieces.Input)
			}
			assert.Positive(t, usage.In)
			assert.Positive(t, usage.Out)
			assert.Equal(t, 1, server.Count())
		})
	}
}

func TestJSONIsTakenOutOfWhatIsAroundIt(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"nothing": `{"A":"b"}`, "a fence": "```json\n{\"A\":\"b\"}\n```", "thinking": "<think>{</think>\n{\"A\":\"b\"}", "both": "<think>\n</think>```\n{\"A\":\"b\"}\n```\n",
	} {
		for _, w := range ways { // a call may be written down as a text, where its service does not hold the model to it
			t.Run(name+", "+w.name, func(t *testing.T) {
				t.Parallel()
				server, client := start(t, quick)
				server.Script(plannertest.Reply{Text: text, Function: "-"})
				got, _, _, err := w.ask(t.Context(), client)
				require.NoError(t, err)
				assert.Equal(t, `{"A":"b"}`, strings.TrimSpace(got))
			})
		}
	}
}

func TestUsageIsAlwaysKnown(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		event string
		want  planner.Usage
	}{
		"whole numbers": {`{"prompt_tokens":12,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":5}}`, planner.Usage{In: 12, Out: 3, Cached: 5}},
		"fractions":     {`{"prompt_tokens":12.5,"completion_tokens":3.0}`, planner.Usage{In: 13, Out: 3}},
		"nothing":       {`null`, planner.Usage{In: 200, Out: 101}},
		"nonsense":      {`{"prompt_tokens":-1,"completion_tokens":"many"}`, planner.Usage{In: 200, Out: 101}},
		"half":          {`{"prompt_tokens":7}`, planner.Usage{In: 7, Out: 101}},
	} {
		server, client := start(t, quick)
		server.Script(events(`"stop"`, delta(`"content":"`+strings.Repeat("x", 400)+`"`), `{"choices":[],"usage":`+c.event+`}`))
		_, usage, err := client.Answer(t.Context(), request(offer), func(planner.Piece) error { return nil })
		require.NoError(t, err)
		assert.InDelta(t, c.want.In, usage.In, 100, name)
		assert.Equal(t, c.want.Out, usage.Out, name)
		assert.Equal(t, c.want.Cached, usage.Cached, name)
	}
}
