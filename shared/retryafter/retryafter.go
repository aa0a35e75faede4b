// Package retryafter reads the header by which a service says when to ask again.
package retryafter

import (
	"net/http"
	"strconv"
	"time"
)

// Read returns the time that a Retry-After among the headers names (RFC 9110, section 10.2.3): an HTTP date, or seconds from
// now, of which some services send fractions. It is not before now and at most longest after it, and zero where there is no
// header or nothing that can be read.
func Read(header http.Header, now time.Time, longest time.Duration) time.Time {
	text := header.Get("Retry-After")
	at, err := http.ParseTime(text)
	if err != nil {
		seconds, err := strconv.ParseFloat(text, 64)
		if err != nil || !(seconds >= 0) { // not a number is not below zero either
			return time.Time{}
		}
		at = now.Add(time.Duration(min(seconds, longest.Seconds()) * float64(time.Second)))
	}
	if at.Before(now) {
		return now
	}
	if latest := now.Add(longest); at.After(latest) {
		return latest
	}
	return at
}
