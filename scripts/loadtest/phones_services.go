package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/jackc/pgx/v5"

	"github.com/liftlog/liftlog-api/functions"
	"github.com/liftlog/liftlog-api/functions/manifest"
)

// used are the functions that phones call. The planner's are measured by its own load test, and today's app asks the chat instead.
var used = []string{
	"CreateUser", "GetUser", "PutUser", "DeleteUser", "GetUsers", "PutEvent", "GetEvents", "PutFollowSecret", "DeleteFollowSecret",
	"PutInboxMessage", "GetInboxMessages", "CreateSharedItem", "GetSharedItem",
}

// chatService is the name of the chat's program, and of its service among the others.
const chatService = "chat-service"

// size is how a program is sized by the manifest.
type size struct {
	name, service     string
	route             manifest.Route // of a function
	concurrency, pool int
	processors        string
	memoryLimit       int64 // in bytes
}

// sizes are those of the programs that phones talk to.
func (p *phones) sizes() (all []size) {
	routes := functions.Manifest()
	for _, name := range used {
		r, _ := routes.Find(name)
		all = append(all, size{name, r.Service(), r, r.Concurrency, r.Pool, r.CPU, r.MemoryBytes()})
	}
	c := manifest.ProgramOf(chatService)
	return append(all, size{c.Program, c.Program, manifest.Route{}, c.Concurrency, c.Pool, c.CPU, c.MemoryBytes()})
}

// service is where a program is found. Like the platform it takes requests up to its concurrency at a time and lets others wait.
type service struct {
	size
	*process // nil: it runs elsewhere

	base   string
	places chan struct{} // nil: the platform has them, or there are no bounds
	client *http.Client
	seen   *record

	connections int // to the database, at most
}

// startServices starts one process for each program, with the processors and the name that the platform gives it. The
// programs limit their memory themselves.
func (p *phones) startServices(ctx context.Context, model, store string) error {
	p.services = map[string]*service{}
	var starting errgroup.Group
	starting.SetLimit(runtime.NumCPU())
	for _, s := range p.sizes() {
		program := p.server
		environ := []string{"K_SERVICE=" + s.service, "GOMAXPROCS=" + s.processors, "ENVIRONMENT=development"}
		if s.name == chatService {
			program = p.chatService
			environ = append(environ, "OPENAI_BASE_URL="+model, "CHAT_TOKEN_KEY="+credentialKey, "MODEL_TOKENS_PER_DAY=1000000000",
				"RATE_LIMIT_CHAT_PER_DAY=10000", "REVENUECAT_BASE_URL="+store, "REVENUECAT_PROJECT_ID="+storeProject,
				"REVENUECAT_ENTITLEMENT_ID="+storeEntitlement, "REVENUECAT_API_KEY="+storeKey)
		} else {
			environ = append(environ, "FUNCTION_TARGET="+s.name)
		}
		to := &service{size: s, client: newClient(s.concurrency), seen: p.seen}
		if !p.direct {
			to.places = make(chan struct{}, s.concurrency)
		}
		p.services[s.name] = to
		starting.Go(func() (err error) {
			if to.process, err = p.launch(ctx, program, environ...); err == nil {
				to.base = to.process.base
			}
			return err
		})
	}
	return starting.Wait()
}

// newClient keeps as many connections as there are requests at a time, as the platform's front end does.
func newClient(connections int) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: connections, IdleConnTimeout: time.Minute, ForceAttemptHTTP2: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

const (
	// platformTime is how long a request waits for a place at most:
	// https://cloud.google.com/run/docs/about-instance-autoscaling
	platformTime = 10 * time.Second
	// answerTime is how long a phone waits for an answer.
	answerTime = 30 * time.Second
	// maxAnswer bounds what is read of an answer, in bytes.
	maxAnswer = 64 << 20
)

// enter takes a place, as the platform gives it, and returns how to leave it.
func (s *service) enter(ctx context.Context) (leave func(), err error) {
	if s.places == nil {
		return func() {}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, platformTime)
	defer cancel()
	select {
	case s.places <- struct{}{}:
		return func() { <-s.places }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// call sends a request of the phone at the address, with a value for the path if that takes one, and reads the answer into a value
// that is not nil. It reports whether it was answered by 200; everything is recorded.
func (s *service) call(ctx context.Context, address, inPath string, body, answer any) (ok bool) {
	began, path := time.Now(), s.route.Path
	if before, _, found := strings.Cut(path, "{"); found {
		path = before + inPath
	}
	leave, err := s.enter(ctx)
	if err != nil {
		s.seen.add(ctx, s.label(), began, platformRefusal)
		return false
	}
	defer leave()
	result := s.ask(ctx, s.route.Method, path, address, body, answer)
	s.seen.add(ctx, s.label(), began, result)
	return result.kind == fine
}

// label names the service's requests in the tables.
func (s *service) label() string { return s.route.Method + " " + s.route.Path }

func (s *service) ask(ctx context.Context, method, path, address string, body, answer any) outcome {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	var content io.Reader = http.NoBody
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return outcome{kind: failed, what: err.Error()}
		}
		content = bytes.NewReader(encoded)
	}
	r, err := http.NewRequestWithContext(ctx, method, s.base+path, content)
	if err != nil {
		return outcome{kind: failed, what: err.Error()}
	}
	r.Header = s.forwarded(address)
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	response, err := s.client.Do(r)
	if err != nil {
		return outcomeOf(err)
	}
	defer func() { _ = response.Body.Close() }()
	said, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return outcomeOf(err)
	}
	if result := outcomeOfStatus(response.StatusCode, response.Header); result.kind != fine || answer == nil {
		return result
	}
	if err := json.Unmarshal(said, answer); err != nil {
		return outcome{kind: failed, what: "200 with something else"}
	}
	return outcome{}
}

// forwarded is the header of a request that the platform's front ends have passed on, which they write themselves elsewhere.
func (s *service) forwarded(address string) http.Header {
	if s.process == nil {
		return http.Header{}
	}
	return http.Header{"X-Forwarded-For": {address + ", 35.0.0.1"}}
}

// problemType is the type of the programs' refusals.
const problemType = "application/problem+json"

// outcomeOfStatus says what an answer means to the run: 429 and 503 are refusals where they say when to come back, and so is a
// 429 that is none of the programs' own, as Cloud Armor and the platform say nothing of that.
func outcomeOfStatus(status int, header http.Header) outcome {
	again := header.Get("Retry-After") != ""
	switch {
	case status == http.StatusOK:
		return outcome{}
	case status == http.StatusTooManyRequests && !again && !strings.HasPrefix(header.Get("Content-Type"), problemType):
		return platformRefusal
	case again && (status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable):
		return outcome{refused, strconv.Itoa(status), status}
	case status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable:
		return outcome{failed, fmt.Sprintf("%d without Retry-After", status), status}
	default:
		return outcome{failed, strconv.Itoa(status), status}
	}
}

// outcomeOf says what it means that there is no answer.
func outcomeOf(err error) outcome {
	timeout, isNet := errors.AsType[net.Error](err)
	switch {
	case isNet && timeout.Timeout():
		return outcome{kind: failed, what: fmt.Sprintf("no answer in %v", answerTime)}
	case errors.Is(err, syscall.ECONNREFUSED):
		return outcome{kind: failed, what: "connection refused"}
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return outcome{kind: failed, what: "connection broken"}
	default:
		return outcome{kind: failed, what: "no answer"}
	}
}

// watchConnections counts the programs' connections to the database until ctx ends, which may be its error, or the database fails.
func (p *phones) watchConnections(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, p.url)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	for pause(ctx, nil, 500*time.Millisecond) {
		rows, _ := conn.Query(ctx, `SELECT application_name, count(*)::int FROM pg_stat_activity WHERE datname = current_database() GROUP BY 1`)
		var name string
		var n int
		_, err := pgx.ForEachRow(rows, []any{&name, &n}, func() error {
			if s := p.services[name]; s != nil {
				s.connections = max(s.connections, n)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// lookAtPrograms reports what the programs have taken, and whether one has ended.
func (p *phones) lookAtPrograms() {
	for _, size := range p.sizes() {
		s := p.services[size.name]
		if s.hasEnded() {
			p.report.fault("%s has ended: %s", s.name, s.said.last())
			continue
		}
		peak, err := s.memory("VmHWM")
		if err != nil {
			p.report.fault("the memory of %s is not known: %v", s.name, err)
			continue
		}
		cpu, _ := s.cpu() // it runs
		p.report.Programs = append(p.report.Programs, programReport{
			Program: s.name, MemoryMiB: mib(peak), MemoryLimitMiB: mib(s.memoryLimit), Connections: s.connections, Pool: s.pool,
			Concurrency: s.concurrency, CPUSeconds: cpu.Seconds(),
		})
		if peak > s.memoryLimit {
			p.report.fault("%s took %.0f MiB, and the manifest gives it %.0f", s.name, mib(peak), mib(s.memoryLimit))
		}
	}
}

func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }
