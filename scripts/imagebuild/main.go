// Command imagebuild makes the programs' images by ko, each in a repository of its own, and writes which they are.
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
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/google"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/liftlog/liftlog-api/functions/manifest"
	"github.com/liftlog/liftlog-api/scripts/environment"
	"github.com/liftlog/liftlog-api/scripts/releasefile"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], ".", os.Stdout)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "images:", err)
		os.Exit(1)
	}
}

// packages are what the programs are built of, by the names of their images.
var packages = func() map[string]string {
	all := map[string]string{releasefile.Server: "./functions/cmd/server"}
	for _, program := range manifest.Programs() {
		all[program.Image] = program.Package
	}
	return all
}()

// build is what is built, and where to.
type build struct {
	root       string // of the checkout
	repository string // below which each program has its own
	commit     string
	platforms  map[string][]string // by program
	environ    []string            // of ko, beside this process's own
	output     io.Writer
}

// run builds what is checked out at root.
func run(ctx context.Context, args []string, root string, output io.Writer) error {
	flags := flag.NewFlagSet("images", flag.ContinueOnError)
	flags.SetOutput(output)
	b := build{root: root, platforms: map[string][]string{}, output: output}
	flags.StringVar(&b.commit, "commit", "", "the commit that is built, in full; empty: git's, which has to be checked out without changes")
	flags.StringVar(&b.repository, "repository", "", "where each program's own is; empty: the registry of terraform/environments")
	dry := flags.Bool("dry-run", false, "build nothing, only say what would be built")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("%s is not understood", flags.Arg(0))
	}
	if b.repository == "" {
		staging, err := environment.Read(filepath.Join(b.root, "terraform"), "staging")
		if err != nil {
			return err
		}
		b.repository = staging.Registry
	}
	if strings.ContainsAny(b.repository, "@ ") || !strings.Contains(b.repository, "/") {
		return errors.New("--repository has to be of the form europe-west1-docker.pkg.dev/liftlog-images/liftlog")
	}
	for _, program := range releasefile.Programs {
		b.platforms[program] = []string{releasefile.AMD64, releasefile.ARM64}
	}
	if b.commit == "" {
		var err error
		if b.commit, err = checkedOut(ctx, b.root); err != nil {
			return err
		}
	}
	if *dry {
		for _, program := range releasefile.Programs {
			_, _ = fmt.Fprintf(output, "would build %s into %s/%s with the tag %s\n", packages[program], b.repository, program, b.commit)
		}
		return nil
	}
	path := filepath.Join(b.root, releasefile.Path)
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) { // a build that is broken off leaves no other commit's release behind
		return err
	}
	release, err := b.all(ctx)
	if err != nil {
		return err
	}
	if err := releasefile.Write(path, release); err != nil {
		return err
	}
	_, _ = fmt.Fprintf(output, "%s names the images of %s\n", releasefile.Path, b.commit)
	return nil
}

// checkedOut is the commit whose files are there, and no others.
func checkedOut(ctx context.Context, root string) (string, error) {
	git := func(args ...string) (string, error) {
		said, err := exec.CommandContext(ctx, "git", append([]string{"-C", root}, args...)...).Output() //nolint:gosec // git
		if err != nil {
			return "", fmt.Errorf("ask git for the commit: %w; name it with --commit", err)
		}
		return strings.TrimSpace(string(said)), nil
	}
	changed, err := git("status", "--porcelain")
	if err != nil {
		return "", err
	}
	if changed != "" {
		return "", errors.New("there are changes that no commit has: commit them first, so that the images say what they are")
	}
	return git("rev-parse", "HEAD")
}

// all builds every program.
func (b build) all(ctx context.Context) (releasefile.Release, error) {
	release := releasefile.Release{Commit: b.commit, Images: map[string]releasefile.Image{}}
	for _, program := range releasefile.Programs {
		image, err := b.one(ctx, program)
		if err != nil {
			return release, fmt.Errorf("build %s: %w", program, err)
		}
		release.Images[program] = image
	}
	return release, nil
}

// one builds a program for its platforms.
func (b build) one(ctx context.Context, program string) (image releasefile.Image, err error) {
	refs, err := b.ko(ctx, program)
	if err != nil {
		return image, err
	}
	return b.read(ctx, program, refs)
}

// ko builds and pushes, and returns references to what it has pushed: the index and then its images, or a single image where
// there is one platform.
func (b build) ko(ctx context.Context, program string) (refs []string, err error) {
	folder, err := os.MkdirTemp("", "liftlog-images-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	file := filepath.Join(folder, "refs")
	ko := exec.CommandContext(ctx, "go", "tool", "-modfile=scripts/tools/ko/go.mod", "ko", "build", "--bare", //nolint:gosec // ko
		"--platform="+strings.Join(b.platforms[program], ","), "--tags="+b.commit, "--image-refs="+file, packages[program])
	ko.Dir = b.root
	// The programs hold nothing of what git knows, so that the same files make the same image.
	ko.Env = slices.Concat(os.Environ(), []string{
		"KO_DOCKER_REPO=" + b.repository + "/" + program, "KO_CONFIG_PATH=scripts/tools/ko", "GOFLAGS=-buildvcs=false",
	}, b.environ)
	ko.Stdout, ko.Stderr = b.output, b.output
	// The tool is the go command's child, which ends without it.
	ko.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	ko.Cancel = func() error { return syscall.Kill(-ko.Process.Pid, syscall.SIGTERM) }
	ko.WaitDelay = endTime
	if err := ko.Run(); err != nil {
		return nil, err
	}
	written, err := os.ReadFile(file) //nolint:gosec // ko's own file
	if err != nil {
		return nil, err
	}
	if refs = strings.Fields(string(written)); len(refs) == 0 {
		return nil, errors.New("ko has named no image")
	}
	return refs, nil
}

// endTime is how long ko may take to end when it is told to.
const endTime = 20 * time.Second

// keychain logs in to registries: as gcloud or Docker do on a laptop, as the build's account in Cloud Build.
var keychain = remote.WithAuthFromKeychain(authn.NewMultiKeychain(authn.DefaultKeychain, google.Keychain))

// read describes what ko has pushed. The index in the registry says which platform each image is for.
func (b build) read(ctx context.Context, program string, refs []string) (image releasefile.Image, err error) {
	index, err := name.NewDigest(refs[0])
	if err != nil {
		return image, fmt.Errorf("ko has named something else than an image by digest: %w", err)
	}
	there, err := remote.Index(index, remote.WithContext(ctx), keychain)
	if err != nil {
		return image, fmt.Errorf("read the index: %w", err)
	}
	held, err := there.IndexManifest()
	if err != nil {
		return image, fmt.Errorf("read the index: %w", err)
	}
	image = releasefile.Image{Index: index.Context().Name() + "@" + index.DigestStr(), Platforms: map[string]string{}}
	for _, part := range held.Manifests {
		if part.Platform == nil {
			return image, errors.New("the index holds an image for no platform")
		}
		if !slices.ContainsFunc(refs[1:], func(ref string) bool { return strings.HasSuffix(ref, "@"+part.Digest.String()) }) {
			return image, fmt.Errorf("ko has not named the index's image for %s", part.Platform)
		}
		image.Platforms[part.Platform.OS+"/"+part.Platform.Architecture] = part.Digest.String()
	}
	if len(image.Platforms) != len(b.platforms[program]) {
		return image, fmt.Errorf("the index holds %d images and not %d", len(image.Platforms), len(b.platforms[program]))
	}
	return image, nil
}
