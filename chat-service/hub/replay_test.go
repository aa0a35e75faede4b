package hub_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/shared/apierr"
	"github.com/liftlog/liftlog-api/shared/planner"
)

// exception is a scenario in which v2 answers otherwise, on purpose.
type exception struct {
	why    string
	status int      // of its last request; 0: as recorded
	want   []string // all that v2's hub sends on the websocket; nil: as recorded
	skip   bool     // it is about what v2 does not have
}

const (
	noOther  = "WebSockets are the only transport offered, so that no connection can be one of another transport's"
	inPlace  = "before the completion a message tells the person what went wrong"
	noMethod = `{"type":3,"invocationId":"%d","error":"Failed to invoke 'NoSuchMethod' due to an error on the server. HubException: Method does not exist."}`
)

var exceptions = map[string]exception{
	"negotiate with access_token in the query": {why: "a browser's only way to connect is allowed for both requests", status: 200},
	"connect with access_token in the query":   {why: "it is all that a browser can send", status: 101},
	"record of an unknown type, then a call": {
		why: "v1 answers nothing any more after such a record", want: []string{"{}", fmt.Sprintf(noMethod, 0)},
	},
	"two invocations at once, then a third, StopInProgress and an unknown method": {
		why: "one answer runs and one call waits, a third is refused, and StopInProgress gets through at once",
		want: []string{
			"{}", `ReceiveMessage`,
			`{"type":3,"invocationId":"2","error":"An unexpected error occurred invoking 'SendMessage' on the server."}`,
			`{"type":3,"invocationId":"3","result":null}`, fmt.Sprintf(noMethod, 4), `{"type":3,"invocationId":"0","result":null}`,
			`ReceiveMessage`, `{"type":3,"invocationId":"1","result":null}`,
		},
	},
	"the model answers 500": {
		why: inPlace,
		want: []string{
			"{}", message("The model is away."), `{"type":3,"invocationId":"0","error":"An unexpected error occurred invoking 'SendMessage' on the server."}`,
			`ReceiveMessage`, `{"type":3,"invocationId":"1","result":null}`,
		},
	},
	"the stream of the model breaks off": {
		why: inPlace,
		want: []string{
			"{}", `ReceiveMessage`, message("The model broke off."),
			`{"type":3,"invocationId":"0","error":"An unexpected error occurred invoking 'SendMessage' on the server."}`,
			`ReceiveMessage`, `{"type":3,"invocationId":"1","result":null}`,
		},
	},
	"the stream of the model breaks off in a plan": {
		why: inPlace,
		want: []string{
			"{}", `ReceiveMessage`, message("The model broke off."),
			`{"type":3,"invocationId":"0","error":"An unexpected error occurred invoking 'SendMessage' on the server."}`,
		},
	},
	"long polling":                                      {why: noOther, skip: true},
	"long polling, ended by DELETE":                     {why: noOther, skip: true},
	"long polling, without a token":                     {why: noOther, skip: true},
	"long polling, a poll with nothing to tell":         {why: noOther, skip: true},
	"long polling, no poll for 10 s":                    {why: noOther, skip: true},
	"long polling, no poll for 18 s":                    {why: noOther, skip: true},
	"long polling, ended by a Close record":             {why: noOther, skip: true},
	"server-sent events":                                {why: noOther, skip: true},
	"server-sent events with access_token in the query": {why: noOther, skip: true},
	"connect with an id in use by long polling":         {why: noOther, skip: true},
}

func message(text string) string {
	return `{"type":1,"target":"ReceiveMessage","arguments":[{"message":"` + text + `","type":"messageResponse"}]}`
}

// event is a line of the recording.
type event struct {
	Scenario  string            `json:"scenario"`
	Direction string            `json:"direction"`
	At        int               `json:"at_ms"`
	Frame     *string           `json:"frame"`
	Binary    bool              `json:"binary"`
	Close     any               `json:"close"`
	Request   string            `json:"request"`
	Sent      map[string]string `json:"sent"`
	SentBody  string            `json:"sent_body"`
	Status    int               `json:"status"`
	Body      string            `json:"body"`
}

func readRecording(t *testing.T) (names []string, scenarios map[string][]event) {
	t.Helper()
	file, err := os.Open("../testdata/v1/hub-ai-chat.jsonl")
	require.NoError(t, err)
	defer func() { _ = file.Close() }()
	scenarios = map[string][]event{}
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e event
		require.NoError(t, json.Unmarshal(lines.Bytes(), &e))
		if _, known := scenarios[e.Scenario]; !known {
			names = append(names, e.Scenario)
		}
		scenarios[e.Scenario] = append(scenarios[e.Scenario], e)
	}
	require.NoError(t, lines.Err())
	return names, scenarios
}

func TestTheRecordedScenarios(t *testing.T) {
	t.Parallel()
	names, scenarios := readRecording(t)
	require.Len(t, names, 118)
	for name := range exceptions {
		require.Contains(t, scenarios, name)
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if e := exceptions[name]; e.skip {
				t.Skip(e.why)
			}
			synctest.Test(t, func(t *testing.T) { play(t, name, scenarios[name]) })
		})
	}
}

// play does what the client of the scenario did, at the times at which it did, and compares what the hub answers.
func play(t *testing.T, name string, events []event) {
	t.Helper()
	different := exceptions[name]
	b, _ := newBench(t, standIn(answersOf(events)))
	fresh := b.negotiate(t, "?negotiateVersion=1", webKey)
	ids := strings.NewReplacer("<key>", key, "<token>", fresh.ConnectionToken, "<id>", fresh.ConnectionID)
	if strings.Contains(name, "a version 0 answer") {
		ids = strings.NewReplacer("<key>", key, "<id>", b.negotiate(t, "", webKey).ConnectionID)
	}
	start := time.Now()
	var c *client
	var want []string
	for i, e := range events {
		time.Sleep(time.Until(start.Add(time.Duration(e.At) * time.Millisecond)))
		switch {
		case e.Direction == "http" && e.Request != "":
			status := e.Status
			if last := i == len(events)-1; last && different.status != 0 {
				status = different.status
			}
			opened := exchange(t, b, e, status, ids)
			if opened != nil && c == nil {
				c = opened
			}
		case e.Direction == "client->server" && e.Close != nil:
			require.EqualValues(t, websocket.CloseNormalClosure, e.Close)
			require.NoError(t, c.socket.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")))
		case e.Direction == "client->server":
			kind := websocket.TextMessage
			if e.Binary {
				kind = websocket.BinaryMessage
			}
			_ = c.socket.WriteMessage(kind, []byte(expand(*e.Frame))) // of what is too long the end may not get through
		case e.Close != nil:
			want = append(want, fmt.Sprintf("close %v", e.Close))
		case e.Frame != nil:
			want = append(want, records(*e.Frame)...)
		}
	}
	if c == nil {
		return
	}
	time.Sleep(1100 * time.Millisecond) // the hub looks at the time once a second
	got := c.take()
	if different.want != nil {
		time.Sleep(time.Minute)
		want, got = different.want, append(got, c.take()...)
	}
	want, wantPings := cutPings(want)
	got, gotPings := cutPings(got)
	if different.want == nil {
		assert.InDelta(t, wantPings, gotPings, 1, "v1's pings came 15 to 16 s apart, v2's come every 15 s")
	}
	compare(t, want, got)
}

func cutPings(all []string) (others []string, pings int) {
	others = slices.DeleteFunc(slices.Clone(all), func(record string) bool { return record == `{"type":6}` })
	return others, len(all) - len(others)
}

// records cuts a frame.
func records(frame string) []string {
	return strings.Split(strings.TrimSuffix(frame, rs), rs)
}

// exchange plays one request, or opens a websocket.
func exchange(t *testing.T, b *bench, e event, status int, ids *strings.Replacer) *client {
	t.Helper()
	method, path, _ := strings.Cut(ids.Replace(e.Request), " ")
	header := http.Header{}
	upgrade := false
	for name, value := range e.Sent {
		if name == "Connection" || name == "Upgrade" {
			upgrade = true
			continue
		}
		header.Set(name, ids.Replace(value))
	}
	if upgrade {
		c, got, body := b.connect(t, strings.TrimPrefix(path, "/ai-chat"), header)
		require.Equal(t, status, got, body)
		return c
	}
	answer := b.request(t, method, path, "", header, e.SentBody)
	require.Equal(t, status, answer.status, "%s: %s", e.Request, answer.body)
	switch {
	case status == http.StatusUnauthorized:
		assert.Empty(t, answer.body)
	case status != http.StatusOK && status != http.StatusNoContent:
		assert.Equal(t, "application/problem+json; charset=utf-8", answer.header.Get("Content-Type"))
	case e.Status == http.StatusOK: // the rest is access_token in the query
		assert.Equal(t, "application/json", answer.header.Get("Content-Type"))
		assert.Equal(t, withoutIDs(t, onlyWebSockets(e.Body)), withoutIDs(t, answer.body))
	}
	if header.Get("Origin") != "" {
		assert.Equal(t, "*", answer.header.Get("Access-Control-Allow-Origin"))
		assert.Empty(t, answer.header.Get("Access-Control-Allow-Credentials"))
	}
	return nil
}

// onlyWebSockets takes the other transports out of a recorded answer.
func onlyWebSockets(body string) string {
	return regexp.MustCompile(`,\{"transport":"(ServerSentEvents|LongPolling)"[^}]*\}`).ReplaceAllString(body, "")
}

func withoutIDs(t *testing.T, body string) map[string]any {
	t.Helper()
	var answer map[string]any
	require.NoError(t, json.Unmarshal([]byte(body), &answer))
	for _, name := range []string{"connectionId", "connectionToken"} {
		if _, there := answer[name]; there {
			answer[name] = "there"
		}
	}
	return answer
}

var repeated = regexp.MustCompile(`<(\d+) x>`)

// expand writes out <32697 x>.
func expand(frame string) string {
	return repeated.ReplaceAllStringFunc(frame, func(placeholder string) string {
		n, _ := strconv.Atoi(repeated.FindStringSubmatch(placeholder)[1])
		return strings.Repeat("x", n)
	})
}

func isStep(record string) bool { return strings.HasPrefix(record, `{"type":1,`) }

// compare holds what came to what was recorded. Of the steps of an answer v2 leaves some out: their last one before the
// answer's completion has to be the same, and where an answer was broken off, some have to be there if some were. A want of
// ReceiveMessage stands for any steps.
func compare(t *testing.T, want, got []string) {
	t.Helper()
	want, got = lastSteps(want), lastSteps(got)
	require.Len(t, got, len(want), "want %s", strings.Join(want, "\n"))
	for i := range want {
		switch {
		case strings.HasPrefix(want[i], "close"):
			assert.Equal(t, want[i], got[i])
		case want[i] == "ReceiveMessage", isStep(want[i]) && (i+1 == len(want) || !strings.Contains(want[i+1], `"result":null`)):
			assert.True(t, isStep(got[i]), got[i])
		case isStep(want[i]) && strings.Contains(want[i+1], `"invocationId":"1"`) && i > 0 && !strings.Contains(want[i-1], `"invocationId":"0"`):
			assert.True(t, isStep(got[i]), got[i]) // before the completion of a stop or a restart
		default:
			assert.JSONEq(t, want[i], got[i])
		}
	}
}

// lastSteps leaves the last one of steps that follow each other.
func lastSteps(all []string) (some []string) {
	for i, record := range all {
		if isStep(record) && i+1 < len(all) && isStep(all[i+1]) && !strings.Contains(all[i+1], "The model ") {
			continue
		}
		some = append(some, record)
	}
	return some
}

// answersOf collects the steps of each answer of a scenario.
func answersOf(events []event) (answers [][]planner.Step) {
	var steps []planner.Step
	done := func() {
		if len(steps) > 0 {
			answers = append(answers, steps)
			steps = nil
		}
	}
	for _, e := range events {
		if e.Direction == "client->server" && e.Frame != nil && strings.Contains(*e.Frame, `"target":"SendMessage"`) {
			done()
		}
		if e.Direction != "server->client" || e.Frame == nil {
			continue
		}
		for _, record := range records(*e.Frame) {
			if isStep(record) {
				steps = append(steps, fromWire(record))
			}
		}
	}
	done()
	return answers
}

// fromWire reads a recorded step.
func fromWire(record string) (s planner.Step) {
	var wire struct {
		Arguments []struct {
			Message string
			Plan    *struct {
				Name, Description string
				Sessions          []struct {
					Name, Notes string
					Exercises   []struct {
						Name, Notes             string
						Sets, RepsPerSet        int
						WeightIncreaseOnSuccess float64
						RestBetweenSets         struct{ MinRest, MaxRest, FailureRest string }
					}
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(record), &wire); err != nil {
		panic(err)
	}
	from := wire.Arguments[0]
	s.Message = from.Message
	if from.Plan == nil {
		return s
	}
	s.Plan = &planner.Plan{Name: from.Plan.Name, Description: from.Plan.Description}
	for _, f := range from.Plan.Sessions {
		session := planner.Session{Name: f.Name, Description: f.Notes}
		for _, e := range f.Exercises {
			session.Exercises = append(session.Exercises, planner.Exercise{
				Name: e.Name, Sets: e.Sets, RepsPerSet: e.RepsPerSet, WeightIncreaseOnSuccess: e.WeightIncreaseOnSuccess, Notes: e.Notes,
				Rest: planner.Rest{Min: clock(e.RestBetweenSets.MinRest), Max: clock(e.RestBetweenSets.MaxRest), Failure: clock(e.RestBetweenSets.FailureRest)},
			})
		}
		s.Plan.Sessions = append(s.Plan.Sessions, session)
	}
	return s
}

func clock(text string) time.Duration {
	var hours, minutes, seconds int
	_, _ = fmt.Sscanf(text, "%d:%d:%d", &hours, &minutes, &seconds)
	return time.Duration(hours)*time.Hour + time.Duration(minutes)*time.Minute + time.Duration(seconds)*time.Second
}

// standIn answers with the recorded steps, one answer for each message, at the recorded pace. The same words steer it that
// steered the model's stand-in when v1 was recorded.
func standIn(answers [][]planner.Step) func(context.Context, string, func(planner.Step) error) error {
	return func(ctx context.Context, message string, yield func(planner.Step) error) error {
		if strings.HasPrefix(message, "hang") {
			<-ctx.Done()
			return ctx.Err()
		}
		if message == "fail500" {
			return &apierr.Error{Kind: apierr.Unavailable, Detail: "The model is away."}
		}
		first, next := 30*time.Millisecond, 4*time.Millisecond
		if strings.Contains(message, "slow") {
			first, next = 1500*time.Millisecond, 125*time.Millisecond
		}
		if len(answers) == 0 {
			return errors.New("the recording has no answer for this")
		}
		steps := answers[0]
		if len(answers) > 1 {
			answers = answers[1:]
		}
		for i, step := range steps {
			pause := next
			if i == 0 {
				pause = first
			}
			select {
			case <-time.After(pause):
			case <-ctx.Done():
				return ctx.Err()
			}
			if err := yield(step); err != nil {
				return err
			}
		}
		if message == "a slow answer" { // which the recording breaks off
			<-ctx.Done()
			return ctx.Err()
		}
		if strings.HasPrefix(message, "cut") {
			return &apierr.Error{Kind: apierr.Upstream, Detail: "The model broke off."}
		}
		return nil
	}
}
