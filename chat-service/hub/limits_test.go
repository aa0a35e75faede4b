package hub_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

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

// byAddress authorizes by the token, and knows the address that a test writes behind it.
func byAddress(ctx context.Context, authorization string) (hub.Caller, error) {
	authorization, address, _ := strings.Cut(authorization, " from ")
	caller, err := authorize(ctx, authorization)
	copy(caller.Client[:], address)
	return caller, err
}

// tryOpen returns the status with which one more connection is answered.
func tryOpen(t *testing.T, b *bench, authorization string) (status int) {
	t.Helper()
	_, status, _ = b.connect(t, "", http.Header{"Authorization": {authorization}})
	if status != http.StatusSwitchingProtocols {
		assert.Equal(t, status, b.request(t, "POST", path+"/negotiate", authorization, nil, "").status, "negotiation says so as well")
	}
	return status
}

func TestThoseWhoShareAKeyHaveAThirdOfThePlacesAndTenForAnAddress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, _ := newBench(t, echo, func(o *hub.Options) { o.Authorize, o.MaxConnections = byAddress, 45 })
		here := b.open(t, webKey+" from here")
		for range 9 {
			b.open(t, webKey+" from here")
		}
		assert.Equal(t, http.StatusTooManyRequests, tryOpen(t, b, webKey+" from here"))
		for range 5 {
			b.open(t, webKey+" from there")
		}
		assert.Equal(t, http.StatusServiceUnavailable, tryOpen(t, b, webKey+" from there"), "fifteen of forty-five")
		for i := range 30 {
			b.open(t, fmt.Sprintf("RevenueCat %d from here", i))
		}
		assert.Equal(t, http.StatusServiceUnavailable, tryOpen(t, b, phone+" from elsewhere"), "full for everybody")
		require.NoError(t, here.socket.Close())
		synctest.Wait()
		b.open(t, webKey+" from here")
	})
}

func TestSilentConnectionsMakeRoomForOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, _ := newBench(t, echo, func(o *hub.Options) { o.Authorize, o.MaxConnections = byAddress, 6 })
		silent := b.open(t, webKey+" from here")
		time.Sleep(time.Second)
		restarted, talking := b.open(t, webKey+" from there"), b.open(t, phone)
		restarted.send(t, invoke("0", "SendMessage", "x"))
		talking.send(t, invoke("0", "SendMessage", "x"))
		time.Sleep(9 * time.Minute)
		restarted.send(t, invoke("1", "RestartChat"))
		assert.Equal(t, http.StatusServiceUnavailable, tryOpen(t, b, webKey+" from elsewhere"), "nobody was silent for ten minutes")

		time.Sleep(time.Minute)
		_ = silent.take()
		b.negotiate(t, "", webKey+" from elsewhere")
		assert.Empty(t, silent.take(), "to negotiate takes nobody's place")
		b.open(t, webKey+" from elsewhere")
		assert.Equal(t, []string{"close lost"}, silent.take())
		assert.Equal(t, 3, b.hub.Connections())
		assert.Equal(t, http.StatusServiceUnavailable, tryOpen(t, b, webKey+" from elsewhere"))

		for i := range 3 {
			b.open(t, fmt.Sprintf("RevenueCat %d", i))
		}
		assert.Equal(t, http.StatusServiceUnavailable, tryOpen(t, b, "RevenueCat more"))
		time.Sleep(10 * time.Minute)
		for range 5 {
			b.open(t, "RevenueCat more")
		}
		assert.Equal(t, http.StatusServiceUnavailable, tryOpen(t, b, "RevenueCat more"))
		assert.NotContains(t, talking.take(), "close lost", "who has a conversation keeps the place")
	})
}
