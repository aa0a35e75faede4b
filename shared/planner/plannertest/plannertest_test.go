package plannertest_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/shared/planner/plannertest"
)

// start starts a server for the test.
func start(t *testing.T, options ...plannertest.Option) *plannertest.Server {
	t.Helper()
	server, err := plannertest.Start(options...)
	require.NoError(t, err)
	t.Cleanup(server.Close)
	return server
}

// response is an answer, whose body the test's end closes.
type response struct {
	status int
	header http.Header
	body   io.Reader
}

// post sends a body.
func post(ctx context.Context, t *testing.T, server *plannertest.Server, body string) response {
	t.Helper()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL()+"/chat/completions", strings.NewReader(body))
	require.NoError(t, err)
	r, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	t.Cleanup(func() { _ = r.Body.Close() })
	return response{r.StatusCode, r.Header, r.Body}
}

const answerSchema = `{"type":"object","properties":{},"required":[],"additionalProperties":false}`

// chat is a request for a chat's answer to the message.
func chat(message, more string) string {
	quoted, _ := json.Marshal(message)
	return fmt.Sprintf(`{"model":"m","messages":[{"role":"system","content":"plan"},{"role":"user","content":%s}],`+
		`"response_format":{"type":"json_schema","json_schema":{"name":"answer","strict":true,"schema":%s}}%s}`, quoted, answerSchema, more)
}

// call is a request for a call of the function.
func call(name, more string) string {
	return fmt.Sprintf(`{"model":"m","messages":[{"role":"user","content":"go"}],"tools":[{"type":"function","function":{"name":"%s",`+
		`"strict":true,"parameters":%s}}],"tool_choice":{"type":"function","function":{"name":"%[1]s"}}%[3]s}`, name, answerSchema, more)
}

// message is a message as answers hold them, whole or as a delta.
type message struct {
	Content   *string `json:"content"`
	Refusal   *string `json:"refusal"`
	ToolCalls []struct {
		Function struct{ Name, Arguments string } `json:"function"`
	} `json:"tool_calls"`
}

// answer is an answer or an event of one.
type answer struct {
	Choices []struct {
		Message      message `json:"message"`
		Delta        message `json:"delta"`
		FinishReason *string `json:"finish_reason"`
	} `json:"choices"`
	Usage *struct {
		PromptTokens int `json:"prompt_tokens"`
	} `json:"usage"`
}

// ask returns the content, or the arguments, of a plain answer.
func ask(t *testing.T, server *plannertest.Server, body string) string {
	t.Helper()
	r := post(t.Context(), t, server, body)
	require.Equal(t, http.StatusOK, r.status)
	var a answer
	require.NoError(t, json.NewDecoder(r.body).Decode(&a))
	require.Len(t, a.Choices, 1)
	assert.Equal(t, "stop", *a.Choices[0].FinishReason)
	assert.Positive(t, a.Usage.PromptTokens)
	if calls := a.Choices[0].Message.ToolCalls; len(calls) > 0 {
		assert.Nil(t, a.Choices[0].Message.Content)
		return calls[0].Function.Name + calls[0].Function.Arguments
	}
	return *a.Choices[0].Message.Content
}

// events returns the events of a stream, as they are, and the pieces of the text in them.
func events(t *testing.T, server *plannertest.Server, body string) (lines, pieces []string, err error) {
	t.Helper()
	r := post(t.Context(), t, server, body)
	require.Equal(t, "text/event-stream; charset=utf-8", r.header.Get("Content-Type"))
	scanner := bufio.NewScanner(r.body)
	for scanner.Scan() {
		line, isEvent := strings.CutPrefix(scanner.Text(), "data: ")
		if !isEvent {
			assert.Empty(t, scanner.Text())
			continue
		}
		lines = append(lines, line)
		var a answer
		if json.Unmarshal([]byte(line), &a) != nil || len(a.Choices) == 0 {
			continue
		}
		delta := a.Choices[0].Delta
		switch {
		case delta.Content != nil && *delta.Content != "":
			pieces = append(pieces, *delta.Content)
		case len(delta.ToolCalls) > 0 && delta.ToolCalls[0].Function.Arguments != "":
			pieces = append(pieces, delta.ToolCalls[0].Function.Arguments)
		}
	}
	return lines, pieces, scanner.Err()
}

func TestTheChatAnswersAsRecorded(t *testing.T) {
	t.Parallel()
	server := start(t)
	const rest = `This answer comes from the fake model and is long enough to need several pieces.`
	assert.Equal(t, `{"Response":{"type":"messageResponse","Message":"You said: hello. `+rest+`"}}`, ask(t, server, chat("hello", "")))
	assert.Equal(t, `{"Response":{"type":"messageResponse","Message":"You said: . `+rest+`"}}`, ask(t, server, chat("", "")))
	assert.Contains(t, ask(t, server, chat("a planner", "")), "messageResponse", "only a whole word steers")
	plan := ask(t, server, chat("A Plan", ""))
	assert.True(t, strings.HasPrefix(plan, `{"Response":{"type":"chatPlan","Name":"Fake Strength Plan","Description":"Two days a week – \"basics\" first`), plan)
	assert.True(t, json.Valid([]byte(plan)))
	escapes := ask(t, server, chat("escapes 👋🏽", ""))
	assert.Contains(t, escapes, `You said: escapes \ud83d\udc4b\ud83c\udffd. Line one\nline two\ttabbed, a \"quoted\" word`)
	assert.Contains(t, escapes, `control \u0007 bell, nbsp[\u00a0], separators [\u2028]. End."}}`)
	assert.Equal(t, "You said: hello. "+rest, ask(t, server, `{"model":"m","messages":[{"role":"user","content":"hello"}]}`), "without a schema")
}

func TestPiecesAreCutAsRecorded(t *testing.T) {
	t.Parallel()
	server := start(t)
	lines, pieces, err := events(t, server, chat("hello", `,"stream":true`))
	require.NoError(t, err)
	const before = len(`{"Response":{"type":"messageResponse","Message":"`)
	var ends []int // as the recording shows them
	at := -before
	for _, piece := range pieces {
		if at += len(piece); at > 0 {
			ends = append(ends, at)
		}
	}
	assert.Equal(t, []int{6, 8, 19, 23, 29, 30, 35, 38, 45, 47}, ends[:10])
	assert.Equal(t, "[DONE]", lines[len(lines)-1])
	assert.NotContains(t, strings.Join(lines, ""), "usage", "it was not asked for")

	_, pieces, err = events(t, server, chat("cut", `,"stream":true`))
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	assert.True(t, strings.HasSuffix(strings.Join(pieces, ""), `"You said: cut. This answer co`))
	_, pieces, err = events(t, server, chat("cut plan", `,"stream":true`))
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	assert.True(t, strings.HasSuffix(strings.Join(pieces, ""), `"Notes":"Développé`))
}

func TestSamplesOfTheFunctions(t *testing.T) {
	t.Parallel()
	server := start(t, plannertest.WithNote(`A "sample".`))
	assert.Contains(t, ask(t, server, call("GetGymPlan", "")), `GetGymPlan{"Name":"Fake Strength Plan","Description":"A \"sample\". Two days a week`)
	assert.Contains(t, ask(t, server, call("GetSession", "")), `GetSession{"Name":"Fake Session","Description":"A \"sample\". One quick session"`)
	assert.Equal(t, `Other{}`, ask(t, server, call("Other", "")))
	assert.Contains(t, ask(t, server, chat("plan", "")), `"Description":"A \"sample\". Two days`)
	lines, pieces, err := events(t, server, call("GetSession", `,"stream":true,"stream_options":{"include_usage":true}`))
	require.NoError(t, err)
	assert.Contains(t, lines[0], `"name":"GetSession","arguments":""`)
	assert.Contains(t, lines[0], `"usage":null`)
	assert.Contains(t, lines[len(lines)-2], `"choices":[],"usage":{"prompt_tokens":`)
	assert.True(t, json.Valid([]byte(strings.Join(pieces, ""))))
}

func TestWordsThatFail(t *testing.T) {
	t.Parallel()
	server := start(t, plannertest.WithPace(0, 100))
	assert.Equal(t, http.StatusInternalServerError, post(t.Context(), t, server, chat("fail500", "")).status)
	lines, _, err := events(t, server, chat("refuse this", `,"stream":true`))
	require.NoError(t, err)
	assert.Contains(t, strings.Join(lines, ""), `"delta":{"refusal":"I'm sorry`)
	lines, _, err = events(t, server, chat("truncate plan", `,"stream":true`))
	require.NoError(t, err)
	assert.Contains(t, lines[len(lines)-2], `"finish_reason":"length"`)
	_, _, err = events(t, server, chat("cut", `,"stream":true`))
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	assert.Contains(t, ask(t, server, chat("not to cut", "")), "not to cut", "only the first word fails")
}

func TestItNoticesThatAClientIsGone(t *testing.T) {
	t.Parallel()
	server := start(t)
	ctx, cancel := context.WithCancel(t.Context())
	r := post(ctx, t, server, chat("slow", `,"stream":true`))
	require.Equal(t, http.StatusOK, r.status)
	assert.Equal(t, 1, server.Active())
	cancel()
	require.Eventually(t, func() bool { return server.Active() == 0 && server.Left() == 1 }, 5*time.Second, time.Millisecond)
}

func TestHangEndsWithTheServer(t *testing.T) {
	t.Parallel()
	server := start(t)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL()+"/chat/completions", strings.NewReader(chat("hang", `,"stream":true`)))
	require.NoError(t, err)
	failed := make(chan error)
	go func() {
		response, err := http.DefaultClient.Do(request)
		if err == nil {
			_ = response.Body.Close()
		}
		failed <- err
	}()
	require.Eventually(t, func() bool { return server.Active() == 1 }, 5*time.Second, time.Millisecond)
	server.Close()
	require.Error(t, <-failed)
}

func TestScriptedRepliesComeFirst(t *testing.T) {
	t.Parallel()
	server := start(t)
	server.Script(plannertest.Reply{Status: 429, Code: "slow_down", Header: http.Header{"Retry-After": {"3"}}}, plannertest.Reply{Text: "two"})
	assert.Equal(t, http.StatusBadRequest, post(t.Context(), t, server, "{}").status, "this takes none")
	r := post(t.Context(), t, server, chat("one", ""))
	assert.Equal(t, http.StatusTooManyRequests, r.status)
	assert.Equal(t, "3", r.header.Get("Retry-After"))
	body, err := io.ReadAll(r.body)
	require.NoError(t, err)
	assert.JSONEq(t, `{"error":{"message":"The stand-in was told to fail.","type":"requests","param":null,"code":"slow_down"}}`, string(body))
	assert.Equal(t, "two", ask(t, server, chat("two", "")))
	assert.Contains(t, ask(t, server, chat("three", "")), "You said: three")
	assert.Equal(t, 4, server.Count())
	requests := server.Requests()
	require.Len(t, requests, 3)
	assert.Equal(t, "two", *requests[1].Messages[1].Content)
}

func TestOnlyTheLastRequestsAreRemembered(t *testing.T) {
	t.Parallel()
	server := plannertest.New(plannertest.WithPace(0, 1000))
	for i := range 103 {
		request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/chat/completions", strings.NewReader(chat(strconv.Itoa(i), "")))
		server.ServeHTTP(httptest.NewRecorder(), request)
	}
	requests := server.Requests()
	require.Len(t, requests, 100)
	assert.Equal(t, "3", *requests[0].Messages[1].Content)
}

func TestRequestsThatAreRefused(t *testing.T) {
	t.Parallel()
	const good = `"model":"m","messages":[{"role":"user","content":"a"},{"role":"user","content":"b"}]`
	schema := func(s string) string {
		return `{` + good + `,"response_format":{"type":"json_schema","json_schema":{"name":"n","strict":true,"schema":` + s + `}}}`
	}
	object := func(properties, required string) string {
		return schema(`{"type":"object","properties":{` + properties + `},"required":[` + required + `],"additionalProperties":false}`)
	}
	cases := map[string]struct{ body, want string }{
		"two users in a row": {`{` + good + `}`, ""},
		"not JSON":           {`{`, "could not parse"},
		"a name twice":       {`{` + good + `,"model":"n"}`, "could not parse"},
		"no model":           {`{"messages":[{"role":"user","content":"a"}]}`, "model"},
		"no messages":        {`{"model":"m","messages":[]}`, "messages"},
		"an unknown role":    {`{"model":"m","messages":[{"role":"robot","content":"a"}]}`, "role"},
		"no content":         {`{"model":"m","messages":[{"role":"user"}]}`, "content"},
		"negative tokens":    {`{` + good + `,"max_completion_tokens":-1}`, "max_completion_tokens"},
		"stream options":     {`{` + good + `,"stream_options":{"include_usage":true}}`, "stream_options"},
		"parallel calls":     {`{` + good + `,"parallel_tool_calls":false}`, "parallel_tool_calls"},
		"another choice": {strings.Replace(call("A", ""), `"tool_choice":{"type":"function","function":{"name":"A"`,
			`"tool_choice":{"type":"function","function":{"name":"B"`, 1), "tool_choice"},
		"a bad function name":    {call("a b", ""), "tools[0]"},
		"a bad schema name":      {strings.Replace(schema(`{}`), `"name":"n"`, `"name":""`, 1), "name"},
		"no schema":              {schema(`null`), "not an object"},
		"a lax schema":           {strings.Replace(schema(`{}`), `"strict":true`, `"strict":false`, 1), ""},
		"a root that is a text":  {schema(`{"type":"string"}`), "object"},
		"a root of any":          {schema(`{"type":"object","anyOf":[]}`), "anyOf"},
		"more members allowed":   {schema(`{"type":"object","properties":{},"required":[]}`), "additionalProperties"},
		"an optional member":     {object(`"a":{"type":"string"}`, ``), "missing 'a'"},
		"a required stranger":    {object(`"a":{"type":"string"}`, `"a","b"`), "required"},
		"a member without type":  {object(`"a":{}`, `"a"`), "'type' key"},
		"an unknown type":        {object(`"a":{"type":"text"}`, `"a"`), "'type' key"},
		"an array of nothing":    {object(`"a":{"type":"array"}`, `"a"`), "items"},
		"an open object inside":  {object(`"a":{"type":"array","items":{"type":"object","properties":{}}}`, `"a"`), "properties/a/items"},
		"all of":                 {object(`"a":{"allOf":[]}`, `"a"`), "allOf"},
		"an unknown reference":   {object(`"a":{"$ref":"#/$defs/x"}`, `"a"`), "reference"},
		"a reference and more":   {object(`"a":{"$ref":"#","description":"d"}`, `"a"`), "beside it"},
		"too deep":               {object(strings.Repeat(`"a":{"type":"object","required":["a"],"additionalProperties":false,"properties":{`, 10)+`"a":{"type":"string"}`+strings.Repeat(`}}`, 10), `"a"`), "deep"},
		"any of, nullable, enum": {object(`"a":{"anyOf":[{"type":["string","null"]},{"type":"integer","minimum":1},{"enum":["x"]},{"$ref":"#"}]}`, `"a"`), ""},
	}
	server := start(t)
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := post(t.Context(), t, server, c.body)
			if c.want == "" {
				assert.Equal(t, http.StatusOK, r.status)
				return
			}
			assert.Equal(t, http.StatusBadRequest, r.status)
			var e struct {
				Error struct{ Message, Type string } `json:"error"`
			}
			require.NoError(t, json.NewDecoder(r.body).Decode(&e))
			assert.Contains(t, e.Error.Message, c.want)
			assert.Equal(t, "invalid_request_error", e.Error.Type)
		})
	}
}

func TestTheKey(t *testing.T) {
	t.Parallel()
	server := start(t, plannertest.WithKey("k"))
	assert.Equal(t, http.StatusUnauthorized, post(t.Context(), t, server, chat("x", "")).status)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL()+"/chat/completions", strings.NewReader(chat("x", "")))
	require.NoError(t, err)
	request.Header.Set("Authorization", "Bearer k")
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	assert.Equal(t, http.StatusOK, response.StatusCode)
}
