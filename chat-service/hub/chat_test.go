package hub_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/chat-service/hub"
	"github.com/liftlog/liftlog-api/chat-service/session"
	"github.com/liftlog/liftlog-api/shared/apierr"
	"github.com/liftlog/liftlog-api/shared/logging"
	"github.com/liftlog/liftlog-api/shared/planner"
	"github.com/liftlog/liftlog-api/shared/ratelimit"
)

func invoke(id, method string, arguments ...string) string {
	quoted := make([]string, len(arguments))
	for i, a := range arguments {
		quoted[i] = fmt.Sprintf("%q", a)
	}
	if id != "" {
		id = fmt.Sprintf(`"invocationId":%q,`, id)
	}
	return fmt.Sprintf(`{"type":1,%s"target":%q,"arguments":[%s]}`, id, method, strings.Join(quoted, ",")) + rs
}

func done(id string) string { return fmt.Sprintf(`{"type":3,"invocationId":%q,"result":null}`, id) }

func failed(id, method string) string {
	return fmt.Sprintf(`{"type":3,"invocationId":%q,"error":"An unexpected error occurred invoking '%s' on the server."}`, id, method)
}

const (
	leaving  = `{"type":7,"allowReconnect":true}`
	rejected = `{"type":7,"error":"Connection closed with an error.","allowReconnect":true}`
)

// echo answers each message at once with itself.
func echo(_ context.Context, said string, yield func(planner.Step) error) error {
	return yield(planner.Step{Message: said})
}

// begin says something and then nothing more until it is stopped.
func begin(ctx context.Context, said string, yield func(planner.Step) error) error {
	if err := yield(planner.Step{Message: said}); err != nil {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

func TestStopInProgressEndsTheAnswerAndLetsTheNextOneRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, _ := newBench(t, func(ctx context.Context, said string, yield func(planner.Step) error) error {
			if said == "second" {
				return echo(ctx, said, yield)
			}
			for i := range 1000 {
				if err := yield(planner.Step{Message: fmt.Sprintf("%s %d", said, i)}); err != nil {
					return err
				}
				time.Sleep(20 * time.Millisecond)
			}
			return nil
		})
		c := b.open(t, webKey)
		c.send(t, invoke("0", "SendMessage", "first")+invoke("1", "SendMessage", "second"))
		assert.Equal(t, []string{message("first 0")}, c.take())
		time.Sleep(30 * time.Millisecond)
		c.send(t, invoke("2", "StopInProgress"))
		assert.Equal(t, []string{message("first 1"), done("2"), done("0"), message("second"), done("1")}, c.takeSoon(),
			"what the model has said so far is shown")
	})
}

func TestAThirdCallIsRefusedWhileOneRunsAndOneWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, model := newBench(t, begin)
		c := b.open(t, webKey)
		c.send(t, invoke("0", "SendMessage", "a")+invoke("1", "Introduce", "en-AU")+invoke("2", "Introduce", "en-AU")+invoke("", "SendMessage", "b"))
		assert.Equal(t, []string{failed("2", "Introduce"), message("a")}, c.takeSoon())
		c.send(t, invoke("3", "StopInProgress"))
		assert.Equal(t, []string{done("3"), done("0"), message("en-AU")}, c.takeSoon())
		c.send(t, invoke("4", "StopInProgress"))
		assert.Equal(t, []string{done("4"), done("1"), message("b")}, c.takeSoon(), "without an id it cannot be refused, and waits")
		assert.Equal(t, []string{"new conversation", "send a", "introduce en-AU", "send b"}, model.heard())
	})
}

func TestCallsWithoutAnIDWaitInNumbersThatAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, _ := newBench(t, func(ctx context.Context, said string, yield func(planner.Step) error) error {
			time.Sleep(time.Second)
			return echo(ctx, said, yield)
		})
		c := b.open(t, webKey)
		var calls strings.Builder
		for i := range 10 {
			calls.WriteString(invoke("", "SendMessage", fmt.Sprint(i))) //nolint:perfsprint // a test
		}
		sent := make(chan error)
		go func() {
			sent <- c.socket.WriteMessage(websocket.TextMessage, []byte(calls.String()+invoke("stop", "StopInProgress")))
		}()
		time.Sleep(4500 * time.Millisecond)
		assert.Equal(t, []string{message("0"), message("1"), message("2"), message("3")}, c.take(), "the reader waits, as v1's does")
		time.Sleep(time.Second)
		assert.Equal(t, []string{message("4"), done("stop")}, c.take())
		require.NoError(t, <-sent)
		time.Sleep(6 * time.Second)
		assert.Equal(t, []string{message("6"), message("7"), message("8"), message("9")}, c.take())
		go func() { sent <- c.socket.WriteMessage(websocket.TextMessage, []byte(calls.String())) }()
		time.Sleep(10 * time.Millisecond)
		_ = c.socket.Close()
		require.Error(t, <-sent, "not all of it was read")
		time.Sleep(2 * time.Minute)
		assert.Zero(t, b.hub.Connections(), "and no longer than the client is there")
	})
}

func TestRestartChatBreaksTheAnswerOffAndItsCompletionWaitsForTheNextOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, model := newBench(t, begin)
		c := b.open(t, webKey)
		c.send(t, invoke("0", "SendMessage", "a")+invoke("1", "SendMessage", "waits"))
		assert.Equal(t, []string{message("a")}, c.take())
		c.send(t, invoke("2", "RestartChat")+invoke("3", "Introduce", "en-AU"))
		assert.Equal(t, []string{done("2"), message("en-AU")}, c.takeSoon())
		c.send(t, invoke("4", "StopInProgress"))
		assert.Equal(t, []string{done("4"), done("3"), done("0"), done("1")}, c.takeSoon(), "the app drops what comes after the completion")
		assert.Equal(t, []string{"new conversation", "send a", "new conversation", "introduce en-AU"}, model.heard())
		outcomes := []any{}
		for _, line := range b.log.lines(t, "answer") {
			outcomes = append(outcomes, line["outcome"])
		}
		assert.Equal(t, []any{"restarted", "stopped"}, outcomes)

		c.send(t, invoke("5", "SendMessage", "b"))
		assert.Equal(t, []string{message("b")}, c.takeSoon())
		c.send(t, invoke("", "RestartChat")+invoke("", "RestartChat")+invoke("6", "Introduce", "en-AU"))
		time.Sleep(1900 * time.Millisecond)
		assert.Equal(t, []string{message("en-AU")}, c.take()[1:], "what a second restart finds broken off waits no longer")
	})
}

func TestTheCompletionOfABrokenAnswerWaitsTwoSecondsAtMost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, _ := newBench(t, begin)
		c := b.open(t, webKey)
		for _, next := range []string{"", invoke("1", "Introduce", "en-AU")} {
			c.send(t, invoke("0", "SendMessage", "a"))
			assert.Equal(t, []string{message("a")}, c.takeSoon())
			c.send(t, invoke("", "RestartChat")+next)
			time.Sleep(1900 * time.Millisecond)
			assert.NotContains(t, c.take(), done("0"))
			time.Sleep(200 * time.Millisecond)
			assert.Equal(t, []string{done("0")}, c.take())
		}
	})
}

// conversations makes a new script for each conversation of /ai-chat, and gathers them.
func conversations(all *[]*script[planner.Step], answer func(context.Context, string, func(planner.Step) error) error) func(*hub.Options) {
	return func(o *hub.Options) {
		o.Endpoints[0].Protocol = session.AIChat(func() session.Conversation[planner.Step] {
			s := &script[planner.Step]{answer: answer}
			*all = append(*all, s)
			return s
		})
	}
}

func TestACallThatHasNotReachedTheModelAtRestartChatDoesNotEnterTheNewConversation(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var all []*script[planner.Step]
		b, _ := newBench(t, echo, conversations(&all, echo), func(o *hub.Options) {
			o.Take = func(context.Context, hub.Caller) (ratelimit.Settle, error) {
				time.Sleep(time.Second)
				return func(context.Context, ratelimit.Use) {}, nil
			}
		})
		c := b.open(t, webKey)
		c.send(t, invoke("0", "SendMessage", "a")+invoke("1", "RestartChat")+invoke("2", "SendMessage", "b"))
		time.Sleep(1500 * time.Millisecond)
		assert.Equal(t, []string{done("1"), message("b"), done("2"), done("0")}, c.take())
		c.send(t, invoke("3", "SendMessage", "c"))
		time.Sleep(1500 * time.Millisecond)
		assert.Equal(t, []string{message("c"), done("3")}, c.take())
		assert.Equal(t, []string{"send b", "send c"}, all[len(all)-1].heard())
	})
}

func TestAnswersAreSentAtMostTwentyTimesASecondAndTheLastStepAlways(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, _ := newBench(t, func(_ context.Context, _ string, yield func(planner.Step) error) error {
			for i := range 1000 {
				_ = yield(planner.Step{Message: fmt.Sprint(i)}) //nolint:perfsprint // a test
				time.Sleep(time.Millisecond)
			}
			_ = yield(planner.Step{Message: "pause"})
			time.Sleep(10 * time.Second)
			return yield(planner.Step{Message: "end"})
		})
		c := b.open(t, webKey)
		c.send(t, invoke("0", "SendMessage", "x"))
		time.Sleep(time.Second - time.Millisecond)
		assert.Len(t, c.take(), 20)
		time.Sleep(52 * time.Millisecond)
		assert.Contains(t, c.take(), message("pause"), "a step is not held back longer than the interval")
		time.Sleep(11 * time.Second)
		assert.Equal(t, []string{message("end"), done("0")}, c.take())
	})
}

func TestALongAnswerCosts64KiBASecondAndAShortOneIsQuick(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, _ := newBench(t, func(_ context.Context, said string, yield func(planner.Step) error) error {
			size, err := strconv.Atoi(said)
			if err != nil {
				return err
			}
			text := strings.Repeat("x", size)
			for range 1000 {
				_ = yield(planner.Step{Message: text})
				time.Sleep(10 * time.Millisecond)
			}
			return nil
		})
		for size, want := range map[int]int{100: 200, 3000: 200, 32 << 10: 21, 128 << 10: 6} {
			c := b.open(t, phone)
			c.send(t, invoke("0", "SendMessage", fmt.Sprint(size))) //nolint:perfsprint // a test
			time.Sleep(11 * time.Second)
			steps := c.take()
			assert.InDelta(t, want, len(steps)-1, 2, "steps of %d bytes in ten seconds, the last one included", size)
			assert.Equal(t, done("0"), steps[len(steps)-1])
		}
	})
}

func TestFailuresAreToldToThePersonBeforeTheCompletion(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		err   error
		take  error
		want  []string
		given int
	}{
		"the model is away": {
			err: &apierr.Error{Kind: apierr.Unavailable, Detail: "The model is away."}, given: 1,
			want: []string{message("begun"), message("The model is away."), failed("0", "SendMessage")},
		},
		"the model is away for longer": {
			err: &apierr.Error{Kind: apierr.Unavailable, Detail: "Away.", RetryAt: time.Date(2000, 1, 1, 0, 2, 0, 0, time.UTC)}, given: 1,
			want: []string{message("begun"), message("Away. Please come back in 2 minutes."), failed("0", "SendMessage")},
		},
		"the model says nothing of use": {
			err:  &apierr.Error{Kind: apierr.Upstream, Detail: "No plan came of it."},
			want: []string{message("begun"), message("No plan came of it."), failed("0", "SendMessage")},
		},
		"something unknown": {
			err:  errors.New("secret"),
			want: []string{message("begun"), message("Something went wrong here. Please try again."), failed("0", "SendMessage")},
		},
		"the limit": {
			take: &apierr.Error{Kind: apierr.Limited, Detail: "That was all for now.", RetryAt: time.Date(2000, 1, 1, 3, 0, 0, 0, time.UTC)},
			want: []string{message("That was all for now. Please come back in 3 hours."), done("0")},
		},
		"the limits' database is away": {
			take: &apierr.Error{Kind: apierr.Unavailable, Detail: "The service is busy."},
			want: []string{message("The service is busy."), failed("0", "SendMessage")},
		},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				given := 0
				b, _ := newBench(t, func(_ context.Context, _ string, yield func(planner.Step) error) error {
					_ = yield(planner.Step{Message: "begun"})
					return test.err
				}, func(o *hub.Options) {
					o.Take = func(context.Context, hub.Caller) (ratelimit.Settle, error) {
						return func(_ context.Context, use ratelimit.Use) {
							if !use.Answered {
								given++
							}
						}, test.take
					}
				})
				c := b.open(t, phone)
				c.send(t, invoke("0", "SendMessage", "x"))
				assert.Equal(t, test.want, c.take())
				assert.Equal(t, test.given, given)
			})
		})
	}
}

func TestAClientWhoLeavesEndsTheRequestToTheModel(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(t *testing.T, c *client){
		"by a Close record":     func(t *testing.T, c *client) { t.Helper(); c.send(t, `{"type":7}`+rs) },
		"by a closing frame":    func(_ *testing.T, c *client) { _ = c.socket.WriteMessage(websocket.CloseMessage, nil) },
		"by a lost connection":  func(_ *testing.T, c *client) { _ = c.socket.Close() },
		"by breaking the rules": func(t *testing.T, c *client) { t.Helper(); c.send(t, "x"+rs) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ended := false
				b, model := newBench(t, func(ctx context.Context, said string, yield func(planner.Step) error) error {
					defer func() { ended = true }()
					return begin(ctx, said, yield)
				})
				c := b.open(t, webKey)
				c.send(t, invoke("0", "SendMessage", "a")+invoke("1", "SendMessage", "waits"))
				require.Len(t, c.take(), 1)
				leave(t, c)
				synctest.Wait()
				assert.True(t, ended)
				assert.Equal(t, []string{"new conversation", "send a"}, model.heard())
				assert.Zero(t, b.hub.Connections())
			})
		})
	}
}

func TestRecordsMayBeCutAndJoinedInAnyWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, _ := newBench(t, echo)
		c, _, _ := b.connect(t, "", http.Header{"Authorization": {webKey}})
		for _, letter := range []byte(handshake + `{"type":6}` + rs + invoke("0", "SendMessage", "ä")) {
			require.NoError(t, c.socket.WriteMessage(websocket.BinaryMessage, []byte{letter}))
		}
		assert.Equal(t, []string{"{}", message("ä"), done("0")}, c.take())
		frames, err := c.socket.NextWriter(websocket.TextMessage)
		require.NoError(t, err)
		long := strings.Repeat("x", 32<<10-len(invoke("1", "SendMessage", "")))
		for range 3 { // what is longer than the writer's buffer goes out in frames
			_, err = frames.Write([]byte(invoke("1", "SendMessage", long)))
			require.NoError(t, err)
		}
		require.NoError(t, frames.Close())
		records := c.take()
		assert.Contains(t, records, message(long), "a message may be longer than a record")
	})
}

func TestAMessageOfAnEndlessRecordIsNotReadToItsEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, _ := newBench(t, echo)
		c := b.open(t, webKey)
		frames, err := c.socket.NextWriter(websocket.TextMessage)
		require.NoError(t, err)
		_, _ = frames.Write(make([]byte, 40<<10)) // the end of it may not get through
		assert.Equal(t, []string{rejected, "close 1000"}, c.take())
	})
}

func TestATextMessageHasToBeUTF8(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, _ := newBench(t, echo)
		const before, after = "{\"type\":1,\"invocationId\":\"0\",\"target\":\"SendMessage\",\"arguments\":[\"", "\"]}" + rs
		c := b.open(t, webKey)
		require.NoError(t, c.socket.WriteMessage(websocket.BinaryMessage, []byte(before+"a\xff\\ud83d"+after)))
		assert.Equal(t, []string{message("a\uFFFD\uFFFD"), done("0")}, c.take(), "no more than that, and a binary one not even that")
		inFrames := func(c *client, parts ...string) {
			t.Helper()
			frames, err := c.socket.NextWriter(websocket.TextMessage)
			require.NoError(t, err)
			for _, part := range parts { // what is longer than the writer's buffer goes out in frames
				_, err = frames.Write([]byte(part))
				require.NoError(t, err)
			}
			require.NoError(t, frames.Close())
		}
		long := strings.Repeat("x", 4100-len(before)) // so that a frame, or what is read at once, ends after it
		for cut := range 8 {
			inFrames(c, before+long[cut:]+"日", "本👋", after)
			assert.Equal(t, []string{message(long[cut:] + "日本👋"), done("0")}, escapeless(c.take()))
		}
		for _, parts := range [][]string{{before + "\xff" + after}, {before + long + "\xe6\x97", "x" + after}, {"\xe6\x97"}, {before + "\xed\xa0\x80" + after}} {
			c := b.open(t, webKey)
			inFrames(c, parts...)
			assert.Equal(t, []string{"close 1007"}, c.take())
		}
		ends := b.log.lines(t, "connection")
		assert.Equal(t, "not UTF-8", ends[0]["ended"])
	})
}

// escapeless returns the records with the escapes of one character undone.
func escapeless(records []string) []string {
	for i := range records {
		records[i] = strings.ReplaceAll(records[i], `\uD83D\uDC4B`, "👋")
	}
	return records
}

func TestNamesIgnoreTheCaseOfASCIIOnlyAndErrorsSpellThemAsTheServerDoes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, _ := newBench(t, echo)
		c := b.open(t, webKey)
		for call, want := range map[string]string{
			`"target":"","arguments":[]`:                              "Failed to invoke '' due to an error on the server. HubException: Method does not exist.",
			`"target":"ſendMessage","arguments":["x"]`:                "Failed to invoke 'ſendMessage' due to an error on the server. HubException: Method does not exist.",
			`"target":"nosuchMETHOD","arguments":[]`:                  "Failed to invoke 'nosuchMETHOD' due to an error on the server. HubException: Method does not exist.",
			`"target":"sendMESSAGE","arguments":[]`:                   "Failed to invoke 'SendMessage' due to an error on the server.",
			`"target":"sendMESSAGE","arguments":[null]`:               "An unexpected error occurred invoking 'SendMessage' on the server.",
			`"target":"RESTARTCHAT","arguments":[],"streamIds":["a"]`: "An unexpected error occurred invoking 'RestartChat' on the server. HubException: Client sent 1 stream(s), Hub method expects 0.",
		} {
			c.send(t, `{"type":1,"invocationId":"0",`+call+"}"+rs)
			assert.Equal(t, []string{`{"type":3,"invocationId":"0","error":"` + want + `"}`}, c.take())
		}
		c.send(t, `{"type":4,"invocationId":"0","target":"introduce","arguments":["en-AU"]}`+rs)
		assert.Equal(t, []string{`{"type":3,"invocationId":"0","error":"The client attempted to invoke the non-streaming 'Introduce' method with a streaming invocation."}`}, c.take())
	})
}

func TestASlowClientIsDroppedAndHindersNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, _ := newBench(t, echo)
		conn, err := b.dial(t.Context(), "", "")
		require.NoError(t, err)
		dialer := websocket.Dialer{NetDialContext: func(context.Context, string, string) (c net.Conn, err error) { return conn, nil }}
		slow, _, err := dialer.DialContext(t.Context(), "ws://hub"+path, http.Header{"Authorization": {webKey}}) //nolint:bodyclose // it is a websocket's
		require.NoError(t, err)
		defer func() { _ = slow.Close() }()
		require.NoError(t, slow.WriteMessage(websocket.TextMessage, []byte(handshake)))
		c := b.open(t, webKey)
		time.Sleep(9 * time.Second)
		assert.Equal(t, 2, b.hub.Connections())
		c.send(t, invoke("0", "SendMessage", "x"))
		assert.Equal(t, []string{message("x"), done("0")}, c.take())
		time.Sleep(2 * time.Second)
		assert.Equal(t, 1, b.hub.Connections())
		assert.Equal(t, "slow client", b.log.lines(t, "connection")[0]["ended"])
	})
}

func TestAClientWhoTakesNoAnswersIsNotReadForEver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, _ := newBench(t, echo)
		dialer := websocket.Dialer{NetDialContext: b.dial}
		c, _, err := dialer.DialContext(t.Context(), "ws://hub"+path, http.Header{"Authorization": {webKey}}) //nolint:bodyclose // it is a websocket's
		require.NoError(t, err)
		defer func() { _ = c.Close() }()
		sent := 0
		for text := []byte(handshake); ; text = []byte(invoke("0", strings.Repeat("x", 10<<10))) {
			if err := c.WriteMessage(websocket.TextMessage, text); err != nil {
				break
			}
			sent += len(text)
		}
		assert.Less(t, sent, 200<<10)
	})
}

func TestAPanicEndsItsConnectionOnly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, _ := newBench(t, func(ctx context.Context, said string, yield func(planner.Step) error) error {
			if said == "panic" {
				panic("a bug")
			}
			return echo(ctx, said, yield)
		})
		first, second := b.open(t, webKey), b.open(t, webKey)
		first.send(t, invoke("0", "SendMessage", "panic"))
		assert.Equal(t, []string{rejected, "close 1000"}, first.take())
		second.send(t, invoke("0", "SendMessage", "x"))
		assert.Equal(t, []string{message("x"), done("0")}, second.take())
		assert.Contains(t, b.log.String(), `panic: string\n\ngoroutine `)
		assert.Equal(t, 1, b.hub.Connections())
	})
}

func TestPingsComeEveryFifteenSecondsWhateverElseIsSent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, _ := newBench(t, begin)
		c := b.open(t, webKey)
		c.send(t, invoke("0", "SendMessage", "x"))
		require.Len(t, c.take(), 1)
		for range 8 {
			time.Sleep(13500 * time.Millisecond)
			assert.Empty(t, c.take())
			time.Sleep(1500 * time.Millisecond)
			assert.Equal(t, []string{`{"type":6}`}, c.take())
		}
	})
}

func TestAConnectionEndsInAQuietMomentWithinTheHour(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, _ := newBench(t, func(ctx context.Context, said string, yield func(planner.Step) error) error {
			for ctx.Err() == nil { // answers longer than any
				time.Sleep(time.Minute)
			}
			return echo(context.WithoutCancel(ctx), said, yield)
		})
		idle, busy := b.open(t, webKey), b.open(t, webKey)
		age := 0
		for ; age < 58; age++ {
			if age%4 == 0 {
				busy.send(t, invoke("", "SendMessage", "x"))
			}
			time.Sleep(time.Minute)
			if b.hub.Connections() == 1 && len(b.log.lines(t, "connection")) == 1 {
				break
			}
		}
		assert.GreaterOrEqual(t, age, 50)
		assert.LessOrEqual(t, age, 55)
		ends := idle.take()
		assert.Equal(t, []string{leaving, "close 1000"}, ends[len(ends)-2:])
		time.Sleep(time.Duration(58-age)*time.Minute + 10*time.Second)
		ends = busy.take()
		assert.Contains(t, ends[len(ends)-3], "this answer was cut off")
		assert.Equal(t, []string{leaving, "close 1000"}, ends[len(ends)-2:])
		assert.Zero(t, b.hub.Connections())
	})
}

func TestDrainEndsQuietConnectionsAtOnceAndWaitsForAnswers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, _ := newBench(t, func(ctx context.Context, said string, yield func(planner.Step) error) error {
			if said == "long" {
				return begin(ctx, said, yield)
			}
			time.Sleep(3 * time.Second)
			return echo(ctx, said, yield)
		})
		quiet, short, long := b.open(t, webKey), b.open(t, webKey), b.open(t, webKey)
		_, status, _ := b.connect(t, "", http.Header{"Authorization": {webKey}}) // without a handshake
		require.Equal(t, http.StatusSwitchingProtocols, status)
		short.send(t, invoke("0", "SendMessage", "short"))
		long.send(t, invoke("0", "SendMessage", "long"))
		require.Equal(t, []string{message("long")}, long.take())
		drained := time.Duration(0)
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
		defer cancel()
		go func() {
			b.hub.Drain(ctx)
			drained = time.Since(start)
		}()
		assert.Equal(t, []string{leaving, "close 1000"}, quiet.take())
		refused := b.request(t, "POST", path+"/negotiate?negotiateVersion=1", webKey, nil, "")
		assert.Equal(t, http.StatusServiceUnavailable, refused.status)
		assert.NotEmpty(t, refused.header.Get("Retry-After"))
		_, status, _ = b.connect(t, "", http.Header{"Authorization": {webKey}})
		assert.Equal(t, http.StatusServiceUnavailable, status)
		time.Sleep(8 * time.Second)
		assert.Equal(t, []string{message("short"), done("0"), leaving, "close 1000"}, short.take())
		assert.Equal(t, []string{
			message("The service is being restarted, and this answer was cut off. Please send your message again."), failed("0", "SendMessage"),
			leaving, "close 1000",
		}, long.take())
		assert.LessOrEqual(t, drained, 7*time.Second)
		assert.NotZero(t, drained)
	})
}

func TestConnectionsAreBoundedInAllAndForEachBuyer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, _ := newBench(t, echo, func(o *hub.Options) { o.MaxConnections = 12 })
		var clients []*client
		for range 10 {
			clients = append(clients, b.open(t, phone))
		}
		token := http.Header{"Authorization": {phone}}
		_, status, body := b.connect(t, "", token)
		assert.Equal(t, http.StatusTooManyRequests, status, body)
		assert.Equal(t, http.StatusTooManyRequests, b.request(t, "POST", path+"/negotiate", phone, nil, "").status)
		_ = b.open(t, webKey)
		_ = b.open(t, webKey)
		_, status, body = b.connect(t, "", http.Header{"Authorization": {webKey}})
		assert.Equal(t, http.StatusServiceUnavailable, status)
		assert.JSONEq(t, `{"title":"Service Unavailable","status":503,"detail":"The chat is full."}`, body)
		full := b.request(t, "POST", path+"/negotiate", webKey, nil, "")
		assert.Equal(t, http.StatusServiceUnavailable, full.status)
		assert.NotEmpty(t, full.header.Get("Retry-After"))
		_ = clients[0].socket.Close()
		synctest.Wait()
		_ = b.open(t, phone)
	})
}

func TestRequestsThatNoClientSends(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, _ := newBench(t, echo)
		live := b.negotiate(t, "", webKey).ConnectionID
		_, status, _ := b.connect(t, "?ID="+live, http.Header{"Authorization": {webKey}})
		require.Equal(t, http.StatusSwitchingProtocols, status)
		for _, test := range []struct {
			method, path string
			status       int
		}{
			{"GET", "/ai-chat", http.StatusBadRequest},
			{"GET", "/ai-chat?id=", http.StatusNotFound},
			{"GET", "/ai-chat?id", http.StatusNotFound},
			{"GET", "/ai-chat?id=%zz", http.StatusNotFound},
			{"GET", "/ai-chat?id=%00%ff", http.StatusNotFound},
			{"GET", "/ai-chat?id=" + live + "&Id=" + live, http.StatusNotFound},
			{"GET", "/ai-chat?id=" + strings.Repeat("A", 80), http.StatusNotFound},
			{"POST", "/ai-chat?id=" + strings.Repeat("A", 10_000), http.StatusNotFound},
			{"POST", "/ai-chat?iD=" + live, http.StatusMethodNotAllowed},
			{"DELETE", "/ai-chat?id=" + live, http.StatusBadRequest},
			{"GET", "/ai-chat?id=" + live, http.StatusBadRequest},
			{"PATCH", "/ai-chat", http.StatusMethodNotAllowed},
			{"HEAD", "/ai-chat", http.StatusMethodNotAllowed},
			{"HEAD", "/ai-chat?id=" + live, http.StatusMethodNotAllowed},
			{"HEAD", "/ai-chat/negotiate", http.StatusMethodNotAllowed},
			{"PROPFIND", "/ai-chat/negotiate", http.StatusMethodNotAllowed},
			{"POST", "/ai-chat/negotiate?negotiateVersion=1&%", http.StatusOK},
		} {
			answer := b.request(t, test.method, test.path, webKey, nil, strings.Repeat("x", 1000))
			assert.Equal(t, test.status, answer.status, "%s %s", test.method, test.path)
			if test.status != http.StatusOK {
				assert.Equal(t, "application/problem+json; charset=utf-8", answer.header.Get("Content-Type"))
			}
			if test.status == http.StatusMethodNotAllowed && test.path == "/ai-chat" {
				assert.Equal(t, "GET, POST, DELETE", answer.header.Get("Allow"))
			}
			refused := b.request(t, test.method, test.path, "Web wrong", nil, "")
			assert.Equal(t, http.StatusUnauthorized, refused.status, "%s %s", test.method, test.path)
			assert.Empty(t, refused.body, "the client would show it")
		}
		for _, query := range []string{"?id=", "?ID", "?id=%zz", "?id=%", "?id=a&id=b", "?id=" + live + "x", "?%69d=;"} {
			_, status, _ := b.connect(t, query, http.Header{"Authorization": {webKey}})
			assert.Equal(t, http.StatusNotFound, status, "never a fresh connection: %s", query)
		}
		twice := b.request(t, "POST", "/ai-chat/negotiate?negotiateVersion=1&NEGOTIATEVERSION=1", webKey, nil, "")
		assert.JSONEq(t, `{"error":"The client requested a non-integer protocol version."}`, twice.body)
		assert.Equal(t, 1, b.hub.Connections())
	})
}

func TestPathsAreMatchedAsASPNETCoreDoes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, _ := newBench(t, echo)
		foreign := b.request(t, "POST", "/elsewhere", webKey, nil, "").status
		for target, want := range map[string]int{
			"/ai-chat/negotiate": http.StatusOK, "/AI-Chat/NEGOTIATE": http.StatusOK, "/ai-chat/negotiate/": http.StatusOK,
			"/v2/ai-chat/negotiate": http.StatusOK, "/V2/AI-CHAT/negotiate/": http.StatusOK,
			"/ai-chat-v2/negotiate": http.StatusOK, "/V2/Ai-Chat-V2/negotiate/": http.StatusOK, "/v2/ai-chat-v2": http.StatusBadRequest,
			"/ai-chat": http.StatusBadRequest, "/ai-chat/": http.StatusBadRequest, "/v2/ai-chat": http.StatusBadRequest, "/V2/aI-cHAT/": http.StatusBadRequest,
			"/ai-chat//": foreign, "//ai-chat": foreign, "/ai-chat/negotiate/x": foreign, "/ai-chat-foo": foreign, "/v2/v2/ai-chat": foreign, "/v2ai-chat": foreign,
			"/negotiate": foreign, "/ai-chat%2Fnegotiate": foreign, "//ai-chat/../ai-chat/negotiate": foreign, "/ai-chat/./negotiate": foreign,
		} {
			answer := b.request(t, "POST", target, webKey, nil, "")
			assert.Equal(t, want, answer.status, target)
		}
		for _, target := range []string{"/ai-chat/", "/V2/AI-CHAT"} {
			c, status, body := b.connectAt(t, target, http.Header{"Authorization": {webKey}})
			require.Equal(t, http.StatusSwitchingProtocols, status, body)
			c.send(t, handshake+invoke("0", "SendMessage", "x"))
			assert.Equal(t, []string{"{}", message("x"), done("0")}, c.take())
		}
	})
}

func TestPlacesAreGivenBackWhenAnUpgradeFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, _ := newBench(t, echo)
		header := http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}}
		refused := b.request(t, "GET", path, webKey, header, "")
		assert.Equal(t, http.StatusBadRequest, refused.status)
		assert.Equal(t, "13", refused.header.Get("Sec-Websocket-Version"))
		assert.Contains(t, refused.body, "The request is not a proper one for a websocket.")
		header["Sec-WebSocket-Version"], header["Sec-WebSocket-Key"] = []string{"13"}, []string{"AAAAAAAAAAAAAAAAAAAAAA=="}
		refused = b.request(t, "GET", path, webKey, header, "a body")
		assert.Equal(t, http.StatusBadRequest, refused.status)
		assert.Contains(t, refused.body, "A request for a websocket has no body.")
		assert.Zero(t, b.hub.Connections())
	})
}

func TestWhoSendsBeforeTheAnswerIsRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, _ := newBench(t, echo)
		conn, err := b.dial(t.Context(), "", "")
		require.NoError(t, err)
		_, err = io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: hub\r\nAuthorization: "+webKey+"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\nearly")
		require.NoError(t, err)
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err)
		_ = answer.Body.Close()
		assert.Equal(t, http.StatusBadRequest, answer.StatusCode)
		_, err = conn.Read(make([]byte, 1))
		require.ErrorIs(t, err, io.EOF)
		synctest.Wait()
		assert.Zero(t, b.hub.Connections())
		assert.Contains(t, b.log.String(), `"status":400`)
		assert.NotContains(t, b.log.String(), `"status":101`)
	})
}

func TestTokensOfConnections(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, _ := newBench(t, echo)
		another, _ := newBench(t, echo)
		status := func(b *bench, token, authorization string) int {
			_, status, _ := b.connect(t, "?id="+token, http.Header{"Authorization": {authorization}})
			return status
		}
		token := b.negotiate(t, "?negotiateVersion=1", phone).ConnectionToken
		assert.Equal(t, http.StatusNotFound, status(b, token, webKey), "it is another's")
		assert.Equal(t, http.StatusUnauthorized, status(b, token, "RevenueCat"))
		assert.Equal(t, http.StatusServiceUnavailable, status(b, token, "RevenueCat away"))
		assert.Equal(t, http.StatusSwitchingProtocols, status(another, token, phone), "any instance takes it")
		assert.Equal(t, http.StatusSwitchingProtocols, status(b, token, "Bearer "+phone))
		assert.Equal(t, http.StatusConflict, status(b, token, phone))
		time.Sleep(20 * time.Second)
		assert.Equal(t, http.StatusConflict, status(b, token, phone), "the connection outlives its token")
		late := b.negotiate(t, "", phone).ConnectionID
		time.Sleep(15 * time.Second)
		assert.Equal(t, http.StatusNotFound, status(b, late, phone))
	})
}

func TestABrowserMayPutItsTokenIntoTheQuery(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, _ := newBench(t, echo)
		browser := http.Header{"Origin": {"https://app.example"}, "Accept-Encoding": {"gzip, deflate, br"}}
		c, status, body := b.connect(t, "?access_token=Web%20"+key, browser)
		require.Equal(t, http.StatusSwitchingProtocols, status, body)
		c.send(t, handshake+invoke("0", "SendMessage", "x"))
		assert.Equal(t, []string{"{}", message("x"), done("0")}, c.take())
		assert.NotContains(t, b.log.String(), key)
		assert.NotContains(t, b.log.String(), "access_token")
		assert.NotContains(t, b.log.String(), "hijacked")
	})
}

func TestTheLogHoldsNumbersAndNoWords(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, _ := newBench(t, func(ctx context.Context, said string, yield func(planner.Step) error) error {
			logging.AddModelUse(ctx, 100, 20, 3)
			time.Sleep(2 * time.Second)
			return echo(ctx, said, yield)
		})
		c := b.open(t, "RevenueCat mysecret")
		c.send(t, invoke("0", "SENDmessage", "my words")+invoke("1", "my words"))
		time.Sleep(3 * time.Second)
		c.send(t, `{"type":7}`+rs)
		assert.Equal(t, "close 1000", c.take()[4])
		answers, connections := b.log.lines(t, "answer"), b.log.lines(t, "connection")
		require.Len(t, answers, 1)
		require.Len(t, connections, 1)
		for _, line := range []map[string]any{answers[0], connections[0]} {
			assert.NotEmpty(t, line["requestId"])
			delete(line, "requestId")
			delete(line, "time")
		}
		assert.Equal(t, map[string]any{
			"level": "INFO", "msg": "answer", "method": "SendMessage", "outcome": "answered", "durationMs": 2000., "steps": 1., "sent": 1.,
			"model": map[string]any{"calls": 1., "tokensIn": 100., "tokensOut": 20., "tokensCached": 3.},
		}, answers[0])
		sent := len(handshake) + len(invoke("0", "SENDmessage", "my words")) + len(invoke("1", "my words")) + len(`{"type":7}`+rs)
		received := 0
		for _, record := range []string{
			"{}", message("my words"), done("0"), `{"type":7}`,
			`{"type":3,"invocationId":"1","error":"Failed to invoke 'my words' due to an error on the server. HubException: Method does not exist."}`,
		} {
			received += len(record + rs)
		}
		assert.Equal(t, map[string]any{
			"level": "INFO", "msg": "connection", "ended": "closed by client", "durationMs": 3000., "calls": 2., "records": 4.,
			"bytesIn": float64(sent), "bytesOut": float64(received),
		}, connections[0])
		assert.NotContains(t, b.log.String(), "my words")
		assert.NotContains(t, b.log.String(), "mysecret")
	})
}
