package main

import (
	"bufio"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/functions"
	"github.com/liftlog/liftlog-api/functions/manifest"
	"github.com/liftlog/liftlog-api/shared/config"
	"github.com/liftlog/liftlog-api/shared/planner/plannertest"
	"github.com/liftlog/liftlog-api/shared/postgres/pgtest"
	"github.com/liftlog/liftlog-api/shared/programtest"
	"github.com/liftlog/liftlog-api/shared/web"
)

func TestMain(m *testing.M) { programtest.Run(m, main, pgtest.Run) }

const (
	webKey  = "a-key-of-the-web-app"
	chatKey = "CHAT_TOKEN_KEY=1:dGhpcnR5LXR3byBieXRlcyBvZiBhIGtleSBmb3IgdGVzdHM="
	rs      = "\x1e"
)

// server is a running process.
type server struct{ *programtest.Program }

// launch starts a process with nothing but this environment.
func launch(t *testing.T, environ ...string) *server {
	t.Helper()
	return &server{programtest.Launch(t, append(environ, chatKey, "WEB_AUTH_API_KEY="+webKey)...)}
}

// start starts a service with a database and a stand-in for the model, and waits until it is ready.
func start(t *testing.T, environ ...string) (*server, *plannertest.Server) {
	t.Helper()
	model, err := plannertest.Start()
	require.NoError(t, err)
	t.Cleanup(model.Close)
	s := launch(t, append([]string{"DATABASE_URL=" + pgtest.URL(t), "OPENAI_BASE_URL=" + model.URL()}, environ...)...)
	require.Eventually(t, func() bool { return s.status(t, web.ReadyPath) == http.StatusOK }, time.Minute, 5*time.Millisecond, "%s", s.Log)
	return s, model
}

// status is that of an answer to GET, and 0 when there is none.
func (s *server) status(t *testing.T, path string) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.Address+path, nil)
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0
	}
	_ = response.Body.Close()
	return response.StatusCode
}

// connect negotiates as the client does, opens a websocket and shakes hands.
func (s *server) connect(t *testing.T, path string) *websocket.Conn {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+s.Address+path+"/negotiate?negotiateVersion=1", nil)
	require.NoError(t, err)
	r.Header.Set("Authorization", "Bearer Web "+webKey)
	response, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	require.Equal(t, http.StatusOK, response.StatusCode)
	var negotiation struct {
		Token string `json:"connectionToken"`
	}
	require.NoError(t, json.NewDecoder(response.Body).Decode(&negotiation))
	c, _, err := websocket.DefaultDialer.DialContext(t.Context(), "ws://"+s.Address+path+"?id="+negotiation.Token, r.Header) //nolint:bodyclose // a websocket's
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	send(t, c, `{"protocol":"json","version":1}`)
	require.Equal(t, "{}", receive(t, c, "{}"))
	return c
}

func send(t *testing.T, c *websocket.Conn, record string) {
	t.Helper()
	require.NoError(t, c.WriteMessage(websocket.TextMessage, []byte(record+rs)))
}

// receive returns the record before the last one, or that one if it is the first.
func receive(t *testing.T, c *websocket.Conn, last string) (before string) {
	t.Helper()
	require.NoError(t, c.SetReadDeadline(time.Now().Add(20*time.Second)))
	for before = last; ; {
		_, message, err := c.ReadMessage()
		require.NoError(t, err, before)
		for record := range strings.SplitSeq(strings.TrimSuffix(string(message), rs), rs) {
			if record == last {
				return before
			}
			before = record
		}
	}
}

func TestAConversationWithThePlanner(t *testing.T) {
	t.Parallel()
	s, _ := start(t)
	c := s.connect(t, "/ai-chat")
	send(t, c, `{"type":1,"invocationId":"0","target":"SendMessage","arguments":["hello"]}`)
	assert.Equal(t, `{"type":1,"target":"ReceiveMessage","arguments":[{"message":"You said: hello. This answer comes from the fake model `+
		`and is long enough to need several pieces.","type":"messageResponse"}]}`, receive(t, c, `{"type":3,"invocationId":"0","result":null}`))
	send(t, c, `{"type":1,"invocationId":"1","target":"SendMessage","arguments":["a plan"]}`)
	assert.JSONEq(t, recordedPlan(t, "hub-ai-chat"), receive(t, c, `{"type":3,"invocationId":"1","result":null}`))
	send(t, c, `{"type":1,"target":"RestartChat","arguments":[]}`)
	send(t, c, `{"type":1,"invocationId":"2","target":"Introduce","arguments":["de-DE"]}`)
	assert.Contains(t, receive(t, c, `{"type":3,"invocationId":"2","result":null}`), "de-DE")

	today := s.connect(t, "/v2/ai-chat-v2")
	send(t, today, `{"type":1,"invocationId":"0","target":"SendMessage","arguments":["hello",3]}`)
	assert.Equal(t, `{"type":1,"target":"ReceiveMessage","arguments":[{"type":"messageResponse","message":"You said: hello. This answer comes from the fake `+
		`model and is long enough to need several pieces."}]}`, receive(t, today, `{"type":3,"invocationId":"0","result":null}`))
	send(t, today, `{"type":1,"invocationId":"1","target":"SendMessage","arguments":["a plan",3]}`)
	assert.JSONEq(t, recordedPlan(t, "hub-ai-chat-v2"), receive(t, today, `{"type":3,"invocationId":"1","result":null}`))
	send(t, today, `{"type":1,"invocationId":"2","target":"Introduce","arguments":["de-DE",3,"lbs"]}`)
	introduction := receive(t, today, `{"type":3,"invocationId":"2","result":null}`)
	assert.Contains(t, introduction, "de-DE")
	assert.Contains(t, introduction, "pounds")

	require.NoError(t, s.Cmd.Process.Signal(syscall.SIGTERM))
	receive(t, c, `{"type":7,"allowReconnect":true}`)
	_, _, err := c.ReadMessage()
	var closed *websocket.CloseError
	require.ErrorAs(t, err, &closed)
	assert.Equal(t, websocket.CloseNormalClosure, closed.Code)
	require.NoError(t, s.WaitToEnd(t), "%s", s.Log)
	assert.NotContains(t, s.Log.String(), webKey)
	assert.NotContains(t, s.Log.String(), "hello")
	assert.Contains(t, s.Log.String(), `"ended":"retired"`)
	for line := range strings.Lines(s.Log.String()) {
		assert.True(t, json.Valid([]byte(line)), line)
	}
}

// recordedPlan is the last step of the plan that v1 was recorded with, whose stand-in answered the same.
func recordedPlan(t *testing.T, recording string) (last string) {
	t.Helper()
	file, err := os.Open("testdata/v1/" + recording + ".jsonl")
	require.NoError(t, err)
	defer func() { _ = file.Close() }()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var event struct{ Scenario, Frame string }
		require.NoError(t, json.Unmarshal(lines.Bytes(), &event))
		if event.Scenario == "SendMessage, a plan" && strings.Contains(event.Frame, "chatPlan") {
			last, _, _ = strings.Cut(event.Frame, rs)
		}
	}
	return last
}

func TestAClientWhoLeavesEndsTheRequestToTheModel(t *testing.T) {
	t.Parallel()
	s, model := start(t)
	c := s.connect(t, "/ai-chat")
	send(t, c, `{"type":1,"invocationId":"0","target":"SendMessage","arguments":["hang"]}`)
	require.Eventually(t, func() bool { return model.Active() == 1 }, time.Minute, time.Millisecond)
	require.NoError(t, c.Close())
	require.Eventually(t, func() bool { return model.Active() == 0 }, time.Minute, time.Millisecond)
}

func TestNamedOriginsMaySendCredentials(t *testing.T) {
	t.Parallel()
	const origin = "https://app.example"
	s, _ := start(t, "CORS_ORIGINS="+origin)
	_, response, err := websocket.DefaultDialer.DialContext(t.Context(), "ws://"+s.Address+"/ai-chat?access_token=Web%20"+webKey, //nolint:bodyclose // a websocket's
		http.Header{"Origin": {origin}, "Accept-Encoding": {"gzip"}})
	require.NoError(t, err)
	assert.Equal(t, origin, response.Header.Get("Access-Control-Allow-Origin"))
	assert.Equal(t, "true", response.Header.Get("Access-Control-Allow-Credentials"))
	for line := range strings.Lines(s.Log.String()) {
		assert.True(t, json.Valid([]byte(line)), line)
	}
	assert.NotContains(t, s.Log.String(), "hijacked")
}

func TestSIGTERMEndsItInTimeWhateverClientsDo(t *testing.T) {
	t.Parallel()
	s, model := start(t)
	_ = s.connect(t, "/ai-chat") // and answers no closing frame
	busy := s.connect(t, "/ai-chat")
	send(t, busy, `{"type":1,"invocationId":"0","target":"SendMessage","arguments":["hang"]}`)
	require.Eventually(t, func() bool { return model.Active() == 1 }, 20*time.Second, time.Millisecond)
	require.NoError(t, s.Cmd.Process.Signal(syscall.SIGTERM))
	require.Eventually(t, func() bool { return s.status(t, web.ReadyPath) == http.StatusServiceUnavailable }, time.Minute, 5*time.Millisecond)
	assert.Equal(t, http.StatusOK, s.status(t, web.LivePath))
	assert.Contains(t, receive(t, busy, `{"type":3,"invocationId":"0","error":"An unexpected error occurred invoking 'SendMessage' on the server."}`),
		"this answer was cut off", "the person is told")
	require.NoError(t, s.WaitToEnd(t), "%s", s.Log)
}

func TestAnotherPlanContract(t *testing.T) {
	t.Parallel()
	schema := func(text string) string {
		file := filepath.Join(t.TempDir(), "plan.json")
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		return "AI_PLAN_SCHEMA=" + file
	}
	s, _ := start(t, schema(`{"type":"object","properties":{"version":{"const":7}},"required":["version"]}`))
	c := s.connect(t, "/ai-chat-v2")
	send(t, c, `{"type":1,"invocationId":"0","target":"SendMessage","arguments":["hello",6]}`)
	assert.Equal(t, `{"type":1,"target":"ReceiveMessage","arguments":[{"type":"updateRequired","requiredVersion":7}]}`,
		receive(t, c, `{"type":3,"invocationId":"0","result":null}`))
	for text, want := range map[string]string{
		`{"type":"object"}`: "AI_PLAN_SCHEMA: the plan's schema has to",
		`{`:                 "AI_PLAN_SCHEMA: the plan's schema is not",
	} {
		s := launch(t, schema(text), "DATABASE_URL=postgres://nobody@127.0.0.1:1/nothing")
		require.Error(t, s.WaitToEnd(t))
		assert.Contains(t, s.Log.String(), want)
	}
}

func TestTheLimitOfMessagesIsTold(t *testing.T) {
	t.Parallel()
	s, _ := start(t, "RATE_LIMIT_CHAT_PER_DAY=1")
	c := s.connect(t, "/ai-chat")
	send(t, c, `{"type":1,"invocationId":"0","target":"SendMessage","arguments":["hello"]}`)
	receive(t, c, `{"type":3,"invocationId":"0","result":null}`)
	send(t, c, `{"type":1,"invocationId":"1","target":"SendMessage","arguments":["hello"]}`)
	assert.Contains(t, receive(t, c, `{"type":3,"invocationId":"1","result":null}`), "Please come back in 24 hours.")
}

func TestFaultsOfTheEnvironmentEndIt(t *testing.T) {
	t.Parallel()
	s := launch(t, "ENVIRONMENT=production", "CHAT_MAX_CONNECTIONS=-1")
	require.Error(t, s.WaitToEnd(t))
	for _, want := range []string{"RATE_LIMIT_DATABASE_URL: is required where DATABASE_URL is not set", "OPENAI_API_KEY: is required", "CHAT_MAX_CONNECTIONS: is not positive"} {
		assert.Contains(t, s.Log.String(), want)
	}
}

func TestOnAnotherDatabaseItEnds(t *testing.T) {
	t.Parallel()
	s := launch(t, "DATABASE_URL="+pgtest.EmptyURL(t))
	require.Error(t, s.WaitToEnd(t))
	assert.Contains(t, s.Log.String(), "chat-service: the database lacks the tables __EFMigrationsHistory,")
}

func TestWithoutItsDatabaseItIsUnavailable(t *testing.T) {
	t.Parallel()
	s := launch(t, "DATABASE_URL=postgres://nobody@127.0.0.1:1/nothing")
	require.Eventually(t, func() bool { return s.status(t, web.LivePath) == http.StatusOK }, time.Minute, 5*time.Millisecond)
	assert.Equal(t, http.StatusServiceUnavailable, s.status(t, web.ReadyPath))
	assert.Equal(t, http.StatusServiceUnavailable, s.status(t, "/ai-chat"))
}

func TestItServesTheHubsAlone(t *testing.T) {
	t.Parallel()
	s := launch(t, "RATE_LIMIT_DATABASE_URL=postgres://nobody@127.0.0.1:1/nothing")
	require.Eventually(t, func() bool { return s.status(t, web.LivePath) == http.StatusOK }, time.Minute, 5*time.Millisecond, "%s", s.Log)
	api := []string{"POST /jobs/cleanup"}
	for _, mount := range functions.Mount(functions.Manifest(), functions.Deps{}) {
		api = append(api, mount.Method+" "+mount.Path)
	}
	own := []string{
		"/ai-chat", "/ai-chat/", "/AI-Chat", "/v2/ai-chat", "/ai-chat/negotiate", "/v2/ai-chat/negotiate",
		"/ai-chat-v2", "/ai-chat-v2/", "/AI-Chat-V2", "/v2/ai-chat-v2", "/ai-chat-v2/negotiate", "/V2/ai-chat-v2/negotiate/",
	}
	programtest.WalkPaths(t, "http://"+s.Address, own, append(api, own...))
}

func TestTheListOfProgramsNamesWhatTheChatReads(t *testing.T) {
	t.Parallel()
	common := map[string]bool{}
	for _, v := range config.Describe(&struct {
		Service   config.Service
		HTTP      config.HTTP
		RateLimit config.RateLimitDatabase
	}{}) {
		common[v.Name] = true
	}
	var read []string
	for _, v := range config.Describe(&settings{}) {
		if !common[v.Name] {
			read = append(read, v.Name)
		}
	}
	chat := manifest.ProgramOf("chat-service")
	assert.ElementsMatch(t, read, append(chat.Secrets, chat.Settings...))
}
