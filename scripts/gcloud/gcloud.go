// Package gcloud runs Google Cloud's command line tool.
package gcloud

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// CLI runs the tool for one project. It may be used by several goroutines at once.
type CLI struct {
	Project string
	Limit   time.Duration // for one call, which is ended then; zero: the context's alone
	Exec    Exec          // nil: the program that is in the path
}

// Exec runs the tool with its arguments and a text as its standard input, and returns what it prints on its standard output and
// on its standard error. It ends with the context.
type Exec func(ctx context.Context, input string, args []string) (said, complained string, err error)

// Error is a call that failed. Whether something was changed is not known.
type Error struct {
	Command string // without its flags
	Said    string // on the standard error
	Err     error
}

func (e *Error) Error() string {
	return fmt.Sprintf("gcloud %s: %v: %s", e.Command, e.Err, e.Said)
}

func (e *Error) Unwrap() error { return e.Err }

// NotFound reports whether the call failed because what it names does not exist.
func NotFound(err error) bool {
	var failed *Error
	if !errors.As(err, &failed) {
		return false
	}
	for _, words := range []string{"NOT_FOUND", "could not be found", "matched no objects", "not found: 404"} {
		if strings.Contains(failed.Said, words) {
			return true
		}
	}
	return false
}

// patience is how long the tool has to end by itself once it was told to.
const patience = 5 * time.Second

// Run runs the tool with a text as its standard input, which is never among its arguments, and returns what it prints. The error
// of a call that failed is an [Error].
func (c CLI) Run(ctx context.Context, input string, args ...string) (string, error) {
	if c.Limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.Limit)
		defer cancel()
	}
	run := c.Exec
	if run == nil {
		run = program
	}
	said, complained, err := run(ctx, input, c.Args(args))
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return "", errors.New("gcloud is not installed: https://cloud.google.com/sdk/docs/install")
	case err != nil:
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		words := args
		for i, arg := range args {
			if strings.HasPrefix(arg, "--") {
				words = args[:i]
				break
			}
		}
		return "", &Error{strings.Join(words, " "), strings.TrimSpace(complained), err}
	}
	return said, nil
}

// Args are the arguments as the tool gets them.
func (c CLI) Args(args []string) []string {
	return append(append([]string(nil), args...), "--project="+c.Project, "--quiet")
}

// program runs the one in the path.
func program(ctx context.Context, input string, args []string) (said, complained string, err error) {
	var output, complaints bytes.Buffer
	command := exec.CommandContext(ctx, "gcloud", args...) //nolint:gosec // names from our files
	command.Stdin, command.Stdout, command.Stderr = strings.NewReader(input), &output, &complaints
	// A Ctrl-C reaches the script alone, which decides what becomes of a change that is under way.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	command.WaitDelay = patience
	err = command.Run()
	return output.String(), complaints.String(), err
}
