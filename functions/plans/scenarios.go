package plans

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/liftlog/liftlog-api/functions"
	"github.com/liftlog/liftlog-api/functions/manifest"
	"github.com/liftlog/liftlog-api/shared/config"
	"github.com/liftlog/liftlog-api/shared/postgres"
	"github.com/liftlog/liftlog-api/shared/purchase"
	"github.com/liftlog/liftlog-api/shared/ratelimit"
	"github.com/liftlog/liftlog-api/shared/web"
)

// service is all endpoints on the users' database, in this process.
type service struct {
	db       *postgres.DB
	handler  http.Handler
	routes   manifest.Manifest
	password string // of every user
	close    func()
}

// newService makes the service as programs do, but for its pool, which is db.
func newService(ctx context.Context, url, password string, db *postgres.DB) (*service, error) {
	s := &service{db: db, password: password}
	for _, route := range functions.Manifest() {
		if route.Needs(manifest.DatabaseUser) {
			s.routes = append(s.routes, route)
		}
	}
	c := functions.ConfigFor(s.routes...)
	key := "CREDENTIAL_KEY=1:dGhpcnR5LXR3byBieXRlcyBvZiBhIGtleSBmb3IgdGVzdHM="
	if err := config.Load(ctx, []string{"DATABASE_URL=" + url, key}, c); err != nil {
		return nil, err
	}
	deps, _, closeAll, err := functions.Open(ctx, c, "plans", 1, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	s.close = closeAll
	deps.DB = db
	mounts := functions.Mount(s.routes, deps)
	for i := range mounts {
		mounts[i].Timeout, mounts[i].Handler = time.Hour, 0
	}
	s.handler = (&web.Service{Log: slog.New(slog.DiscardHandler)}).Handler(mounts)
	return s, nil
}

// call sends a request to the function and returns the body of its answer. {id} in its path is replaced by id.
func (s *service) call(ctx context.Context, function, id string, body any) (answer []byte, err error) {
	route, ok := s.routes.Find(function)
	if !ok {
		return nil, fmt.Errorf("no function is called %s", function)
	}
	encoded, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	var content io.Reader
	if route.MaxBody > 0 {
		content = strings.NewReader(string(encoded))
	}
	path := route.Path
	if begin := strings.IndexByte(path, '{'); begin >= 0 {
		path = path[:begin] + id
	}
	r := httptest.NewRequestWithContext(ctx, route.Method, path, content)
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, r)
	if w.Code != http.StatusOK && w.Code != http.StatusNotFound {
		return nil, fmt.Errorf("%s: %d: %s", function, w.Code, w.Body)
	}
	return w.Body.Bytes(), nil
}

// scenario is a request in a case that matters.
type scenario struct {
	name    string
	run     func(context.Context) error
	asked   int // how many things it asks for
	counted int // how many rows it may read to see whether there is room
}

// object is a JSON object.
type object map[string]any

// scenarios are those of every function on the users' database, and of what counts calls of the model and remembers purchases.
// One user, of that number, is deleted.
func (s *service) scenarios(size Size, doomed int) (all []scenario) {
	ordinary, heavy := idOf(size.Users), idOf(1)
	add := func(asked, counted int, function, of, id string, body any) {
		all = append(all, scenario{function + ", " + of, func(ctx context.Context) error {
			_, err := s.call(ctx, function, id, body)
			return err
		}, asked, counted})
	}
	login := func(name string, id uuid.UUID, more object) object {
		body := object{name: id, "password": s.password}
		for key, value := range more {
			body[key] = value
		}
		return body
	}
	profile := object{"encryptionIV": []byte{}, "rsaPublicKey": []byte{}}
	follow := func(n int, secret string, since time.Time) object {
		users := make([]object, n)
		for i := range users {
			users[i] = object{"userId": idOf(1 + i), "followSecret": secret, "since": since}
		}
		return object{"users": users}
	}
	wrong := make([]object, feedLimit)
	for i := range wrong {
		wrong[i] = object{"userId": heavy, "followSecret": fmt.Sprint("wrong", i), "since": time.Now()}
	}
	ids := make([]uuid.UUID, feedLimit)
	for i := range ids {
		ids[i] = idOf(size.Users - i)
	}
	long, week := time.Now().AddDate(-1, 0, 0), time.Now().AddDate(0, 0, -7)

	add(1, 0, "CreateUser", "anybody", "", object{})
	add(1, 0, "GetUser", "by id", ordinary.String(), nil)
	add(1, 0, "GetUser", "by lookup", fmt.Sprint("user", size.Users), nil)
	add(1, 0, "GetUser", "nobody", "nobody", nil)
	add(feedLimit, 0, "GetUsers", "a thousand", "", object{"ids": ids})
	add(1, 0, "GetUsers", "one", "", object{"ids": ids[:1]})
	add(feedLimit, 0, "GetEvents", "a week of a thousand", "", follow(feedLimit, "secret0", week))
	add(1, 0, "GetEvents", "all of one with many", "", follow(1, "secret0", long))
	add(1, 0, "GetEvents", "the newest of one with many", "", follow(1, "secret0", time.Now().Add(-time.Hour)))
	add(feedLimit, 0, "GetEvents", "a thousand wrong secrets of one with many", "", object{"users": wrong})
	add(1, 0, "PutInboxMessage", "to an ordinary user", "", object{"toUserId": ordinary, "encryptedMessage": [][]byte{{1}}})
	add(1, heavyMessages, "PutInboxMessage", "to one with many", "", object{"toUserId": heavy, "encryptedMessage": [][]byte{{1}}})
	add(1, 0, "GetSharedItem", "one", "item1", nil)

	add(1, 0, "PutUser", "with the slow hash", "", login("id", ordinary, profile))
	add(1, 0, "PutUser", "with the slow hash, with much", "", login("id", heavy, profile))
	add(1, 0, "PutUser", "ordinary", "", login("id", ordinary, profile))
	for of, user := range map[string]uuid.UUID{"ordinary": ordinary, "with many": heavy} {
		event := object{"eventId": uuid.New(), "encryptedEventPayload": []byte{1}, "encryptedEventIV": []byte{1}, "expiry": postgres.Forever}
		item := object{"encryptedPayload": object{"encryptedPayload": []byte{1}, "iv": object{"value": make([]byte, 16)}}, "expiry": postgres.Forever}
		secret := object{"followSecret": "new"}
		bound := func(most int) int {
			if user == heavy {
				return most
			}
			return 0
		}
		add(1, bound(heavyEvents), "PutEvent", of, "", login("userId", user, event))
		add(1, bound(heavySecrets), "PutFollowSecret", of, "", login("userId", user, secret))
		add(1, 0, "DeleteFollowSecret", of, "", login("userId", user, secret))
		add(1, bound(heavyItems), "CreateSharedItem", of, "", login("userId", user, item))
		add(1, 0, "GetInboxMessages", of, "", login("userId", user, nil))
	}
	add(1, 0, "DeleteUser", "ordinary", "", login("id", idOf(doomed), nil))

	limiter := ratelimit.New(ratelimit.Options{DB: s.db, TokensPerDay: 1 << 40})
	purchases := purchase.New(config.Purchases{
		RevenueCatKey: config.NewSecret("sk_x"), RevenueCatProject: "proj", RevenueCatEntitlement: "entl", RevenueCatBaseURL: "http://127.0.0.1:1",
	}, s.db, slog.New(slog.DiscardHandler))
	return append(all, scenario{"a call of the model", func(ctx context.Context) error {
		settle, err := limiter.Take(ctx, ratelimit.PlanKey("somebody"), 20)
		if err == nil {
			settle(ctx, ratelimit.Use{Answered: true, Tokens: 100})
		}
		return err
	}, 1, 0}, scenario{"a purchase", func(ctx context.Context) error {
		_, _ = purchases.Authorize(ctx, "RevenueCat somebody") // the store cannot be asked; the table is
		return nil
	}, 1, 0})
}

// feedLimit is how many users one request may name.
const feedLimit = 1000
