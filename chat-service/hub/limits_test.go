package hub_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/liftlog/liftlog-api/chat-service/hub"
	"github.com/liftlog/liftlog-api/shared/logging"
	"github.com/liftlog/liftlog-api/shared/planner"
	"github.com/liftlog/liftlog-api/shared/ratelimit"
)

// hush says nothing until it is broken off.
func hush(ctx context.Context, _ string, _ func(planner.Step) error) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestACallIsSettledByWhatTheModelDid(t *testing.T) {
	t.Parallel()
	drain := func(_ *testing.T, b *bench, _ *client) { b.hub.Drain(context.Background()) }
	for name, test := range map[string]struct {
		answer func(context.Context, string, func(planner.Step) error) error
		then   func(*testing.T, *bench, *client)
		want   ratelimit.Use
	}{
		"it answered": {
			answer: func(ctx context.Context, said string, yield func(planner.Step) error) error {
				logging.AddModelUse(ctx, 100, 20, 50)
				logging.AddModelUse(ctx, 300, 4, 0)
				return echo(ctx, said, yield)
			},
			want: ratelimit.Use{Answered: true, Tokens: 424},
		},
		"this instance goes away before its first words": {answer: hush, then: drain, want: ratelimit.Use{}},
		"this instance goes away after them":             {answer: begin, then: drain, want: ratelimit.Use{Answered: true}},
		"it says nothing for as long as an answer may take": {
			answer: hush, then: func(*testing.T, *bench, *client) { time.Sleep(6 * time.Minute) }, want: ratelimit.Use{},
		},
		"the person stops it": {
			answer: hush, then: func(t *testing.T, _ *bench, c *client) { t.Helper(); c.send(t, invoke("1", "StopInProgress")) },
			want: ratelimit.Use{Answered: true},
		},
		"the person goes": {
			answer: hush, then: func(_ *testing.T, _ *bench, c *client) { _ = c.socket.Close() }, want: ratelimit.Use{Answered: true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var uses []ratelimit.Use
				b, _ := newBench(t, test.answer, func(o *hub.Options) {
					o.Take = func(context.Context, hub.Caller) (ratelimit.Settle, error) {
						return func(_ context.Context, use ratelimit.Use) { uses = append(uses, use) }, nil
					}
				})
				c := b.open(t, phone)
				c.send(t, invoke("0", "SendMessage", "x"))
				synctest.Wait()
				if test.then != nil {
					test.then(t, b, c)
				}
				synctest.Wait()
				assert.Equal(t, []ratelimit.Use{test.want}, uses)
			})
		})
	}
}
