package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/liftlog/liftlog-api/shared/planner/plannertest"
)

// phoneOptions are how many phones do what, for how long.
type phoneOptions struct {
	phones, accounts, overload, signUps, connections int

	ramp, hold, think, pgbench time.Duration
	at, svg, json              string
	direct                     bool
}

// parse reads the flags, and says in a sentence what cannot be.
func (o *phoneOptions) parse(args []string) error {
	flags := flag.NewFlagSet("phones", flag.ContinueOnError)
	flags.IntVar(&o.phones, "phones", 1000, "phones at once")
	flags.DurationVar(&o.ramp, "ramp", 20*time.Second, "the time in which they come, one after the other")
	flags.DurationVar(&o.hold, "hold", time.Minute, "how long all of them are there, which is what the tables are of")
	flags.DurationVar(&o.think, "think", 10*time.Second, "how long a person looks at the screen between two things, on average")
	flags.IntVar(&o.overload, "overload", 0, "more phones that never wait, for as long as --hold; then it is shown that all is as before")
	flags.BoolVar(&o.direct, "direct", false, "hand programs all requests at once, as the platform does not, to see how they refuse what is too much")
	flags.IntVar(&o.signUps, "signups", 24, "sign-ups that are measured apart, before the phones")
	flags.DurationVar(&o.pgbench, "pgbench", 5*time.Second, "how long each run of pgbench takes, after the phones; 0 leaves it out")
	flags.IntVar(&o.connections, "connections", 200, "max_connections of the database")
	flags.StringVar(&o.svg, "svg", "", "draw the latencies in this `file`")
	flags.StringVar(&o.json, "json", "", "write all figures into this `file`")
	flags.StringVar(&o.at, "url", "", "send the phones to the staging environment at this `URL`, and start nothing here")
	flags.IntVar(&o.accounts, "accounts", 50, "with --url: accounts that are made there and removed in the end, and shared by the phones")
	if err := parse(flags, args); err != nil {
		return err
	}
	refuse := func(applies bool, text string) error {
		if applies {
			return errors.New(text)
		}
		return nil
	}
	noFolder := func(path string) bool {
		info, err := os.Stat(filepath.Dir(path))
		return path != "" && (err != nil || !info.IsDir())
	}
	return errors.Join(
		refuse(noFolder(o.svg), "--svg: there is no folder for "+o.svg),
		refuse(noFolder(o.json), "--json: there is no folder for "+o.json),
		refuse(o.phones < 1 || o.phones > maxPhones, fmt.Sprintf("--phones has to be from 1 to %d", maxPhones)),
		refuse(o.overload < 0 || o.overload > maxPhones, fmt.Sprintf("--overload has to be from 0 to %d", maxPhones)),
		refuse(o.overload > 0 && o.at != "", "--overload is for the programs of this machine, and not for an environment that others use"),
		refuse(o.signUps < 0, "--signups cannot be less than none"),
		refuse(o.ramp < 0 || o.think < 0 || o.pgbench < 0, "--ramp, --think and --pgbench cannot be less than nothing"),
		refuse(o.hold <= 0, "--hold has to be some time, such as 60s"),
		refuse(o.at != "" && (o.accounts < 2 || o.accounts > maxAccounts),
			fmt.Sprintf("--accounts has to be from 2, as people follow each other, to %d, as each takes the environment some work", maxAccounts)),
	)
}

const (
	// maxPhones keeps the connections and memory of this program within a machine's.
	maxPhones = 20_000
	// maxAccounts bounds what an environment may be left with at worst.
	maxAccounts = 200
)

// phones is a run.
type phones struct {
	*bench
	phoneOptions

	people   []*person
	services map[string]*service
	token    string // with --url proves everybody's purchase to the chat; empty: nobody chats
	seen     *record
	report   report
}

func runPhones(ctx context.Context, b *bench, args []string) error {
	p := &phones{bench: b, seen: newRecord()}
	if err := p.parse(args); err != nil {
		return err
	}
	p.report.Phones, p.report.ThinkSeconds, p.report.Overload = p.phones, p.think.Seconds(), p.overload
	if p.at != "" {
		return p.remotely(ctx)
	}
	if p.pgbench > 0 {
		if _, err := exec.LookPath("pgbench"); err != nil {
			return errors.New("pgbench is not installed (apt-get install postgresql-contrib): --pgbench 0s leaves it out")
		}
	}
	if err := p.checkRoom(p.connections); err != nil {
		return err
	}
	b.settings = []string{fmt.Sprintf("max_connections=%d", p.connections)}
	return b.durably(ctx, p.locally)
}

// locally measures the programs on this machine.
func (p *phones) locally(ctx context.Context) error {
	model, err := plannertest.Start(plannertest.WithPace(modelPace, modelPiece)) //nolint:contextcheck // it lives until it is closed
	if err != nil {
		return err
	}
	defer model.Close()
	store := httptest.NewServer(p.buyers())
	defer store.Close()
	fmt.Printf("%d phones, whose people think for %v on average, on %d processors that the database and the phones have, too\n",
		p.phones, p.think, runtime.NumCPU())
	if err := p.storePeople(ctx); err != nil {
		return err
	}
	if err := p.startServices(ctx, model.URL(), store.URL); err != nil {
		return err
	}
	watched, stop := context.WithCancel(ctx)
	defer stop()
	var watching errgroup.Group
	watching.Go(func() error { return p.watchConnections(watched) })
	err = p.measureSignUps(ctx)
	if err == nil {
		err = p.play(ctx)
	}
	stop()
	if err := watching.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		p.report.fault("the connections to the database are not all counted: %v", err)
	}
	p.lookAtPrograms()
	if err == nil {
		err = p.runPgbench(ctx)
	}
	return errors.Join(err, p.tell())
}

// The model's pace is that of a quick one: a few characters at short intervals.
const (
	modelPace  = 20 * time.Millisecond
	modelPiece = 4
)

// play lets the phones come, stay, and, where that is asked for, be beset by others.
func (p *phones) play(ctx context.Context) error {
	leave := make(chan struct{})
	var all sync.WaitGroup
	p.seen.begin(stageRamp)
	for i := range p.phones {
		one := p.newPhone(i, p.think)
		all.Go(func() {
			if pause(ctx, leave, p.ramp*time.Duration(i)/time.Duration(p.phones)) {
				one.live(ctx, leave)
			}
		})
	}
	p.pass(ctx, p.ramp)
	p.seen.begin(stageHold)
	p.pass(ctx, p.hold)
	if p.overload > 0 {
		p.beset(ctx)
		p.seen.begin(stageCalm)
		p.pass(ctx, p.hold)
	}
	p.seen.end()
	close(leave)
	all.Wait()
	return ctx.Err()
}

// beset adds phones that never wait.
func (p *phones) beset(ctx context.Context) {
	leave := make(chan struct{})
	var more sync.WaitGroup
	p.seen.begin(stageOverload)
	for i := range p.overload {
		one := p.newPhone(p.phones+i, 0)
		more.Go(func() { one.live(ctx, leave) })
	}
	p.pass(ctx, p.hold)
	close(leave)
	more.Wait() // what they have asked for is still answered
}

// progressEvery is how often a run says how far it is.
const progressEvery = 5 * time.Second

// pass lets the time of a stage go by, and says how far it is.
func (p *phones) pass(ctx context.Context, whole time.Duration) {
	for left := whole; left > 0 && pause(ctx, nil, min(left, progressEvery)); left -= progressEvery {
		name, requests, notFine := p.seen.progress()
		fmt.Fprintf(os.Stderr, "%s: %d requests so far, %d of them refused or failed\n", name, requests, notFine)
	}
}

// pause waits, unless ctx ends or leave is closed, and reports whether it has waited to the end.
func pause(ctx context.Context, leave <-chan struct{}, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-leave:
	}
	select {
	case <-leave:
		return false
	default:
		return ctx.Err() == nil
	}
}

// checkRoom makes sure that a database that takes room connections has one for everybody who may want one at once.
func (p *phones) checkRoom(room int) error {
	own := ownConnections
	if p.pgbench > 0 {
		own += pgbenchClients
	}
	need := own
	var pools []string
	for _, s := range p.sizes() {
		need += s.pool
		pools = append(pools, fmt.Sprintf("%s %d", s.name, s.pool))
	}
	if need > room {
		return fmt.Errorf("the database is too small: it takes %d connections (max_connections), and %d are needed: %d for the load test, and for %s",
			room, need, own, strings.Join(pools, ", "))
	}
	return nil
}

// ownConnections are this program's: one to fill the database, and one to watch it.
const ownConnections = 2
