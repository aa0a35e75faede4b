package postgres

import (
	"net"
	"time"
)

const (
	// userTimeout is how long what was sent may stay unacknowledged before the connection counts as broken.
	userTimeout = 5 * time.Second
	// keepAliveIdle is how long a connection may be silent before it is tried, and keepAliveInterval and keepAliveCount say how
	// often it is. Without an answer it counts as broken after 8 seconds.
	keepAliveIdle     = 5 * time.Second
	keepAliveInterval = time.Second
	keepAliveCount    = 3
	// dialTimeout bounds one attempt to reach the server. It is enough for a lost packet, twice.
	dialTimeout = 4 * time.Second
)

// dialer makes connections that notice soon when nobody is at the other end any more.
var dialer = &net.Dialer{
	Timeout:         dialTimeout,
	KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: keepAliveIdle, Interval: keepAliveInterval, Count: keepAliveCount},
	Control:         setUserTimeout,
}
