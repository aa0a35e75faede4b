// Package functions knows every endpoint by its function's name, and builds what one of them needs.
package functions

import (
	_ "embed"
	"time"

	"github.com/liftlog/liftlog-api/functions/ai"
	"github.com/liftlog/liftlog-api/functions/feed"
	"github.com/liftlog/liftlog-api/functions/inbox"
	"github.com/liftlog/liftlog-api/functions/manifest"
	"github.com/liftlog/liftlog-api/functions/share"
	"github.com/liftlog/liftlog-api/functions/user"
	"github.com/liftlog/liftlog-api/shared/auth"
	"github.com/liftlog/liftlog-api/shared/config"
	messages "github.com/liftlog/liftlog-api/shared/inbox"
	"github.com/liftlog/liftlog-api/shared/planner"
	"github.com/liftlog/liftlog-api/shared/postgres"
	"github.com/liftlog/liftlog-api/shared/purchase"
	"github.com/liftlog/liftlog-api/shared/ratelimit"
	"github.com/liftlog/liftlog-api/shared/web"
)

// Deps are what endpoints are made of. A function's own process fills in what its manifest entry asks for.
type Deps struct {
	Environment config.Environment
	DB          *postgres.DB   // the users' database
	RateLimitDB *postgres.DB   // the rate limits' database
	Verifier    *auth.Verifier // passwords
	Feed        config.Feed
	Share       config.Share
	Inbox       config.Inbox
	Purchases   *purchase.Verifier
	Limiter     *ratelimit.Limiter
	Limits      config.Limits
	Planner     *planner.Planner
}

// endpoints is the Go half of the manifest; a test holds the two to each other.
var endpoints = map[string]func(Deps) web.Endpoint{
	"Health": func(d Deps) web.Endpoint { return web.Health(string(d.Environment)) },

	"CreateUser": func(d Deps) web.Endpoint { return web.Call(users(d).Create) },
	"GetUser":    func(d Deps) web.Endpoint { return web.Call(users(d).Get) },
	"PutUser":    func(d Deps) web.Endpoint { return web.Act(users(d).Put) },
	"DeleteUser": func(d Deps) web.Endpoint { return web.Act(users(d).Delete) },
	"GetUsers": func(d Deps) web.Endpoint {
		return web.Stream[user.GetManyRequest, user.GetManyResponse](users(d).GetMany)
	},

	"PutEvent": func(d Deps) web.Endpoint { return web.Act(feeds(d).PutEvent) },
	"GetEvents": func(d Deps) web.Endpoint {
		return web.Stream[feed.GetEventsRequest, feed.GetEventsResponse](feeds(d).GetEvents)
	},
	"PutFollowSecret":    func(d Deps) web.Endpoint { return web.Act(feeds(d).PutSecret) },
	"DeleteFollowSecret": func(d Deps) web.Endpoint { return web.Act(feeds(d).DeleteSecret) },

	"PutInboxMessage":  func(d Deps) web.Endpoint { return web.Act(inboxes(d).Put) },
	"GetInboxMessages": func(d Deps) web.Endpoint { return web.Call(inboxes(d).Get) },

	"CreateSharedItem": func(d Deps) web.Endpoint { return web.Call(shares(d).Create) },
	"GetSharedItem":    func(d Deps) web.Endpoint { return web.Call(shares(d).Get) },

	"PlanWorkout": func(d Deps) web.Endpoint { return web.CallAs(d.Purchases.Authorize, planners(d).Workout) },
	"PlanSession": func(d Deps) web.Endpoint { return web.CallAs(d.Purchases.Authorize, planners(d).Session) },
}

func users(d Deps) *user.Handlers {
	return &user.Handlers{DB: d.DB, Verifier: d.Verifier}
}

func feeds(d Deps) *feed.Handlers {
	return &feed.Handlers{DB: d.DB, Verifier: d.Verifier, MaxEvents: d.Feed.MaxEvents, MaxSecrets: d.Feed.MaxSecrets}
}

func inboxes(d Deps) *inbox.Handlers {
	limits := messages.Limits{Messages: d.Inbox.MaxWaiting, Bytes: d.Inbox.MaxBytes}
	return &inbox.Handlers{DB: d.DB, Verifier: d.Verifier, Limits: limits}
}

func shares(d Deps) *share.Handlers {
	return &share.Handlers{DB: d.DB, Verifier: d.Verifier, MaxItems: d.Share.MaxItems}
}

func planners(d Deps) *ai.Handlers {
	return &ai.Handlers{Planner: d.Planner, Limiter: d.Limiter, WebPerDay: d.Limits.WebPerDay, MobilePerDay: d.Limits.MobilePerDay}
}

//go:embed routes.json
var routes []byte

// Manifest returns the list of what is served. It panics when the list that was built in is not valid, which a test
// keeps from happening.
func Manifest() manifest.Manifest {
	m, err := manifest.Parse(routes)
	if err != nil {
		panic(err)
	}
	return m
}

// answerMargin is how much earlier than the platform a function gives a request up, so that the caller gets the function's own
// answer.
const answerMargin = time.Second

// Mount mounts the routes, each twice: under its own path and under the one that v1's apps know. A load balancer that splits
// traffic between v1 and v2 cannot rewrite a path for one of them only.
func Mount(m manifest.Manifest, deps Deps) []web.Mount {
	var mounts []web.Mount
	for _, route := range m {
		mount := web.Mount{
			Route: web.Route{
				Method: route.Method, Path: route.Path, MaxBody: route.MaxBody,
				Timeout: route.Timeout() - answerMargin, Handler: route.HandlerTimeout(),
			},
			Endpoint: endpoints[route.Function](deps),
		}
		mounts = append(mounts, mount)
		if v1 := route.V1Path(); v1 != route.Path {
			mount.Path = v1
			mounts = append(mounts, mount)
		}
	}
	return mounts
}
