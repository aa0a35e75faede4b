package feed

import (
	"bytes"
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/liftlog/liftlog-api/shared/postgres"
)

// Followed is a user whose events somebody asks for.
type Followed struct {
	UserID uuid.UUID
	Secret string // holds no NUL
	Since  time.Time
}

// A page is read user by user and in the order of an index, no further than its last event. Three things hold the planner to
// that, for a generic plan as well as for one made for the values: secrets and events are looked for by LATERAL, once for each
// user; a limit whose number it does not know lets it expect that the first rows are enough, so that it sorts nothing; and
// OFFSET 0 keeps the expiry, which most events satisfy, away from the choice of an index.
const page = `
	WITH asked AS MATERIALIZED (
		SELECT n, a.user_id, since, after, s.fits IS NOT NULL AS fits
		FROM unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::uuid[]) WITH ORDINALITY AS a (user_id, secret, since, after, n)
		LEFT JOIN LATERAL (
			SELECT true AS fits FROM user_follow_secrets WHERE user_id = a.user_id AND value = a.secret LIMIT 1
		) s ON true
	), followed AS MATERIALIZED (
		SELECT DISTINCT ON (user_id) user_id, since, after FROM asked WHERE fits ORDER BY user_id, since, after
	), found AS (
		SELECT e.*
		FROM followed f CROSS JOIN LATERAL (
			SELECT * FROM (
				SELECT * FROM user_events
				WHERE user_id = f.user_id AND ("timestamp", id) > (f.since, f.after)
				ORDER BY "timestamp", id
				OFFSET 0
			) later
			WHERE expiry > $5
			LIMIT (SELECT $6::int + 1)
		) e
		LIMIT (SELECT $6::int + 1)
	), measured AS (
		SELECT *, row_number() OVER so_far AS n, sum(octet_length(encrypted_event)) OVER so_far AS size, count(*) OVER () AS found
		FROM found WINDOW so_far AS (ORDER BY user_id, "timestamp", id ROWS UNBOUNDED PRECEDING)
	)
	SELECT n::int, NULL::uuid, NULL::uuid, NULL::timestamptz, NULL::timestamptz, NULL::bytea, NULL::bytea, NULL::boolean
	FROM asked WHERE NOT fits
	UNION ALL
	(SELECT NULL, user_id, id, "timestamp", expiry, encrypted_event, encryption_iv, n < found
	FROM measured WHERE n = 1 OR n <= $6 AND size <= $7 ORDER BY n)`

// row is one of the two kinds that the statement returns: whom a secret does not fit, or an event.
type row struct {
	Unfit            *int // counted from 1
	UserID           *uuid.UUID
	ID               *uuid.UUID
	Timestamp        pgtype.Timestamptz
	Expiry           pgtype.Timestamptz
	EncryptedPayload []byte
	EncryptionIV     []byte
	More             *bool // events follow that the page has no room for
}

// Each calls fn for every event that the secrets let its reader see and that is newer than its since and not yet
// expired at now: user by user, the oldest first. A user asked for twice comes once, with the earlier since. It returns
// the secrets that fit none of the users they were sent with, in the order sent, once it is sure that the database is the right
// one.
//
// It reads pages as [postgres.PageBytes] describes, each by a statement of its own that checks the secrets of those users again
// whose events are not all read. What changes between two pages is seen by the later one: an event that is replaced
// meanwhile may come again, later and with its new content, because its new time is later than all before; one that is
// deleted or expires, or whose secret is taken back, comes no more, and the secret counts as one that does not fit. Of what v2
// stores none is passed over, because its times only grow; one that v1 stores late, under a time already read, is as it always
// was with v1.
func Each(ctx context.Context, db *postgres.DB, asked []Followed, now time.Time, fn func(Event) error) (invalid []string, err error) {
	r := newReader(asked)
	for more := true; more; {
		var events []Event
		if events, more, err = r.next(ctx, db, now); err != nil {
			return nil, err
		}
		for _, e := range events {
			if err := fn(e); err != nil {
				return nil, err
			}
		}
	}
	if invalid = r.invalid(); len(invalid) > 0 {
		return invalid, db.Missing(ctx, nil)
	}
	return invalid, nil
}

// reader is how far somebody has come.
type reader struct {
	asked []Followed
	unfit []bool  // whether the secret asked with turned out not to fit
	open  []place // what is left to read
	rows  int
}

// place is where to go on reading one of those asked for: after the event with this time and id.
type place struct {
	n     int // in what was asked
	since pgtype.Timestamptz
	after uuid.UUID
}

func newReader(asked []Followed) *reader {
	r := &reader{asked: asked, unfit: make([]bool, len(asked)), open: make([]place, len(asked)), rows: postgres.FirstPageRows}
	for i, a := range asked {
		r.open[i] = place{i, postgres.ToTimestamp(a.Since), uuid.Max} // no event of that time comes after the greatest id
	}
	return r
}

// next reads a page.
func (r *reader) next(ctx context.Context, db *postgres.DB, now time.Time) (events []Event, more bool, err error) {
	users, secrets := make([]uuid.UUID, len(r.open)), make([]string, len(r.open))
	sinces, afters := make([]pgtype.Timestamptz, len(r.open)), make([]uuid.UUID, len(r.open))
	for i, p := range r.open {
		users[i], secrets[i], sinces[i], afters[i] = r.asked[p.n].UserID, r.asked[p.n].Secret, p.since, p.after
	}
	found, err := postgres.All(ctx, db, "get events", pgx.RowToStructByPos[row],
		page, users, secrets, sinces, afters, now, r.rows, postgres.PageBytes)
	if err != nil {
		return nil, false, err
	}
	var last row
	for _, f := range found {
		if f.Unfit != nil {
			r.unfit[r.open[*f.Unfit-1].n] = true
			continue
		}
		events = append(events, Event{
			UserID: *f.UserID, ID: *f.ID, Timestamp: postgres.FromTimestamp(f.Timestamp), Expiry: postgres.FromTimestamp(f.Expiry),
			EncryptedPayload: f.EncryptedPayload, EncryptionIV: f.EncryptionIV,
		})
		last = f
	}
	if last.More == nil || !*last.More {
		return events, false, nil
	}
	r.goOn(last)
	r.rows = postgres.NextPageRows(len(events))
	return events, true, nil
}

// goOn closes what has been read and leaves the rest to be read after the last event.
func (r *reader) goOn(last row) {
	open := r.open[:0]
	for _, p := range r.open {
		user := r.asked[p.n].UserID
		order := bytes.Compare(user[:], last.UserID[:]) // PostgreSQL's
		if order < 0 || r.unfit[p.n] {
			continue
		}
		if order == 0 {
			p.since, p.after = last.Timestamp, *last.ID
		}
		open = append(open, p)
	}
	r.open = open
}

// invalid lists the secrets that fit none of the users they were sent with.
func (r *reader) invalid() []string {
	fits := map[string]bool{}
	for i, a := range r.asked {
		fits[a.Secret] = fits[a.Secret] || !r.unfit[i]
	}
	invalid := []string{}
	for _, a := range r.asked {
		if !fits[a.Secret] {
			invalid = append(invalid, a.Secret)
			fits[a.Secret] = true // once is enough
		}
	}
	return invalid
}
