package releasefile_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/scripts/releasefile"
)

func release() releasefile.Release {
	r := releasefile.Release{Commit: strings.Repeat("0f", 20), Images: map[string]releasefile.Image{}}
	for i, program := range releasefile.Programs {
		digest := func(kind string) string { return "sha256:" + strings.Repeat(kind, 63) + string(rune('0'+i)) }
		r.Images[program] = releasefile.Image{
			Index:     "europe-west1-docker.pkg.dev/liftlog-images/liftlog/" + program + "@" + digest("a"),
			Platforms: map[string]string{releasefile.AMD64: digest("b"), releasefile.ARM64: digest("c")},
		}
	}
	return r
}

func TestAReleaseIsReadAsWritten(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "build", "release.json")
	want := release()
	require.NoError(t, releasefile.Write(path, want))
	require.NoError(t, releasefile.Write(path, want), "a second time over the first")
	got, err := releasefile.Read(path)
	require.NoError(t, err)
	assert.Equal(t, want, got)
	server := got.Images[releasefile.Server]
	assert.Equal(t, "europe-west1-docker.pkg.dev/liftlog-images/liftlog/server", server.Repository())
	assert.Equal(t, "sha256:"+strings.Repeat("a", 63)+"0", server.Digest())
	assert.Equal(t, server.Repository()+"@sha256:"+strings.Repeat("c", 63)+"0", server.Platform(releasefile.ARM64))
	assert.Empty(t, server.Platform("linux/386"))
	entries, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	assert.Len(t, entries, 1, "nothing else is left")
}

func TestAReleaseThatIsNotWholeIsRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "release.json")
	_, err := releasefile.Read(path)
	require.ErrorContains(t, err, "is not there: build the images first")
	require.NoError(t, releasefile.Write(path, release()))
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	// Whatever has been written of it, only the whole is read.
	for n := range len(whole) - 2 {
		_, err := releasefile.Parse(whole[:n])
		require.Error(t, err, n)
	}
	for name, c := range map[string]struct{ old, new, want string }{
		"no file":         {string(whole), " \n", "the file is empty"},
		"no release":      {string(whole), "[]", "the file is no release"},
		"nothing":         {string(whole), "{}", "the commit is not one in full, server has no image, chat has no image"},
		"a tag":           {"server@sha256:" + strings.Repeat("a", 63) + "0", "server:latest", "server is not given by digest"},
		"another program": {"liftlog/server@", "liftlog/chat@", "server has the image of another program's repository, chat"},
		"a short commit":  {strings.Repeat("0f", 20), "0f0f0f0", "the commit is not one in full"},
		"no platform":     {"linux/amd64", "linux/riscv64", "which Cloud Run needs"},
		"a short digest":  {"sha256:" + strings.Repeat("c", 63) + "0", "sha256:c", "server has no digest for linux/arm64"},
		"the wrong digest": {
			"sha256:" + strings.Repeat("b", 63) + "0", "sha256:" + strings.Repeat("a", 63) + "0", "server has linux/amd64's digest for that of its index",
		},
		"another program beside": {`"chat":`, `"gossip":`, `"gossip" is no program`},
		"an unknown member":      {`"commit":`, `"tag": "v1", "commit":`, "tag"},
	} {
		require.Contains(t, string(whole), c.old, name)
		require.NoError(t, os.WriteFile(path, []byte(strings.Replace(string(whole), c.old, c.new, 1)), 0o600), name)
		_, err := releasefile.Read(path)
		require.ErrorContains(t, err, c.want, name)
		require.ErrorContains(t, err, "build the images again", name)
	}
	r := release()
	delete(r.Images, "chat")
	require.ErrorContains(t, releasefile.Write(filepath.Join(t.TempDir(), "release.json"), r), "chat has no image")
}
