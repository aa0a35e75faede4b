// Command applyplan plans and applies the Terraform of an environment. scripts/apply runs it under the environment's lock.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/liftlog/liftlog-api/scripts/environment"
	"github.com/liftlog/liftlog-api/scripts/releasefile"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	t := tool{folder: "terraform", release: releasefile.Path, output: os.Stdout}
	err := t.run(ctx, os.Args[1:])
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "apply:", err)
		os.Exit(1)
	}
}

// tool applies what a folder describes.
type tool struct {
	folder  string
	release string   // the file
	backend []string // of init; empty: the environment's bucket
	output  io.Writer
}

func (t tool) run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("apply", flag.ContinueOnError)
	flags.SetOutput(t.output)
	replace := flags.Bool("allow-replace", false, "apply what destroys or replaces something as well")
	dry := flags.Bool("dry-run", false, "only plan")
	flags.StringVar(&t.release, "release", t.release, "the file of the release whose images new services begin with")
	names, err := environment.Arguments(flags, args)
	if err != nil {
		return err
	}
	if len(names) != 1 {
		return errors.New("it takes one environment: scripts/apply --help says more")
	}
	e, err := environment.Read(t.folder, names[0])
	if err != nil {
		return err
	}
	release, err := releasefile.Read(t.release)
	if err != nil {
		return err
	}
	temporary, err := os.MkdirTemp("", "liftlog-apply-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(temporary) }()
	images, plan := filepath.Join(temporary, "images.tfvars.json"), filepath.Join(temporary, "plan")
	if err := writeImages(images, release); err != nil {
		return err
	}
	backend := t.backend
	if backend == nil {
		backend = []string{"-backend-config=bucket=" + e.StateBucket, "-backend-config=prefix=" + e.Name}
	}
	if err := t.terraform(ctx, t.output, append([]string{"init", "-input=false", "-no-color", "-reconfigure"}, backend...)...); err != nil {
		return err
	}
	if err := t.terraform(ctx, t.output, "plan", "-input=false", "-no-color", "-var-file=environments/"+e.Name+".tfvars", "-var-file="+images,
		"-out="+plan); err != nil {
		return err
	}
	if err := t.check(ctx, plan, *replace); err != nil || *dry {
		return err
	}
	return t.terraform(ctx, t.output, "apply", "-input=false", "-no-color", plan)
}

// writeImages writes the release's images as Terraform's variable images.
func writeImages(path string, release releasefile.Release) error {
	images := map[string]string{}
	for program, image := range release.Images {
		images[program] = image.Index
	}
	text, err := json.Marshal(map[string]any{"images": images})
	if err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o600)
}

// check refuses a plan that destroys or replaces something, unless that is allowed.
func (t tool) check(ctx context.Context, plan string, allowed bool) error {
	var shown strings.Builder
	if err := t.terraform(ctx, &shown, "show", "-json", plan); err != nil {
		return err
	}
	var planned struct {
		Changes []struct {
			Address string `json:"address"`
			Change  struct {
				Actions []string `json:"actions"`
			} `json:"change"`
		} `json:"resource_changes"`
	}
	if err := json.Unmarshal([]byte(shown.String()), &planned); err != nil {
		return fmt.Errorf("read the plan: %w", err)
	}
	var lost []string
	for _, change := range planned.Changes {
		if slices.Contains(change.Change.Actions, "delete") {
			lost = append(lost, change.Address)
		}
	}
	if len(lost) == 0 {
		return nil
	}
	if allowed {
		_, _ = fmt.Fprintf(t.output, "destroys or replaces, as it may: %s\n", strings.Join(lost, ", "))
		return nil
	}
	return fmt.Errorf("the plan destroys or replaces %s: nothing has been applied. Look at it, and if it is meant, use --allow-replace",
		strings.Join(lost, ", "))
}

// endTime is how long Terraform may take to end when it is told to: it finishes what it is doing and writes the state.
const endTime = 5 * time.Minute

func (t tool) terraform(ctx context.Context, output io.Writer, args ...string) error {
	command := exec.CommandContext(ctx, "terraform", args...) //nolint:gosec // names from our files
	command.Dir = t.folder
	command.Stdout, command.Stderr = output, os.Stderr
	command.Env = append(os.Environ(), "TF_IN_AUTOMATION=1", "CHECKPOINT_DISABLE=1")
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) }
	command.WaitDelay = endTime
	if err := command.Run(); err != nil {
		return fmt.Errorf("terraform %s: %w", args[0], err)
	}
	return nil
}
