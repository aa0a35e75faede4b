package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/liftlog/liftlog-api/shared/apierr"
)

// SQLSTATEs and classes of them. https://www.postgresql.org/docs/current/errcodes-appendix.html
const (
	ForeignKeyViolation = "23503" // a row's parent is gone
	DivisionByZero      = "22012"

	deadlock             = "40P01"
	serializationFailure = "40001"
	featureNotSupported  = "0A000" // of a prepared statement: its result would have other types than when it was prepared
	readOnlySession      = "25006"
	insufficientRight    = "42501"
	undefinedTable       = "42P01"
)

// passing may be gone when the same statement runs again: connection failures, refused logins, transactions rolled back, too
// few resources, interventions of an operator, failures of the machine, a standby that was promoted away, time-outs, and
// statements prepared for tables that have changed.
var passing = []string{"08", "28", "40", "53", "57", "58", "55P03", featureNotSupported}

// faulty are failures of a session that the next statement would meet as well: the session has become read-only, or it has other
// prepared statements, or is elsewhere in the protocol, than this side believes.
var faulty = []string{readOnlySession, "26000", "42P05", "08P01"}

// keepSession is asked about each error that the server sends. The connection is closed when it returns false.
func keepSession(_ *pgconn.PgConn, err *pgconn.PgError) bool {
	return err.SeverityUnlocalized != "FATAL" && !slices.Contains(faulty, err.Code)
}

// repeatable reports whether err says that work has had no effect and may be done again at once.
func repeatable(err error) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return pgconn.SafeToRetry(err) && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded)
	}
	return stale(err) || pgErr.Code == deadlock || pgErr.Code == serializationFailure || slices.Contains(faulty, pgErr.Code)
}

// stale reports whether a statement was prepared for tables that have changed since.
func stale(err error) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pgErr.Code == featureNotSupported && pgErr.Routine == "RevalidateCachedQuery"
}

// refused reports whether a statement's table, or its role's right to it, is missing, which takes an operator to mend.
func refused(err error) bool { return HasCode(err, insufficientRight) || HasCode(err, undefinedTable) }

// dataException is the server's complaint about a value. It shows only the code, because the message quotes the value.
type dataException struct{ err *pgconn.PgError }

func (e dataException) Error() string { return "SQLSTATE " + e.err.Code }
func (e dataException) Unwrap() error { return e.err }

// Wrap says what was attempted, and makes an [apierr.Unavailable] of a failure that is likely to pass, or that an operator has
// to mend. A nil err stays nil. [Exec] and its like have done it already.
func Wrap(attempt string, err error) error {
	if err == nil {
		return nil
	}
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok && strings.HasPrefix(pgErr.Code, "22") {
		err = dataException{pgErr}
	}
	wrapped := fmt.Errorf("%s: %w", attempt, err)
	if _, known := errors.AsType[*apierr.Error](err); known || errors.Is(err, pgx.ErrNoRows) {
		return wrapped
	}
	if refused(err) {
		return apierr.Broken("The service is not set up.", wrapped)
	}
	const away, busy = "The database cannot be reached.", "The database is busy."
	if _, connecting := errors.AsType[*pgconn.ConnectError](err); connecting && !errors.Is(err, context.Canceled) {
		return apierr.Busy(away, wrapped)
	}
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		passes := func(class string) bool { return strings.HasPrefix(pgErr.Code, class) }
		if slices.ContainsFunc(passing, passes) || slices.Contains(faulty, pgErr.Code) {
			return apierr.Busy(busy, wrapped)
		}
		return apierr.Traced(wrapped)
	}
	if errors.Is(err, context.Canceled) {
		return wrapped
	}
	_, isNet := errors.AsType[net.Error](err)
	isEnd := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
	if isNet || isEnd || pgconn.SafeToRetry(err) || errors.Is(err, context.DeadlineExceeded) {
		return apierr.Busy(away, wrapped)
	}
	return apierr.Traced(wrapped)
}

// HasCode reports whether err is the server's with this SQLSTATE.
func HasCode(err error, code string) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pgErr.Code == code
}
