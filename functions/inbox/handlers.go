// Package inbox holds the endpoints of messages between users: one file each.
package inbox

import (
	"github.com/liftlog/liftlog-api/shared/auth"
	"github.com/liftlog/liftlog-api/shared/inbox"
	"github.com/liftlog/liftlog-api/shared/postgres"
)

// Handlers are the endpoints' functions with what they need.
type Handlers struct {
	DB       *postgres.DB
	Verifier *auth.Verifier
	Limits   inbox.Limits // of one inbox
}
