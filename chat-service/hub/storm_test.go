package hub_test

import (
	"context"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/chat-service/hub"
	"github.com/liftlog/liftlog-api/chat-service/session"
	"github.com/liftlog/liftlog-api/shared/planner"
	"github.com/liftlog/liftlog-api/shared/ratelimit"
)

// single is a conversation that notices when two answers of it are made at once.
type single struct {
	script[planner.Step]
	busy atomic.Bool
}

func (s *single) Introduce(ctx context.Context, locale, weightUnit string, yield planner.Yield[planner.Step]) error {
	return s.alone(func() error { return s.script.Introduce(ctx, locale, weightUnit, yield) })
}

func (s *single) Send(ctx context.Context, message string, yield planner.Yield[planner.Step]) error {
	return s.alone(func() error { return s.script.Send(ctx, message, yield) })
}

func (s *single) alone(answer func() error) error {
	if !s.busy.CompareAndSwap(false, true) {
		panic("two answers at once in one conversation")
	}
	defer s.busy.Store(false)
	return answer()
}

// TestAStormOfCalls has a buyer call, stop, restart, lose the connection and come back in any order. Each call that asks for
// it is completed exactly once unless its connection was lost, a conversation has one answer at a time, each call that was taken is
// settled, and nothing is left.
func TestAStormOfCalls(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, seed)) //nolint:gosec // it is to be the same each time
			synctest.Test(t, func(t *testing.T) { scriptedStorm(t, random) })
			for _, hub := range []string{path, pathV2} {
				synctest.Test(t, func(t *testing.T) { modelStorm(t, random, hub) })
			}
		})
	}
}

// scriptedStorm is a storm over a conversation that notices two answers at once.
func scriptedStorm(t *testing.T, random *rand.Rand) {
	t.Helper()
	slowly := func(ctx context.Context, said string, yield func(planner.Step) error) error {
		for range len(said) {
			select {
			case <-time.After(30 * time.Millisecond):
			case <-ctx.Done():
				time.Sleep(10 * time.Millisecond) // a service takes a while to notice
				return ctx.Err()
			}
			if err := yield(planner.Step{Message: said}); err != nil {
				return err
			}
		}
		return nil
	}
	endpoint := hub.Endpoint{Path: path, Protocol: session.AIChat(func() session.Conversation[planner.Step] {
		return &single{script: script[planner.Step]{answer: slowly}}
	})}
	storm(t, random, []hub.Endpoint{endpoint}, path)
}

// pensive is a model that thinks before it speaks.
type pensive struct{}

func (pensive) Answer(ctx context.Context, r planner.Request, yield func(planner.Piece) error) (a planner.Answer, u planner.Usage, err error) {
	a.Text = "You said something."
	if r.Shape.Way == planner.Object {
		a.Text = `{"Response":{"type":"messageResponse","Message":"You said something."}}`
	}
	for _, text := range []string{a.Text[:5], a.Text[5:]} {
		select {
		case <-time.After(30 * time.Millisecond):
		case <-ctx.Done():
			return a, u, ctx.Err()
		}
		if err := yield(planner.Piece{Text: text}); err != nil {
			return a, u, err
		}
	}
	return a, u, nil
}

// modelStorm is a storm over the planner's own conversations.
func modelStorm(t *testing.T, random *rand.Rand, path string) {
	t.Helper()
	endpoints, err := hub.Endpoints(planner.New(pensive{}), "")
	require.NoError(t, err)
	storm(t, random, endpoints, path)
}

func storm(t *testing.T, random *rand.Rand, endpoints []hub.Endpoint, path string) {
	t.Helper()
	var taken, settled atomic.Int64
	b, _ := newBench(t, echo, func(o *hub.Options) {
		o.Endpoints = endpoints
		o.Take = func(context.Context, hub.Caller) (ratelimit.Settle, error) {
			time.Sleep(3 * time.Millisecond)
			taken.Add(1)
			return func(context.Context, ratelimit.Use) { settled.Add(1) }, nil
		}
	})
	introduce, send := `"en-AU"`, []string{`"a"`, `"a longer one"`}
	if path == pathV2 {
		introduce, send = `"en-AU",3,"kg"`, []string{`"a",3`, `"a longer one",3`}
	}
	call := func(id, method, arguments string) string {
		return strings.Replace(invoke(id, method), "[]", "["+arguments+"]", 1)
	}
	c, asked, completed := b.openAt(t, path, phone), map[string]int{}, map[string]int{}
	gather := func() {
		for _, record := range c.take() {
			if _, id, found := strings.Cut(record, `{"type":3,"invocationId":"`); found {
				id, _, _ = strings.Cut(id, `"`)
				completed[id]++
			}
		}
	}
	for i := range 100 {
		id := ""
		if random.IntN(4) > 0 {
			id = strconv.Itoa(i)
			asked[id]++
		}
		c.send(t, []string{
			invoke(id, "RestartChat"), invoke(id, "StopInProgress"), invoke(id, "NoSuchMethod"),
			call(id, "Introduce", introduce), call(id, "SendMessage", send[0]), call(id, "SendMessage", send[1]),
		}[random.IntN(6)])
		time.Sleep(time.Duration(random.IntN(60)) * time.Millisecond)
		gather()
		if random.IntN(40) == 0 {
			_ = c.socket.Close()
			if random.IntN(2) == 0 { // the loss is noticed before the next connection
				synctest.Wait()
			}
			c, asked, completed = b.openAt(t, path, phone), map[string]int{}, map[string]int{}
		}
	}
	time.Sleep(10 * time.Second)
	gather()
	assert.Equal(t, asked, completed)
	_ = c.socket.Close()
	time.Sleep(time.Second)
	synctest.Wait()
	assert.Equal(t, taken.Load(), settled.Load())
	assert.Zero(t, b.hub.Connections())
	assert.NotContains(t, b.log.String(), "panic")
}
