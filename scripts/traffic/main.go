// Command traffic moves traffic from v1 to v2 and back; scripts/rollout says how to use it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/liftlog/liftlog-api/scripts/environment"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	t := tool{folder: "terraform", apply: "scripts/apply", output: os.Stdout, now: time.Now, sleep: sleep}
	if err := t.run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "rollout:", err)
		os.Exit(1)
	}
}

// steps are the weights that traffic moves by.
var steps = []int{0, 10, 25, 50, 75, 100}

// tool moves one environment's traffic.
type tool struct {
	environment.Environment
	folder string // of Terraform's configuration
	apply  string // the program that applies an environment
	dry    bool
	rules  rules
	output io.Writer
	now    func() time.Time
	sleep  func(context.Context, time.Duration) error
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t *tool) say(format string, args ...any) {
	_, _ = fmt.Fprintf(t.output, format+"\n", args...)
}

const more = "scripts/rollout --help says more"

func (t *tool) run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("rollout", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // the script's own help says more
	flags.BoolVar(&t.dry, "dry-run", false, "")
	t.rules.define(flags)
	names, err := environment.Arguments(flags, args)
	if err != nil {
		return fmt.Errorf("%w: %s", err, more)
	}
	if err := t.rules.check(); err != nil {
		return err
	}
	if len(names) < 2 {
		return errors.New("which environment, and which weight? " + more)
	}
	if t.Environment, err = environment.Read(t.folder, names[0]); err != nil {
		return err
	}
	written, hasV1, err := t.written()
	if err != nil {
		return err
	}
	if !hasV1 {
		return fmt.Errorf("environments/%s.tfvars names no v1: everything is v2's, and there is nothing to move", t.Name)
	}
	applied, err := t.applied(ctx)
	if err != nil {
		return err
	}
	if slices.Equal(names[1:], []string{"status"}) {
		return t.status(ctx, written, applied)
	}
	wanted, err := request(names[1:], written)
	if err != nil {
		return err
	}
	return t.move(ctx, written, applied, wanted)
}

// request reads what is asked for, beginning from what there is.
func request(names []string, from shares) (to shares, err error) {
	to = from
	what, value := "", names[len(names)-1]
	if len(names) == 2 {
		what = names[0]
	}
	if what == "chat" && len(names) == 2 {
		if value != "on" && value != "off" {
			return to, errors.New("the chat is on or off v2: there is no share of it")
		}
		to.Chat = value == "on"
		return to, nil
	}
	weight, err := strconv.Atoi(value)
	if err != nil || len(names) > 2 || !slices.Contains([]string{"", "reads", "writes"}, what) {
		return to, fmt.Errorf("%s is not understood: %s", strings.Join(names, " "), more)
	}
	if !slices.Contains(steps, weight) {
		return to, fmt.Errorf("%d is no step: weights are 0, 10, 25, 50, 75 and 100", weight)
	}
	if what != "writes" {
		to.Reads = weight
	}
	if what != "reads" {
		to.Writes = weight
	}
	return to, nil
}

// inOrder refuses to skip a step on the way up. On the way down any step may be skipped.
func inOrder(what string, from, to int) error {
	next := 100
	for _, step := range steps {
		if step > from {
			next = step
			break
		}
	}
	if to > next {
		return fmt.Errorf("%s are at %d, from which the next step is %d, and not %d", what, from, next, to)
	}
	return nil
}

// move changes the shares and watches, or goes back.
func (t *tool) move(ctx context.Context, written shares, applied *shares, to shares) error {
	from := written
	if applied != nil {
		from = *applied
	}
	if from != written && to != written && to != from {
		return fmt.Errorf("a rollout was broken off: %s says %s, and applied is %s. Finish it by asking for the first, or go back by asking for the second",
			t.path(), written, from)
	}
	if err := errors.Join(inOrder("reads", from.Reads, to.Reads), inOrder("writes", from.Writes, to.Writes)); err != nil {
		return err
	}
	if from == to && written == to {
		t.say("%s is at %s already", t.Name, to)
		return nil
	}
	up := to.Reads > from.Reads || to.Writes > from.Writes || to.Chat && !from.Chat
	if up { // what an interrupted run has not watched is judged here
		if fault, _, err := t.judge(ctx, t.rules.window, from); err != nil {
			return fmt.Errorf("nothing has been changed, since how both sides are is not known: %w", err)
		} else if fault != "" {
			return fmt.Errorf("nothing has been changed, since not all is well before: %s", fault)
		}
	}
	if t.dry {
		t.say("would write into %s that %s instead of %s, run %s %s, and watch for %s", t.path(), to, from, t.apply, t.Name, t.rules.window)
		return nil
	}
	if err := t.set(ctx, to); err != nil {
		if back := t.set(context.WithoutCancel(ctx), from); back != nil {
			return fmt.Errorf("%w; and it could not be taken back: %w. Run scripts/rollout %s status", err, back, t.Name)
		}
		return fmt.Errorf("%w: it has been taken back, and %s is at %s", err, t.Name, from)
	}
	t.say("%s is at %s", t.Name, to)
	if !up {
		return nil
	}
	if err := t.watch(ctx, to); err != nil {
		t.say("going back to %s: %v", from, err)
		if back := t.set(context.WithoutCancel(ctx), from); back != nil {
			return fmt.Errorf("%w; and going back has failed: %w. Run scripts/rollout %s status, and then go back by hand", err, back, t.Name)
		}
		return fmt.Errorf("%w: it went back, and %s is at %s", err, t.Name, from)
	}
	t.say("all is well: commit %s, and go on another day", t.path())
	return nil
}

// set writes the shares and applies them.
func (t *tool) set(ctx context.Context, to shares) error {
	if err := t.write(to); err != nil {
		return err
	}
	command := exec.CommandContext(ctx, t.apply, t.Name) //nolint:gosec // our own
	command.Stdout, command.Stderr = t.output, os.Stderr
	// A Ctrl-C does not reach Terraform by itself: Cancel tells it, so that it ends in order.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGINT) }
	if err := command.Run(); err != nil {
		return fmt.Errorf("%s %s: %w", t.apply, t.Name, err)
	}
	return nil
}
