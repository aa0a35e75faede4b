package plans

import (
	"context"
	"crypto/md5" //nolint:gosec // it only spreads ids
	"encoding/json"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liftlog/liftlog-api/functions/user"
	"github.com/liftlog/liftlog-api/shared/postgres"
)

// Size says how much data there is. It is spread unevenly: a few users have as many events as one may have, and together nearly
// all of them, so that the planner expects that of every user.
type Size struct {
	Users, Events, Secrets, Messages, Items int
	Limits                                  int // keys of rate limits, and purchases
}

// Hundredfold is a hundred times what LiftLog stores today.
var Hundredfold = Size{Users: 200_000, Events: 5_000_000, Secrets: 1_000_000, Messages: 200_000, Items: 100_000, Limits: 100_000}

// Part is one of n parts of the size.
func (s Size) Part(n int) Size {
	return Size{s.Users / n, s.Events / n, s.Secrets / n, s.Messages / n, s.Items / n, s.Limits / n}
}

// What a user with much of everything has: about as much as one may have.
const (
	heavyEvents   = 9_990
	heavySecrets  = 4_990
	heavyMessages = 4_990
	heavyItems    = 990
)

// heavyUsers is how many users have most of the events.
func (s Size) heavyUsers() int { return (s.Events*999/1000 + heavyEvents - 1) / heavyEvents }

// idOf is the id of the user with the number, from 1 on; the first are the heavy ones.
func idOf(n int) uuid.UUID {
	return md5.Sum([]byte(fmt.Sprint("user ", n))) //nolint:gosec // it only spreads ids
}

// fill stores the data in the database at the URL, to which conn is a connection, the events in the order of their times, and
// gathers statistics. It returns the password of every user, which is that of one whom the service has made.
func (s Size) fill(ctx context.Context, conn *pgx.Conn, url string) (password string, err error) {
	one, password, err := newUser(ctx, url)
	if err != nil {
		return "", err
	}
	heavy := s.heavyUsers()
	for _, step := range []struct {
		statement string
		args      []any
	}{
		// Foreign keys are not looked at and the largest table's indexes made at the end, which takes a fraction of the time.
		{`SET session_replication_role = replica`, nil},
		{`SET maintenance_work_mem = '256MB'`, nil},
		{`UPDATE pg_index SET indisready = false WHERE indrelid = 'user_events'::regclass`, nil},
		{`INSERT INTO users (id, user_lookup, hashed_password, salt, encrypted_current_plan, encrypted_name, rsa_public_key, last_accessed)
			SELECT md5('user ' || n)::uuid, 'user' || n, hashed_password, salt, repeat('p', 2000)::bytea, 'name', repeat('k', 300)::bytea, now()
			FROM users, generate_series(1, $1::int) n WHERE id = $2`, []any{s.Users, one}},
		{`INSERT INTO user_events (user_id, id, "timestamp", last_accessed, expiry, encrypted_event, encryption_iv)
			SELECT md5('user ' || CASE WHEN n % 1000 < 999 THEN 1 + n % $3::int ELSE 1 + n / 1000 % $2::int END)::uuid, gen_random_uuid(), at, at,
				at + interval '90 days', sha512(n::text::bytea) || sha512(n::text::bytea), '0123456789abcdef'
			FROM (SELECT n, now() - (1 - n::float8 / $1) * interval '91 days' AS at FROM generate_series(1, $1::int) n) times`,
			[]any{s.Events, s.Users, heavy}},
		{`INSERT INTO user_follow_secrets (id, user_id, value)
			SELECT gen_random_uuid(), md5('user ' || 1 + n % $2::int)::uuid, 'secret' || n / $2::int FROM generate_series(0, $1::int - 1) n`,
			[]any{s.Secrets, s.Users}},
		{`INSERT INTO user_follow_secrets (id, user_id, value)
			SELECT gen_random_uuid(), md5('user ' || 1)::uuid, 'more' || n FROM generate_series(1, $1::int) n`, []any{heavySecrets}},
		{`INSERT INTO user_inbox_items (id, user_id, encrypted_message)
			SELECT gen_random_uuid(), md5('user ' || 1 + n % $2::int)::uuid, ARRAY[sha512(n::text::bytea), sha512(n::text::bytea)]
			FROM generate_series(0, $1::int - 1) n`, []any{s.Messages, s.Users}},
		{`INSERT INTO user_inbox_items (id, user_id, encrypted_message)
			SELECT gen_random_uuid(), md5('user ' || 1)::uuid, ARRAY[(SELECT string_agg(sha512((n * m)::text::bytea), '') FROM generate_series(1, 16) m)]
			FROM generate_series(1, $1::int) n`, []any{heavyMessages}},
		{`INSERT INTO shared_items (id, user_id, "timestamp", expiry, encrypted_payload, encryption_iv)
			SELECT 'item' || n, md5('user ' || CASE WHEN n <= $3 THEN 1 ELSE 1 + n % $2::int END)::uuid, now(), now() + interval '1 day',
				repeat('x', 1000)::bytea, '0123456789abcdef'
			FROM generate_series(1, $1::int) n`, []any{s.Items, s.Users, min(heavyItems, s.Items/2)}},
		{`INSERT INTO rate_limit_consumptions (key, requests)
			SELECT upper(encode(sha256(n::text::bytea), 'hex')), ARRAY[now()] FROM generate_series(1, $1::int) n`, []any{s.Limits}},
		{`INSERT INTO v2_purchase_verdicts (digest, subject, verified_at)
			SELECT sha256(n::text::bytea), 'subject' || n, now() FROM generate_series(1, $1::int) n`, []any{s.Limits}},
		{`UPDATE pg_index SET indisready = true WHERE indrelid = 'user_events'::regclass`, nil},
		{`REINDEX TABLE user_events`, nil},
		{`RESET ALL`, nil},
		{`VACUUM ANALYZE`, nil},
	} {
		if _, err := conn.Exec(ctx, step.statement, step.args...); err != nil {
			return "", fmt.Errorf("%s: %w", step.statement, err)
		}
	}
	return password, nil
}

// newUser has the service make a user.
func newUser(ctx context.Context, url string) (id uuid.UUID, password string, err error) {
	db, err := postgres.Open(ctx, postgres.Options{URL: url, MaxConns: 1})
	if err != nil {
		return id, "", err
	}
	defer db.Close()
	s, err := newService(ctx, url, "", db)
	if err != nil {
		return id, "", err
	}
	defer s.close()
	answer, err := s.call(ctx, "CreateUser", "", object{})
	if err != nil {
		return id, "", err
	}
	var created user.CreateResponse
	err = json.Unmarshal(answer, &created)
	return created.ID, created.Password, err
}
