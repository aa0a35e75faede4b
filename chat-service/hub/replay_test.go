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

	"github.com/go-json-experiment/json/jsontext"
	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/chat-service/hub"
	"github.com/liftlog/liftlog-api/chat-service/session"
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
	says     = "says: " // before a text that is sent in the form of the hub
	noMethod = `{"type":3,"invocationId":"%d","error":"Failed to invoke 'NoSuchMethod' due to an error on the server. HubException: Method does not exist."}`
)

// exceptions are those of both hubs.
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
			"{}", says + "The model is away.", `{"type":3,"invocationId":"0","error":"An unexpected error occurred invoking 'SendMessage' on the server."}`,
			`ReceiveMessage`, `{"type":3,"invocationId":"1","result":null}`,
		},
	},
	"the stream of the model breaks off": {
		why: inPlace,
		want: []string{
			"{}", `ReceiveMessage`, says + "The model broke off.",
			`{"type":3,"invocationId":"0","error":"An unexpected error occurred invoking 'SendMessage' on the server."}`,
			`ReceiveMessage`, `{"type":3,"invocationId":"1","result":null}`,
		},
	},
	"the stream of the model breaks off in a plan": {
		why: inPlace,
		want: []string{
			"{}", `ReceiveMessage`, says + "The model broke off.",
			`{"type":3,"invocationId":"0","error":"An unexpected error occurred invoking 'SendMessage' on the server."}`,
		},
	},
	"RestartChat while an answer streams": {
		why: "RestartChat breaks the answer off, whose completion waits for the next one's, since the app drops what comes after it",
		want: []string{
			"{}", `ReceiveMessage`, `{"type":3,"invocationId":"1","result":null}`,
			`ReceiveMessage`, `{"type":3,"invocationId":"2","result":null}`, `{"type":3,"invocationId":"0","result":null}`,
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

// exceptionsV2 are those of /ai-chat-v2 alone.
var exceptionsV2 = map[string]exception{
	"SendMessage, null": {
		why:  "nothing was said, as in /ai-chat: v1 asks its model with a message that is none",
		want: []string{"{}", failed("0", "SendMessage"), `ReceiveMessage`, `{"type":3,"invocationId":"1","result":null}`},
	},
	"SendMessage, a plan cut short by the limit of tokens": {
		why:  "a plan that is not whole is none, and the person is told so",
		want: []string{"{}", `ReceiveMessage`, says + "The model broke off.", failed("0", "SendMessage")},
	},
	"SendMessage, a plan cut between the halves of an escaped pair": {
		why: "how the model's text is cut means nothing",
		want: []string{
			"{}", `ReceiveMessage`, `{"type":3,"invocationId":"0","result":null}`, `ReceiveMessage`, `{"type":3,"invocationId":"1","result":null}`,
		},
	},
}

// recordings are those of both hubs.
var recordings = []struct {
	path      string
	scenarios int
	different []map[string]exception // from what was recorded
	// protocol is that of the path, with a model that answers as recorded.
	protocol func(events []event) session.Protocol
	message  func(text string) string
}{
	{path, 118, []map[string]exception{exceptions}, func(events []event) session.Protocol {
		return session.AIChat((&script[planner.Step]{answer: standIn(answersOf(events, fromWire))}).begin)
	}, message},
	{pathV2, 129, []map[string]exception{exceptions, exceptionsV2}, func(events []event) session.Protocol {
		return session.AIChatV2(3, (&script[planner.BlueprintStep]{answer: standIn(answersOf(events, fromWireV2))}).begin)
	}, messageV2},
}

func messageV2(text string) string {
	return `{"type":1,"target":"ReceiveMessage","arguments":[{"type":"messageResponse","message":"` + text + `"}]}`
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

func readRecording(t *testing.T, path string) (names []string, scenarios map[string][]event) {
	t.Helper()
	file, err := os.Open("../testdata/v1/hub-" + strings.TrimPrefix(path, "/") + ".jsonl")
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
	for _, r := range recordings {
		names, scenarios := readRecording(t, r.path)
		require.Len(t, names, r.scenarios)
		different := map[string]exception{}
		for _, some := range r.different {
			for name, e := range some {
				require.Contains(t, scenarios, name)
				different[name] = e
			}
		}
		for _, name := range names {
			t.Run(r.path+" "+name, func(t *testing.T) {
				t.Parallel()
				e := different[name]
				if e.skip {
					t.Skip(e.why)
				}
				synctest.Test(t, func(t *testing.T) {
					b, _ := newBench(t, nil, func(o *hub.Options) {
						o.Endpoints = []hub.Endpoint{{Path: r.path, Protocol: r.protocol(scenarios[name])}}
					})
					var want []string
					for _, record := range e.want {
						if text, ok := strings.CutPrefix(record, says); ok {
							record = r.message(text)
						}
						want = append(want, record)
					}
					e.want = want
					play(t, b, r.path, name, scenarios[name], e)
				})
			})
		}
	}
}

// play does what the client of the scenario did, at the times at which it did, and compares what the hub answers.
func play(t *testing.T, b *bench, path, name string, events []event, different exception) {
	t.Helper()
	fresh := b.negotiateAt(t, path, "?negotiateVersion=1", webKey)
	ids := strings.NewReplacer("<key>", key, "<token>", fresh.ConnectionToken, "<id>", fresh.ConnectionID)
	if strings.Contains(name, "a version 0 answer") {
		ids = strings.NewReplacer("<key>", key, "<id>", b.negotiateAt(t, path, "", webKey).ConnectionID)
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
	method, target, _ := strings.Cut(ids.Replace(e.Request), " ")
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
		c, got, body := b.connectAt(t, target, header)
		require.Equal(t, status, got, body)
		return c
	}
	answer := b.request(t, method, target, "", header, e.SentBody)
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

// compare checks what came against what was recorded. Of the steps of an answer v2 leaves some out: their last one before the
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

// lastSteps keeps only the last one of steps that follow each other.
func lastSteps(all []string) (some []string) {
	for i, record := range all {
		if isStep(record) && i+1 < len(all) && isStep(all[i+1]) && !strings.Contains(all[i+1], "The model ") {
			continue
		}
		some = append(some, record)
	}
	return some
}

// timed is a step with how long it took to come.
type timed[S any] struct {
	step S
	took time.Duration
}

// answersOf collects the steps of each answer of a scenario.
func answersOf[S any](events []event, read func(record string) S) (answers [][]timed[S]) {
	var steps []timed[S]
	last := 0
	done := func() {
		if len(steps) > 0 {
			answers = append(answers, steps)
			steps = nil
		}
	}
	for _, e := range events {
		if e.Direction == "client->server" && e.Frame != nil &&
			(strings.Contains(*e.Frame, `"target":"SendMessage"`) || strings.Contains(*e.Frame, `"target":"Introduce"`)) {
			done()
			last = e.At
		}
		if e.Direction != "server->client" || e.Frame == nil {
			continue
		}
		for _, record := range records(*e.Frame) {
			if isStep(record) {
				steps = append(steps, timed[S]{read(record), time.Duration(e.At-last) * time.Millisecond})
				last = e.At
			}
		}
	}
	done()
	return answers
}

// fromWireV2 reads a recorded step of /ai-chat-v2.
func fromWireV2(record string) (s planner.BlueprintStep) {
	var wire struct {
		Arguments []struct {
			Type, Message, Name, Description string
			Blueprint                        json.RawMessage
			Version                          int
		}
	}
	if err := json.Unmarshal([]byte(record), &wire); err != nil {
		panic(err)
	}
	from := wire.Arguments[0]
	s.Message = from.Message
	if from.Type != "chatPlan" {
		return s
	}
	s.Plan = &planner.BlueprintPlan{Name: from.Name, Description: from.Description, Version: from.Version}
	if string(from.Blueprint) != "null" {
		s.Plan.Blueprint = jsontext.Value(from.Blueprint)
	}
	return s
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
func standIn[S any](answers [][]timed[S]) func(context.Context, string, func(S) error) error {
	return func(ctx context.Context, message string, yield func(S) error) error {
		if strings.HasPrefix(message, "hang") {
			<-ctx.Done()
			return ctx.Err()
		}
		if message == "fail500" {
			return &apierr.Error{Kind: apierr.Unavailable, Detail: "The model is away."}
		}
		if len(answers) == 0 {
			return errors.New("the recording has no answer for this")
		}
		steps := answers[0]
		if len(answers) > 1 {
			answers = answers[1:]
		}
		for _, step := range steps {
			select {
			case <-time.After(step.took):
			case <-ctx.Done():
				return ctx.Err()
			}
			if err := yield(step.step); err != nil {
				return err
			}
		}
		if strings.Contains(message, "slow") { // of which the recording leaves most out
			select {
			case <-time.After(20 * time.Second):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if strings.HasPrefix(message, "cut") || strings.HasPrefix(message, "truncate") {
			return &apierr.Error{Kind: apierr.Upstream, Detail: "The model broke off."}
		}
		return nil
	}
}
