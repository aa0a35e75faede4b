package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	wire "github.com/liftlog/liftlog-api/functions/feed"
	"github.com/liftlog/liftlog-api/shared/auth"
	events "github.com/liftlog/liftlog-api/shared/feed"
	"github.com/liftlog/liftlog-api/shared/postgres"
)

const (
	users       = 10_000
	readUsers   = 10 // whose events are read
	eachUsers   = 3  // events of each
	readSize    = 2 << 10
	signUps     = 24 // in a round
	signUpsAtA  = 8  // at a time: the manifest's concurrency
	starts      = 10
	pictures    = 1000
	picture     = 2000 << 10
	benchScale  = "10" // of pgbench's tables: a million rows
	openSSLKeys = 10   // that openssl makes in a round, so that its start does not count
)

// routes measures each route beside a yardstick: what the same PostgreSQL, or processor, can do by itself in the same minute.
type routes struct {
	*bench

	rounds, seconds int
	only            string // a function; empty: all
	kind            string // of database: what a row calls it
	folder          string // of the files that wrk and pgbench read
	questions       map[string]question
}

func runUsers(ctx context.Context, b *bench, args []string) (err error) {
	r := &routes{bench: b, questions: map[string]question{}}
	flags := flag.NewFlagSet("users", flag.ContinueOnError)
	flags.IntVar(&r.rounds, "rounds", 3, "how often each route and its yardstick take turns; a row has the medians")
	flags.IntVar(&r.seconds, "seconds", 3, "how long a turn takes")
	flags.StringVar(&r.only, "route", "", "measure this function alone, such as GetUser")
	if err := parse(flags, args); err != nil {
		return err
	}
	if r.rounds < 1 || r.seconds < 1 {
		return errors.New("--rounds and --seconds have to be positive")
	}
	if r.only != "" && !slices.ContainsFunc(r.comparisons(), func(c comparison) bool { return c.function == r.only }) {
		return fmt.Errorf("--route: %s is not measured", r.only)
	}
	if r.folder, err = os.MkdirTemp("", "liftlog-users-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(r.folder)) }()
	if err := os.WriteFile(r.file("requests.lua"), requestsLua, 0o600); err != nil {
		return err
	}
	fmt.Print(tableHead)
	r.kind = "default"
	if err := b.on(ctx, "", r.fill, r.all); err != nil {
		return err
	}
	r.kind = "durable"
	if err := b.durably(ctx, r.fill, r.all); err != nil || r.only != "" {
		return err
	}
	fmt.Println()
	return b.on(ctx, "", b.size, b.start, b.batch)
}

//go:embed requests.lua
var requestsLua []byte

func (r *routes) file(name string) string { return filepath.Join(r.folder, name) }

// fill stores accounts, a few events of each, and pgbench's tables in a database of their own.
func (r *routes) fill(ctx context.Context) (err error) {
	accounts, err := r.storeAccounts(ctx, users)
	if err != nil {
		return err
	}
	read, others := accounts[:readUsers], accounts[readUsers:]
	var list strings.Builder
	for _, a := range others {
		fmt.Fprintln(&list, a.ID, a.Password)
	}
	if err := os.WriteFile(r.file("accounts"), []byte(list.String()), 0o600); err != nil {
		return err
	}
	for _, statement := range []string{
		`INSERT INTO user_follow_secrets (id, user_id, value) SELECT gen_random_uuid(), id, user_lookup FROM users`,
		fmt.Sprintf(`INSERT INTO user_events (user_id, id, "timestamp", last_accessed, expiry, encrypted_event, encryption_iv)
			SELECT u.id, gen_random_uuid(), now() - n * interval '1 minute', now(), now() + interval '90 days', (
				SELECT string_agg(sha512((n + m + random())::text::bytea), '') FROM generate_series(1, %d / 64) m
			), '0123456789abcdef' FROM users u CROSS JOIN generate_series(1, %d) n`, readSize, eachUsers),
		`VACUUM ANALYZE`,
	} {
		if _, err := r.conn.Exec(ctx, statement); err != nil {
			return fmt.Errorf("fill the database: %w", err)
		}
	}
	if err := r.database.CreateDatabase(ctx, "pgbench"); err != nil {
		return err
	}
	if _, err := output(ctx, "pgbench", "-i", "-q", "-s", benchScale, r.database.URL("pgbench")); err != nil {
		return err
	}
	for what, since := range map[string]time.Time{thirtyEvents: time.Now().AddDate(-1, 0, 0), nothingNew: time.Now()} {
		if r.questions[what], err = r.ask(ctx, what, read, since); err != nil {
			return err
		}
	}
	return nil
}

const thirtyEvents, nothingNew = "10 followed, 30 events of 2 KB", "10 followed, nothing new"

// question is what GetEvents is asked, and how pgbench runs the same statement with the same values.
type question struct {
	body    string   // a file
	pgbench []string // arguments
}

// statements remembers the last statement that was sent.
type statements struct{ last pgx.TraceQueryStartData }

func (s *statements) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	s.last = data
	return ctx
}
func (*statements) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// ask asks for what the users have published since, to see what is sent to the database. It leaves files that are named by what it is.
func (r *routes) ask(ctx context.Context, what string, of []account, since time.Time) (q question, err error) {
	var sent statements
	db, err := postgres.Open(ctx, postgres.Options{URL: r.url, MaxConns: 1, Application: "loadtest", Tracer: &sent})
	if err != nil {
		return q, err
	}
	defer db.Close()
	var asked []events.Followed
	var request wire.GetEventsRequest
	for _, a := range of {
		var secret string
		if err := r.conn.QueryRow(ctx, `SELECT value FROM user_follow_secrets WHERE user_id = $1`, a.ID).Scan(&secret); err != nil {
			return q, err
		}
		asked = append(asked, events.Followed{UserID: a.ID, Secret: secret, Since: since})
		request.Users = append(request.Users, wire.FollowedUser{UserID: a.ID, Since: since, FollowSecret: &secret})
	}
	if _, err := events.Each(ctx, db, asked, time.Now(), func(events.Event) error { return nil }); err != nil {
		return q, err
	}
	body, err := json.Marshal(request)
	if err != nil {
		return q, err
	}
	name := r.file(strings.ReplaceAll(what, " ", "-"))
	q = question{name + ".json", []string{"-n", "-f", name + ".sql"}}
	if err := os.WriteFile(q.body, body, 0o600); err != nil {
		return q, err
	}
	prepared, err := r.conn.Prepare(ctx, "", sent.last.SQL)
	if err != nil {
		return q, err
	}
	for i, oid := range prepared.ParamOIDs {
		value, err := r.conn.TypeMap().Encode(oid, pgx.TextFormatCode, sent.last.Args[i], nil)
		if err != nil {
			return q, err
		}
		q.pgbench = append(q.pgbench, "-D", fmt.Sprintf("p%d=%s", i+1, value))
	}
	script := regexp.MustCompile(`\$(\d+)`).ReplaceAllString(sent.last.SQL, ":p$1") + ";\n"
	return q, os.WriteFile(name+".sql", []byte(script), 0o600)
}

// comparisons are the rows, at each number of connections. What counts for CreateUser is how often a second of a processor is
// enough, by which nothing else is measured.
func (r *routes) comparisons() []comparison {
	atOnce := []int{16, 64}
	writes := r.pgbench("pgbench", "-N", "-c", "16")
	reads := r.pgbench("pgbench", "-S", "-c", "32")
	page := func(what string) func(context.Context) (float64, error) {
		return func(ctx context.Context) (float64, error) {
			return r.pgbench("liftlog", append([]string{"-c", "16"}, r.questions[what].pgbench...)...)(ctx)
		}
	}
	return []comparison{
		{"PutEvent", "2 KB", 1, atOnce, r.wrk, writes},
		{"PutInboxMessage", "1 KB", 1, atOnce, r.wrk, writes},
		{"GetUser", "", 0.85, atOnce, r.wrk, reads},
		{"GetEvents", thirtyEvents, 0.7, atOnce, r.wrk, page(thirtyEvents)},
		{"GetEvents", nothingNew, 0.8, atOnce, r.wrk, page(nothingNew)},
		{"CreateUser", "CPU", 1 / 1.05, []int{signUpsAtA}, r.signUp, r.openSSL},
	}
}

// all measures the comparisons, and prints a row as soon as it is known.
func (r *routes) all(ctx context.Context) error {
	for _, c := range r.comparisons() {
		if r.only != "" && r.only != c.function {
			continue
		}
		if err := r.compare(ctx, c); err != nil {
			return fmt.Errorf("%s: %w", c.function, err)
		}
	}
	return nil
}

func (r *routes) compare(ctx context.Context, c comparison) error {
	p, err := r.serve(ctx, c.function)
	if err != nil {
		return err
	}
	defer p.stop()
	ours, yardstick := make([][]float64, len(c.connections)), []float64{}
	for round := range r.rounds {
		for i, n := range c.connections {
			if round == 0 { // connections are made and statements prepared
				if _, err := c.ours(ctx, p, c, n, 1); err != nil {
					return err
				}
			}
			rate, err := c.ours(ctx, p, c, n, r.seconds)
			if err != nil {
				return err
			}
			ours[i] = append(ours[i], rate)
		}
		rate, err := c.yardstick(ctx)
		if err != nil {
			return err
		}
		yardstick = append(yardstick, rate)
	}
	for i, n := range c.connections {
		fmt.Println(row(c, r.kind, n, ours[i], yardstick))
	}
	return nil
}

// wrk loads the program with the function's requests.
func (r *routes) wrk(ctx context.Context, p *process, c comparison, connections, seconds int) (float64, error) {
	said, err := output(ctx, "wrk", "-t1", "-c"+strconv.Itoa(connections), "-d"+strconv.Itoa(seconds)+"s", "-s", r.file("requests.lua"), p.base,
		"--", c.function, r.file("accounts"), r.questions[c.what].body, strconv.Itoa(rand.IntN(1<<31)))
	if err != nil {
		return 0, err
	}
	return wrkRate(said)
}

// connecting is how many seconds pgbench gets to connect, which count as its time but not in its rate.
const connecting = 2

// pgbench makes a yardstick of what pgbench does with more arguments.
func (r *routes) pgbench(database string, arguments ...string) func(context.Context) (float64, error) {
	return func(ctx context.Context) (float64, error) {
		said, err := output(ctx, "pgbench", slices.Concat([]string{"-M", "prepared", "-j", "1", "-T", strconv.Itoa(r.seconds + connecting)}, arguments,
			[]string{r.database.URL(database)})...)
		if err != nil {
			return 0, err
		}
		return pgbenchRate(said)
	}
}

// signUp makes accounts, and returns how many for a second of the program's processor time.
func (r *routes) signUp(ctx context.Context, p *process, _ comparison, connections, _ int) (float64, error) {
	began, err := p.cpu()
	if err != nil {
		return 0, err
	}
	var group errgroup.Group
	group.SetLimit(connections)
	for range signUps {
		group.Go(func() error {
			return send(ctx, http.DefaultClient, http.MethodPost, p.base+"/v2/user/create", []byte("{}"), nil)
		})
	}
	if err := group.Wait(); err != nil {
		return 0, err
	}
	ended, err := p.cpu()
	return signUps / (ended - began).Seconds(), err
}

// openSSL makes keys of passwords as v1 does, and returns how many for a second of its processor time.
func (r *routes) openSSL(ctx context.Context) (float64, error) {
	command := exec.CommandContext(ctx, "openssl", "kdf", "-keylen", strconv.Itoa(openSSLKeys*auth.KeyLength), //nolint:gosec // no input
		"-kdfopt", "digest:SHA512", "-kdfopt", "pass:"+uuid.NewString(), "-kdfopt", "salt:"+strings.Repeat("s", auth.KeyLength),
		"-kdfopt", "iter:"+strconv.Itoa(auth.Iterations), "PBKDF2")
	if said, err := command.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("openssl: %w: %s", err, said)
	}
	return openSSLKeys / command.ProcessState.UserTime().Seconds(), nil
}

func (b *bench) size(context.Context) error {
	info, err := os.Stat(b.server)
	if err != nil {
		return err
	}
	fmt.Printf("binary: %.1f MB\n", float64(info.Size())/1e6)
	return nil
}

func (b *bench) start(ctx context.Context) error {
	var times []time.Duration
	for range starts {
		p, err := b.serve(ctx, "GetUser")
		if err != nil {
			return err
		}
		p.stop()
		times = append(times, p.ready)
	}
	slices.Sort(times)
	fmt.Printf("start to ready: median %v of %d\n", times[starts/2].Round(time.Millisecond), starts)
	return nil
}

// batch asks for many users with large pictures.
func (b *bench) batch(ctx context.Context) error {
	ids := make([]string, pictures)
	for i := range ids {
		id := uuid.New()
		ids[i] = strconv.Quote(id.String())
		if _, err := b.conn.Exec(ctx, `INSERT INTO users (id, user_lookup, hashed_password, salt, encrypted_profile_picture)
			SELECT $1, $2, '', '', string_agg(sha512((n + random())::text::bytea), '') FROM generate_series(1, $3 / 64) n`,
			id, id.String(), picture); err != nil {
			return err
		}
	}
	body := `{"ids":[` + strings.Join(ids, ",") + `]}`
	return b.stream(ctx, "GetUsers", "/v2/users", body, fmt.Sprintf("%d pictures of %d KiB", pictures, picture>>10))
}
