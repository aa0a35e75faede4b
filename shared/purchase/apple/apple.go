// Package apple verifies purchases of the App Store by verifyReceipt.
package apple

import (
	"bytes"
	"context"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"regexp"
	"strconv"
	"time"

	"github.com/liftlog/liftlog-api/shared/purchase/outbound"
)

// product is what has to be bought.
const product = "pro"

// maxBody bounds what is read of an answer, in bytes: a receipt lists all that its owner ever bought in the app.
const maxBody = 4 << 20

// MaxReceiptLength is the longest receipt that is asked about, in characters.
const MaxReceiptLength = 64 << 10

// Options say whose purchases are verified, and where.
type Options struct {
	Bundle       string // the application
	Secret       string // may be empty: only subscriptions need it
	URL          string // of verifyReceipt
	SandboxURL   string
	AllowSandbox bool // count what was bought in the sandbox, as App Review does
}

// Verifier asks the App Store. It is safe for concurrent use.
type Verifier struct {
	options Options
	client  *http.Client
}

// New returns a Verifier.
func New(o Options) *Verifier { return &Verifier{options: o, client: outbound.NewClient(maxBody)} }

var receiptForm = regexp.MustCompile(`^[A-Za-z0-9+/]+={0,2}$`)

// Plausible reports whether the text may be a receipt, which is base64.
func (v *Verifier) Plausible(token string) bool {
	return len(token) <= MaxReceiptLength && receiptForm.MatchString(token)
}

// What verifyReceipt's status says. Those from firstInternal to lastInternal are faults of Apple's.
const (
	statusValid            = 0
	statusUnreadable       = 21000 // our request, not the receipt
	statusMalformed        = 21002 // or a fault that passes
	statusNotAuthenticated = 21003
	statusWrongSecret      = 21004
	statusUnavailable      = 21005
	statusExpired          = 21006
	statusFromSandbox      = 21007
	statusInternal         = 21009
	statusNoAccount        = 21010
	firstInternal          = 21100
	lastInternal           = 21199
)

// firstPause is about how long it waits before it asks again the first time; then twice as long, and so on.
const firstPause = 250 * time.Millisecond

// Verify reports whether the receipt holds a purchase of pro in this application, paid for by its owner and not
// cancelled. The subject is the transaction's own id, because one receipt can be written in many ways; no token that
// a header can hold equals it. An error means that there is no verdict. It asks again, as long as ctx allows, while
// Apple reports a fault of its own.
func (v *Verifier) Verify(ctx context.Context, token string) (subject string, valid bool, err error) {
	url, malformed := v.options.URL, 0
	for pause := firstPause; ; pause *= 2 {
		a, err := v.ask(ctx, url, token)
		if err != nil {
			return "", false, err
		}
		if *a.Status == statusFromSandbox && url == v.options.URL {
			if !v.options.AllowSandbox {
				return "", false, nil
			}
			url = v.options.SandboxURL
			if a, err = v.ask(ctx, url, token); err != nil {
				return "", false, err
			}
		}
		switch status := *a.Status; {
		case status == statusValid:
			return v.judge(a.Receipt)
		case status == statusNotAuthenticated, status == statusExpired, status == statusNoAccount:
			return "", false, nil
		case status == statusMalformed:
			if malformed++; malformed == 2 {
				return "", false, nil
			}
		case status == statusUnavailable, status == statusInternal, status >= firstInternal && status <= lastInternal:
		case status == statusWrongSecret, status == statusUnreadable:
			return "", false, outbound.Unknown(outbound.Refused, time.Time{})
		default:
			return "", false, outbound.Unknown(outbound.Unreadable, time.Time{})
		}
		if !outbound.Wait(ctx, pause/2+rand.N(pause)) { //nolint:gosec // it spreads load
			return "", false, outbound.Unknown(outbound.Failed, time.Time{})
		}
	}
}

type answer struct {
	Status  *int     `json:"status"`
	Receipt *receipt `json:"receipt"`
}

// ask sends the receipt to one of the two addresses. The answer has a status.
func (v *Verifier) ask(ctx context.Context, url, token string) (a answer, err error) {
	body, _ := json.Marshal(struct { // strings can be encoded
		Receipt string `json:"receipt-data"`
		Secret  string `json:"password,omitempty"`
	}{token, v.options.Secret})
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return a, outbound.Unknown(outbound.Connection, time.Time{})
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header["Idempotency-Key"] = nil // not sent; it lets net/http ask again when a kept connection turns out to be dead
	response, err := outbound.Ask(v.client, r)
	if err != nil {
		return a, err
	}
	if response.Status != http.StatusOK {
		retryAt := outbound.RetryAt(response.Header, time.Now())
		return a, outbound.Unknown(outbound.FaultOfStatus(response.Status), retryAt)
	}
	if err := json.Unmarshal(response.Body, &a); err != nil || a.Status == nil {
		return a, outbound.Unknown(outbound.Unreadable, time.Time{})
	}
	return a, nil
}

// receipt has two layouts: today's lists transactions, and that of iOS 6 is one.
type receipt struct {
	BundleID text          `json:"bundle_id"`
	InApp    []transaction `json:"in_app"`

	BID text `json:"bid"`
	transaction
}

type transaction struct {
	ProductID             text `json:"product_id"`
	Quantity              text `json:"quantity"`
	TransactionID         text `json:"transaction_id"`
	OriginalTransactionID text `json:"original_transaction_id"`
	OwnershipType         text `json:"in_app_ownership_type"` // missing in old layouts
	CancellationDate      text `json:"cancellation_date"`
	CancellationDateMS    text `json:"cancellation_date_ms"`
}

// text is a string, or a number as it is written. Apple writes numbers as strings, but not all of them always.
type text string

// UnmarshalJSON reads null as nothing.
func (t *text) UnmarshalJSON(data []byte) error {
	var number json.Number // which may be a string of digits, too
	if len(data) > 0 && data[0] != '"' {
		err := json.Unmarshal(data, &number)
		*t = text(number)
		return err
	}
	return json.Unmarshal(data, (*string)(t))
}

// judge looks for the purchase in a receipt that Apple found genuine. Among several it takes the one whose id comes
// first, whatever their order, so that the subject stays the same.
func (v *Verifier) judge(r *receipt) (subject string, valid bool, err error) {
	if r == nil {
		return "", false, outbound.Unknown(outbound.Unreadable, time.Time{})
	}
	bundle := r.BundleID
	if bundle == "" {
		bundle = r.BID
	}
	if string(bundle) != v.options.Bundle {
		return "", false, nil
	}
	first := ""
	for _, t := range append(r.InApp, r.transaction) {
		id, ok := t.bought()
		if ok && (first == "" || id < first) {
			first = id
		}
	}
	if first == "" {
		return "", false, nil
	}
	// A header's words hold no blank, so no token of another store is the same text.
	return "apple " + first, true, nil
}

// maxIDLength bounds a transaction's id, which is a number.
const maxIDLength = 64

// bought returns the transaction's original id if it is a purchase that counts.
func (t *transaction) bought() (id string, ok bool) {
	quantity, err := strconv.Atoi(string(t.Quantity))
	ok = t.ProductID == product && err == nil && quantity >= 1 &&
		(t.OwnershipType == "" || t.OwnershipType == "PURCHASED") &&
		t.CancellationDate == "" && t.CancellationDateMS == ""
	id = string(t.OriginalTransactionID)
	if id == "" {
		id = string(t.TransactionID)
	}
	return id, ok && id != "" && len(id) <= maxIDLength
}
