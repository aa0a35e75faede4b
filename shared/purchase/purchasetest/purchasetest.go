// Package purchasetest stands in for the stores, for tests and for the emulator: it speaks their protocols and answers
// as it was told to.
package purchasetest

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Answer is what a store answers once.
type Answer struct {
	Status int // zero: 200
	Header map[string]string
	Body   string
	Delay  time.Duration // before anything is sent; it ends when the caller goes
	Cut    bool          // break the connection off in the middle of the body
}

// Store is a stand-in for one store. It is safe for concurrent use.
type Store struct {
	handler http.Handler

	mu      sync.Mutex
	answers map[string][]Answer
	calls   map[string]int
	unknown Answer
}

func newStore(unknown Answer) *Store {
	return &Store{unknown: unknown, answers: map[string][]Answer{}, calls: map[string]int{}}
}

// On makes the store answer so about the token: in turn, and with the last one from then on.
func (s *Store) On(token string, answers ...Answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers[token] = answers
}

// Calls is how often the store was asked about the token.
func (s *Store) Calls(token string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[token]
}

// Total is how often the store was asked.
func (s *Store) Total() (total int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, calls := range s.calls {
		total += calls
	}
	return total
}

// ServeHTTP speaks the store's protocol.
func (s *Store) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// answer sends what there is to say about the token.
func (s *Store) answer(w http.ResponseWriter, r *http.Request, token string) {
	s.mu.Lock()
	s.calls[token]++
	a := s.unknown
	if script := s.answers[token]; len(script) > 0 {
		a = script[0]
		if len(script) > 1 {
			s.answers[token] = script[1:]
		}
	}
	s.mu.Unlock()
	a.ServeHTTP(w, r)
}

// ServeHTTP answers so whatever it is asked.
func (a Answer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body) // the server notices that the caller has gone only once the body is read
	if a.Delay > 0 {
		timer := time.NewTimer(a.Delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
			return
		}
	}
	w.Header().Set("Content-Type", "application/json")
	for name, value := range a.Header {
		w.Header().Set(name, value)
	}
	if a.Cut {
		w.Header().Set("Content-Length", strconv.Itoa(len(a.Body)+1))
	}
	if a.Status != 0 {
		w.WriteHeader(a.Status)
	}
	_, _ = io.WriteString(w, a.Body) // who is gone needs no answer
	if a.Cut {
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}

// JSON is an answer with this body, which can be encoded.
func JSON(status int, body any) Answer {
	encoded, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	return Answer{Status: status, Body: string(encoded)}
}

// Object is a JSON object.
type Object = map[string]any

// Play stands in for the Play Developer API with one product of one application. Tokens it was not told of do not exist.
// If key is not empty, callers have to show it as their access token.
func Play(application, product, key string) *Store {
	s := newStore(PlayReason(http.StatusNotFound, "purchaseTokenNotFound"))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /androidpublisher/v3/applications/{application}/purchases/products/{product}/tokens/{token}",
		func(w http.ResponseWriter, r *http.Request) {
			switch {
			case key != "" && r.Header.Get("Authorization") != "Bearer "+key:
				PlayError(http.StatusUnauthorized).ServeHTTP(w, r)
			case r.PathValue("application") != application:
				PlayReason(http.StatusNotFound, "applicationNotFound").ServeHTTP(w, r)
			case r.PathValue("product") != product:
				PlayError(http.StatusNotFound).ServeHTTP(w, r)
			default:
				s.answer(w, r, r.PathValue("token"))
			}
		})
	s.handler = mux
	return s
}

// PlayPurchase is a purchase in that state: 0 purchased, 1 cancelled, 2 pending.
func PlayPurchase(state int) Answer {
	return JSON(http.StatusOK, Object{
		"kind": "androidpublisher#productPurchase", "purchaseTimeMillis": "1700000000000", "purchaseState": state,
		"consumptionState": 0, "orderId": "GPA.1234-5678-9012-34567", "acknowledgementState": 1, "regionCode": "AU",
	})
}

// PlayError is an error as Google writes it.
func PlayError(status int) Answer { return PlayReason(status, "some") }

// PlayReason is an error with that reason.
func PlayReason(status int, reason string) Answer {
	return JSON(status, Object{"error": Object{
		"code": status, "message": http.StatusText(status), "errors": []Object{{"domain": "global", "reason": reason, "message": "some"}},
	}})
}

// Apple stands in for verifyReceipt at one of its two addresses. Receipts it was not told of are malformed.
func Apple() *Store {
	s := newStore(AppleStatus(21002))
	s.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var request struct {
			Receipt string `json:"receipt-data"`
		}
		err := json.NewDecoder(r.Body).Decode(&request)
		if r.Method != http.MethodPost || err != nil || request.Receipt == "" {
			AppleStatus(21000).ServeHTTP(w, r)
			return
		}
		s.answer(w, r, request.Receipt)
	})
	return s
}

// AppleStatus is an answer that holds a status and no receipt.
func AppleStatus(status int) Answer { return JSON(http.StatusOK, Object{"status": status}) }

// AppleReceipt is a genuine receipt of the application, in today's layout, with these transactions.
func AppleReceipt(bundle string, transactions ...Object) Answer {
	if transactions == nil {
		transactions = []Object{}
	}
	return JSON(http.StatusOK, Object{"status": 0, "environment": "Production", "receipt": Object{
		"receipt_type": "Production", "adam_id": 1, "app_item_id": 1, "bundle_id": bundle, "application_version": "1",
		"download_id": nil, "original_application_version": "1.0", "in_app": transactions,
	}})
}

// AppleTransaction is a purchase of the product, with members changed or, where they are nil, left out.
func AppleTransaction(product, originalID string, changes Object) Object {
	t := Object{
		"quantity": "1", "product_id": product, "transaction_id": "9" + originalID, "original_transaction_id": originalID,
		"purchase_date_ms": "1700000000000", "is_trial_period": "false", "in_app_ownership_type": "PURCHASED",
	}
	for name, value := range changes {
		if value == nil {
			delete(t, name)
		} else {
			t[name] = value
		}
	}
	return t
}

// RevenueCat stands in for the REST API, version 2, with one project. Customers it was not told of do not exist. A page
// after the first is told of by its path and query.
func RevenueCat(project, key string) *Store {
	s := newStore(RevenueCatError(http.StatusNotFound, "resource_missing"))
	s.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, ok := strings.CutPrefix(r.URL.EscapedPath(), "/v2/projects/"+project+"/customers/")
		switch {
		case r.Header.Get("Authorization") != "Bearer "+key:
			RevenueCatError(http.StatusUnauthorized, "authentication_error").ServeHTTP(w, r)
		case r.Method != http.MethodGet || !ok:
			RevenueCatError(http.StatusNotFound, "resource_missing").ServeHTTP(w, r)
		case strings.Contains(name, "/"):
			s.answer(w, r, r.URL.RequestURI())
		default:
			s.answer(w, r, strings.TrimPrefix(r.URL.Path, "/v2/projects/"+project+"/customers/"))
		}
	})
	return s
}

// RevenueCatEntitlement is an active entitlement; expiresAt is in milliseconds since 1970, or nil.
func RevenueCatEntitlement(id string, expiresAt any) Object {
	return Object{"object": "customer.active_entitlement", "entitlement_id": id, "expires_at": expiresAt}
}

// RevenueCatPage is a page of entitlements; next is nil or where the next one is.
func RevenueCatPage(next any, entitlements ...Object) Object {
	if entitlements == nil {
		entitlements = []Object{}
	}
	return Object{"object": "list", "items": entitlements, "next_page": next, "url": "/v2/here"}
}

// RevenueCatCustomer is the customer of that id with these entitlements, a page of them or nil.
func RevenueCatCustomer(id string, entitlements any) Answer {
	return JSON(http.StatusOK, Object{
		"object": "customer", "id": id, "project_id": "project", "first_seen_at": 1700000000000, "active_entitlements": entitlements,
	})
}

// RevenueCatError is an error as RevenueCat writes it.
func RevenueCatError(status int, kind string) Answer {
	return JSON(status, Object{
		"object": "error", "type": kind, "message": "some", "retryable": status >= 423, "doc_url": "https://errors.rev.cat/" + kind,
	})
}

// Broken are answers that no store should give, by name; a body of huge bytes is one of them.
func Broken(huge int) map[string]Answer {
	return map[string]Answer{
		"slow":           {Delay: time.Hour, Body: `{}`},
		"cut":            {Cut: true, Body: `{"status": 0, "kind`},
		"empty":          {},
		"HTML":           {Body: "<!DOCTYPE html><html><body>maintenance</body></html>"},
		"truncated JSON": {Body: `{"status": 0, "object": "customer", "kind": "androidpublisher#productPurchase"`},
		"null":           {Body: `null`},
		"an array":       {Body: `[]`},
		"a text":         {Body: `"customer"`},
		"nothing in it":  {Body: `{}`},
		"wrong types":    {Body: `{"status": "none", "receipt": [], "object": 7, "active_entitlements": "all", "kind": [], "purchaseState": {}}`},
		"huge":           {Body: `{"kind": "` + strings.Repeat("x", huge) + `"}`},
		"a redirect":     {Status: http.StatusFound, Header: map[string]string{"Location": "/elsewhere"}},
		"500":            {Status: http.StatusInternalServerError, Body: "<html>"},
		"503":            {Status: http.StatusServiceUnavailable, Body: `{}`},
		"418":            {Status: http.StatusTeapot},
	}
}

// LimitFor is how long a test waits for the broken answer of that name: a moment for the slow one, which does not come, and for the
// others longer than they take on a machine under load.
func LimitFor(name string) time.Duration {
	if name == "slow" {
		return time.Second
	}
	return time.Minute
}
