// Package play verifies purchases of Google Play by the Play Developer API.
package play

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"cloud.google.com/go/auth"
	"cloud.google.com/go/auth/credentials"
	"golang.org/x/sync/singleflight"
	"google.golang.org/api/androidpublisher/v3"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/option"

	"github.com/liftlog/liftlog-api/shared/purchase/outbound"
)

// product is what has to be bought.
const product = "pro"

// maxBody bounds what is read of an answer, in bytes.
const maxBody = 1 << 20

// Options say whose purchases are verified, and where.
type Options struct {
	Package     string // the application
	Credentials string // a service account's key as JSON; empty: Application Default Credentials
	BaseURL     string // empty: Google's; else without credentials there is no authentication
}

// Verifier asks Google Play. It is safe for concurrent use.
type Verifier struct {
	options  Options
	client   *http.Client
	building singleflight.Group
	built    atomic.Pointer[built]
}

// built is what takes a while to make, and may fail, so that it is made when first needed.
type built struct {
	service     *androidpublisher.Service
	credentials *auth.Credentials // nil: none are sent
}

// New returns a Verifier. It looks for credentials when it is first used.
func New(o Options) *Verifier { return &Verifier{options: o, client: outbound.NewClient(maxBody)} }

// maxTokenLength is longer than any purchase token.
const maxTokenLength = 1000

var tokenForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

// Plausible reports whether the text may be a purchase token.
func (v *Verifier) Plausible(token string) bool {
	return len(token) <= maxTokenLength && tokenForm.MatchString(token)
}

// kind is what Google calls a purchase of a product.
const kind = "androidpublisher#productPurchase"

// Verify reports whether the token stands for a purchase of pro that is paid for and not cancelled. The subject is
// empty, since the token is the purchase's own name. An error means that there is no verdict.
func (v *Verifier) Verify(ctx context.Context, token string) (subject string, valid bool, err error) {
	b, err := v.build(ctx)
	if err != nil {
		return "", false, err
	}
	call := b.service.Purchases.Products.Get(v.options.Package, product, token).Context(ctx)
	if b.credentials != nil {
		access, err := b.credentials.Token(ctx)
		if err != nil {
			return "", false, outbound.Unknown(faultOfCredentials(err), time.Time{})
		}
		call.Header().Set("Authorization", "Bearer "+access.Value)
	}
	purchase, err := call.Do()
	if answer, ok := errors.AsType[*googleapi.Error](err); ok {
		fault := outbound.FaultOfStatus(answer.Code)
		switch answer.Code {
		case http.StatusBadRequest, http.StatusNotFound, http.StatusGone:
			if !slices.ContainsFunc(answer.Errors, isOurs) {
				return "", false, nil
			}
			fault = outbound.Refused
		}
		return "", false, outbound.Unknown(fault, outbound.RetryAt(answer.Header, time.Now()))
	}
	if err != nil {
		return "", false, outbound.Unknown(outbound.FaultOf(err), time.Time{})
	}
	// A state that is missing reads as 0, which is purchased: so the answer has to say that it is about a purchase.
	if purchase == nil || purchase.Kind != kind {
		return "", false, outbound.Unknown(outbound.Unreadable, time.Time{})
	}
	const purchased = 0
	ours := purchase.ProductId == "" || purchase.ProductId == product
	return "", purchase.PurchaseState == purchased && ours, nil
}

// isOurs reports whether Google does not know the application, or does not show it to us, of which the token says nothing.
func isOurs(item googleapi.ErrorItem) bool { return item.Reason == "applicationNotFound" }

// build makes the client, once. Looking for credentials takes no context, so that a caller may have to leave earlier.
func (v *Verifier) build(ctx context.Context) (*built, error) {
	if b := v.built.Load(); b != nil {
		return b, nil
	}
	done := v.building.DoChan("", func() (any, error) {
		b, err := v.options.build(context.WithoutCancel(ctx), v.client)
		if err == nil {
			v.built.Store(b)
		}
		return b, err
	})
	select {
	case result := <-done:
		b, ok := result.Val.(*built)
		if result.Err != nil || !ok {
			return nil, outbound.Unknown(outbound.Refused, time.Time{})
		}
		return b, nil
	case <-ctx.Done():
		return nil, outbound.Unknown(outbound.Timeout, time.Time{})
	}
}

func (o Options) build(ctx context.Context, client *http.Client) (*built, error) {
	var b built
	options := []option.ClientOption{option.WithHTTPClient(client)}
	if o.BaseURL != "" {
		options = append(options, option.WithEndpoint(strings.TrimSuffix(o.BaseURL, "/")+"/"))
	}
	var err error
	if b.service, err = androidpublisher.NewService(ctx, options...); err != nil {
		return nil, err
	}
	detect := &credentials.DetectOptions{Scopes: []string{androidpublisher.AndroidpublisherScope}, Client: client}
	switch {
	case o.Credentials != "":
		b.credentials, err = credentials.NewCredentialsFromJSON(credentials.ServiceAccount, []byte(o.Credentials), detect)
	case o.BaseURL == "":
		b.credentials, err = credentials.DetectDefault(detect)
	}
	return &b, err
}

// faultOfCredentials says why there is no access token.
func faultOfCredentials(err error) outbound.Fault {
	answer, ok := errors.AsType[*auth.Error](err)
	if !ok || answer.Response == nil {
		if fault := outbound.FaultOf(err); fault != outbound.Unreadable {
			return fault
		}
		return outbound.Refused
	}
	if fault := outbound.FaultOfStatus(answer.Response.StatusCode); fault != outbound.Unreadable {
		return fault
	}
	return outbound.Refused
}
