// Command comparison plays requests to two base URLs and shows where their answers differ; scripts/compare says how to use it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/liftlog/liftlog-api/functions/recorded"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], "..", os.Stdout)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

// recording is what v1 was recorded answering, and where v2 answers otherwise on purpose.
const recording = "functions/cmd/emulator/testdata/v1/http.json"

// run compares as the arguments ask. What they name is below root, unless they name it absolutely.
func run(ctx context.Context, args []string, root string, output io.Writer) error {
	flags := flag.NewFlagSet("compare", flag.ContinueOnError)
	flags.SetOutput(output)
	file := flags.String("file", "", "a `file` of your own requests instead of the recorded ones")
	page := flags.String("html", "", "write the report as a page to this `file`, too")
	all := flags.Bool("all", false, "show the requests that are answered alike, too")
	withAI := flags.Bool("ai", false, "play requests under /ai, too, which today's v1 has not and a model answers")
	webKey := flags.String("web-key", os.Getenv("WEB_AUTH_API_KEY"), "the web app's `key`, which some requests carry")
	patience := flags.Duration("timeout", 30*time.Second, "how long one answer may take")
	repeat := flags.Int("repeat", 1, "play everything so many times, for latencies")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 2 || *repeat < 1 {
		return errors.New("two base URLs are needed, v1's and v2's, and --repeat at least once: scripts/compare --help says more")
	}
	path := recording
	if *file != "" {
		path = *file
	}
	data, err := os.ReadFile(below(root, path))
	if err != nil {
		return err
	}
	cases, err := recorded.Parse(data)
	if err != nil {
		return err
	}
	var sides [2]*side
	for i, name := range []string{"v1", "v2"} {
		if sides[i], err = newSide(name, flags.Arg(i), *webKey, *patience); err != nil {
			return err
		}
		if err := sides[i].greet(ctx); err != nil {
			return err
		}
	}
	r := report{V1: sides[0].base + sides[0].prefix, V2: sides[1].base + sides[1].prefix, At: time.Now().UTC().Truncate(time.Second)}
	err = r.play(ctx, sides, cases, *repeat, *withAI)
	if err := r.write(output, *all); err != nil {
		return err
	}
	if *page != "" {
		if err := r.writePage(below(root, *page)); err != nil {
			return err
		}
	}
	if err == nil && r.Different > 0 {
		err = fmt.Errorf("%d answers differ, and nothing says that they may", r.Different)
	}
	return err
}

func below(root, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(root, path)
}

// newSide reads a base URL.
func newSide(name, base, webKey string, patience time.Duration) (*side, error) {
	parsed, err := url.Parse(strings.TrimSuffix(base, "/"))
	if err != nil || parsed.Host == "" || parsed.Scheme != "http" && parsed.Scheme != "https" {
		return nil, fmt.Errorf("%s's base URL is not http(s)://HOST", name)
	}
	prefix := ""
	if strings.HasSuffix(parsed.Path, "/v2") {
		prefix, parsed.Path = "/v2", strings.TrimSuffix(parsed.Path, "/v2")
	}
	s := &side{name: name, base: parsed.String(), prefix: prefix, webKey: webKey}
	s.client.Timeout = patience
	return s, nil
}

// mostFailures is how many requests in a row a side may leave unanswered before the rest is skipped.
const mostFailures = 3

// play sends each request to both sides.
func (r *report) play(ctx context.Context, sides [2]*side, cases []recorded.Case, repeat int, withAI bool) error {
	for n := range repeat {
		for _, s := range sides {
			s.values = recorded.Values{"web-key": s.webKey}
		}
		for _, c := range cases {
			_, path, _ := strings.Cut(c.Request, " ")
			if strings.HasPrefix(path, "/ai/") && !withAI {
				r.LeftOut += 1 - min(n, 1)
				continue
			}
			row := row{Case: c.Case, Request: c.Request}
			for i, s := range sides {
				row.Sides[i] = s.ask(ctx, c)
				if ctx.Err() != nil {
					return ctx.Err()
				}
				if s.failures >= mostFailures {
					return fmt.Errorf("%s has left %d requests in a row without an answer (%s): see that it runs, and play again",
						s.name, s.failures, row.Sides[i].Fault)
				}
			}
			row.compare(c)
			r.add(row, n == 0)
		}
	}
	return nil
}

// write is the report for a terminal.
func (r *report) write(output io.Writer, all bool) error {
	table := tabwriter.NewWriter(output, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintf(table, "case\trequest\tv1\tv2\t\tv1 ms\tv2 ms\n") // a tabwriter tells of failures by Flush
	for _, row := range r.Rows {
		if row.Verdict == same && !all {
			continue
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n",
			row.Case, row.Request, row.Sides[0].Answer(), row.Sides[1].Answer(), row.Verdict,
			milliseconds(row.Sides[0].Took), milliseconds(row.Sides[1].Took))
		for _, note := range row.Notes {
			_, _ = fmt.Fprintf(table, "\t  %s\n", note)
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(output, "\n%d alike, %d otherwise on purpose, %d different, %d left out\n", r.Same, r.Agreed, r.Different, r.LeftOut)
	for _, p := range r.Percentiles() {
		_, _ = fmt.Fprintf(output, "latency of %s: p50 %s, p90 %s, p99 %s, longest %s ms of %d answers\n", p.Side,
			milliseconds(p.P50), milliseconds(p.P90), milliseconds(p.P99), milliseconds(p.Longest), p.Answers)
	}
	return err
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.1f", float64(d)/float64(time.Millisecond))
}
