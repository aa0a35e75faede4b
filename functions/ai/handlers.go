// Package ai holds the endpoints of the planner: one file each.
package ai

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/liftlog/liftlog-api/shared/apierr"
	"github.com/liftlog/liftlog-api/shared/logging"
	"github.com/liftlog/liftlog-api/shared/planner"
	"github.com/liftlog/liftlog-api/shared/purchase"
	"github.com/liftlog/liftlog-api/shared/ratelimit"
)

// Handlers are the endpoints' functions with what they need.
type Handlers struct {
	Planner *planner.Planner
	Limiter *ratelimit.Limiter

	WebPerDay, MobilePerDay int // plans and sessions of one buyer in any 24 hours
}

// limited makes one plan or session within the buyer's limit. A call that the model never answered does not count.
func limited[T any](ctx context.Context, h *Handlers, buyer purchase.Buyer, work func() (T, error)) (result T, err error) {
	limit := h.MobilePerDay
	if buyer.Store == purchase.Web {
		limit = h.WebPerDay
	}
	settle, err := h.Limiter.Take(ctx, ratelimit.PlanKey(buyer.Subject), limit)
	if err != nil {
		return result, err
	}
	result, err = work()
	answered := err == nil || apierr.KindOf(err) != apierr.Unavailable && !errors.Is(err, context.DeadlineExceeded) &&
		apierr.KindOf(context.Cause(ctx)) != apierr.Unavailable
	settle(ctx, ratelimit.Use{Answered: answered, Tokens: logging.ModelTokens(ctx)})
	return result, err
}

// SessionResponse is one session on the wire.
type SessionResponse struct {
	Name      string     `json:"name"`
	Exercises []Exercise `json:"exercises"`
	Notes     string     `json:"notes"`
}

// Exercise is one of a session's.
type Exercise struct {
	Name                    string  `json:"name"`
	Sets                    int     `json:"sets"`
	RepsPerSet              int     `json:"repsPerSet"`
	WeightIncreaseOnSuccess float64 `json:"weightIncreaseOnSuccess"`
	RestBetweenSets         Rest    `json:"restBetweenSets"`
	SupersetWithNext        bool    `json:"supersetWithNext"`
	Notes                   string  `json:"notes"`
	Link                    string  `json:"link"`
}

// Rest holds times in the form d.hh:mm:ss: with milliseconds behind it where there are any.
type Rest struct {
	MinRest     string `json:"minRest"`
	MaxRest     string `json:"maxRest"`
	FailureRest string `json:"failureRest"`
}

// toWire leaves an exercise's notes empty, as v1 did.
func toWire(s planner.Session) SessionResponse {
	session := SessionResponse{Name: s.Name, Exercises: make([]Exercise, len(s.Exercises)), Notes: s.Description}
	for i, e := range s.Exercises {
		session.Exercises[i] = Exercise{
			Name: e.Name, Sets: e.Sets, RepsPerSet: e.RepsPerSet, WeightIncreaseOnSuccess: e.WeightIncreaseOnSuccess,
			RestBetweenSets: Rest{restTime(e.Rest.Min), restTime(e.Rest.Max), restTime(e.Rest.Failure)},
		}
	}
	return session
}

func restTime(d time.Duration) string {
	const day = 24 * time.Hour
	text := fmt.Sprintf("%d.%02d:%02d:%02d:", d/day, d%day/time.Hour, d%time.Hour/time.Minute, d%time.Minute/time.Second)
	if ms := d % time.Second / time.Millisecond; ms > 0 {
		text += fmt.Sprintf("%03d", ms)
	}
	return text
}

func unit(imperial bool) planner.Unit {
	if imperial {
		return planner.Pounds
	}
	return planner.Kilograms
}

// readName reads one of the names in any case, or its number, as v1 read an enumeration.
func readName(dec *jsontext.Decoder, names []string) (string, error) {
	token, err := dec.ReadToken()
	if err != nil {
		return "", err
	}
	switch token.Kind() {
	case '"':
		for _, name := range names {
			if text := token.String(); len(text) == len(name) && strings.EqualFold(name, text) { // so that ſ is no s
				return name, nil
			}
		}
	case '0':
		for i, name := range names {
			if token.String() == strconv.Itoa(i) {
				return name, nil
			}
		}
	}
	return "", errors.New("not one of the names")
}
