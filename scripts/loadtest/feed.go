package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// feed is how the feed is measured. Unless told otherwise its database waits for its disk, unlike the tests': a write waits for
// little else.
type feed struct {
	*bench
	rows, expired int
	clients, rate int
	time          time.Duration
	scattered     bool
	writers       []account
}

// step is a statement that prepares a measurement.
type step struct {
	statement string
	args      []any
}

const (
	writers   = 20
	others    = 5000 // users who have events and write none
	payload   = 200  // bytes of an event that is written, or lies there
	warmUp    = 3 * time.Second
	glance    = 5 * time.Millisecond // between two looks at a program
	followed  = 40_000               // events that are read
	eventSize = 5 << 10
)

func runFeed(ctx context.Context, b *bench, args []string) error {
	f := &feed{bench: b}
	flags := flag.NewFlagSet("feed", flag.ContinueOnError)
	flags.IntVar(&f.rows, "rows", 5_000_000, "events that lie there")
	flags.IntVar(&f.expired, "expired", 1_000_000, "events among them that the clean-up removes")
	flags.IntVar(&f.clients, "clients", 8, "callers of PutEvent at a time")
	flags.IntVar(&f.rate, "rate", 200, "requests a second, all callers together")
	flags.DurationVar(&f.time, "time", time.Minute, "how long PutEvent is measured alone, and at most beside the clean-up")
	flags.BoolVar(&f.scattered, "scattered", false, "let events expire in no order, which is the hardest for the clean-up")
	ephemeral := flags.Bool("ephemeral", false, "take a database that does not wait for its disk, to see what the disk's part is")
	if err := parse(flags, args); err != nil {
		return err
	}
	if *ephemeral {
		return b.on(ctx, "", f.fill, f.besideCleanup, f.events)
	}
	return b.durably(ctx, f.fill, f.besideCleanup, f.events)
}

// fill makes users and events. The app gives all events about the same time to live, so that they expire within a day of the
// order in which they were stored; when they are scattered, those that expire lie everywhere among the others, in no order.
func (f *feed) fill(ctx context.Context) (err error) {
	began := time.Now()
	expiry := `(n - $2)::float8 / $1 * interval '90 days' + (random() - 0.5) * interval '1 day'`
	if f.scattered {
		expiry = `CASE WHEN n * $2 % $1 < $2 THEN -random() * interval '30 days' ELSE (1 + random() * 90) * interval '1 day' END`
	}
	if f.writers, err = f.storeAccounts(ctx, writers); err != nil {
		return err
	}
	err = f.do(ctx, []step{
		{`INSERT INTO users (id, user_lookup, hashed_password, salt)
			SELECT gen_random_uuid(), 'other' || n, '', '' FROM generate_series(1, $1::int) n`, []any{others}},
		// Indexes are made at the end and foreign keys not looked at: that takes a fraction of the time.
		{`SET session_replication_role = replica`, nil},
		{`UPDATE pg_index SET indisready = false WHERE indrelid = 'user_events'::regclass`, nil},
		{`INSERT INTO user_events (user_id, id, "timestamp", last_accessed, expiry, encrypted_event, encryption_iv)
			SELECT ids[1 + n % cardinality(ids)], gen_random_uuid(), now() - (1 - n::float8 / $1) * interval '90 days', now(),
				now() + ` + expiry + `,
				decode(repeat('ab', $3::int), 'hex'), '0123456789abcdef'
			FROM (SELECT array_agg(id) AS ids FROM users) u, generate_series(0, $1::bigint - 1) n`, []any{f.rows, f.expired, payload}},
		{`UPDATE pg_index SET indisready = true WHERE indrelid = 'user_events'::regclass`, nil},
		{`SET maintenance_work_mem = '256MB'`, nil},
		{`REINDEX TABLE user_events`, nil},
		{`RESET ALL`, nil},
		{`VACUUM ANALYZE`, nil},
		{`CHECKPOINT`, nil},
	})
	if err != nil {
		return err
	}
	fmt.Printf("%d events, about %d of them expired, made in %v\n", f.rows, f.expired, time.Since(began).Round(time.Second))
	return nil
}

func (f *feed) do(ctx context.Context, steps []step) error {
	for _, s := range steps {
		if _, err := f.conn.Exec(ctx, s.statement, s.args...); err != nil {
			return fmt.Errorf("%s: %w", s.statement, err)
		}
	}
	return nil
}

// besideCleanup compares PutEvent alone with PutEvent while the clean-up is at work.
func (f *feed) besideCleanup(ctx context.Context) error {
	server, err := f.serve(ctx, "PutEvent")
	if err != nil {
		return err
	}
	defer server.stop()
	warm, cancel := context.WithTimeout(ctx, warmUp)
	defer cancel()
	if _, err := f.load(ctx, server, warm.Done()); err != nil {
		return err
	}
	alone, cancel := context.WithTimeout(ctx, f.time)
	defer cancel()
	before, err := f.phase(ctx, server, server, "PutEvent", alone.Done())
	if err != nil {
		return err
	}

	job := &process{cmd: exec.CommandContext(ctx, f.cleanup)} //nolint:gosec // the program to measure
	job.cmd.Env = []string{"DATABASE_URL=" + f.url}
	var said bytes.Buffer
	job.cmd.Stdout, job.cmd.Stderr = &said, &said
	if err := job.cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	var failed error
	go func() {
		failed = job.cmd.Wait()
		close(ended)
	}()
	during, err := f.phase(ctx, server, job, "cleanup", ended)
	<-ended
	if err = errors.Join(err, failed); err != nil {
		return fmt.Errorf("beside the clean-up: %w: %s", err, said.String())
	}
	fmt.Printf("PUT /v2/event, %d clients, %d a second: p99 beside the clean-up %.2f x p99 alone\n", f.clients, f.rate,
		float64(during.percentile(99))/float64(before.percentile(99)))
	fmt.Printf("  alone: %v\n  beside the clean-up: %v\n", before, during)
	fmt.Printf("clean-up: memory at most %.1f MiB, longest batch %v\n", float64(during.memory)/(1<<20), during.longest.Round(time.Millisecond))
	for line := range strings.Lines(said.String()) {
		fmt.Print("  ", line)
	}
	return nil
}

// phase is what was seen for a while.
type phase struct {
	took    []time.Duration // requests, sorted
	longest time.Duration   // of the watched program's statements
	memory  int64           // of the watched program, at most
}

func (p phase) percentile(n int) time.Duration { return p.took[len(p.took)*n/100] }

func (p phase) String() string {
	round := func(n int) time.Duration { return p.percentile(n).Round(10 * time.Microsecond) }
	return fmt.Sprintf("p50 %v, p99 %v, longest %v, of %d requests", round(50), round(99), p.took[len(p.took)-1].Round(time.Millisecond), len(p.took))
}

// phase calls the server and watches a program, until ended is closed. It does both in either phase, because watching costs
// the database something too.
func (f *feed) phase(ctx context.Context, server, watched *process, application string, ended <-chan struct{}) (p phase, err error) {
	calling, cancel := context.WithTimeout(ctx, f.time)
	defer cancel()
	var calls sync.WaitGroup
	var failed error
	calls.Go(func() { p.took, failed = f.load(ctx, server, calling.Done()) })
	p.longest, p.memory, err = f.watch(ctx, watched, application, ended)
	cancel()
	calls.Wait()
	if err = errors.Join(err, failed); err == nil && len(p.took) == 0 {
		err = errors.New("there was no time for a request")
	}
	return p, err
}

// load sends events at the rate until end is closed, and returns how long they took from the moment they were due: one
// that waits for its turn behind a slow one has waited.
func (f *feed) load(ctx context.Context, server *process, end <-chan struct{}) (took []time.Duration, err error) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: f.clients}}
	defer client.CloseIdleConnections()
	gap, began := time.Second/time.Duration(f.rate), time.Now()
	var mu sync.Mutex
	var clients sync.WaitGroup
	for i := range f.clients {
		clients.Go(func() {
			own, failed := f.caller(ctx, client, server, began.Add(time.Duration(i)*gap), time.Duration(f.clients)*gap, end)
			mu.Lock()
			defer mu.Unlock()
			took, err = append(took, own...), errors.Join(err, failed)
		})
	}
	clients.Wait()
	slices.Sort(took)
	return took, err
}

// caller is one of the clients. Its first event is due at a time, and the next ones every so often.
func (f *feed) caller(
	ctx context.Context, client *http.Client, server *process, due time.Time, every time.Duration, end <-chan struct{},
) (took []time.Duration, err error) {
	for ; ; due = due.Add(every) {
		select {
		case <-end:
			return took, nil
		case <-time.After(time.Until(due)):
		}
		a := f.writers[rand.IntN(len(f.writers))]
		body, err := json.Marshal(map[string]any{
			"userId": a.ID, "password": a.Password, "eventId": uuid.New(), "expiry": due.AddDate(0, 3, 0),
			"encryptedEventPayload": make([]byte, payload), "encryptedEventIV": make([]byte, 16),
		})
		if err != nil {
			return took, err
		}
		if err := send(ctx, client, http.MethodPut, server.base+"/v2/event", body, nil); err != nil {
			return took, err
		}
		took = append(took, time.Since(due))
	}
}

// send sends JSON, and reads the answer into a value that is not nil.
func send(ctx context.Context, client *http.Client, method, url string, body []byte, answer any) error {
	r, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	response, err := client.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	said, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s: %s", method, url, response.Status, said)
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(said, answer)
}

// watch looks at a program again and again until ended is closed, and returns how long a statement of it was seen at work,
// its commit included, and its most memory in bytes. A statement may be longer than seen by the time between two looks.
func (f *feed) watch(ctx context.Context, p *process, application string, ended <-chan struct{}) (longest time.Duration, memory int64, err error) {
	conn, err := pgx.Connect(ctx, f.url)
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	ticks := time.NewTicker(glance)
	defer ticks.Stop()
	for {
		select {
		case <-ended:
			return longest, memory, nil
		case <-ticks.C:
		}
		var seconds float64
		err := conn.QueryRow(ctx, `SELECT coalesce(max(extract(epoch FROM clock_timestamp() - query_start)), 0)::float8
			FROM pg_stat_activity WHERE application_name = $1 AND state = 'active'`, application).Scan(&seconds)
		if err != nil {
			return 0, 0, err
		}
		longest = max(longest, time.Duration(seconds*float64(time.Second)))
		if now, err := p.memory("VmHWM"); err == nil { // it is gone with the program
			memory = max(memory, now)
		}
	}
}

// events reads many events of one user.
func (f *feed) events(ctx context.Context) error {
	id := uuid.New()
	err := f.do(ctx, []step{
		{`INSERT INTO users (id, user_lookup, hashed_password, salt) VALUES ($1, 'followed', '', '')`, []any{id}},
		{`INSERT INTO user_follow_secrets (id, user_id, value) VALUES ($1, $1, 'secret')`, []any{id}},
		{`INSERT INTO user_events (user_id, id, "timestamp", last_accessed, expiry, encrypted_event, encryption_iv)
			SELECT $1, gen_random_uuid(), now() + n * interval '1 ms', now(), now() + interval '1 day', (
				SELECT string_agg(sha512((n + m + random())::text::bytea), '') FROM generate_series(1, $3::int / 64) m
			), '0123456789abcdef' FROM generate_series(1, $2::int) n`, []any{id, followed, eventSize}},
	})
	if err != nil {
		return err
	}
	body := fmt.Sprintf(`{"users":[{"userId":%q,"followSecret":"secret","since":"2020-01-01T00:00:00Z"}]}`, id)
	return f.stream(ctx, "GetEvents", "/v2/events", body, fmt.Sprintf("%d events of %d KiB", followed, eventSize>>10))
}
