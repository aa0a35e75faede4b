// Package clientaddr tells clients apart by the network addresses they come from, for limits on requests that carry no login. It
// keeps no address: what it hands out are digests under a random key of the process, which say nothing to anybody else and mean
// nothing in another process.
package clientaddr

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"net/http"
	"net/netip"
	"os"
	"strings"
)

// Client stands for the address that a request came from. Of an IPv6 address only the /64 counts, which is what one household or
// machine gets. It is comparable. The zero Client is that of all whose address is not known.
type Client [16]byte

// ipv6Prefix is how many bits of an IPv6 address tell clients apart.
const ipv6Prefix = 64

// onCloudRun says that requests come through Google's front ends, which append addresses to X-Forwarded-For: the load balancer
// appends the client's and its own. K_SERVICE is what the platform sets:
// https://cloud.google.com/run/docs/container-contract#services-env-vars
var onCloudRun = os.Getenv("K_SERVICE") != ""

var key = func() []byte {
	key := make([]byte, sha256.Size)
	_, _ = rand.Read(key) // never fails
	return key
}()

type contextKey struct{}

// With returns the context with the request's client.
func With(ctx context.Context, r *http.Request) context.Context {
	return context.WithValue(ctx, contextKey{}, digest(address(r, onCloudRun)))
}

// From returns the context's client, and the zero Client where there is none.
func From(ctx context.Context) Client {
	client, _ := ctx.Value(contextKey{}).(Client)
	return client
}

// address is where the request came from; it is not valid when that is not known. What a client writes into X-Forwarded-For
// itself stands to the left of what is read here.
func address(r *http.Request, proxied bool) netip.Addr {
	if proxied {
		hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
		// https://cloud.google.com/load-balancing/docs/https#x-forwarded-for_header; past the load balancer there is one hop
		if hop, err := netip.ParseAddr(strings.TrimSpace(hops[max(0, len(hops)-2)])); err == nil {
			return hop
		}
	}
	socket, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return socket.Addr()
}

func digest(address netip.Addr) (c Client) {
	if !address.IsValid() {
		return Client{}
	}
	address = address.Unmap().WithZone("")
	if address.Is6() {
		prefix, _ := address.Prefix(ipv6Prefix) // it has as many bits
		address = prefix.Addr()
	}
	mac := hmac.New(sha256.New, key)
	mac.Write(address.AsSlice())
	copy(c[:], mac.Sum(nil))
	return c
}
