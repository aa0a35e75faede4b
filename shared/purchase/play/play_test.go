package play_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/shared/apierr"
	"github.com/liftlog/liftlog-api/shared/purchase/outbound"
	"github.com/liftlog/liftlog-api/shared/purchase/play"
	"github.com/liftlog/liftlog-api/shared/purchase/purchasetest"
)

const application = "com.limajuice.liftlog"

// start serves the stand-in and returns a verifier of it, without credentials.
func start(t *testing.T, store *purchasetest.Store) *play.Verifier {
	t.Helper()
	server := httptest.NewServer(store)
	t.Cleanup(server.Close)
	return play.New(play.Options{Package: application, BaseURL: server.URL})
}

func within(t *testing.T, limit time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

func TestVerdicts(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		answer purchasetest.Answer
		valid  bool
	}{
		"purchased":       {purchasetest.PlayPurchase(0), true},
		"cancelled":       {purchasetest.PlayPurchase(1), false},
		"pending":         {purchasetest.PlayPurchase(2), false},
		"another product": {purchasetest.Answer{Body: `{"kind":"androidpublisher#productPurchase","purchaseState":0,"productId":"tip"}`}, false},
		"product named":   {purchasetest.Answer{Body: `{"kind":"androidpublisher#productPurchase","purchaseState":0,"productId":"pro"}`}, true},
		"no state":        {purchasetest.Answer{Body: `{"kind":"androidpublisher#productPurchase"}`}, true},
		"400":             {purchasetest.PlayError(http.StatusBadRequest), false},
		"404":             {purchasetest.PlayError(http.StatusNotFound), false},
		"410":             {purchasetest.PlayError(http.StatusGone), false},
		"no such token":   {purchasetest.PlayReason(http.StatusNotFound, "purchaseTokenNotFound"), false},
	}
	store := purchasetest.Play(application, "pro", "")
	v := start(t, store)
	for name, c := range cases {
		token := strings.ReplaceAll(name, " ", "-")
		store.On(token, c.answer)
		subject, valid, err := v.Verify(t.Context(), token)
		require.NoError(t, err, name)
		assert.Equal(t, c.valid, valid, name)
		assert.Empty(t, subject, "the token is its own subject")
		assert.Equal(t, 1, store.Calls(token), name)
	}
}

func TestUnknown(t *testing.T) {
	t.Parallel()
	answers := purchasetest.Broken(2 << 20)
	faults := map[string]outbound.Fault{
		"slow": outbound.Timeout, "cut": outbound.Connection, "500": outbound.Failed, "503": outbound.Failed,
		"401": outbound.Refused, "403": outbound.Refused, "429": outbound.Limited, "an unknown application": outbound.Refused,
	}
	answers["an unknown application"] = purchasetest.PlayReason(http.StatusNotFound, "applicationNotFound")
	answers["401"] = purchasetest.PlayError(http.StatusUnauthorized)
	answers["403"] = purchasetest.PlayError(http.StatusForbidden)
	answers["429"] = purchasetest.PlayError(http.StatusTooManyRequests)
	answers["purchased, of no kind"] = purchasetest.Answer{Body: `{"purchaseState":0}`}
	store := purchasetest.Play(application, "pro", "")
	v := start(t, store)
	for name, answer := range answers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			token := strings.NewReplacer(" ", "-", ",", "").Replace(name)
			store.On(token, answer)
			_, valid, err := v.Verify(within(t, purchasetest.LimitFor(name)), token)
			assert.False(t, valid)
			require.Error(t, err)
			assert.Equal(t, apierr.Unavailable, apierr.KindOf(err))
			assert.NotContains(t, err.Error(), token+"\"")
			want, ok := faults[name]
			if !ok {
				want = outbound.Unreadable
			}
			assert.ErrorIs(t, err, want)
			assert.Equal(t, 1, store.Calls(token))
		})
	}
}

func TestRetryAfterIsPassedOn(t *testing.T) {
	t.Parallel()
	store := purchasetest.Play(application, "pro", "")
	v := start(t, store)
	answer := purchasetest.PlayError(http.StatusTooManyRequests)
	answer.Header = map[string]string{"Retry-After": "30"}
	store.On("token", answer)
	_, _, err := v.Verify(t.Context(), "token")
	var e *apierr.Error
	require.ErrorAs(t, err, &e)
	assert.WithinDuration(t, time.Now().Add(30*time.Second), e.RetryAt, 5*time.Second)
}

func TestAStoreThatCannotBeReached(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(nil)
	server.Close()
	v := play.New(play.Options{Package: application, BaseURL: server.URL})
	_, _, err := v.Verify(t.Context(), "secret-token")
	require.ErrorIs(t, err, outbound.Connection)
	assert.NotContains(t, err.Error(), "secret-token")
	assert.NotContains(t, err.Error(), server.URL)
}

func TestPlausible(t *testing.T) {
	t.Parallel()
	v := play.New(play.Options{})
	for token, want := range map[string]bool{
		"minodojglppganfbiedlabed.AO-J1OyNtpooSraUdtKlZ_9gYs0o20ZF": true, "a": true, strings.Repeat("a", 1000): true,
		strings.Repeat("a", 1001): false, "": false, ".": false, "..": false, "a/b": false, "a%2fb": false, "ä": false, "a\n": false, "a:b": false, "a?b": false,
	} {
		assert.Equal(t, want, v.Plausible(token), token)
	}
}

// key is a service account's key that gets its access tokens from that address.
func key(t *testing.T, tokenURL string) string {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	text, err := json.Marshal(map[string]string{
		"type": "service_account", "client_email": "a@b.iam.gserviceaccount.com", "private_key_id": "1", "token_uri": tokenURL,
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded})),
	})
	require.NoError(t, err)
	return string(text)
}

func TestAServiceAccountsKey(t *testing.T) {
	t.Parallel()
	store := purchasetest.Play(application, "pro", "access")
	store.On("token", purchasetest.PlayPurchase(0))
	server := httptest.NewServer(store)
	t.Cleanup(server.Close)
	cases := map[string]struct {
		answer purchasetest.Answer
		fault  outbound.Fault // "": valid
	}{
		"good":       {purchasetest.JSON(http.StatusOK, purchasetest.Object{"access_token": "access", "token_type": "Bearer", "expires_in": 3600}), ""},
		"wrong":      {purchasetest.JSON(http.StatusOK, purchasetest.Object{"access_token": "x", "token_type": "Bearer", "expires_in": 3600}), outbound.Refused},
		"revoked":    {purchasetest.JSON(http.StatusBadRequest, purchasetest.Object{"error": "invalid_grant", "error_description": "hunter2"}), outbound.Refused},
		"down":       {purchasetest.Answer{Status: http.StatusServiceUnavailable}, outbound.Failed},
		"slow":       {purchasetest.Answer{Delay: time.Hour}, outbound.Timeout},
		"unreadable": {purchasetest.Answer{Body: "hunter2"}, outbound.Refused},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tokens := httptest.NewServer(c.answer)
			t.Cleanup(tokens.Close)
			v := play.New(play.Options{Package: application, BaseURL: server.URL, Credentials: key(t, tokens.URL)})
			_, valid, err := v.Verify(within(t, purchasetest.LimitFor(name)), "token")
			if c.fault == "" {
				require.NoError(t, err)
				assert.True(t, valid)
				return
			}
			require.ErrorIs(t, err, c.fault)
			assert.NotContains(t, err.Error(), "hunter2")
			assert.False(t, valid)
		})
	}
}

func TestCredentialsThatAreNone(t *testing.T) {
	t.Parallel()
	v := play.New(play.Options{Package: application, Credentials: `{"type":"authorized_user","client_secret":"hunter2"}`})
	_, _, err := v.Verify(t.Context(), "token")
	require.ErrorIs(t, err, outbound.Refused)
	assert.NotContains(t, err.Error(), "hunter2")
}

func FuzzVerify(f *testing.F) {
	f.Add(`{"kind":"androidpublisher#productPurchase","purchaseState":0}`, 200)
	f.Add(`{"error":{"code":404}}`, 404)
	f.Add(`[{"error":null}]`, 500)
	f.Fuzz(func(t *testing.T, body string, status int) {
		if status < 200 || status > 599 {
			return
		}
		server := httptest.NewServer(purchasetest.Answer{Status: status, Body: body})
		defer server.Close()
		_, valid, err := play.New(play.Options{Package: application, BaseURL: server.URL}).Verify(t.Context(), "token")
		if err != nil {
			assert.Equal(t, apierr.Unavailable, apierr.KindOf(err))
		}
		assert.False(t, valid && (err != nil || status > 299))
	})
}
