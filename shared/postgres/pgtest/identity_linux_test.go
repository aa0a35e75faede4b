package pgtest

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func needRoot(t *testing.T) identity {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can become somebody else")
	}
	needServer(t)
	nobody, err := unprivileged()
	require.NoError(t, err)
	return nobody
}

// publicFolder makes a folder that any user can reach.
func publicFolder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "pgtest-") //nolint:usetesting // the tests' own folder may be out of others' reach
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(dir)) })
	return dir
}

func TestAnOrdinaryUserStartsAServer(t *testing.T) {
	t.Parallel()
	nobody := needRoot(t)
	dir := publicFolder(t)
	own, err := os.Executable()
	require.NoError(t, err)
	content, err := os.ReadFile(own)
	require.NoError(t, err)
	program := filepath.Join(dir, "program") // the original is where nobody else can reach it
	require.NoError(t, os.WriteFile(program, content, 0o755))
	require.NoError(t, os.Chown(dir, nobody.uid, nobody.gid))
	_, address := helper(t, program, filepath.Join(dir, "postgres"), &syscall.SysProcAttr{
		Credential: &syscall.Credential{Uid: uint32(nobody.uid), Gid: uint32(nobody.gid)}, Pdeathsig: syscall.SIGKILL,
	})
	require.True(t, strings.HasPrefix(address, "postgres://"), address)
	assert.Equal(t, "1", query(t, address, `SELECT '1'`))
}

func TestRootWithoutNamespacesBecomesAnotherUser(t *testing.T) {
	t.Parallel()
	as := needRoot(t)
	binaries, err := find(os.Getenv("PATH"), debianBinaries, fetchEmbedded)
	require.NoError(t, err)
	as.other = true
	f := folder{path: publicFolder(t), binaries: binaries, ephemeral: true, as: as}
	_, err = f.initialize(t.Context())
	require.NoError(t, err)
	info, err := os.Stat(filepath.Join(f.data(), "PG_VERSION"))
	require.NoError(t, err)
	stat, ok := info.Sys().(*syscall.Stat_t)
	require.True(t, ok)
	assert.Equal(t, as.uid, int(stat.Uid))
}

func TestRootWorksInAFolderThatIsItsOwn(t *testing.T) {
	t.Parallel()
	needRoot(t)
	dir := filepath.Join(t.TempDir(), "home")
	require.NoError(t, os.Mkdir(dir, 0o700))
	server := start(t, filepath.Join(dir, "postgres"))
	info, err := os.Stat(filepath.Join(dir, "postgres", "data", "PG_VERSION"))
	require.NoError(t, err)
	stat, ok := info.Sys().(*syscall.Stat_t)
	require.True(t, ok)
	assert.Zero(t, stat.Uid, "the files are root's")
	assert.Equal(t, "1", query(t, server.URL("postgres"), `SELECT '1'`))
}
