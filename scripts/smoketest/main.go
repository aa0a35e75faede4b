// Command smoketest tries every route of a running environment, with /v2 and without it, as a user with an account of its own.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], http.DefaultTransport, os.Stdout)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "smoke:", err)
		os.Exit(1)
	}
}

// totalTime bounds a whole run: every service may have to start for it.
const totalTime = 10 * time.Minute

func run(ctx context.Context, args []string, transport http.RoundTripper, output io.Writer) error {
	flags := flag.NewFlagSet("smoke", flag.ContinueOnError)
	flags.SetOutput(output)
	environment := flags.String("environment", "", "the environment that GET /health has to name; empty: any")
	dry := flags.Bool("dry-run", false, "send nothing, only say what would be tried")
	if err := flags.Parse(args); err != nil {
		return err
	}
	base, err := parseBase(flags.Args())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, totalTime)
	defer cancel()
	o := options{base: base, environment: *environment, transport: transport}
	if *dry {
		for _, s := range o.stories() {
			for _, step := range s.steps() {
				_, _ = fmt.Fprintf(output, "would try %s\n", step.name)
			}
		}
		return nil
	}
	failed, err := o.play(ctx, output)
	if failed > 0 {
		err = errors.Join(fmt.Errorf("cases that have failed at %s: %d", base, failed), err)
	}
	if err == nil {
		_, _ = fmt.Fprintf(output, "all is well at %s\n", base)
	}
	return err
}

// options are what is tried.
type options struct {
	base, environment string
	transport         http.RoundTripper
}

// stories are one with /v2 and one without it.
func (o options) stories() (all []*story) {
	for _, prefix := range []string{"/v2", ""} {
		client := &http.Client{Transport: o.transport, CheckRedirect: notFollowed}
		all = append(all, &story{client: client, base: o.base, prefix: prefix, environment: o.environment})
	}
	return all
}

// play takes all steps, whichever fail, and returns how many did. It returns an error only if the account could not be deleted.
func (o options) play(ctx context.Context, output io.Writer) (failed int, err error) {
	for _, s := range o.stories() {
		for _, step := range s.steps() {
			fault := step.do(ctx)
			if fault == nil {
				_, _ = fmt.Fprintf(output, "ok      %s\n", step.name)
				continue
			}
			failed++
			_, _ = fmt.Fprintf(output, "FAILED  %s: %v\n", step.name, fault)
			if step.name == connecting || ctx.Err() != nil {
				return failed, errors.Join(err, s.leave(ctx))
			}
		}
		err = errors.Join(err, s.leave(ctx))
	}
	return failed, err
}

// parseBase takes the one argument: scheme and host, and nothing behind them.
func parseBase(args []string) (base string, err error) {
	if len(args) != 1 {
		return "", errors.New("it takes one URL, such as https://staging-api.liftlog.com")
	}
	parsed, err := url.Parse(args[0])
	if err != nil || parsed.Scheme != "https" && parsed.Scheme != "http" || parsed.Host == "" || strings.Trim(parsed.Path, "/") != "" ||
		parsed.RawQuery != "" || parsed.User != nil {
		return "", errors.New("the URL has to be https:// or http:// and a host without a path, below which both kinds of paths are tried")
	}
	return parsed.Scheme + "://" + parsed.Host, nil
}

// notFollowed keeps the client from following redirects, by which an app would lose its body.
func notFollowed(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
