package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"

	"github.com/liftlog/liftlog-api/scripts/gcloud"
)

// claim is the lock's content. The lock is an object that is made only where there is none.
type claim struct {
	Holder string    `json:"holder"`
	Doing  string    `json:"doing"`
	Since  time.Time `json:"since"`
	Token  string    `json:"token"` // tells two claims of one holder apart

	joined bool // it was taken before, in the same holder's name, and stays
}

func (t *tool) lockAddress() string { return "gs://" + t.StateBucket + "/" + t.Name + "/deploy.lock" }

// lockVerb is scripts/lock.
func (t *tool) lockVerb(flags *flag.FlagSet) func(context.Context, []string) error {
	breaks := flags.Bool("break", false, "")
	releases := flags.Bool("release", false, "")
	return func(ctx context.Context, args []string) error {
		command := []string(nil)
		if i := slices.Index(args, "--"); i >= 0 {
			args, command = args[:i], args[i+1:]
		}
		switch {
		case len(args) > 0:
			return fmt.Errorf("%s is not understood: scripts/lock --help says more", strings.Join(args, " "))
		case *breaks && *releases || (*breaks || *releases) && command != nil:
			return errors.New("--break, --release and a command exclude each other: scripts/lock --help says more")
		case *breaks:
			return t.breakLock(ctx)
		case *releases:
			return t.releaseLock(ctx)
		case command != nil:
			return t.under(ctx, command)
		}
		if !t.joins {
			t.holder = strings.Split(t.holder, ", process")[0] // this process ends and the lock stays
		}
		t.joins = true // it is success if it is there already
		if err := t.take(ctx, "taken by hand"); err != nil {
			return err
		}
		if !t.dry {
			t.say("%s is locked by %s. Others work under it with %s=%q, and scripts/lock %[1]s --release ends it.", t.Name, t.holder, holderVariable, t.holder)
		}
		return nil
	}
}

// under runs a command while it holds the lock.
func (t *tool) under(ctx context.Context, command []string) error {
	if len(command) == 0 {
		return errors.New("which command is to be run after the two dashes?")
	}
	if err := t.take(ctx, strings.Join(command, " ")); err != nil || t.dry {
		return err
	}
	defer t.give(ctx)
	running := exec.CommandContext(ctx, command[0], command[1:]...) //nolint:gosec // the caller's own
	running.Stdin, running.Stdout, running.Stderr = os.Stdin, os.Stdout, os.Stderr
	running.Env = append(os.Environ(), holderVariable+"="+t.holder)
	running.Cancel = func() error { return running.Process.Signal(syscall.SIGTERM) } // and it is waited for
	return running.Run()
}

// take takes the lock, or says who has it.
func (t *tool) take(ctx context.Context, doing string) error {
	mine := claim{Holder: t.holder, Doing: doing, Since: t.now().UTC().Truncate(time.Second), Token: uuid.NewString()}
	content, err := json.Marshal(mine)
	if err != nil {
		return err
	}
	if t.dry {
		switch held, err := t.claimed(ctx); {
		case err == nil:
			t.say("the lock of %s is held by %s", t.Name, t.describe(held))
		case !gcloud.NotFound(err):
			return err
		}
	}
	// If the answer is lost, the object tells whose lock it is.
	failure := t.change(context.WithoutCancel(ctx), t.limit, string(content), "storage", "cp", "-", t.lockAddress(), "--if-generation-match=0")
	if failure == nil {
		t.held = &mine
		return nil
	}
	there, err := t.claimed(context.WithoutCancel(ctx))
	switch {
	case err != nil:
		return fmt.Errorf("the lock of %s cannot be taken: %w", t.Name, failure)
	case there.Token == mine.Token:
		t.held = &mine
		return nil
	case t.joins && there.Holder == t.holder:
		there.joined = true
		t.held = &there
		return nil
	}
	return fmt.Errorf("%s is locked by %s. Wait until that has ended; if nobody is at work any more, `scripts/lock %[1]s --break`", t.Name,
		t.describe(there))
}

// describe says whose the claim is, and how old.
func (t *tool) describe(c claim) string {
	if c.Holder == "" {
		return "somebody who has not said who (the lock's content is not understood)"
	}
	return fmt.Sprintf("%s (%s) for %s", c.Holder, c.Doing, t.now().Sub(c.Since).Round(time.Second))
}

// claimed is what the lock says. If it cannot be understood, it names nobody.
func (t *tool) claimed(ctx context.Context) (claim, error) {
	said, err := t.read(ctx, "storage", "cat", t.lockAddress())
	if err != nil {
		return claim{}, err
	}
	var c claim
	if failure := json.Unmarshal([]byte(said), &c); failure != nil || c.Token == "" {
		return claim{}, nil //nolint:nilerr // it is a lock all the same
	}
	return c, nil
}

// stillHeld fails when somebody has broken the lock meanwhile. It says so only when it is sure.
func (t *tool) stillHeld(ctx context.Context) error {
	if t.dry {
		return nil
	}
	there, err := t.claimed(ctx)
	switch {
	case gcloud.NotFound(err):
		return &lostError{t.Name, "nobody"}
	case err != nil:
		return fmt.Errorf("whether the lock is still held cannot be seen: %w", err)
	case there.Token != t.held.Token:
		return &lostError{t.Name, t.describe(there)}
	}
	return nil
}

// lostError says that the lock was broken while we held it. Nothing may be changed after that, not even back.
type lostError struct{ name, by string }

func (e *lostError) Error() string {
	return fmt.Sprintf("the lock of %s was broken and is held by %s: this run changes nothing more", e.name, e.by)
}

// give gives the lock back at the end of a run, unless it was taken before it.
func (t *tool) give(ctx context.Context) {
	if t.held == nil || t.held.joined || t.dry {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), t.limit)
	defer cancel()
	if err := t.remove(ctx, func(there claim) error {
		if there.Token != t.held.Token {
			return errors.New("it is another's")
		}
		return nil
	}); err != nil {
		t.say("the lock of %s was not given back (%v): `scripts/lock %[1]s --break`", t.Name, err)
	}
	t.held = nil
}

// remove removes the lock if may allows it, and never another one that came in between. It is success if there is no lock.
func (t *tool) remove(ctx context.Context, may func(claim) error) error {
	var object struct {
		Generation string `json:"generation"`
	}
	err := t.list(ctx, &object, "storage", "objects", "describe", t.lockAddress(), "--format=json")
	if gcloud.NotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	there, err := t.claimed(ctx)
	if gcloud.NotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := may(there); err != nil {
		return err
	}
	err = t.change(ctx, t.limit, "", "storage", "rm", t.lockAddress(), "--if-generation-match="+object.Generation)
	if gcloud.NotFound(err) {
		return nil
	}
	return err
}

func (t *tool) breakLock(ctx context.Context) error {
	there := false
	err := t.remove(ctx, func(c claim) error {
		there = true
		t.say("%s was locked by %s", t.Name, t.describe(c))
		return nil
	})
	if err == nil && !there {
		t.say("%s is not locked", t.Name)
	}
	return err
}

func (t *tool) releaseLock(ctx context.Context) error {
	holder := t.holder
	if !t.joins {
		holder = strings.Split(holder, ", process")[0]
	}
	return t.remove(ctx, func(c claim) error {
		if c.Holder != holder {
			return fmt.Errorf("%s is locked by %s, and not by %s: `scripts/lock %[1]s --break` breaks another's", t.Name, t.describe(c), holder)
		}
		return nil
	})
}
