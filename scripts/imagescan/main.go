// Command imagescan refuses programs and images that have known vulnerabilities.
package main

import (
	"bytes"
	"context"
	_ "embed"
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
	"github.com/liftlog/liftlog-api/scripts/gcloud"
	"github.com/liftlog/liftlog-api/scripts/releasefile"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], ".", os.Stdout)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "scan:", err)
		os.Exit(1)
	}
}

//go:embed exceptions.json
var listed []byte

// scanTime bounds one call of gcloud: a scan fetches an image and compares all that is in it.
const scanTime = 15 * time.Minute

// run reads what it needs of the checkout at root.
func run(ctx context.Context, args []string, root string, output io.Writer) error {
	flags := flag.NewFlagSet("scan", flag.ContinueOnError)
	flags.SetOutput(output)
	source := flags.Bool("source", false, "look at the source alone")
	dry := flags.Bool("dry-run", false, "scan nothing, only say what would be scanned")
	file := flags.String("release", filepath.Join(root, releasefile.Path), "the release whose images are scanned")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("%s is not understood", flags.Arg(0))
	}
	excepted, err := readExceptions(listed, time.Now())
	if err != nil {
		return err
	}
	var references []string
	cli := gcloud.CLI{Limit: scanTime}
	if !*source {
		release, err := releasefile.Read(*file)
		if err != nil {
			return err
		}
		for _, program := range releasefile.Programs {
			for _, platform := range []string{releasefile.AMD64, releasefile.ARM64} {
				if reference := release.Images[program].Platform(platform); reference != "" {
					references = append(references, reference)
				}
			}
		}
		staging, err := environment.Read(filepath.Join(root, "terraform"), "staging")
		if err != nil {
			return err
		}
		cli.Project = staging.Project
	}
	if *dry {
		_, _ = fmt.Fprintf(output, "would scan the source\nwould scan %s\n", strings.Join(references, "\nwould scan "))
		return nil
	}
	found, err := scanSource(ctx, root)
	if err != nil {
		return err
	}
	for _, reference := range references {
		inImage, err := scanImage(ctx, cli, reference)
		if err != nil {
			return err
		}
		found = append(found, inImage...)
	}
	return judge(found, excepted, output)
}

// finding is a vulnerability that is refused unless it is excepted.
type finding struct{ ID, In string }

// exception lets a vulnerability pass for a time.
type exception struct {
	ID    string `json:"id"`    // such as CVE-2026-12345 or GO-2026-1234
	Until string `json:"until"` // the last day, such as 2026-12-31
	Why   string `json:"why"`
}

// longest is how far in the future an exception may end.
const longest = 92 * 24 * time.Hour

// readExceptions returns those that count. One that has ended is an error, so that the list is looked at.
func readExceptions(data []byte, now time.Time) (ids []string, err error) {
	var all []exception
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&all); err != nil {
		return nil, fmt.Errorf("read the exceptions: %w", err)
	}
	var faults []error
	for _, e := range all {
		until, err := time.Parse(time.DateOnly, e.Until)
		switch {
		case e.ID == "" || e.Why == "" || err != nil:
			faults = append(faults, fmt.Errorf("the exception for %q needs an id, a day until which it counts, and a reason", e.ID))
		case now.After(until.AddDate(0, 0, 1)):
			faults = append(faults, fmt.Errorf("the exception for %s has ended on %s: mend it, or remove the exception", e.ID, e.Until))
		case until.Sub(now) > longest:
			faults = append(faults, fmt.Errorf("the exception for %s ends on %s: three months are the longest", e.ID, e.Until))
		default:
			ids = append(ids, e.ID)
		}
	}
	return ids, errors.Join(faults...)
}

// judge prints what was found and fails if any of it is not excepted.
func judge(found []finding, excepted []string, output io.Writer) error {
	refused := 0
	for _, f := range found {
		if slices.Contains(excepted, f.ID) {
			_, _ = fmt.Fprintf(output, "excepted  %s in %s\n", f.ID, f.In)
			continue
		}
		refused++
		_, _ = fmt.Fprintf(output, "REFUSED   %s in %s\n", f.ID, f.In)
	}
	if refused > 0 {
		return fmt.Errorf("%d vulnerabilities are refused: renew what has them, or except them for a time in scripts/imagescan/exceptions.json", refused)
	}
	_, _ = fmt.Fprintln(output, "no vulnerability is refused")
	return nil
}

// scanSource asks govulncheck for vulnerabilities in functions that the programs call.
func scanSource(ctx context.Context, root string) ([]finding, error) {
	command := exec.CommandContext(ctx, "go", "tool", "-modfile=scripts/tools/govulncheck/go.mod", "govulncheck", "-format=json", "./...")
	command.Dir = root
	var complained bytes.Buffer
	command.Stderr = &complained
	said, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("govulncheck: %w: %s", err, complained.String())
	}
	return readSource(said)
}

// readSource reads the messages of govulncheck. A finding whose trace begins with a function is about a function that is called.
func readSource(messages []byte) (found []finding, err error) {
	decoder := json.NewDecoder(bytes.NewReader(messages))
	configured := false
	for {
		var message struct {
			Config  json.RawMessage `json:"config"`
			Finding *struct {
				OSV   string `json:"osv"`
				Trace []struct {
					Module   string `json:"module"`
					Function string `json:"function"`
				} `json:"trace"`
			} `json:"finding"`
		}
		if err := decoder.Decode(&message); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("read what govulncheck says: %w", err)
		}
		configured = configured || message.Config != nil
		if f := message.Finding; f != nil && len(f.Trace) > 0 && f.Trace[0].Function != "" {
			if one := (finding{f.OSV, "the source, by " + f.Trace[0].Module}); !slices.Contains(found, one) {
				found = append(found, one)
			}
		}
	}
	if !configured {
		return nil, errors.New("govulncheck has said nothing")
	}
	return found, nil
}

// scanImage has one platform's image scanned.
func scanImage(ctx context.Context, cli gcloud.CLI, reference string) (found []finding, err error) {
	location, _, _ := strings.Cut(reference, "-") // europe-west1-docker.pkg.dev: scanners are in europe, us and asia
	scan, err := cli.Run(ctx, "",
		"artifacts", "docker", "images", "scan", reference, "--remote", "--location="+location, "--format=value(response.scan)")
	if err != nil {
		return nil, fmt.Errorf("scan %s: %w", reference, err)
	}
	if scan = strings.TrimSpace(scan); scan == "" {
		return nil, fmt.Errorf("scan %s: gcloud has named no scan", reference)
	}
	said, err := cli.Run(ctx, "", "artifacts", "docker", "images", "list-vulnerabilities", scan, "--format=json")
	if err != nil {
		return nil, fmt.Errorf("list the vulnerabilities of %s: %w", reference, err)
	}
	return readImage([]byte(said), reference)
}

// readImage reads the list of an image's vulnerabilities. One whose severity is not told counts as a high one.
func readImage(list []byte, reference string) (found []finding, err error) {
	var all []struct {
		NoteName      string `json:"noteName"`
		Vulnerability *struct {
			Effective   string `json:"effectiveSeverity"`
			Description string `json:"shortDescription"`
		} `json:"vulnerability"`
	}
	if err := json.Unmarshal(list, &all); err != nil {
		return nil, fmt.Errorf("read the vulnerabilities of %s: %w", reference, err)
	}
	for _, one := range all {
		if one.Vulnerability == nil {
			return nil, fmt.Errorf("read the vulnerabilities of %s: one of them says nothing", reference)
		}
		switch one.Vulnerability.Effective {
		case "MINIMAL", "LOW", "MEDIUM":
			continue
		}
		id := one.Vulnerability.Description
		if id == "" {
			id = one.NoteName[strings.LastIndex(one.NoteName, "/")+1:]
		}
		found = append(found, finding{id, reference})
	}
	return found, nil
}
