package hub_test

import (
	"context"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/shared/planner"
)

func TestALostConnectionDoesNotCostTheConversation(t *testing.T) {
	t.Parallel()
	lose := func(_ *testing.T, c *client) { _ = c.socket.Close() }
	closing := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
	for name, test := range map[string]struct {
		leave    func(t *testing.T, c *client)
		as, back string   // who they are, and who comes back; a buyer unless it is said
		at       string   // the hub to which they come back
		first    string   // what is called first then
		want     []string // what was said in the conversation that goes on
	}{
		"lost":                        {leave: lose, want: []string{"introduce en-AU", "send a", "send b"}},
		"lost for nearly ten minutes": {leave: func(t *testing.T, c *client) { t.Helper(); lose(t, c); time.Sleep(599 * time.Second) }, want: []string{"introduce en-AU", "send a", "send b"}},
		"lost for ten minutes":        {leave: func(t *testing.T, c *client) { t.Helper(); lose(t, c); time.Sleep(600 * time.Second) }, want: []string{"send b"}},
		"lost with an answer under way": {leave: func(t *testing.T, c *client) {
			t.Helper()
			c.send(t, invoke("", "SendMessage", "hang"))
			c.take()
			lose(t, c)
		}, want: []string{"introduce en-AU", "send a", "send hang", "send b"}},
		"silent for two minutes": {
			leave: func(t *testing.T, c *client) { t.Helper(); c.send(t, `{"type":6}`+rs); time.Sleep(130 * time.Second) },
			want:  []string{"introduce en-AU", "send a", "send b"},
		},
		"closed after a long silence": {
			leave: func(t *testing.T, c *client) {
				t.Helper()
				c.send(t, `{"type":6}`+rs)
				time.Sleep(31 * time.Second)
				require.NoError(t, c.socket.WriteMessage(websocket.CloseMessage, closing))
			},
			want: []string{"introduce en-AU", "send a", "send b"},
		},
		"retired":            {leave: func(*testing.T, *client) { time.Sleep(56 * time.Minute) }, want: []string{"introduce en-AU", "send a", "send b"}},
		"closed by a record": {leave: func(t *testing.T, c *client) { t.Helper(); c.send(t, `{"type":7}`+rs) }, want: []string{"send b"}},
		"closed by a frame": {leave: func(t *testing.T, c *client) {
			t.Helper()
			require.NoError(t, c.socket.WriteMessage(websocket.CloseMessage, closing))
		}, want: []string{"send b"}},
		"ended for a bad record": {leave: func(t *testing.T, c *client) { t.Helper(); c.send(t, "x"+rs) }, want: []string{"send b"}},
		"restarted before":       {leave: func(t *testing.T, c *client) { t.Helper(); c.send(t, invoke("", "RestartChat")); c.take(); lose(t, c) }, want: []string{"send b"}},
		"restarted after":        {leave: lose, first: invoke("", "RestartChat"), want: []string{"send b"}},
		"introduced after":       {leave: lose, first: invoke("", "Introduce", "de-DE"), want: []string{"introduce de-DE", "send b"}},
		"a key that many share":  {leave: lose, as: webKey, back: webKey, want: []string{"send b"}},
		"another buyer":          {leave: lose, back: "RevenueCat else", want: []string{"send b"}},
		"another hub":            {leave: lose, at: pathV2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var all []*script[planner.Step]
				answer := func(ctx context.Context, said string, yield func(planner.Step) error) error {
					if said == "hang" {
						return begin(ctx, said, yield)
					}
					return echo(ctx, said, yield)
				}
				b, _ := newBench(t, answer, conversations(&all, answer))
				c := b.open(t, or(test.as, phone))
				c.send(t, invoke("0", "Introduce", "en-AU")+invoke("1", "SendMessage", "a"))
				require.Len(t, c.takeSoon(), 4)
				test.leave(t, c)
				synctest.Wait()
				again := b.openAt(t, or(test.at, path), or(test.back, phone))
				if test.first != "" {
					again.send(t, test.first)
					again.takeSoon()
				}
				if test.at != "" {
					again.send(t, `{"type":1,"invocationId":"0","target":"SendMessage","arguments":["b",3]}`+rs)
					assert.Equal(t, []string{messageV2("b"), done("0")}, again.takeSoon())
					assert.Len(t, all, 1)
					return
				}
				again.send(t, invoke("0", "SendMessage", "b"))
				assert.Equal(t, []string{message("b"), done("0")}, again.takeSoon())
				assert.Equal(t, test.want, all[len(all)-1].heard())
			})
		})
	}
}

func or(value, otherwise string) string {
	if value == "" {
		return otherwise
	}
	return value
}

// TestALossThatNobodyNoticedYet is what a phone does that changes its network: its next connection comes before the end of the last.
func TestALossThatNobodyNoticedYet(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var all []*script[planner.Step]
		b, _ := newBench(t, echo, conversations(&all, echo))
		conn, err := b.dial(t.Context(), "", "")
		require.NoError(t, err)
		dialer := websocket.Dialer{NetDialContext: func(context.Context, string, string) (net.Conn, error) { return conn, nil }}
		frozen, _, err := dialer.DialContext(t.Context(), "ws://hub"+path, http.Header{"Authorization": {phone}}) //nolint:bodyclose // it is a websocket's
		require.NoError(t, err)
		defer func() { _ = frozen.Close() }()
		require.NoError(t, frozen.WriteMessage(websocket.TextMessage, []byte(handshake+invoke("0", "SendMessage", "a")))) // and reads no answer
		synctest.Wait()
		c := b.open(t, phone)
		require.Equal(t, 2, b.hub.Connections())
		c.send(t, invoke("0", "SendMessage", "b"))
		assert.Empty(t, c.take(), "the old connection is given a second to answer")
		time.Sleep(1100 * time.Millisecond)
		assert.Equal(t, []string{message("b"), done("0")}, c.take())
		require.Len(t, all, 1)
		assert.Equal(t, []string{"send a", "send b"}, all[0].heard())
		assert.Equal(t, 1, b.hub.Connections())
		assert.Equal(t, "lost", b.log.lines(t, "connection")[0]["ended"])
	})
}

func TestAConversationIsNotTakenFromAConnectionThatLives(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var all []*script[planner.Step]
		b, _ := newBench(t, echo, conversations(&all, echo))
		one, two := b.open(t, phone), b.open(t, phone)
		one.send(t, invoke("0", "Introduce", "en-AU"))
		require.Len(t, one.take(), 2)
		two.send(t, invoke("0", "SendMessage", "b"))
		assert.Equal(t, []string{message("b"), done("0")}, two.take(), "and without having to wait")
		one.send(t, invoke("1", "SendMessage", "a"))
		assert.Equal(t, []string{message("a"), done("1")}, one.takeSoon())
		require.Len(t, all, 2)
		assert.Equal(t, []string{"introduce en-AU", "send a"}, all[0].heard())
		assert.Equal(t, []string{"send b"}, all[1].heard())
	})
}
