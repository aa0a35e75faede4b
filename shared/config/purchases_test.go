package config_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/shared/config"
)

type shop struct {
	Service   config.Service
	Purchases config.Purchases
}

func TestPurchasesNeedNothing(t *testing.T) {
	t.Parallel()
	for _, environment := range []string{"development", "staging", "production"} {
		var s shop
		require.NoError(t, config.Load(t.Context(), []string{"ENVIRONMENT=" + environment}, &s))
		assert.Equal(t, config.Purchases{
			GooglePackage: "com.limajuice.liftlog", AppleBundle: "com.limajuice.liftlog", AppleAllowSandbox: true,
			AppleURL: "https://buy.itunes.apple.com/verifyReceipt", AppleSandboxURL: "https://sandbox.itunes.apple.com/verifyReceipt",
			RevenueCatBaseURL: "https://api.revenuecat.com",
		}, s.Purchases)
	}
}

func TestPurchasesAreConfigured(t *testing.T) {
	t.Parallel()
	var s shop
	require.NoError(t, config.Load(t.Context(), []string{
		"WEB_AUTH_API_KEY=web", "GOOGLE_PACKAGE_NAME=a.b", `GOOGLE_PLAY_CREDENTIALS={"type":"service_account"}`, "GOOGLE_PLAY_BASE_URL=http://127.0.0.1:1/p",
		"APPLE_BUNDLE_ID=c.d", "APPLE_SHARED_SECRET=apple", "APPLE_ALLOW_SANDBOX=false", "APPLE_RECEIPT_URL=http://a/r", "APPLE_SANDBOX_RECEIPT_URL=http://a/s",
		"REVENUECAT_API_KEY=sk", "REVENUECAT_PROJECT_ID=proj1", "REVENUECAT_ENTITLEMENT_ID=entl1", "REVENUECAT_BASE_URL=http://r",
	}, &s))
	assert.Equal(t, config.Purchases{
		WebKey: config.NewSecret("web"), GooglePackage: "a.b", GoogleCredentials: config.NewSecret(`{"type":"service_account"}`),
		GoogleBaseURL: "http://127.0.0.1:1/p", AppleBundle: "c.d", AppleSecret: config.NewSecret("apple"), AppleURL: "http://a/r", AppleSandboxURL: "http://a/s",
		RevenueCatKey: config.NewSecret("sk"), RevenueCatProject: "proj1", RevenueCatEntitlement: "entl1", RevenueCatBaseURL: "http://r",
	}, s.Purchases)
}

func TestRulesOfPurchases(t *testing.T) {
	t.Parallel()
	const developmentKey = "WEB_AUTH_API_KEY=test-web-auth-key-12345"
	cases := map[string]struct {
		environ []string
		want    string // "": no fault
	}{
		"the development key in production":   {[]string{"ENVIRONMENT=production", developmentKey}, "WEB_AUTH_API_KEY: the key of development builds"},
		"the development key elsewhere":       {[]string{"ENVIRONMENT=staging", developmentKey}, ""},
		"a key without project":               {[]string{"REVENUECAT_API_KEY=sk", "REVENUECAT_ENTITLEMENT_ID=e"}, "REVENUECAT_PROJECT_ID: is not"},
		"a key without entitlement":           {[]string{"REVENUECAT_API_KEY=sk", "REVENUECAT_PROJECT_ID=proj1"}, "REVENUECAT_ENTITLEMENT_ID: is not"},
		"an entitlement by its name":          {[]string{"REVENUECAT_API_KEY=sk", "REVENUECAT_PROJECT_ID=proj1", "REVENUECAT_ENTITLEMENT_ID=pro"}, "REVENUECAT_ENTITLEMENT_ID: is not"},
		"a key of two words":                  {[]string{"WEB_AUTH_API_KEY=two words"}, "WEB_AUTH_API_KEY: holds white space"},
		"a project that leads elsewhere":      {[]string{"REVENUECAT_API_KEY=sk", "REVENUECAT_PROJECT_ID=../x", "REVENUECAT_ENTITLEMENT_ID=e"}, "REVENUECAT_PROJECT_ID: is not"},
		"a project without key":               {[]string{"REVENUECAT_PROJECT_ID=p"}, ""},
		"credentials that are none":           {[]string{"GOOGLE_PLAY_CREDENTIALS=hunter2"}, "GOOGLE_PLAY_CREDENTIALS: is not"},
		"credentials of a person":             {[]string{`GOOGLE_PLAY_CREDENTIALS={"type":"authorized_user","x":"hunter2"}`}, "GOOGLE_PLAY_CREDENTIALS: is not"},
		"plain http in production, Google":    {[]string{"ENVIRONMENT=production", "GOOGLE_PLAY_BASE_URL=http://hunter2"}, "GOOGLE_PLAY_BASE_URL: is not https"},
		"plain http in production, Apple":     {[]string{"ENVIRONMENT=production", "APPLE_RECEIPT_URL=http://hunter2"}, "APPLE_RECEIPT_URL: is not https"},
		"plain http in production, sandbox":   {[]string{"ENVIRONMENT=production", "APPLE_SANDBOX_RECEIPT_URL=http://hunter2"}, "APPLE_SANDBOX_RECEIPT_URL: is not https"},
		"plain http in production, the cat":   {[]string{"ENVIRONMENT=production", "REVENUECAT_BASE_URL=http://hunter2"}, "REVENUECAT_BASE_URL: is not https"},
		"https in production":                 {[]string{"ENVIRONMENT=production", "GOOGLE_PLAY_BASE_URL=https://a.example"}, ""},
		"a URL of another scheme":             {[]string{"GOOGLE_PLAY_BASE_URL=ftp://hunter2"}, "GOOGLE_PLAY_BASE_URL: is not a URL"},
		"a URL without host":                  {[]string{"REVENUECAT_BASE_URL=https:///hunter2"}, "REVENUECAT_BASE_URL: is not a URL"},
		"a URL with a password":               {[]string{"APPLE_RECEIPT_URL=https://u:hunter2@h/"}, "APPLE_RECEIPT_URL: is not a URL"},
		"a URL with a query":                  {[]string{"APPLE_RECEIPT_URL=https://h/?hunter2"}, "APPLE_RECEIPT_URL: is not a URL"},
		"a URL that is none":                  {[]string{"APPLE_RECEIPT_URL=https://h:hunter2"}, "APPLE_RECEIPT_URL: is not a URL"},
		"a switch that is neither on nor off": {[]string{"APPLE_ALLOW_SANDBOX=hunter2"}, "APPLE_ALLOW_SANDBOX: is malformed"},
	}
	for name, c := range cases {
		err := config.Load(t.Context(), c.environ, &shop{})
		if c.want == "" {
			assert.NoError(t, err, name)
			continue
		}
		require.ErrorContains(t, err, c.want, name)
		assert.NotContains(t, err.Error(), secret, name)
	}
}
