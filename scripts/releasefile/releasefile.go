// Package releasefile reads and writes build/release.json: which images one commit has become. The step that builds images
// writes it; scanning, deploying and trying read it.
package releasefile

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/liftlog/liftlog-api/functions/manifest"
)

// Path is where the file is, below the repository's root.
const Path = "build/release.json"

// Server is the program of every function.
const Server = "server"

// Programs lists the programs that have an image each, by the images' names: that of the functions, and those of programs.json.
var Programs = programs()

func programs() []string {
	list := []string{Server}
	for _, program := range manifest.Programs() {
		list = append(list, program.Image)
	}
	return list
}

// The platforms of an image. Cloud Run needs the first one, and laptops may have the second.
const (
	AMD64 = "linux/amd64"
	ARM64 = "linux/arm64"
)

// Release is one commit's images.
type Release struct {
	Commit string           `json:"commit"` // in full, 40 hexadecimal digits
	Images map[string]Image `json:"images"` // by program
}

// Image is one program's.
type Image struct {
	Index     string            `json:"index"`     // repository@digest of the index, which is what is deployed
	Platforms map[string]string `json:"platforms"` // digest by platform, for what looks into an image; AMD64 is always there
}

// Repository is where the image is, without its digest.
func (i Image) Repository() string {
	repository, _, _ := strings.Cut(i.Index, "@")
	return repository
}

// Digest is the index's: sha256: and 64 hexadecimal digits.
func (i Image) Digest() string {
	_, digest, _ := strings.Cut(i.Index, "@")
	return digest
}

// Platform is the reference to one platform's image, repository@digest, and empty if the index has no such platform.
func (i Image) Platform(platform string) string {
	if i.Platforms[platform] == "" {
		return ""
	}
	return i.Repository() + "@" + i.Platforms[platform]
}

var (
	commitForm    = regexp.MustCompile(`^[0-9a-f]{40}$`)
	digestForm    = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
	referenceForm = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]*(:[0-9]+)?(/[a-z0-9][a-z0-9._-]*)+@sha256:[0-9a-f]{64}$`)
	programOf     = regexp.MustCompile(`([^/]+)@`)
)

// Validate reports everything that is wrong with the release.
func (r Release) Validate() error {
	var faults []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	check(commitForm.MatchString(r.Commit), "the commit is not one in full")
	for _, program := range Programs {
		image, ok := r.Images[program]
		if !ok {
			check(false, "%s has no image", program)
			continue
		}
		check(referenceForm.MatchString(image.Index), "%s is not given by digest", program)
		if repository := programOf.FindStringSubmatch(image.Index); repository != nil {
			check(repository[1] == program, "%s has the image of another program's repository, %s", program, repository[1])
		}
		check(image.Platforms[AMD64] != "", "%s has no image for %s, which Cloud Run needs", program, AMD64)
		for _, platform := range slices.Sorted(maps.Keys(image.Platforms)) {
			check(platform == AMD64 || platform == ARM64, "%s has an image for %q", program, platform)
			digest := image.Platforms[platform]
			check(digestForm.MatchString(digest), "%s has no digest for %s", program, platform)
			check(digest != image.Digest(), "%s has %s's digest for that of its index", program, platform)
		}
	}
	for _, program := range slices.Sorted(maps.Keys(r.Images)) {
		check(slices.Contains(Programs, program), "%q is no program", program)
	}
	return errors.Join(faults...)
}

// maxSize is far above what a release has, in bytes.
const maxSize = 64 << 10

// Read returns a release that is whole, or says what to do.
func Read(path string) (Release, error) {
	data, err := os.ReadFile(path) //nolint:gosec // the caller's own file
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Release{}, fmt.Errorf("%s is not there: build the images first (scripts/images), or name another file with --release", path)
	case err != nil:
		return Release{}, err
	}
	r, err := Parse(data)
	if err != nil {
		return Release{}, fmt.Errorf("%s: %w; build the images again (scripts/images)", path, err)
	}
	return r, nil
}

// Parse reads a release that is whole.
func Parse(data []byte) (Release, error) {
	var r Release
	switch {
	case len(strings.TrimSpace(string(data))) == 0:
		return r, errors.New("the file is empty: what wrote it was ended")
	case len(data) > maxSize:
		return r, errors.New("the file is too long for a release")
	}
	if err := json.Unmarshal(data, &r, json.RejectUnknownMembers(true)); err != nil {
		return Release{}, fmt.Errorf("the file is no release, or was written by halves: %w", err)
	}
	if err := r.Validate(); err != nil {
		return Release{}, fmt.Errorf("the release is not whole: %s", strings.ReplaceAll(err.Error(), "\n", ", "))
	}
	return r, nil
}

// Write replaces the file by a release that is whole, atomically: a reader sees the one before or this one.
func Write(path string, r Release) error {
	if err := r.Validate(); err != nil {
		return fmt.Errorf("the release is not written, it is not whole: %w", err)
	}
	data, err := json.Marshal(r, json.Deterministic(true), jsontext.WithIndent("  "))
	if err != nil {
		return err
	}
	folder := filepath.Dir(path)
	if err := os.MkdirAll(folder, 0o750); err != nil {
		return err
	}
	file, err := os.CreateTemp(folder, ".release-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(file.Name()) }() // renamed when all went well
	_, err = file.Write(append(data, '\n'))
	if err := errors.Join(err, file.Chmod(0o644), file.Sync(), file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}
