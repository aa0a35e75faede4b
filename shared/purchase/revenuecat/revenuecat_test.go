package revenuecat_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/shared/apierr"
	"github.com/liftlog/liftlog-api/shared/purchase/outbound"
	"github.com/liftlog/liftlog-api/shared/purchase/purchasetest"
	"github.com/liftlog/liftlog-api/shared/purchase/revenuecat"
)

// start serves the stand-in and returns a verifier of it, and its address.
func start(t *testing.T, store http.Handler) (*revenuecat.Verifier, string) {
	t.Helper()
	server := httptest.NewServer(store)
	t.Cleanup(server.Close)
	return revenuecat.New(revenuecat.Options{BaseURL: server.URL + "/", Key: "sk_key", Project: "proj1", Entitlement: "entl1"}), server.URL
}

func stand() *purchasetest.Store { return purchasetest.RevenueCat("proj1", "sk_key") }

func within(t *testing.T, limit time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

func TestVerdicts(t *testing.T) {
	t.Parallel()
	page, entitled := purchasetest.RevenueCatPage, purchasetest.RevenueCatEntitlement
	customer := func(entitlements any) purchasetest.Answer {
		return purchasetest.RevenueCatCustomer("customer", entitlements)
	}
	future, past := time.Now().Add(time.Minute).UnixMilli(), time.Now().Add(-time.Minute).UnixMilli()
	cases := map[string]struct {
		answer purchasetest.Answer
		valid  bool
	}{
		"for ever":             {customer(page(nil, entitled("entl1", nil))), true},
		"until later":          {customer(page(nil, entitled("entl1", future))), true},
		"until before":         {customer(page(nil, entitled("entl1", past))), false},
		"another":              {customer(page(nil, entitled("entl2", nil))), false},
		"by its name":          {customer(page(nil, entitled("pro", nil))), false},
		"among others":         {customer(page(nil, entitled("entl2", nil), entitled("entl1", past), entitled("entl1", nil))), true},
		"none":                 {customer(page(nil)), false},
		"null":                 {customer(nil), false},
		"an unknown customer":  {purchasetest.RevenueCatError(http.StatusNotFound, "resource_missing"), false},
		"$RCAnonymousID:a/b?c": {customer(page(nil, entitled("entl1", nil))), true},
	}
	store := stand()
	v, _ := start(t, store)
	for name, c := range cases {
		store.On(name, c.answer)
		subject, valid, err := v.Verify(t.Context(), name)
		require.NoError(t, err, name)
		assert.Equal(t, c.valid, valid, name)
		if c.valid {
			assert.Equal(t, "customer", subject, "whatever it was asked for by")
		}
		assert.Equal(t, 1, store.Calls(name), name)
	}
	store.On("customer", customer(page(nil, entitled("entl1", nil))))
	subject, valid, err := v.Verify(t.Context(), "customer")
	require.NoError(t, err)
	assert.True(t, valid)
	assert.Empty(t, subject, "the token is its own subject")
}

func TestIDsArePercentEncoded(t *testing.T) {
	t.Parallel()
	seen := make(chan string, 1)
	v, _ := start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen <- r.RequestURI
		purchasetest.RevenueCatCustomer("customer", nil).ServeHTTP(w, r)
	}))
	for id, want := range map[string]string{
		"$RCAnonymousID:0a+b": "%24RCAnonymousID%3A0a%2Bb", "a b/../c?d#e%2f": "a%20b%2F..%2Fc%3Fd%23e%252f", "ä&=": "%C3%A4%26%3D", "plain-1_2.3~": "plain-1_2.3~",
	} {
		_, _, err := v.Verify(t.Context(), id)
		require.NoError(t, err)
		assert.Equal(t, "/v2/projects/proj1/customers/"+want, <-seen)
	}
}

func TestPagesAreFollowed(t *testing.T) {
	t.Parallel()
	store := stand()
	v, base := start(t, store)
	const path = "/v2/projects/proj1/customers/%s/active_entitlements?starting_after=%d"
	entitled, other := purchasetest.RevenueCatEntitlement("entl1", nil), purchasetest.RevenueCatEntitlement("entl2", nil)
	page := func(next any, entitlements ...purchasetest.Object) purchasetest.Answer {
		return purchasetest.JSON(http.StatusOK, purchasetest.RevenueCatPage(next, entitlements...))
	}

	store.On("third", purchasetest.RevenueCatCustomer("customer", purchasetest.RevenueCatPage(fmt.Sprintf(path, "third", 1), other)))
	store.On(fmt.Sprintf(path, "third", 1), page(base+fmt.Sprintf(path, "third", 2), other))
	store.On(fmt.Sprintf(path, "third", 2), page(nil, entitled))
	_, valid, err := v.Verify(t.Context(), "third")
	require.NoError(t, err)
	assert.True(t, valid)

	store.On("nowhere", purchasetest.RevenueCatCustomer("customer", purchasetest.RevenueCatPage(fmt.Sprintf(path, "nowhere", 1), other)))
	store.On(fmt.Sprintf(path, "nowhere", 1), page(nil))
	_, valid, err = v.Verify(t.Context(), "nowhere")
	require.NoError(t, err)
	assert.False(t, valid)

	again := fmt.Sprintf(path, "endless", 1)
	store.On("endless", purchasetest.RevenueCatCustomer("customer", purchasetest.RevenueCatPage(again, other)))
	store.On(again, page(again, other))
	_, _, err = v.Verify(t.Context(), "endless")
	require.ErrorIs(t, err, outbound.Unreadable)
	assert.Equal(t, 10, store.Calls(again))

	store.On("broken", purchasetest.RevenueCatCustomer("customer", purchasetest.RevenueCatPage(fmt.Sprintf(path, "broken", 1), other)))
	_, _, err = v.Verify(t.Context(), "broken")
	assert.ErrorIs(t, err, outbound.Unreadable, "a page that is missing is no verdict")
}

func TestTheKeyStaysOnItsServer(t *testing.T) {
	t.Parallel()
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("asked elsewhere") }))
	t.Cleanup(elsewhere.Close)
	store := stand()
	v, base := start(t, store)
	at := strings.TrimPrefix(base, "http://")
	for i, next := range []string{
		elsewhere.URL + "/v2/x", "//" + strings.TrimPrefix(elsewhere.URL, "http://") + "/v2/x", "https://" + at + "/v2/x", "http://u:p@" + at + "/v2/x", "::", "ftp://" + at,
	} {
		token := strconv.Itoa(i)
		store.On(token, purchasetest.RevenueCatCustomer("customer", purchasetest.RevenueCatPage(next)))
		_, _, err := v.Verify(t.Context(), token)
		assert.ErrorIs(t, err, outbound.Unreadable, next)
	}
	store.On("redirect", purchasetest.Answer{Status: http.StatusFound, Header: map[string]string{"Location": elsewhere.URL}})
	_, _, err := v.Verify(t.Context(), "redirect")
	assert.ErrorIs(t, err, outbound.Unreadable)
}

func TestUnknown(t *testing.T) {
	t.Parallel()
	answers := purchasetest.Broken(2 << 20)
	answers["another object"] = purchasetest.Answer{Body: `{"object":"list","items":[]}`}
	answers["nobody"] = purchasetest.RevenueCatCustomer("", purchasetest.RevenueCatPage(nil, purchasetest.RevenueCatEntitlement("entl1", nil)))
	answers["a late expiry of words"] = purchasetest.RevenueCatCustomer("customer", purchasetest.RevenueCatPage(nil, purchasetest.RevenueCatEntitlement("entl1", "never")))
	answers["400"] = purchasetest.RevenueCatError(http.StatusBadRequest, "parameter_error")
	answers["401"] = purchasetest.RevenueCatError(http.StatusUnauthorized, "authentication_error")
	answers["403"] = purchasetest.RevenueCatError(http.StatusForbidden, "authorization_error")
	answers["423"] = purchasetest.RevenueCatError(http.StatusLocked, "resource_locked_error")
	answers["429"] = purchasetest.RevenueCatError(http.StatusTooManyRequests, "rate_limit_error")
	faults := map[string]outbound.Fault{
		"slow": outbound.Timeout, "cut": outbound.Connection, "500": outbound.Failed, "503": outbound.Failed,
		"401": outbound.Refused, "403": outbound.Refused, "423": outbound.Limited, "429": outbound.Limited,
	}
	store := stand()
	v, _ := start(t, store)
	for name, answer := range answers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			token := "secret " + name
			store.On(token, answer)
			_, valid, err := v.Verify(within(t, purchasetest.LimitFor(name)), token)
			assert.False(t, valid)
			require.Error(t, err)
			assert.Equal(t, apierr.Unavailable, apierr.KindOf(err))
			assert.NotContains(t, err.Error(), "secret")
			want, ok := faults[name]
			if !ok {
				want = outbound.Unreadable
			}
			assert.ErrorIs(t, err, want)
			assert.Equal(t, 1, store.Calls(token))
		})
	}
}

func TestRetryAfterIsHonoured(t *testing.T) {
	t.Parallel()
	later := func(status int, seconds string) purchasetest.Answer {
		a := purchasetest.RevenueCatError(status, "rate_limit_error")
		a.Header = map[string]string{"Retry-After": seconds}
		return a
	}
	good := purchasetest.RevenueCatCustomer("customer", purchasetest.RevenueCatPage(nil, purchasetest.RevenueCatEntitlement("entl1", nil)))
	backoff := purchasetest.JSON(http.StatusLocked, purchasetest.Object{"object": "error", "backoff_ms": 200})
	cases := map[string]struct {
		answers []purchasetest.Answer
		valid   bool
		calls   int
		atLeast time.Duration
		retryIn time.Duration // 0: it says nothing
	}{
		"in time":          {[]purchasetest.Answer{later(429, "1"), good}, true, 2, time.Second, 0},
		"at once":          {[]purchasetest.Answer{later(503, "0"), good}, true, 2, 0, 0},
		"by its body":      {[]purchasetest.Answer{backoff, good}, true, 2, 200 * time.Millisecond, 0},
		"again and again":  {[]purchasetest.Answer{later(423, "0")}, false, 3, 0, 0},
		"too late":         {[]purchasetest.Answer{later(429, "60"), good}, false, 1, 0, time.Minute},
		"much too late":    {[]purchasetest.Answer{later(429, "999999999"), good}, false, 1, 0, time.Hour},
		"not even a time":  {[]purchasetest.Answer{later(429, "soon"), good}, false, 1, 0, 0},
		"not for a refuse": {[]purchasetest.Answer{later(403, "0"), good}, false, 1, 0, 0},
	}
	store := stand()
	v, _ := start(t, store)
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store.On(name, c.answers...)
			begin := time.Now()
			_, valid, err := v.Verify(within(t, 30*time.Second), name)
			assert.GreaterOrEqual(t, time.Since(begin), c.atLeast)
			assert.Less(t, time.Since(begin), 30*time.Second)
			assert.Equal(t, c.valid, valid)
			assert.Equal(t, c.calls, store.Calls(name))
			if c.valid {
				require.NoError(t, err)
				return
			}
			var e *apierr.Error
			require.ErrorAs(t, err, &e)
			if c.retryIn > 0 {
				assert.WithinDuration(t, begin.Add(c.retryIn), e.RetryAt, 5*time.Second)
			}
		})
	}
}

func TestPlausible(t *testing.T) {
	t.Parallel()
	v := revenuecat.New(revenuecat.Options{})
	for token, want := range map[string]bool{
		"$RCAnonymousID:0123456789abcdef": true, "a": true, "ä@b.c": true, strings.Repeat("ä", 1500): true, strings.Repeat("a", 1501): false,
		"": false, ".": false, "..": false, "a\x00": false, "a\nb": false, "\xff": false,
	} {
		assert.Equal(t, want, v.Plausible(token))
	}
}

func FuzzVerify(f *testing.F) {
	f.Add(purchasetest.RevenueCatCustomer("customer", purchasetest.RevenueCatPage(nil, purchasetest.RevenueCatEntitlement("entl1", 1))).Body, "id")
	f.Add(purchasetest.RevenueCatCustomer("customer", nil).Body, "$a:b")
	f.Add(`{"object":"customer","active_entitlements":{"next_page":"/%zz"}}`, "a b")
	f.Fuzz(func(t *testing.T, body, token string) {
		seen := ""
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if seen == "" {
				seen = strings.TrimPrefix(r.URL.Path, "/v2/projects/proj1/customers/")
			}
			purchasetest.Answer{Body: body}.ServeHTTP(w, r)
		}))
		defer server.Close()
		v := revenuecat.New(revenuecat.Options{BaseURL: server.URL, Project: "proj1", Entitlement: "entl1"})
		if !v.Plausible(token) {
			return
		}
		_, valid, err := v.Verify(t.Context(), token)
		if err != nil {
			assert.Equal(t, apierr.Unavailable, apierr.KindOf(err))
		}
		assert.False(t, valid && err != nil)
		assert.Equal(t, token, seen)
	})
}
