package hub

import (
	"bufio"
	"errors"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/liftlog/liftlog-api/chat-service/session"
	"github.com/liftlog/liftlog-api/chat-service/signalr"
	"github.com/liftlog/liftlog-api/shared/apierr"
	"github.com/liftlog/liftlog-api/shared/web"
)

const (
	negotiatePath = "/negotiate"
	// requestTimeout bounds negotiation and upgrade, in which a store may be asked about a purchase.
	requestTimeout = 20 * time.Second
)

// Mounts are the endpoints. Everything but websockets is refused with words that say so.
func (h *Hub) Mounts() (mounts []web.Mount) {
	mount := func(path string, serve func(http.ResponseWriter, *http.Request, Caller) error) web.Mount {
		return web.Mount{Route: web.Route{Path: path, Timeout: requestTimeout}, Endpoint: web.Raw(h.authorized(serve))}
	}
	for _, e := range h.o.Endpoints {
		mounts = append(mounts, mount(e.Path+negotiatePath, h.negotiate), mount(e.Path, door{h, e}.serve))
	}
	return mounts
}

// Canonical hands requests on to next, after it has given those for the endpoints the paths that [Hub.Mounts] has: as in ASP.NET
// Core, the case of letters and a slash at the end do not matter, and the endpoints are below /v2 as well. Other paths stay as
// they are.
func (h *Hub) Canonical(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := strings.TrimSuffix(strings.TrimPrefix(signalr.Lower(r.URL.Path), "/v2"), "/")
		ours := func(e Endpoint) bool { return strings.TrimSuffix(path, negotiatePath) == e.Path }
		if r.URL.RawPath == "" && slices.ContainsFunc(h.o.Endpoints, ours) {
			r = r.Clone(r.Context())
			r.URL.Path = path
		}
		next.ServeHTTP(w, r)
	})
}

// authorized asks who the caller is before anything else is looked at, the method included. Browsers cannot send headers with a
// websocket, and have the client put the token into the query. A refusal has no body, which the client would show.
func (h *Hub) authorized(serve func(http.ResponseWriter, *http.Request, Caller) error) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		authorization := r.Header.Get("Authorization")
		if authorization == "" {
			authorization, _ = parameter(r, "access_token")
		}
		caller, err := h.o.Authorize(r.Context(), authorization)
		if apierr.KindOf(err) == apierr.Unauthenticated {
			return web.Refusal(http.StatusUnauthorized, "")
		}
		if err != nil {
			return err
		}
		return serve(w, r, caller)
	}
}

// parameter returns a parameter of the query as ASP.NET Core reads it: the case of its name does not matter, several values are
// joined, and what is escaped wrongly stays as it is.
func parameter(r *http.Request, name string) (value string, given bool) {
	var values []string
	for pair := range strings.SplitSeq(r.URL.RawQuery, "&") {
		key, value, _ := strings.Cut(pair, "=")
		if signalr.Lower(unescape(key)) == signalr.Lower(name) {
			values = append(values, unescape(value))
		}
	}
	return strings.Join(values, ","), len(values) > 0
}

func unescape(text string) string {
	if plain, err := url.QueryUnescape(text); err == nil {
		return plain
	}
	return text
}

// errMethod refuses a method that a path does not have.
func errMethod(w http.ResponseWriter, allowed string) error {
	w.Header().Set("Allow", allowed)
	return web.Refusal(http.StatusMethodNotAllowed, "This path has other methods.")
}

func (h *Hub) negotiate(w http.ResponseWriter, r *http.Request, caller Caller) error {
	if r.Method != http.MethodPost {
		return errMethod(w, "POST")
	}
	h.mu.Lock()
	_, err := h.room(caller)
	h.mu.Unlock()
	if err != nil {
		return err
	}
	version, asked := parameter(r, "negotiateVersion")
	answer, err := signalr.Negotiate(version, asked, h.tokens.New(caller.ID, time.Now()))
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(answer) // that the caller has gone is no failure of ours
	return nil
}

// door is where connections to an endpoint come in.
type door struct {
	*Hub
	to Endpoint
}

// serve opens a connection, or refuses what is of other transports.
func (d door) serve(w http.ResponseWriter, r *http.Request, caller Caller) error {
	switch r.Method {
	case http.MethodGet:
		return d.connect(w, r, caller, d.to)
	case http.MethodPost, http.MethodDelete:
		return d.refuse(r, caller)
	default:
		return errMethod(w, "GET, POST, DELETE")
	}
}

// errUsed says that a token's id was used before.
var errUsed = errors.New("the connection's id was used")

var (
	errNoID      = &apierr.Error{Kind: apierr.Invalid, Detail: "Connection ID required. This hub speaks WebSockets only."}
	errUnknownID = &apierr.Error{Kind: apierr.NotFound, Detail: "No Connection with that ID"}
)

// Buffers of a websocket. What does not fit into one is read and written without it. Buffers for writing are shared.
const (
	readBuffer  = 512
	writeBuffer = 4 << 10
)

var writeBuffers sync.Pool

// connect upgrades the request to a websocket. It returns at once, because otherwise all that a request holds would stay in
// memory as long as the connection.
func (h *Hub) connect(w http.ResponseWriter, r *http.Request, caller Caller, e Endpoint) error {
	if !websocket.IsWebSocketUpgrade(r) {
		return h.refuse(r, caller)
	}
	id, until := "", time.Time{}
	if token, given := parameter(r, "id"); given {
		var err error
		id, until, err = h.tokens.Verify(token, caller.ID, time.Now())
		if err != nil {
			return h.used(id)
		}
	}
	place, err := h.reserve(caller, id, until)
	if errors.Is(err, errUsed) {
		return h.used(id)
	}
	if err != nil {
		return err
	}
	socket, err := upgrade(w, r)
	if socket == nil {
		h.release(place)
		return err
	}
	place.path = e.Path
	quiet, latest := ages(time.Now())
	h.attach(place, session.New(socket, h.options(place, e.Protocol, w.Header().Get("X-Request-Id")), quiet, latest))
	return nil
}

// used answers a request whose token is no longer good: its connection may be one of this instance's.
func (h *Hub) used(id string) error {
	if h.isLive(id) {
		return web.Refusal(http.StatusConflict, "The connection has a websocket.")
	}
	return errUnknownID
}

// isLive reports whether the id's connection is one of this instance's.
func (h *Hub) isLive(id string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ids[id] != nil
}

// refuse answers requests that only other transports send, in ASP.NET Core's words.
func (h *Hub) refuse(r *http.Request, caller Caller) error {
	token, given := parameter(r, "id")
	if !given {
		return errNoID
	}
	id, _, _ := h.tokens.Verify(token, caller.ID, time.Now()) // a connection outlives its token
	if !h.isLive(id) {
		return errUnknownID
	}
	switch r.Method {
	case http.MethodPost:
		return web.Refusal(http.StatusMethodNotAllowed, "POST requests are not allowed for WebSocket connections.")
	case http.MethodDelete:
		return &apierr.Error{Kind: apierr.Invalid, Detail: "Cannot terminate this connection using the DELETE endpoint."}
	default:
		return &apierr.Error{Kind: apierr.Invalid, Detail: "Cannot change transports mid-connection"}
	}
}

// upgrade answers 101. If it returns no socket, it returns an error to answer with, or nil when there is nobody left to answer.
func upgrade(w http.ResponseWriter, r *http.Request) (*websocket.Conn, error) {
	if r.ContentLength != 0 {
		return nil, &apierr.Error{Kind: apierr.Invalid, Detail: "A request for a websocket has no body."}
	}
	var refusal error
	upgrader := websocket.Upgrader{
		ReadBufferSize: readBuffer, WriteBufferSize: writeBuffer, WriteBufferPool: &writeBuffers,
		// Browsers do not add tokens to requests by themselves as they do cookies, so no page can use another's. ASP.NET Core
		// does not look at the origin either.
		CheckOrigin: func(*http.Request) bool { return true },
		Error: func(w http.ResponseWriter, _ *http.Request, _ int, reason error) {
			w.Header().Set("Sec-WebSocket-Version", "13")
			refusal = &apierr.Error{Kind: apierr.Invalid, Detail: "The request is not a proper one for a websocket.", Err: reason}
		},
	}
	// The headers that are set so far, those for browsers at another origin above all, belong to this answer, too.
	socket, err := upgrader.Upgrade(hijacker{w}, r, w.Header())
	if err != nil {
		return nil, refusal
	}
	return socket, nil
}

// hijacker gives the upgrader the connection through the writers that are around its own.
type hijacker struct{ http.ResponseWriter }

func (h hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return http.NewResponseController(h.ResponseWriter).Hijack()
}
