// Package revenuecat verifies purchases by RevenueCat's REST API, version 2.
package revenuecat

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/liftlog/liftlog-api/shared/purchase/outbound"
)

// maxBody bounds what is read of an answer, in bytes.
const maxBody = 1 << 20

// maxPages is how many pages of a customer's entitlements are read; RevenueCat puts 20 on one.
const maxPages = 10

// maxAttempts is how often one page is asked for.
const maxAttempts = 3

// maxCustomerLength is RevenueCat's own bound on a customer's id, in characters.
const maxCustomerLength = 1500

// Options say whose purchases are verified, and where.
type Options struct {
	BaseURL     string
	Key         string // of the API's second version
	Project     string
	Entitlement string // its id, entl…, and not its name
}

// Verifier asks RevenueCat. It is safe for concurrent use.
type Verifier struct {
	options Options
	client  *http.Client
}

// New returns a Verifier.
func New(o Options) *Verifier {
	o.BaseURL = strings.TrimSuffix(o.BaseURL, "/")
	return &Verifier{options: o, client: outbound.NewClient(maxBody)}
}

// Plausible reports whether the text may be a customer's id. The ids are the application's own to choose; but two of
// them would lead to another resource.
func (v *Verifier) Plausible(token string) bool {
	return token != "" && token != "." && token != ".." && utf8.ValidString(token) &&
		utf8.RuneCountInString(token) <= maxCustomerLength && !strings.ContainsFunc(token, unicode.IsControl)
}

// list is a page of entitlements.
type list struct {
	Object string `json:"object"`
	Items  []struct {
		EntitlementID string `json:"entitlement_id"`
		ExpiresAt     *int64 `json:"expires_at"` // milliseconds since 1970; null: never
	} `json:"items"`
	NextPage string `json:"next_page"`
}

type customer struct {
	Object             string `json:"object"`
	ID                 string `json:"id"`                  // its own, where it was asked for by an alias
	ActiveEntitlements *list  `json:"active_entitlements"` // null when there are none
}

// Verify reports whether the customer has the entitlement now. A customer may have many names, its aliases: the subject is
// the one that RevenueCat answers with, and empty when that is the token. An error means that there is no verdict. When
// RevenueCat asks to come back later it does so, if ctx allows, and else says in its error when.
func (v *Verifier) Verify(ctx context.Context, token string) (subject string, valid bool, err error) {
	// QueryEscape leaves nothing that means something in a path; but its blank is a plus.
	id := strings.ReplaceAll(url.QueryEscape(token), "+", "%20")
	next, err := url.Parse(v.options.BaseURL + "/v2/projects/" + url.PathEscape(v.options.Project) + "/customers/" + id)
	if err != nil {
		return "", false, outbound.Unknown(outbound.Connection, time.Time{})
	}
	var c customer
	found, err := v.get(ctx, next, &c)
	if err != nil || !found {
		return "", false, err
	}
	if c.Object != "customer" || c.ID == "" {
		return "", false, outbound.Unknown(outbound.Unreadable, time.Time{})
	}
	if c.ID != token {
		subject = c.ID
	}
	page := c.ActiveEntitlements
	for range maxPages {
		if page == nil || page.holds(v.options.Entitlement, time.Now()) {
			return subject, page != nil, nil
		}
		if page.NextPage == "" {
			return "", false, nil
		}
		if next, err = follow(next, page.NextPage); err != nil {
			return "", false, err
		}
		page = &list{}
		if found, err = v.get(ctx, next, page); err != nil {
			return "", false, err
		}
		if !found || page.Object != "list" {
			return "", false, outbound.Unknown(outbound.Unreadable, time.Time{})
		}
	}
	return "", false, outbound.Unknown(outbound.Unreadable, time.Time{})
}

func (l *list) holds(entitlement string, now time.Time) bool {
	for _, item := range l.Items {
		if item.EntitlementID == entitlement && (item.ExpiresAt == nil || *item.ExpiresAt > now.UnixMilli()) {
			return true
		}
	}
	return false
}

// follow returns the address of the next page, a path or a whole URL, which has to be on the same server: the key goes
// there.
func follow(current *url.URL, next string) (*url.URL, error) {
	to, err := current.Parse(next)
	if err != nil || to.Scheme != current.Scheme || to.Host != current.Host || to.User != nil {
		return nil, outbound.Unknown(outbound.Unreadable, time.Time{})
	}
	return to, nil
}

// get reads a resource, waiting and asking again when that is what RevenueCat wants. It is not found when it does not
// exist.
func (v *Verifier) get(ctx context.Context, from *url.URL, into any) (found bool, err error) {
	for attempt := 1; ; attempt++ {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, from.String(), nil)
		if err != nil {
			return false, outbound.Unknown(outbound.Connection, time.Time{})
		}
		r.Header.Set("Authorization", "Bearer "+v.options.Key)
		r.Header.Set("Accept", "application/json")
		a, err := outbound.Ask(v.client, r)
		if err != nil {
			return false, err
		}
		switch a.Status {
		case http.StatusOK:
			if json.Unmarshal(a.Body, into) != nil {
				return false, outbound.Unknown(outbound.Unreadable, time.Time{})
			}
			return true, nil
		case http.StatusNotFound:
			return false, nil
		}
		fault, now := outbound.FaultOfStatus(a.Status), time.Now()
		retryAt := retryAt(a, now)
		again := fault == outbound.Limited || fault == outbound.Failed
		if !again || retryAt.IsZero() || attempt == maxAttempts || !outbound.Wait(ctx, max(retryAt.Sub(now), minWait)) {
			return false, outbound.Unknown(fault, retryAt)
		}
	}
}

// minWait is the least that is waited before asking again.
const minWait = 100 * time.Millisecond

// retryAt is when RevenueCat asks to come back, by the header or by the body of its answer.
func retryAt(a outbound.Answer, now time.Time) time.Time {
	if at := outbound.RetryAt(a.Header, now); !at.IsZero() {
		return at
	}
	var body struct {
		Backoff int64 `json:"backoff_ms"`
	}
	const longest = int64(time.Hour / time.Millisecond)
	if json.Unmarshal(a.Body, &body) != nil || body.Backoff <= 0 {
		return time.Time{}
	}
	return now.Add(time.Duration(min(body.Backoff, longest)) * time.Millisecond)
}
