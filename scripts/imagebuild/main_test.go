package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/scripts/releasefile"
	"github.com/liftlog/liftlog-api/shared/programtest"
)

// programsFolder is where scripts/check-images wants the programs that the images hold.
const programsFolder = "IMAGES_PROGRAMS"

// anyone is the base's user, who has no rights.
const anyone = "65532"

// newRegistry starts a registry on loopback.
func newRegistry(t *testing.T) (host string) {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// pushBase makes what the programs stand on, for both platforms: CA certificates and a user.
func pushBase(t *testing.T, host string) (reference string) {
	t.Helper()
	var files bytes.Buffer
	archive := tar.NewWriter(&files)
	for file, text := range map[string]string{
		"etc/passwd":                        "nonroot:x:" + anyone + ":" + anyone + ":nonroot:/home/nonroot:/sbin/nologin\n",
		"etc/ssl/certs/ca-certificates.crt": "# those of the machine are used\n",
	} {
		require.NoError(t, archive.WriteHeader(&tar.Header{Name: file, Mode: 0o644, Size: int64(len(text))}))
		_, err := io.WriteString(archive, text)
		require.NoError(t, err)
	}
	require.NoError(t, archive.Close())
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(files.Bytes())), nil })
	require.NoError(t, err)
	var index v1.ImageIndex = empty.Index
	for _, architecture := range []string{"amd64", "arm64"} {
		image, err := mutate.AppendLayers(empty.Image, layer)
		require.NoError(t, err)
		config, err := image.ConfigFile()
		require.NoError(t, err)
		config = config.DeepCopy()
		config.OS, config.Architecture, config.Config.User = "linux", architecture, anyone
		image, err = mutate.ConfigFile(image, config)
		require.NoError(t, err)
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: architecture}},
		})
	}
	tag, err := name.ParseReference(host + "/base:made-here")
	require.NoError(t, err)
	require.NoError(t, remote.WriteIndex(tag, index))
	digest, err := index.Digest()
	require.NoError(t, err)
	return host + "/base@" + digest.String()
}

// copyTree copies what git keeps, and what is new, to another folder.
func copyTree(t *testing.T) (to string) {
	t.Helper()
	listed, err := exec.CommandContext(t.Context(), "git", "-C", "../..", "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	require.NoError(t, err)
	to = t.TempDir()
	for file := range strings.SplitSeq(strings.TrimSuffix(string(listed), "\x00"), "\x00") {
		text, err := os.ReadFile(filepath.Join("../..", file))
		if errors.Is(err, os.ErrNotExist) {
			continue // deleted, and not yet committed
		}
		require.NoError(t, err)
		require.NoError(t, os.MkdirAll(filepath.Join(to, filepath.Dir(file)), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(to, file), text, 0o600))
	}
	return to
}

// takeOut copies the program out of an image, and checks how the image starts it.
func takeOut(t *testing.T, image v1.Image, to string) {
	t.Helper()
	config, err := image.ConfigFile()
	require.NoError(t, err)
	assert.Equal(t, anyone, config.Config.User, "the base's user")
	require.Len(t, config.Config.Entrypoint, 1)
	entry := strings.TrimPrefix(config.Config.Entrypoint[0], "/")
	files := mutate.Extract(image)
	defer func() { _ = files.Close() }()
	archive := tar.NewReader(files)
	certificates := false
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			t.Fatalf("the image lacks %s", entry)
		}
		require.NoError(t, err)
		switch strings.TrimPrefix(path.Clean(header.Name), "/") {
		case "etc/ssl/certs/ca-certificates.crt":
			certificates = true
		case entry:
			program, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o700)
			require.NoError(t, err)
			_, err = io.Copy(program, archive) //nolint:gosec // of our own making
			require.NoError(t, errors.Join(err, program.Close()))
			_ = certificates
			return
		}
	}
}

func TestTheImages(t *testing.T) {
	t.Parallel()
	folder := os.Getenv(programsFolder)
	if folder == "" {
		t.Skip("scripts/check-images runs this")
	}
	host := newRegistry(t)
	var said programtest.Log
	b := build{
		root: "../..", repository: host + "/liftlog", commit: strings.Repeat("c", 40), output: &said,
		platforms: map[string][]string{},
		environ:   []string{"KO_DEFAULTBASEIMAGE=" + pushBase(t, host)},
	}
	pull := func(reference string) v1.Image {
		parsed, err := name.NewDigest(reference)
		require.NoError(t, err)
		image, err := remote.Image(parsed)
		require.NoError(t, err)
		return image
	}
	for _, program := range releasefile.Programs {
		if program == "cleanup" { // below
			continue
		}
		b.platforms[program] = []string{releasefile.AMD64}
		refs, err := b.ko(t.Context(), program)
		require.NoError(t, err, said.String())
		assert.Regexp(t, `^`+host+`/liftlog/`+program+`(:\w+)?@sha256:[0-9a-f]{64}$`, refs[0])
		takeOut(t, pull(refs[0]), filepath.Join(folder, program))
	}

	// One program as all are released: for both platforms.
	b.platforms["cleanup"] = []string{releasefile.AMD64, releasefile.ARM64}
	cleanup, err := b.one(t.Context(), "cleanup")
	require.NoError(t, err, said.String())
	assert.Equal(t, host+"/liftlog/cleanup", cleanup.Repository())
	require.NotEmpty(t, cleanup.Platform(releasefile.ARM64))
	amd64 := pull(cleanup.Platform(releasefile.AMD64))
	takeOut(t, amd64, filepath.Join(folder, "cleanup"))
	arm64, err := pull(cleanup.Platform(releasefile.ARM64)).ConfigFile()
	require.NoError(t, err)
	assert.Equal(t, "arm64", arm64.Architecture)
	tagged, err := name.ParseReference(cleanup.Repository() + ":" + b.commit)
	require.NoError(t, err)
	there, err := remote.Head(tagged)
	require.NoError(t, err)
	assert.Equal(t, cleanup.Digest(), there.Digest.String(), "the commit's tag is the index's")
	for _, digest := range []string{cleanup.Digest(), cleanup.Platforms[releasefile.AMD64], cleanup.Platforms[releasefile.ARM64]} {
		bill, err := name.ParseReference(cleanup.Repository() + ":" + strings.Replace(digest, ":", "-", 1) + ".sbom")
		require.NoError(t, err)
		_, err = remote.Head(bill)
		require.NoError(t, err, "the SBOM of %s", digest)
	}
	release := releasefile.Release{Commit: b.commit, Images: map[string]releasefile.Image{"cleanup": cleanup}}
	require.ErrorContains(t, release.Validate(), "server has no image")

	// The same files elsewhere make the same image.
	again := b
	again.root = copyTree(t)
	same, err := again.one(t.Context(), "cleanup")
	require.NoError(t, err, said.String())
	assert.Equal(t, cleanup, same)

	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	require.NoError(t, listener.Close())
	server := exec.CommandContext(t.Context(), filepath.Join(folder, releasefile.Server)) //nolint:gosec // what the test has built
	server.Env = []string{"FUNCTION_TARGET=Health", "PORT=" + port}
	server.Stdout, server.Stderr = &said, &said
	require.NoError(t, server.Start())
	t.Cleanup(func() { _, _ = server.Process.Kill(), server.Wait() })
	require.Eventually(t, func() bool {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1:"+port+"/health", http.NoBody)
		require.NoError(t, err)
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			return false
		}
		defer func() { _ = response.Body.Close() }()
		answer, err := io.ReadAll(response.Body)
		return err == nil && string(answer) == "healthy"
	}, time.Minute, 20*time.Millisecond, "%s", &said)
}

func TestWhatIsNoIndexIsRefused(t *testing.T) {
	t.Parallel()
	host := newRegistry(t)
	base := pushBase(t, host)
	digest, err := name.NewDigest(base)
	require.NoError(t, err)
	index, err := remote.Index(digest)
	require.NoError(t, err)
	manifest, err := index.IndexManifest()
	require.NoError(t, err)
	refs := []string{base}
	for _, part := range manifest.Manifests {
		refs = append(refs, host+"/base@"+part.Digest.String())
	}
	both := build{platforms: map[string][]string{"base": {releasefile.AMD64, releasefile.ARM64}}}
	image, err := both.read(t.Context(), "base", refs)
	require.NoError(t, err)
	assert.Equal(t, base, image.Index)
	assert.Equal(t, refs[1], image.Platform(releasefile.AMD64))
	for want, refs := range map[string][]string{
		"the index's image for linux/arm64": refs[:2],
		"read the index":                    {refs[1]},
		"something else than an image":      {host + "/base:latest"},
	} {
		_, err := both.read(t.Context(), "base", refs)
		require.ErrorContains(t, err, want)
	}
	_, err = build{platforms: map[string][]string{"base": {releasefile.AMD64}}}.read(t.Context(), "base", refs)
	require.ErrorContains(t, err, "2 images and not 1")
}

func TestArguments(t *testing.T) {
	t.Parallel()
	commit := strings.Repeat("a", 40)
	for _, repository := range []string{"liftlog", "example.com/liftlog@sha256:1", "example.com/a example.com/b"} {
		require.ErrorContains(t, run(t.Context(), []string{"--repository", repository}, "../..", io.Discard), "--repository has to be of the form")
	}
	var output bytes.Buffer
	require.NoError(t, run(t.Context(), []string{"--dry-run", "--commit", commit}, "../..", &output))
	assert.Contains(t, output.String(), "into europe-west1-docker.pkg.dev/liftlog-images/liftlog/server with the tag")
	require.NoError(t, run(t.Context(), []string{"--dry-run", "--commit", commit, "--repository", "example.com/liftlog"}, "../..", &output))
	assert.Contains(t, output.String(), "would build ./chat-service into example.com/liftlog/chat with the tag "+commit+"\n")
}
