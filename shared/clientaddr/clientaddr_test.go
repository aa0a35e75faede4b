package clientaddr

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
)

func request(socket string, forwarded ...string) *http.Request {
	r := httptest.NewRequestWithContext(context.Background(), http.MethodGet, "/", http.NoBody)
	r.RemoteAddr = socket
	for _, value := range forwarded {
		r.Header.Add("X-Forwarded-For", value)
	}
	return r
}

func TestTheAddressIsTheOneThatOurOwnProxyHeard(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		proxied   bool
		forwarded []string
		want      string
	}{
		"a socket":                        {false, nil, "192.0.2.9"},
		"a header where nobody writes it": {false, []string{"198.51.100.1, 203.0.113.7, 35.0.0.1"}, "192.0.2.9"},
		"a load balancer":                 {true, []string{"203.0.113.7, 35.0.0.1"}, "203.0.113.7"},
		"a client that writes some too":   {true, []string{"198.51.100.1, 198.51.100.2,203.0.113.7,35.0.0.1"}, "203.0.113.7"},
		"in a header of its own":          {true, []string{"198.51.100.1", "203.0.113.7", "35.0.0.1"}, "203.0.113.7"},
		"IPv6":                            {true, []string{"2001:db8::7, 35.0.0.1"}, "2001:db8::7"},
		"no load balancer":                {true, []string{"203.0.113.7"}, "203.0.113.7"},
		"no header":                       {true, nil, "192.0.2.9"},
		"no address":                      {true, []string{"somebody, 35.0.0.1"}, "192.0.2.9"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, netip.MustParseAddr(c.want), address(request("192.0.2.9:1234", c.forwarded...), c.proxied))
		})
	}
	assert.False(t, address(request("@"), true).IsValid(), "a Unix socket has none")
}

func TestClientsAreToldApart(t *testing.T) {
	t.Parallel()
	of := func(socket string) Client { return From(With(t.Context(), request(socket))) }
	assert.Equal(t, of("192.0.2.9:1"), of("192.0.2.9:2"))
	assert.Equal(t, of("192.0.2.9:1"), of("[::ffff:192.0.2.9]:1"), "IPv4 within IPv6")
	assert.NotEqual(t, of("192.0.2.9:1"), of("192.0.2.8:1"))
	assert.Equal(t, of("[2001:db8:0:1::1]:1"), of("[2001:db8:0:1:ffff::2]:1"), "one /64")
	assert.Equal(t, of("[fe80::1%eth0]:1"), of("[fe80::1]:1"))
	assert.NotEqual(t, of("[2001:db8:0:1::1]:1"), of("[2001:db8:0:2::1]:1"))
	assert.NotEqual(t, Client{}, of("[2001:db8::]:1"))
	assert.Equal(t, Client{}, of("@"))
	assert.Equal(t, Client{}, From(t.Context()))
}
