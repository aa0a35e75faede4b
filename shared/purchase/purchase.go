// Package purchase says whether callers have bought the app, by asking the store where they bought it.
//
// A verdict is valid, invalid or unknown. A store that cannot be asked is nobody's fault but ours, so a token that it
// confirmed in the last day stays valid meanwhile, on every instance: a table remembers it by its digest.
package purchase

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/liftlog/liftlog-api/shared/apierr"
	"github.com/liftlog/liftlog-api/shared/clientaddr"
	"github.com/liftlog/liftlog-api/shared/config"
	"github.com/liftlog/liftlog-api/shared/fairqueue"
	"github.com/liftlog/liftlog-api/shared/logging"
	"github.com/liftlog/liftlog-api/shared/postgres"
	"github.com/liftlog/liftlog-api/shared/purchase/apple"
	"github.com/liftlog/liftlog-api/shared/purchase/outbound"
	"github.com/liftlog/liftlog-api/shared/purchase/play"
	"github.com/liftlog/liftlog-api/shared/purchase/revenuecat"
)

// Store is where something was bought.
type Store string

// The stores.
const (
	Web        Store = "Web"
	Google     Store = "Google"
	Apple      Store = "Apple"
	RevenueCat Store = "RevenueCat"
)

// Stores are all of them, those of v1 first and in the order of their numbers there.
var Stores = [...]Store{Web, Google, Apple, RevenueCat}

// numbered is how many stores v1 has: apps may send the number of one of these in place of its name.
const numbered = 4

// Buyer is who has bought.
type Buyer struct {
	Store Store
	// Subject is what was bought, for counting: the App Store's transaction, RevenueCat's customer, or else the token itself. It is
	// unlike any of another store.
	Subject string
}

// How long verdicts hold.
const (
	validFor      = 10 * time.Minute
	invalidFor    = time.Minute
	rememberedFor = 24 * time.Hour // without a store's answer, from its last confirmation
	recalledFor   = time.Minute    // between two questions to a store that gives no answer
)

// The bounds of a verification.
const (
	totalTime    = 5 * time.Second
	storeTime    = 4 * time.Second // what is left is for the table
	waitTime     = 2 * time.Second // of the store's time, for others to be verified
	tableTime    = 2 * time.Second // enough for a first connection to the database
	maxVerifying = 32              // of each store, at the same time
	maxWaiting   = 32              // for each store
	maxVerdicts  = 10_000          // that an instance keeps, of each kind
)

// maxTokenLength is the longest that any store's token may be, in bytes.
const maxTokenLength = apple.MaxReceiptLength

// defaultRetry is when to come back if the store does not say.
const defaultRetry = 5 * time.Second

// backend asks one store. Its verdict is valid or not, and the subject is empty when that is the token; an error means
// that there is none.
type backend interface {
	Plausible(token string) bool
	Verify(ctx context.Context, token string) (subject string, valid bool, err error)
}

// Verifier knows who has bought. It is safe for concurrent use.
type Verifier struct {
	webKey   config.Secret
	backends map[Store]backend
	queues   map[Store]*fairqueue.Queue
	flights  singleflight.Group
	valid    *cache
	invalid  *cache
	table    table
	log      *slog.Logger
	now      func() time.Time
}

// New returns a Verifier that remembers in the rate limits' database. It connects to nothing before it has to.
func New(c config.Purchases, db *postgres.DB, log *slog.Logger) *Verifier {
	backends := map[Store]backend{
		Google: play.New(play.Options{Package: c.GooglePackage, Credentials: c.GoogleCredentials.Reveal(), BaseURL: c.GoogleBaseURL}),
		Apple: apple.New(apple.Options{
			Bundle: c.AppleBundle, Secret: c.AppleSecret.Reveal(),
			URL: c.AppleURL, SandboxURL: c.AppleSandboxURL, AllowSandbox: c.AppleAllowSandbox,
		}),
	}
	if c.RevenueCatKey.IsSet() {
		backends[RevenueCat] = revenuecat.New(revenuecat.Options{
			BaseURL: c.RevenueCatBaseURL, Key: c.RevenueCatKey.Reveal(), Project: c.RevenueCatProject, Entitlement: c.RevenueCatEntitlement,
		})
	}
	return newVerifier(c.WebKey, backends, table{db}, log)
}

func newVerifier(webKey config.Secret, backends map[Store]backend, t table, log *slog.Logger) *Verifier {
	queues := map[Store]*fairqueue.Queue{}
	for store := range backends {
		queues[store] = fairqueue.New(maxVerifying, maxWaiting)
	}
	return &Verifier{
		webKey: webKey, backends: backends, queues: queues, table: t, log: log, now: time.Now,
		valid: newCache(maxVerdicts), invalid: newCache(maxVerdicts),
	}
}

var (
	errHeader  = &apierr.Error{Kind: apierr.Unauthenticated, Detail: "The Authorization header names no purchase."}
	errInvalid = &apierr.Error{Kind: apierr.Unauthenticated, Detail: "The purchase is not valid."}
)

// Authorize returns who has bought what an Authorization header names, [apierr.Unauthenticated] when the header or the
// purchase is not valid, and [apierr.Unavailable] with a time to come back when the store gives no answer and did not
// confirm the purchase within the last 24 hours. It takes at most 5 seconds, and asks a store once for each token
// however many call; no error holds any part of the token.
func (v *Verifier) Authorize(ctx context.Context, authorization string) (Buyer, error) {
	store, token, ok := parse(authorization)
	if !ok {
		return Buyer{}, errHeader
	}
	if store == Web {
		if !v.isWebKey(token) {
			return Buyer{}, errInvalid
		}
		return Buyer{store, token}, nil
	}
	backend, ok := v.backends[store]
	if !ok || !backend.Plausible(token) {
		return Buyer{}, errInvalid
	}
	key := sha256.Sum256([]byte(string(store) + "\x00" + token))
	result, known := v.cached(key)
	if !known {
		var err error
		if result, err = v.verifyOnce(ctx, store, token, key); err != nil {
			return Buyer{}, err
		}
	}
	if !result.valid {
		return Buyer{}, errInvalid
	}
	return Buyer{store, cmp.Or(result.subject, token)}, nil
}

// parse reads "store token", with or without "Bearer" before it. Blanks are not trimmed, and v1 does not trim them either.
func parse(authorization string) (store Store, token string, ok bool) {
	name, token, ok := strings.Cut(strings.TrimPrefix(authorization, "Bearer "), " ")
	if !ok || token == "" || len(token) > maxTokenLength || strings.Contains(token, " ") {
		return "", "", false
	}
	for number, store := range Stores {
		if strings.EqualFold(name, string(store)) || number < numbered && name == strconv.Itoa(number) {
			return store, token, true
		}
	}
	return "", "", false
}

// isWebKey compares digests, so that the time it takes tells nothing about the key, not even its length.
func (v *Verifier) isWebKey(token string) bool {
	want, got := sha256.Sum256([]byte(v.webKey.Reveal())), sha256.Sum256([]byte(token))
	return subtle.ConstantTimeCompare(want[:], got[:]) == 1 && v.webKey.IsSet()
}

// verdict is what a store says of a token.
type verdict struct {
	valid   bool
	subject string // empty: the token itself
}

func (v *Verifier) cached(key digest) (result verdict, known bool) {
	now := v.now()
	if subject, ok := v.valid.get(key, now); ok {
		return verdict{true, subject}, true
	}
	_, known = v.invalid.get(key, now)
	return verdict{}, known
}

// verifyOnce joins the verification of this token that is under way, or begins one. A caller that leaves stops waiting,
// and does not stop it for the others.
func (v *Verifier) verifyOnce(ctx context.Context, store Store, token string, key digest) (verdict, error) {
	flight := v.flights.DoChan(string(key[:]), func() (any, error) {
		if result, known := v.cached(key); known { // another verification has just ended
			return result, nil
		}
		return v.verify(context.WithoutCancel(ctx), store, token, key)
	})
	select {
	case done := <-flight:
		result, _ := done.Val.(verdict) // it is one
		return result, done.Err
	case <-ctx.Done():
		return verdict{}, ctx.Err()
	}
}

func (v *Verifier) verify(ctx context.Context, store Store, token string, key digest) (verdict, error) {
	ctx, cancel := context.WithTimeout(ctx, totalTime)
	defer cancel()
	subject, valid, err := v.ask(ctx, store, token, key)
	if err != nil {
		v.warn(ctx, "purchase not verified", store, faultOf(err))
		return v.recall(ctx, store, key, err)
	}
	now := v.now()
	ctx, cancelWrite := context.WithTimeout(ctx, tableTime)
	defer cancelWrite()
	if valid {
		v.valid.put(key, subject, now.Add(validFor))
		err = v.table.remember(ctx, key, subject, now)
	} else {
		v.invalid.put(key, "", now.Add(invalidFor))
		err = v.table.forget(ctx, key) // it may have been valid before a refund
	}
	if err != nil {
		v.warn(ctx, "purchase verdict not stored", store, faultOfTable)
	}
	return verdict{valid, subject}, nil
}

// ask gets the store's verdict. Every error is like [outbound.Unknown].
func (v *Verifier) ask(ctx context.Context, store Store, token string, key digest) (subject string, valid bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	waiting, stopWaiting := context.WithTimeout(ctx, waitTime)
	leave, err := v.enter(waiting, store, key)
	stopWaiting()
	if err != nil {
		return "", false, outbound.Unknown(outbound.Overloaded, time.Time{})
	}
	defer leave()
	defer func() { // nobody else recovers in this goroutine
		if value := recover(); value != nil {
			v.log.LogAttrs(ctx, slog.LevelError, logging.PanicMessage(value))
			err = outbound.Unknown(outbound.Panicked, time.Time{})
		}
	}()
	return v.backends[store].Verify(ctx, token)
}

// enter waits, for as long as ctx allows, until the store may be asked. Buyers whom it has confirmed before go first, and they
// are looked for only when somebody has to wait.
func (v *Verifier) enter(ctx context.Context, store Store, key digest) (leave func(), err error) {
	client := clientaddr.From(ctx)
	if leave, ok := v.queues[store].TryEnter(client); ok {
		return leave, nil
	}
	_, _, confirmed, err := v.table.recall(ctx, key, time.Time{})
	if err != nil {
		v.warn(ctx, "purchase verdict not read", store, faultOfTable)
	}
	return v.queues[store].Enter(ctx, client, confirmed)
}

// recall answers in place of a store that did not, for the reason given.
func (v *Verifier) recall(ctx context.Context, store Store, key digest, reason error) (verdict, error) {
	now := v.now()
	ctx, cancel := context.WithTimeout(ctx, tableTime)
	defer cancel()
	subject, at, found, err := v.table.recall(ctx, key, now.Add(-rememberedFor))
	if err != nil {
		v.warn(ctx, "purchase verdict not read", store, faultOfTable)
	}
	if found {
		until := now.Add(recalledFor)
		if end := at.Add(rememberedFor); end.Before(until) {
			until = end
		}
		v.valid.put(key, subject, until)
		return verdict{true, subject}, nil
	}
	return verdict{}, &apierr.Error{
		Kind: apierr.Unavailable, Detail: "The purchase cannot be verified now.", RetryAt: retryAt(reason, now),
		Err: fmt.Errorf("verify purchase of %s: %w", store, faultOf(reason)),
	}
}

// faultOf is why there is no verdict.
func faultOf(err error) outbound.Fault {
	if fault, ok := errors.AsType[outbound.Fault](err); ok {
		return fault
	}
	return outbound.Unreadable
}

// retryAt is when to come back: when the store said, if it did.
func retryAt(err error, now time.Time) time.Time {
	if e, ok := errors.AsType[*apierr.Error](err); ok && e.RetryAt.After(now) {
		return e.RetryAt
	}
	return now.Add(defaultRetry)
}

// faultOfTable is every fault of the database: its own text may hold parts of a statement's values.
const faultOfTable outbound.Fault = "table"

// warn writes a line that metrics count by its message, and that holds the store and the kind of fault only. It is an
// error when waiting does not help.
func (v *Verifier) warn(ctx context.Context, message string, store Store, fault outbound.Fault) {
	level := slog.LevelWarn
	if fault == outbound.Refused || fault == outbound.Panicked {
		level = slog.LevelError
	}
	v.log.LogAttrs(ctx, level, message, slog.String("store", string(store)), slog.String("fault", string(fault)))
}
