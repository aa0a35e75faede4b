package apple_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/shared/apierr"
	"github.com/liftlog/liftlog-api/shared/purchase/apple"
	"github.com/liftlog/liftlog-api/shared/purchase/outbound"
	"github.com/liftlog/liftlog-api/shared/purchase/purchasetest"
)

const bundle = "com.limajuice.liftlog"

// stores are the two addresses of the App Store, and a verifier that asks them.
type stores struct {
	production, sandbox *purchasetest.Store
	v                   *apple.Verifier
}

func start(t *testing.T, allowSandbox bool) stores {
	t.Helper()
	s := stores{production: purchasetest.Apple(), sandbox: purchasetest.Apple()}
	production, sandbox := httptest.NewServer(s.production), httptest.NewServer(s.sandbox)
	t.Cleanup(production.Close)
	t.Cleanup(sandbox.Close)
	s.v = apple.New(apple.Options{Bundle: bundle, URL: production.URL, SandboxURL: sandbox.URL, AllowSandbox: allowSandbox})
	return s
}

func within(t *testing.T, limit time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

func pro(changes purchasetest.Object) purchasetest.Object {
	return purchasetest.AppleTransaction("pro", "1000", changes)
}

// flat is a receipt as iOS 6 had it.
func flat(changes purchasetest.Object) purchasetest.Answer {
	t := pro(purchasetest.Object{"bid": bundle, "bvrs": "1", "in_app_ownership_type": nil})
	for name, value := range changes {
		t[name] = value
	}
	return purchasetest.JSON(http.StatusOK, purchasetest.Object{"status": 0, "receipt": t})
}

func TestVerdictsOfReceipts(t *testing.T) {
	t.Parallel()
	type object = purchasetest.Object
	receipt := purchasetest.AppleReceipt
	other := purchasetest.AppleTransaction("tip", "1", nil)
	cases := map[string]struct {
		answer  purchasetest.Answer
		subject string // "": invalid
	}{
		"bought":                     {receipt(bundle, pro(nil)), "apple 1000"},
		"among others":               {receipt(bundle, other, pro(nil), other), "apple 1000"},
		"several":                    {receipt(bundle, purchasetest.AppleTransaction("pro", "2000", nil), pro(nil)), "apple 1000"},
		"one of them cancelled":      {receipt(bundle, pro(object{"cancellation_date": "x"}), purchasetest.AppleTransaction("pro", "2", nil)), "apple 2"},
		"nothing bought":             {receipt(bundle), ""},
		"something else":             {receipt(bundle, other), ""},
		"another application":        {receipt("com.example", pro(nil)), ""},
		"no application":             {purchasetest.Answer{Body: `{"status":0,"receipt":{}}`}, ""},
		"cancelled":                  {receipt(bundle, pro(object{"cancellation_date": "2024-01-01 00:00:00 Etc/GMT"})), ""},
		"cancelled, in ms":           {receipt(bundle, pro(object{"cancellation_date_ms": "1700000000000"})), ""},
		"not cancelled":              {receipt(bundle, pro(object{"cancellation_date": ""})), "apple 1000"},
		"shared by family":           {receipt(bundle, pro(object{"in_app_ownership_type": "FAMILY_SHARED"})), ""},
		"of no stated ownership":     {receipt(bundle, pro(object{"in_app_ownership_type": nil})), "apple 1000"},
		"a quantity of two":          {receipt(bundle, pro(object{"quantity": "2"})), "apple 1000"},
		"a quantity as number":       {receipt(bundle, pro(object{"quantity": 1})), "apple 1000"},
		"a quantity of none":         {receipt(bundle, pro(object{"quantity": "0"})), ""},
		"a quantity below":           {receipt(bundle, pro(object{"quantity": "-1"})), ""},
		"no quantity":                {receipt(bundle, pro(object{"quantity": nil})), ""},
		"a quantity that is none":    {receipt(bundle, pro(object{"quantity": "many"})), ""},
		"without the original id":    {receipt(bundle, pro(object{"original_transaction_id": nil})), "apple 91000"},
		"without any id":             {receipt(bundle, pro(object{"original_transaction_id": nil, "transaction_id": nil})), ""},
		"an id that is far too long": {receipt(bundle, pro(object{"original_transaction_id": strings.Repeat("1", 65)})), ""},
		"flat":                       {flat(nil), "apple 1000"},
		"flat, of something else":    {flat(object{"product_id": "tip"}), ""},
		"flat, of another app":       {flat(object{"bid": "com.example"}), ""},
		"flat, cancelled":            {flat(object{"cancellation_date": "x"}), ""},
	}
	s := start(t, true)
	for name, c := range cases {
		s.production.On(name, c.answer)
		subject, valid, err := s.v.Verify(t.Context(), name)
		require.NoError(t, err, name)
		assert.Equal(t, c.subject, subject, name)
		assert.Equal(t, c.subject != "", valid, name)
		assert.Equal(t, 1, s.production.Calls(name), name)
	}
	assert.Zero(t, s.sandbox.Total())
}

func TestVerdictsOfStatuses(t *testing.T) {
	t.Parallel()
	good := purchasetest.AppleReceipt(bundle, pro(nil))
	cases := map[string]struct {
		statuses []int // the last one again and again; 0 is the good receipt
		valid    bool
		fault    outbound.Fault // "": there is a verdict
		calls    int            // 0: as many as there is time for, but several
	}{
		"our request":                  {[]int{21000}, false, outbound.Refused, 1},
		"a status of old":              {[]int{21001}, false, outbound.Unreadable, 1},
		"malformed":                    {[]int{21002}, false, "", 2},
		"malformed, it seemed":         {[]int{21002, 0}, true, "", 2},
		"not authenticated":            {[]int{21003}, false, "", 1},
		"our secret":                   {[]int{21004}, false, outbound.Refused, 1},
		"unavailable":                  {[]int{21005}, false, outbound.Failed, 0},
		"unavailable once":             {[]int{21005, 0}, true, "", 2},
		"expired":                      {[]int{21006}, false, "", 1},
		"of production, in production": {[]int{21008}, false, outbound.Unreadable, 1},
		"internal":                     {[]int{21009}, false, outbound.Failed, 0},
		"internal once":                {[]int{21009, 0}, true, "", 2},
		"no account":                   {[]int{21010}, false, "", 1},
		"data access":                  {[]int{21100}, false, outbound.Failed, 0},
		"data access, at the end":      {[]int{21199, 0}, true, "", 2},
		"beyond data access":           {[]int{21200}, false, outbound.Unreadable, 1},
		"several":                      {[]int{21002, 21009, 0}, true, "", 3},
		"internal and then malformed":  {[]int{21009, 21002, 21002}, false, "", 3},
	}
	s := start(t, true)
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var answers []purchasetest.Answer
			for _, status := range c.statuses {
				if status == 0 {
					answers = append(answers, good)
				} else {
					answers = append(answers, purchasetest.AppleStatus(status))
				}
			}
			s.production.On(name, answers...)
			begin := time.Now()
			_, valid, err := s.v.Verify(within(t, 3*time.Second), name)
			assert.Less(t, time.Since(begin), 30*time.Second)
			assert.Equal(t, c.valid, valid)
			if c.fault == "" {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, c.fault)
				assert.Equal(t, apierr.Unavailable, apierr.KindOf(err))
			}
			if c.calls == 0 {
				assert.Greater(t, s.production.Calls(name), 1)
				assert.Less(t, s.production.Calls(name), 6, "waits grow")
			} else {
				assert.Equal(t, c.calls, s.production.Calls(name))
			}
		})
	}
}

func TestTheSandboxIsAskedWhenProductionSaysSo(t *testing.T) {
	t.Parallel()
	s := start(t, true)
	cases := map[string]struct {
		sandbox []purchasetest.Answer
		valid   bool
		fault   outbound.Fault
	}{
		"bought":          {[]purchasetest.Answer{purchasetest.AppleReceipt(bundle, pro(nil))}, true, ""},
		"not bought":      {[]purchasetest.Answer{purchasetest.AppleReceipt(bundle)}, false, ""},
		"at second try":   {[]purchasetest.Answer{purchasetest.AppleStatus(21009), purchasetest.AppleReceipt(bundle, pro(nil))}, true, ""},
		"malformed":       {[]purchasetest.Answer{purchasetest.AppleStatus(21002)}, false, ""},
		"sent back":       {[]purchasetest.Answer{purchasetest.AppleStatus(21008)}, false, outbound.Unreadable},
		"sent to itself":  {[]purchasetest.Answer{purchasetest.AppleStatus(21007)}, false, outbound.Unreadable},
		"sandbox is away": {[]purchasetest.Answer{{Status: http.StatusBadGateway}}, false, outbound.Failed},
	}
	for name, c := range cases {
		s.production.On(name, purchasetest.AppleStatus(21007))
		s.sandbox.On(name, c.sandbox...)
		_, valid, err := s.v.Verify(within(t, 3*time.Second), name)
		assert.Equal(t, c.valid, valid, name)
		assert.Equal(t, 1, s.production.Calls(name), name)
		if c.fault == "" {
			require.NoError(t, err, name)
		} else {
			require.ErrorIs(t, err, c.fault, name)
		}
	}
}

func TestTheSandboxMayBeClosed(t *testing.T) {
	t.Parallel()
	s := start(t, false)
	s.production.On("receipt", purchasetest.AppleStatus(21007))
	_, valid, err := s.v.Verify(t.Context(), "receipt")
	require.NoError(t, err)
	assert.False(t, valid)
	assert.Zero(t, s.sandbox.Total())
}

func TestUnknown(t *testing.T) {
	t.Parallel()
	s := start(t, true)
	answers := purchasetest.Broken(5 << 20)
	answers["a receipt of numbers"] = purchasetest.Answer{Body: `{"status":0,"receipt":{"bundle_id":{}}}`}
	answers["a receipt that is missing"] = purchasetest.Answer{Body: `{"status":0}`}
	answers["in_app of texts"] = purchasetest.Answer{Body: `{"status":0,"receipt":{"bundle_id":"com.limajuice.liftlog","in_app":["pro"]}}`}
	answers["401"] = purchasetest.Answer{Status: http.StatusUnauthorized}
	answers["404"] = purchasetest.Answer{Status: http.StatusNotFound}
	faults := map[string]outbound.Fault{
		"slow": outbound.Timeout, "cut": outbound.Connection, "500": outbound.Failed, "503": outbound.Failed, "401": outbound.Refused,
	}
	for name, answer := range answers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			token := "secret" + strings.ReplaceAll(name, " ", "")
			s.production.On(token, answer)
			_, valid, err := s.v.Verify(within(t, purchasetest.LimitFor(name)), token)
			assert.False(t, valid)
			require.Error(t, err)
			assert.Equal(t, apierr.Unavailable, apierr.KindOf(err))
			assert.NotContains(t, err.Error(), "secret")
			want, ok := faults[name]
			if !ok {
				want = outbound.Unreadable
			}
			assert.ErrorIs(t, err, want)
		})
	}
}

func TestAReceiptOfManyPurchasesIsReadWhole(t *testing.T) {
	t.Parallel()
	s := start(t, true)
	var all []purchasetest.Object
	for i := range 8000 {
		all = append(all, purchasetest.AppleTransaction("tip", strconv.Itoa(i), nil))
	}
	s.production.On("receipt", purchasetest.AppleReceipt(bundle, append(all, pro(nil))...))
	_, valid, err := s.v.Verify(t.Context(), "receipt")
	require.NoError(t, err)
	assert.True(t, valid)
}

func TestWhatIsSent(t *testing.T) {
	t.Parallel()
	for secret, want := range map[string]map[string]any{
		"":        {"receipt-data": "MII+/=="},
		"hunter2": {"receipt-data": "MII+/==", "password": "hunter2"},
	} {
		sent := make(chan map[string]any, 1)
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var body map[string]any
			assert.NoError(t, json.NewDecoder(r.Body).Decode(&body))
			assert.Equal(t, "application/json", r.Header.Get("Content-Type"))
			assert.NotContains(t, r.Header, "Idempotency-Key")
			sent <- body
			purchasetest.AppleStatus(21003).ServeHTTP(w, r)
		}))
		t.Cleanup(server.Close)
		_, _, err := apple.New(apple.Options{URL: server.URL, Secret: secret}).Verify(t.Context(), "MII+/==")
		require.NoError(t, err)
		assert.Equal(t, want, <-sent)
	}
}

func TestPlausible(t *testing.T) {
	t.Parallel()
	v := apple.New(apple.Options{})
	for token, want := range map[string]bool{
		"MIITtgYJKoZIhvcNAQcCoIITpzCCE6MCAQExCzAJBgUrDgMCGgUAMIID": true, "a+/9==": true, "YQ=": true, strings.Repeat("a", 64<<10): true,
		strings.Repeat("a", 64<<10+1): false, "": false, "=": false, "a===": false, "a=b": false, "a-b": false, "a.b": false, "a\n": false, "ä": false,
	} {
		assert.Equal(t, want, v.Plausible(token))
	}
}

func FuzzVerify(f *testing.F) {
	for _, body := range []purchasetest.Answer{purchasetest.AppleReceipt(bundle, pro(nil)), flat(nil), purchasetest.AppleStatus(21003)} {
		f.Add(body.Body)
	}
	f.Add(`{"status":0,"receipt":{"bid":null,"quantity":1e999}}`)
	f.Fuzz(func(t *testing.T, body string) {
		server := httptest.NewServer(purchasetest.Answer{Body: body})
		defer server.Close()
		v := apple.New(apple.Options{Bundle: bundle, URL: server.URL, SandboxURL: server.URL, AllowSandbox: true})
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond) // so that it does not ask again
		defer cancel()
		subject, valid, err := v.Verify(ctx, "receipt")
		if err != nil {
			assert.Equal(t, apierr.Unavailable, apierr.KindOf(err))
		}
		assert.Equal(t, valid, strings.HasPrefix(subject, "apple "))
		assert.False(t, valid && err != nil)
	})
}
