package config

import (
	"errors"
	"time"
)

// Cleanup says what the clean-up leaves alone.
type Cleanup struct {
	EventGrace time.Duration `env:"CLEANUP_EVENT_GRACE" envDefault:"0s" doc:"how long expired events are left in place: 24h as long as v1 removes them, too"`
}

// maxEventGrace keeps a slip of the pen from keeping events for years.
const maxEventGrace = 30 * 24 * time.Hour

func (c *Cleanup) check(Environment) (faults []error) {
	if c.EventGrace < 0 || c.EventGrace > maxEventGrace {
		faults = append(faults, errors.New("CLEANUP_EVENT_GRACE: is not from 0s to 720h"))
	}
	return faults
}
