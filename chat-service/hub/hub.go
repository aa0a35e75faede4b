// Package hub serves the chat over HTTP: negotiation, the upgrade to a websocket, the bounds of connections, and the end of
// all of them.
package hub

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/liftlog/liftlog-api/chat-service/session"
	"github.com/liftlog/liftlog-api/chat-service/signalr"
	"github.com/liftlog/liftlog-api/shared/apierr"
	"github.com/liftlog/liftlog-api/shared/clientaddr"
	"github.com/liftlog/liftlog-api/shared/config"
	"github.com/liftlog/liftlog-api/shared/logging"
	"github.com/liftlog/liftlog-api/shared/ratelimit"
)

const (
	// maxPerCaller is how many connections one buyer may have at once on an instance, or one address of those who share a key.
	maxPerCaller = 10
	// sharedPart bounds the places of those who share keys, together, to one in this many: such a key may be public.
	sharedPart = 3
	// silentTime is how long a connection without a conversation keeps its place once places have run out.
	silentTime = 10 * time.Minute
	// The platform cuts a connection after an hour. It is closed before: from quietAge on in a quiet moment, with jitter, so that
	// connections that came together do not all come back together.
	quietAge, quietJitter, maxAge = 50 * time.Minute, 5 * time.Minute, 58 * time.Minute
	// drainAnswers is how long answers may take once the instance goes away.
	drainAnswers = 5 * time.Second
	// tickEvery is how often sessions are told the time.
	tickEvery = time.Second
)

// Caller is who connects.
type Caller struct {
	ID     string            // names the buyer
	Shared bool              // many people use it, such as the web app's key, and are told apart by their addresses
	Client clientaddr.Client // the address of one of those
}

// holder is who may have [maxPerCaller] connections.
type holder struct {
	id     string
	client clientaddr.Client
}

func (c Caller) holder() holder {
	if c.Shared {
		return holder{client: c.Client}
	}
	return holder{id: c.ID}
}

// Options are what a Hub is made of. All of them are required.
type Options struct {
	// Authorize says who a caller is by the Authorization header, or by the query's token in its place. It fails with an
	// [apierr.Error].
	Authorize func(ctx context.Context, authorization string) (Caller, error)
	// Take lets the caller ask the model once more, or fails as [ratelimit.Limiter.Take] does.
	Take           func(ctx context.Context, caller Caller) (ratelimit.Settle, error)
	Endpoints      []Endpoint
	Keys           config.KeyRing // of connection tokens
	MaxConnections int            // at once
	Log            *slog.Logger
}

// Endpoint is a hub as SignalR's clients know it: a path, and the protocol that is spoken there. All of them share the
// connections and bounds of a [Hub].
type Endpoint struct {
	Path     string // such as /ai-chat
	Protocol session.Protocol
}

// Hub holds the connections of an instance. It is safe for concurrent use.
type Hub struct {
	o      Options
	tokens signalr.Tokens

	mu       sync.Mutex
	live     map[*connection]struct{}
	ids      map[string]*connection // by the id of the token; nil: it was used, and its connection is over
	kept     kept
	usedIDs  []usedID       // by time
	callers  map[holder]int // how many connections they have
	shared   int            // how many connections have those who share keys
	draining bool
	ticking  bool
	empty    chan struct{} // closed when draining is done
}

// connection is a place taken, and the session in it as soon as there is one.
type connection struct {
	id      string    // of its token; empty: it came without
	until   time.Time // when its token would have ended
	caller  Caller
	path    string // of its endpoint
	session *session.Session
	over    chan struct{} // closed when the session is over and its conversation, if it is kept, has been put away
}

func (c *connection) owner() owner { return owner{c.caller.ID, c.path} }

// usedID remembers that a token was used, for as long as it would otherwise be good.
type usedID struct {
	id    string
	until time.Time
}

// New returns a Hub without connections.
func New(o Options) *Hub {
	return &Hub{
		o: o, tokens: signalr.Tokens{Keys: o.Keys},
		live: map[*connection]struct{}{}, ids: map[string]*connection{}, callers: map[holder]int{}, empty: make(chan struct{}),
	}
}

// Ready fails once the hub is being drained.
func (h *Hub) Ready() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.draining {
		return apierr.Busy("The chat is restarting.", nil)
	}
	return nil
}

// Connections returns how many there are.
func (h *Hub) Connections() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.live)
}

// Drain takes no more connections and ends all there are: those without an answer under way at once, the others within
// drainAnswers, each with words that let its client connect anew. Those that are left when ctx ends are cut. It returns
// when none is left.
func (h *Hub) Drain(ctx context.Context) {
	h.mu.Lock()
	if !h.draining {
		h.draining = true
		if len(h.live) == 0 {
			close(h.empty)
		}
	}
	h.mu.Unlock()
	latest := time.Now().Add(drainAnswers)
	for _, s := range h.sessions(nil) {
		s.Retire(latest)
	}
	select {
	case <-h.empty:
		return
	case <-ctx.Done():
	}
	for _, s := range h.sessions(nil) {
		s.Cut()
	}
	<-h.empty
}

// sessions appends all sessions to the list.
func (h *Hub) sessions(all []*session.Session) []*session.Session {
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.live {
		if c.session != nil {
			all = append(all, c.session)
		}
	}
	return all
}

// room fails when there is no room for one more connection of the caller's. It returns the connection that has to go for it, if
// one has to.
func (h *Hub) room(caller Caller) (inTheWay *connection, err error) {
	if h.draining {
		return nil, apierr.Busy("The chat is restarting.", nil)
	}
	var full *apierr.Error
	var of func(Caller) bool // whose places would do
	switch {
	case h.callers[caller.holder()] >= maxPerCaller:
		full = &apierr.Error{Kind: apierr.Limited, Detail: "There are too many connections of this account."}
		of = func(other Caller) bool { return other.holder() == caller.holder() }
	case caller.Shared && h.shared >= max(1, h.o.MaxConnections/sharedPart):
		full, of = apierr.Busy("The chat is full.", nil), func(other Caller) bool { return other.Shared }
	case len(h.live) >= h.o.MaxConnections:
		full, of = apierr.Busy("The chat is full.", nil), func(Caller) bool { return true }
	default:
		return nil, nil //nolint:nilnil // there is room and nothing in the way
	}
	longest := time.Now().Add(-silentTime)
	for c := range h.live {
		if c.session == nil || !of(c.caller) {
			continue
		}
		if since, silent := c.session.SilentSince(); silent && !since.After(longest) {
			inTheWay, longest = c, since
		}
	}
	if inTheWay == nil {
		return nil, full
	}
	return inTheWay, nil
}

// reserve takes a place for a connection of the caller's, and the token's id, which is empty where there is none.
func (h *Hub) reserve(caller Caller, id string, until time.Time) (*connection, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	inTheWay, err := h.room(caller)
	if err != nil {
		return nil, err
	}
	h.forget(time.Now())
	c := &connection{id: id, until: until, caller: caller, over: make(chan struct{})}
	if id != "" {
		if _, taken := h.ids[id]; taken {
			return nil, errUsed
		}
		h.ids[id] = c
		h.usedIDs = append(h.usedIDs, usedID{id, until})
	}
	if inTheWay != nil {
		h.remove(inTheWay)
		go inTheWay.session.Cut()
	}
	h.live[c] = struct{}{}
	h.callers[caller.holder()]++
	if caller.Shared {
		h.shared++
	}
	if !h.ticking {
		h.ticking = true
		go h.tick()
	}
	return c, nil
}

// attach puts the session into its place and serves it.
func (h *Hub) attach(c *connection, s *session.Session) {
	h.mu.Lock()
	c.session = s
	draining := h.draining
	h.mu.Unlock()
	if draining {
		s.Retire(time.Now())
	}
	go func() {
		defer close(c.over)
		defer h.release(c)
		defer h.contain()
		h.keep(c, s.Serve())
	}()
}

// keep keeps the conversation of a lost connection, unless many people share the caller's key.
func (h *Hub) keep(c *connection, left session.Conversation[any]) {
	if left == nil || left.Size() == 0 || c.caller.Shared {
		return
	}
	h.kept.put(c.owner(), left, time.Now())
}

// resume hands over the conversation of an earlier connection of the caller's. That one may be lost without having been noticed
// yet.
func (h *Hub) resume(ctx context.Context, c *connection) session.Conversation[any] {
	if c.caller.Shared {
		return nil
	}
	if left := h.kept.take(c.owner(), time.Now()); left != nil {
		return left
	}
	var probes sync.WaitGroup
	for _, earlier := range h.others(c) {
		probes.Go(func() {
			if !earlier.session.Probe(ctx) {
				select {
				case <-earlier.over:
				case <-ctx.Done():
				}
			}
		})
	}
	probes.Wait()
	return h.kept.take(c.owner(), time.Now())
}

// others are the caller's other connections to the same endpoint.
func (h *Hub) others(than *connection) (others []*connection) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.live {
		if c != than && c.session != nil && c.owner() == than.owner() {
			others = append(others, c)
		}
	}
	return others
}

// release gives the place back. The token's id stays used until it would have ended.
func (h *Hub) release(c *connection) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.remove(c)
	if c.id != "" {
		h.ids[c.id] = nil
		h.forget(time.Now())
		if !time.Now().Before(c.until) {
			delete(h.ids, c.id)
		}
	}
}

// remove gives the place back, once, of a connection that has ended or is about to.
func (h *Hub) remove(c *connection) {
	if _, there := h.live[c]; !there {
		return
	}
	delete(h.live, c)
	who := c.caller.holder()
	if h.callers[who]--; h.callers[who] == 0 {
		delete(h.callers, who)
	}
	if c.caller.Shared {
		h.shared--
	}
	if h.draining && len(h.live) == 0 {
		close(h.empty)
	}
}

// forget removes the ids of tokens that have ended, except those of present connections.
func (h *Hub) forget(now time.Time) {
	for len(h.usedIDs) > 0 && !now.Before(h.usedIDs[0].until) {
		if id := h.usedIDs[0].id; h.ids[id] == nil {
			delete(h.ids, id)
		}
		h.usedIDs = h.usedIDs[1:]
	}
}

// tick tells sessions and kept conversations the time, as long as there are any. One goroutine does it for all, because a timer
// and a goroutine for each would be most of what an idle connection takes.
func (h *Hub) tick() {
	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	var all []*session.Session
	for {
		var now time.Time
		select {
		case now = <-ticker.C:
		case <-h.empty:
			return
		}
		h.mu.Lock()
		if h.kept.left(now) == 0 && len(h.live) == 0 {
			h.ticking = false
			h.mu.Unlock()
			return
		}
		h.mu.Unlock()
		all = h.sessions(all[:0])
		for _, s := range all {
			h.tell(s, now)
		}
		clear(all)
	}
}

func (h *Hub) tell(s *session.Session, now time.Time) {
	defer h.contain()
	s.Tick(now)
}

// contain keeps a panic from going beyond its own connection.
func (h *Hub) contain() {
	if v := recover(); v != nil {
		h.o.Log.LogAttrs(context.Background(), slog.LevelError, logging.PanicMessage(v))
	}
}

// options are those of the session in the place.
func (h *Hub) options(c *connection, p session.Protocol, requestID string) session.Options {
	return session.Options{
		Protocol: p,
		Take:     func(ctx context.Context) (ratelimit.Settle, error) { return h.o.Take(ctx, c.caller) },
		Resume:   func(ctx context.Context) session.Conversation[any] { return h.resume(ctx, c) },
		Forget:   func() { h.kept.take(c.owner(), time.Now()) },
		Log:      h.o.Log.With("requestId", requestID),
	}
}

// ages returns from when on a session that begins now ends in a quiet moment, and when it ends at latest.
func ages(now time.Time) (quiet, latest time.Time) {
	jitter := rand.N(quietJitter) //nolint:gosec // it is no secret
	return now.Add(quietAge + jitter), now.Add(maxAge)
}
