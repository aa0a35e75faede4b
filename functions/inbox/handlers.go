// Package inbox holds the endpoints of messages between users: one file each.
package inbox

import (
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/liftlog/liftlog-api/shared/auth"
)

// Handlers are the endpoints' functions with what they need.
type Handlers struct {
	DB         *pgxpool.Pool
	Verifier   *auth.Verifier
	MaxWaiting int // messages in one inbox
}
