package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"unicode"
)

// Purchases says how purchases are verified. Each store can be left out: where its key is missing, Web and RevenueCat
// have sold nothing, so that every token of theirs is invalid; Google Play then uses the credentials of the program.
type Purchases struct {
	WebKey Secret `env:"WEB_AUTH_API_KEY" doc:"the web app's key; unset: no token of the web is valid"`

	GooglePackage     string `env:"GOOGLE_PACKAGE_NAME" envDefault:"com.limajuice.liftlog" doc:"the application on Google Play"`
	GoogleCredentials Secret `env:"GOOGLE_PLAY_CREDENTIALS" doc:"a service account's key as JSON; unset: Application Default Credentials"`
	GoogleBaseURL     string `env:"GOOGLE_PLAY_BASE_URL" doc:"a stand-in for Google Play, asked without credentials unless they are set"`

	AppleBundle       string `env:"APPLE_BUNDLE_ID" envDefault:"com.limajuice.liftlog" doc:"the application on the App Store"`
	AppleSecret       Secret `env:"APPLE_SHARED_SECRET" doc:"the App Store's shared secret, which only subscriptions need"`
	AppleAllowSandbox bool   `env:"APPLE_ALLOW_SANDBOX" envDefault:"true" doc:"accept purchases in the sandbox, where App Review makes them"`
	AppleURL          string `env:"APPLE_RECEIPT_URL" envDefault:"https://buy.itunes.apple.com/verifyReceipt" doc:"verifyReceipt"`
	AppleSandboxURL   string `env:"APPLE_SANDBOX_RECEIPT_URL" envDefault:"https://sandbox.itunes.apple.com/verifyReceipt" doc:"the sandbox's"`

	RevenueCatKey         Secret `env:"REVENUECAT_API_KEY" doc:"a secret key of version 2; unset: no token of RevenueCat is valid"`
	RevenueCatProject     string `env:"REVENUECAT_PROJECT_ID" doc:"the project, proj…"`
	RevenueCatEntitlement string `env:"REVENUECAT_ENTITLEMENT_ID" doc:"the id of the entitlement, entl…, and not its name"`
	RevenueCatBaseURL     string `env:"REVENUECAT_BASE_URL" envDefault:"https://api.revenuecat.com" doc:"RevenueCat's API"`
}

// developmentKey is what LiftLog's own development builds send.
const developmentKey = "test-web-auth-key-12345"

// The ids that RevenueCat gives out.
var (
	projectForm     = regexp.MustCompile(`^proj[A-Za-z0-9_-]+$`)
	entitlementForm = regexp.MustCompile(`^entl[A-Za-z0-9_-]+$`)
)

func (p *Purchases) check(environment Environment) (faults []error) {
	if strings.ContainsFunc(p.WebKey.Reveal(), unicode.IsSpace) {
		faults = append(faults, errors.New("WEB_AUTH_API_KEY: holds white space, which no token can"))
	}
	if environment == Production && p.WebKey.Reveal() == developmentKey {
		faults = append(faults, errors.New("WEB_AUTH_API_KEY: the key of development builds is not for production"))
	}
	if p.GoogleCredentials.IsSet() && !isServiceAccount(p.GoogleCredentials.Reveal()) {
		faults = append(faults, errors.New("GOOGLE_PLAY_CREDENTIALS: is not a service account's key as JSON"))
	}
	if p.RevenueCatKey.IsSet() {
		if !projectForm.MatchString(p.RevenueCatProject) {
			faults = append(faults, errors.New("REVENUECAT_PROJECT_ID: is not a project's id (proj…), which REVENUECAT_API_KEY needs"))
		}
		if !entitlementForm.MatchString(p.RevenueCatEntitlement) {
			faults = append(faults, errors.New("REVENUECAT_ENTITLEMENT_ID: is not an entitlement's id (entl…), which REVENUECAT_API_KEY needs"))
		}
	}
	for _, address := range []struct{ variable, value string }{
		{"GOOGLE_PLAY_BASE_URL", p.GoogleBaseURL},
		{"APPLE_RECEIPT_URL", p.AppleURL},
		{"APPLE_SANDBOX_RECEIPT_URL", p.AppleSandboxURL},
		{"REVENUECAT_BASE_URL", p.RevenueCatBaseURL},
	} {
		if address.value == "" {
			continue
		}
		if fault := faultOfAddress(address.value, environment); fault != "" {
			faults = append(faults, fmt.Errorf("%s: %s", address.variable, fault))
		}
	}
	return faults
}

func isServiceAccount(text string) bool {
	var key struct {
		Type string `json:"type"`
	}
	return json.Unmarshal([]byte(text), &key) == nil && key.Type == "service_account"
}

// faultOfAddress says what is wrong with the URL of a service that gets secrets, if anything is.
func faultOfAddress(text string, environment Environment) string {
	u, err := url.Parse(text)
	switch {
	case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Host == "", u.User != nil, u.RawQuery != "", u.Fragment != "":
		return "is not a URL of the form http(s)://host[:port][/path]"
	case environment == Production && u.Scheme != "https":
		return "is not https, which production needs"
	}
	return ""
}
