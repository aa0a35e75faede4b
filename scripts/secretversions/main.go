// Command secretversions fills the secrets of an environment by way of gcloud; scripts/secrets says how to use it.
package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"

	"github.com/liftlog/liftlog-api/scripts/gcloud"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], "../terraform", os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "secrets:", err)
		os.Exit(1)
	}
}

// run does what the arguments ask for with the environment described in the folder of Terraform's configuration.
func run(ctx context.Context, args []string, folder string, input io.Reader, output io.Writer) error {
	dry := slices.Contains(args, "--dry-run")
	args = slices.DeleteFunc(slices.Clone(args), func(arg string) bool { return arg == "--dry-run" })
	if len(args) == 0 {
		return errors.New("which environment? scripts/secrets --help says more")
	}
	of, err := readTarget(folder, args[0])
	if err != nil {
		return err
	}
	k := keeper{of, dry, output}
	verb, names := "list", []string{}
	if len(args) > 1 {
		verb, names = args[1], args[2:]
	}
	switch {
	case verb == "list" && len(names) == 0:
		return k.list(ctx)
	case verb == "generate" && len(names) == 0:
		return k.generate(ctx)
	case verb == "rotate" && len(names) == 1:
		return k.rotate(ctx, names[0])
	case verb == "set" && len(names) == 1:
		return k.set(ctx, names[0], input)
	default:
		return fmt.Errorf("%s is not understood: scripts/secrets --help says more", strings.Join(args[1:], " "))
	}
}

// keeper works on one environment's secrets.
type keeper struct {
	target
	dry    bool
	output io.Writer
}

// ours are the secrets that are keys of our own, which nobody else knows.
var ours = []string{"CHAT_TOKEN_KEY", "CREDENTIAL_KEY"}

// maxKeys is how many keys of ours are kept: what older ones have made was renewed long ago.
const maxKeys = 3

// keyLength is the length of a key of ours in bytes: that of the hash it is used with.
const keyLength = 32

// maxValue is the longest value in bytes that Secret Manager takes.
const maxValue = 64 << 10

func (k keeper) list(ctx context.Context) error {
	table := tabwriter.NewWriter(k.output, 0, 0, 2, ' ', 0)
	var empty []string
	for _, s := range k.secrets {
		versions, err := k.versions(ctx, s.name)
		if err != nil {
			return err
		}
		use, inUse := k.SecretVersions[s.name]
		state := fmt.Sprintf("%d versions", len(versions))
		switch {
		case len(versions) == 0:
			state = "empty"
		case len(versions) == 1:
			state = "1 version"
		}
		switch {
		case inUse:
			use = "in use: " + use
			if len(versions) == 0 || use != "in use: latest" && !slices.Contains(versions, k.SecretVersions[s.name]) {
				empty = append(empty, s.name)
			}
		case s.optional:
			use = "optional, switched off"
		default:
			use = "needed, and not in secret_versions"
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", s.name, state, use, s.description)
	}
	_ = table.Flush()
	if len(empty) > 0 {
		return fmt.Errorf("%s has no such version: a program that reads it does not start. `scripts/secrets %s generate` makes our own keys, "+
			"`scripts/secrets %[2]s set NAME` takes the others", strings.Join(empty, ", "), k.Name)
	}
	return nil
}

func (k keeper) generate(ctx context.Context) error {
	for _, name := range ours {
		versions, err := k.versions(ctx, name)
		if err != nil {
			return err
		}
		if len(versions) > 0 {
			_, _ = fmt.Fprintf(k.output, "%s has a version already\n", name)
			continue
		}
		if err := k.store(ctx, name, newKey(1)); err != nil {
			return err
		}
	}
	return nil
}

func newKey(version int) string {
	key := make([]byte, keyLength)
	_, _ = rand.Read(key) // never fails
	return strconv.Itoa(version) + ":" + base64.StdEncoding.EncodeToString(key)
}

// rotate brings in a new key, in two steps with a deployment after each, so that no instance meets what a key has made that it
// does not know: first the new key comes after the one that signs, then before it. The older ones still count.
func (k keeper) rotate(ctx context.Context, name string) error {
	if !slices.Contains(ours, name) {
		return fmt.Errorf("%s is not a key of ours (%s): get a new one from whoever gave it, and `scripts/secrets %s set %[1]s`",
			name, strings.Join(ours, ", "), k.Name)
	}
	value, err := k.gcloud(ctx, "", "secrets", "versions", "access", "latest", "--secret="+name)
	if err != nil {
		return err
	}
	keys := strings.Split(strings.TrimSpace(value), ",")
	newest, at := 0, 0
	for i, key := range keys {
		number, _, _ := strings.Cut(strings.TrimSpace(key), ":")
		version, err := strconv.Atoi(number)
		if err != nil {
			return fmt.Errorf("%s holds no keys of the form version:base64", name)
		}
		if version > newest {
			newest, at = version, i
		}
	}
	then := "the new key signs"
	if at > 0 { // it has been deployed behind the one that signs
		waiting := keys[at]
		keys = slices.Insert(slices.Delete(keys, at, at+1), 0, waiting)
	} else {
		keys = slices.Insert(keys, 1, newKey(newest+1))
		then = "rotate again: the new key is known, and does not sign yet"
	}
	if err := k.store(ctx, name, strings.Join(keys[:min(len(keys), maxKeys)], ",")); err != nil {
		return err
	}
	_, err = fmt.Fprintf(k.output, "After `scripts/deploy %s --renew` %s\n", k.Name, then)
	return err
}

func (k keeper) set(ctx context.Context, name string, input io.Reader) error {
	if !slices.ContainsFunc(k.secrets, func(s secret) bool { return s.name == name }) {
		return fmt.Errorf("%s is not defined in terraform/secrets.tf", name)
	}
	value, err := io.ReadAll(io.LimitReader(input, maxValue+1))
	if err != nil {
		return fmt.Errorf("read the value: %w", err)
	}
	text := strings.TrimRight(string(value), "\r\n")
	switch {
	case strings.TrimSpace(text) == "":
		return errors.New("standard input holds no value: scripts/secrets ENV set NAME <file")
	case len(value) > maxValue:
		return fmt.Errorf("the value is longer than Secret Manager takes (%d bytes)", maxValue)
	}
	return k.store(ctx, name, text)
}

// store checks a value and adds it as a version.
func (k keeper) store(ctx context.Context, name, value string) error {
	if err := k.check(ctx, name, value); err != nil {
		return fmt.Errorf("the value of %s is not stored: %w", name, err)
	}
	if k.dry {
		_, _ = fmt.Fprintf(k.output, "%s would get a version\n", name)
		return nil
	}
	if _, err := k.gcloud(ctx, value, "secrets", "versions", "add", name, "--data-file=-"); err != nil {
		return err
	}
	_, _ = fmt.Fprintf(k.output, "%s has a new version, which programs read when they start: `scripts/deploy %s --renew`", name, k.Name)
	if _, inUse := k.SecretVersions[name]; !inUse {
		_, _ = fmt.Fprintf(k.output, ", once it is in secret_versions of terraform/environments/%s.tfvars and applied", k.Name)
	}
	_, _ = fmt.Fprintln(k.output)
	return nil
}

// versions are the numbers of a secret's versions that can be read.
func (k keeper) versions(ctx context.Context, name string) ([]string, error) {
	said, err := k.gcloud(ctx, "", "secrets", "versions", "list", name, "--filter=state=ENABLED", "--format=value(name.basename())")
	if err != nil {
		return nil, err
	}
	return strings.Fields(said), nil
}

// gcloud runs the command line tool, with a text as its standard input, which is never among its arguments.
func (k keeper) gcloud(ctx context.Context, input string, args ...string) (string, error) {
	said, err := gcloud.CLI{Project: k.Project}.Run(ctx, input, args...)
	if gcloud.NotFound(err) {
		return "", fmt.Errorf("gcloud %s: there is no such secret or version; `terraform apply -target=google_secret_manager_secret.secret` makes the "+
			"definitions", strings.Join(args[:4], " "))
	}
	return said, err
}
