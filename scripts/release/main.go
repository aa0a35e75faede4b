// Command release moves an environment to a release and back, and holds the lock that keeps two from doing so at once;
// scripts/deploy, scripts/rollback and scripts/lock say how to use it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"os/user"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/liftlog/liftlog-api/scripts/environment"
	"github.com/liftlog/liftlog-api/scripts/gcloud"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], "terraform", os.Getenv, os.Stdout); err != nil {
		name := "release"
		if len(os.Args) > 1 {
			name = os.Args[1]
		}
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}

// holderVariable names who works on an environment, to take its lock as or to work under one that was taken before.
const holderVariable = "LOCK_HOLDER"

// Limits of calls of gcloud: reading and small changes, and a revision that has to start, for which its probe has two minutes.
const (
	callLimit     = 2 * time.Minute
	revisionLimit = 10 * time.Minute
	answerLimit   = 30 * time.Second
)

// undoLimit is how long going back may take after the script was told to end.
const undoLimit = 5 * time.Minute

// atOnce is how many calls of gcloud run beside each other: each is a process of 100 MB.
const atOnce = 6

// tool works on one environment.
type tool struct {
	environment.Environment
	targets  []target // all of them
	holder   string   // who is at work
	joins    bool     // it may work under a lock that has been taken in its name
	dry      bool     // print what would be changed
	output   io.Writer
	printing sync.Mutex
	held     *claim // the lock, while it is held

	limit, revisionLimit time.Duration
	answer               time.Duration // how long Cloud Monitoring may take for one answer
	exec                 gcloud.Exec   // nil: the program in the path
	now                  func() time.Time
	sleep                func(context.Context, time.Duration) error
}

// run does what the arguments ask for: a verb, an environment described in the folder of Terraform's configuration, and the rest.
func run(ctx context.Context, args []string, folder string, getenv func(string) string, output io.Writer) error {
	t := tool{output: output, limit: callLimit, revisionLimit: revisionLimit, answer: answerLimit, now: time.Now, sleep: sleep}
	return t.run(ctx, args, folder, getenv)
}

func (t *tool) run(ctx context.Context, args []string, folder string, getenv func(string) string) error {
	if len(args) == 0 {
		return errors.New("what is to be done? It is one of lock, deploy, rollback")
	}
	verb := args[0]
	flags := flag.NewFlagSet(verb, flag.ContinueOnError)
	flags.SetOutput(io.Discard) // the scripts' own help says more
	flags.BoolVar(&t.dry, "dry-run", false, "")
	flags.StringVar(&t.holder, "holder", getenv(holderVariable), "")
	var act func(ctx context.Context, names []string) error
	switch verb {
	case "lock":
		act = t.lockVerb(flags)
	case "deploy":
		act = t.deployVerb(flags)
	case "rollback":
		act = t.rollback
	default:
		return fmt.Errorf("%q is not one of lock, deploy, rollback", verb)
	}
	names, err := parse(flags, args[1:])
	switch {
	case err != nil:
		return fmt.Errorf("%w: scripts/%s --help says more", err, verb)
	case len(names) == 0:
		return fmt.Errorf("which environment? scripts/%s --help says more", verb)
	}
	if t.Environment, err = environment.Read(folder, names[0]); err != nil {
		return err
	}
	if t.targets, err = readTargets(folder, t.Registry); err != nil {
		return err
	}
	t.joins = t.holder != ""
	if !t.joins {
		t.holder = somebody()
	}
	return act(ctx, names[1:])
}

// parse takes flags anywhere among the other arguments, up to two dashes, and returns those. What comes after the dashes is kept
// together with them.
func parse(flags *flag.FlagSet, args []string) (names []string, err error) {
	var rest []string
	for i, arg := range args {
		if arg == "--" {
			args, rest = args[:i], args[i:]
			break
		}
	}
	names, err = environment.Arguments(flags, args)
	return append(names, rest...), err
}

// somebody names who runs this, for others to read.
func somebody() string {
	name := "somebody"
	if account, err := user.Current(); err == nil {
		name = account.Username
	}
	host, _ := os.Hostname()
	return fmt.Sprintf("%s at %s, process %d", name, host, os.Getpid())
}

func (t *tool) say(format string, args ...any) {
	t.printing.Lock()
	defer t.printing.Unlock()
	_, _ = fmt.Fprintf(t.output, format+"\n", args...)
}

// read runs gcloud to see something.
func (t *tool) read(ctx context.Context, args ...string) (string, error) {
	return gcloud.CLI{Project: t.Project, Limit: t.limit, Exec: t.exec}.Run(ctx, "", args...)
}

// change runs gcloud to change something, or in a dry run says that it would.
func (t *tool) change(ctx context.Context, limit time.Duration, input string, args ...string) error {
	cli := gcloud.CLI{Project: t.Project, Limit: limit, Exec: t.exec}
	if t.dry {
		t.say("would run: gcloud %s", strings.Join(cli.Args(args), " "))
		return nil
	}
	_, err := cli.Run(ctx, input, args...)
	return err
}

// each does the same to several targets, some at a time, goes on when one fails, and returns what failed.
func each(targets []target, do func(target) error) error {
	var (
		group    errgroup.Group
		mu       sync.Mutex
		failures []error
	)
	group.SetLimit(atOnce)
	for _, one := range targets {
		group.Go(func() error {
			if err := do(one); err != nil {
				mu.Lock()
				defer mu.Unlock()
				failures = append(failures, err)
			}
			return nil
		})
	}
	_ = group.Wait()
	return errors.Join(failures...)
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
