package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/liftlog/liftlog-api/shared/config"
	"github.com/liftlog/liftlog-api/shared/web"
)

// signUpCallers is how many accounts are made, or removed, at a time.
const signUpCallers = 4

// measureSignUps makes accounts as the app does, each from an address of its own, and removes them.
func (p *phones) measureSignUps(ctx context.Context) error {
	if p.signUps == 0 {
		return nil
	}
	made, err := p.signUp(ctx, p.signUps)
	p.remove(ctx, made)
	return err
}

// signUp makes accounts, and reports on it. What has begun is not broken off, so that no account is made that nobody knows of.
func (p *phones) signUp(ctx context.Context, n int) (made []account, err error) {
	s := p.services["CreateUser"]
	seen := newRecord()
	s.seen = seen
	var before time.Duration
	if s.process != nil {
		if before, err = s.cpu(); err != nil {
			return nil, err
		}
	}
	var mu sync.Mutex
	var callers errgroup.Group
	callers.SetLimit(signUpCallers)
	began := time.Now()
	for i := range n {
		callers.Go(func() error {
			var a account
			if ctx.Err() == nil && s.call(context.WithoutCancel(ctx), addressOf(i), "", object{}, &a) {
				mu.Lock()
				defer mu.Unlock()
				made = append(made, a)
			}
			return ctx.Err()
		})
	}
	err = callers.Wait()
	r := signUpReport{routeReport: summarize(s.label(), seen.samples, time.Since(began).Seconds())}
	if s.process != nil && len(made) > 0 {
		if after, err := s.cpu(); err == nil {
			r.CPUSecondsEach = (after - before).Seconds() / float64(len(made))
		}
	}
	if r.Requests > 0 {
		p.report.SignUps = &r
	}
	if r.Failed > 0 {
		p.report.fault("of %d sign-ups %d failed: %s", r.Requests, r.Failed, list(r.Errors))
	}
	return made, err
}

// removeTime bounds the removal of all accounts.
const removeTime = 3 * time.Minute

// remove deletes accounts, also when the run is ended, and reports those that are left.
func (p *phones) remove(ctx context.Context, accounts []account) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeTime)
	defer cancel()
	s := p.services["DeleteUser"]
	s.seen = newRecord()
	var mu sync.Mutex
	var left []string
	var callers errgroup.Group
	callers.SetLimit(signUpCallers)
	for i, a := range accounts {
		callers.Go(func() error {
			for attempt := range 3 {
				if s.call(ctx, addressOf(i), "", object{"id": a.ID, "password": a.Password}, nil) {
					return nil
				}
				pause(ctx, nil, time.Duration(attempt+1)*after)
			}
			mu.Lock()
			defer mu.Unlock()
			left = append(left, a.ID.String())
			return nil
		})
	}
	_ = callers.Wait() // it counts what has failed
	if len(left) > 0 {
		p.report.fault("%d accounts could not be removed and are left: %s", len(left), strings.Join(left, ", "))
	}
}

// remotely sends the phones to a staging environment, with accounts that are made there and removed in the end.
func (p *phones) remotely(ctx context.Context) error {
	base, err := p.staging(ctx)
	if err != nil {
		return err
	}
	p.services = map[string]*service{}
	client := newClient(p.phones)
	for _, s := range p.sizes() {
		p.services[s.name] = &service{size: s, base: base, client: client, seen: p.seen}
	}
	p.report.URL, p.report.Accounts = base, p.accounts
	p.token = os.Getenv("CHAT_TOKEN")
	fmt.Printf("%d phones with %d accounts at %s, whose people think for %v on average\n", p.phones, p.accounts, base, p.think)
	if p.token == "" {
		fmt.Println("nobody chats, as CHAT_TOKEN is not set, which proves a purchase (Web KEY) and spends the model's tokens")
	}
	accounts, err := p.signUp(ctx, p.accounts)
	if err == nil && len(accounts) < 2 {
		err = fmt.Errorf("%d accounts could be made, which are too few for people to follow each other", len(accounts))
	}
	if err == nil {
		err = p.introduce(ctx, accounts)
	}
	if err == nil {
		err = p.play(ctx)
	}
	fmt.Fprintf(os.Stderr, "removing %d accounts\n", len(accounts))
	p.remove(ctx, accounts)
	return errors.Join(err, p.tell())
}

// healthTime is how long an environment has to say which it is: an instance may have to start for it.
const healthTime = 30 * time.Second

// staging asks the environment which it is.
func (p *phones) staging(ctx context.Context) (base string, err error) {
	parsed, err := url.Parse(p.at)
	if err != nil || parsed.Scheme != "https" && parsed.Scheme != "http" || parsed.Host == "" || strings.Trim(parsed.Path, "/") != "" ||
		parsed.RawQuery != "" || parsed.User != nil {
		return "", errors.New("--url has to be https:// or http:// and a host, such as https://staging-api.liftlog.com")
	}
	base = parsed.Scheme + "://" + parsed.Host
	ctx, cancel := context.WithTimeout(ctx, healthTime)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/health", http.NoBody)
	if err != nil {
		return "", err
	}
	response, err := newClient(1).Do(r)
	if err != nil {
		return "", fmt.Errorf("the environment does not say which it is: %w", err)
	}
	_ = response.Body.Close()
	switch environment := config.Environment(response.Header.Get(web.EnvironmentHeader)); {
	case response.StatusCode != http.StatusOK:
		return "", fmt.Errorf("GET %s/health is answered by %s and does not say which environment it is", base, response.Status)
	case environment == config.Staging:
		return base, nil
	case environment == config.Production:
		return "", fmt.Errorf("%s is production, where people are: phones are sent to staging only", base)
	case environment == "":
		return "", fmt.Errorf("%s does not say which environment it is, and might be production: phones are sent to staging only", base)
	default:
		return "", fmt.Errorf("%s is %s: phones are sent to staging only", base, environment)
	}
}

// followsThere is how many others everybody follows at the beginning where each takes a request.
const followsThere = 3

// introduce gives the accounts profiles and others to follow.
func (p *phones) introduce(ctx context.Context, accounts []account) error {
	p.people = make([]*person, len(accounts))
	now := time.Now().UTC().Format(time.RFC3339)
	for i, a := range accounts {
		p.people[i] = &person{account: a, since: now}
	}
	var callers errgroup.Group
	callers.SetLimit(signUpCallers)
	for i, one := range p.people {
		callers.Go(func() error {
			ph := p.newPhone(i, 0)
			ph.putProfile(ctx)
			for d := range min(followsThere, len(p.people)-1) {
				followed := p.people[(i+1+d)%len(p.people)]
				secret := uuid.NewString()
				granting := &phone{phones: p, person: followed, address: ph.address}
				if granting.ask(ctx, "PutFollowSecret", "", granting.signed(object{"followSecret": secret}), nil) {
					one.follows = append(one.follows, follow{followed.ID, secret})
				}
			}
			return ctx.Err()
		})
	}
	return callers.Wait()
}
