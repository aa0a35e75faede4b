package pgtest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"
)

// debianBinaries is where Debian puts the servers, which it keeps off PATH.
const debianBinaries = "/usr/lib/postgresql/*/bin"

// Binaries returns the folder of PostgreSQL's programs that [Start] uses, pg_dump and pg_restore among them where it has been
// installed rather than downloaded.
func Binaries() (string, error) { return find(os.Getenv("PATH"), debianBinaries, fetchEmbedded) }

// find returns the folder of PostgreSQL's server programs: on the path, else the newest among those that the pattern
// matches, else what fetch brings.
func find(path, pattern string, fetch func() (string, error)) (string, error) {
	for _, dir := range filepath.SplitList(path) {
		if hasServer(dir) {
			// A link on the path is followed, since PostgreSQL looks for its other files beside the program.
			program, err := filepath.EvalSymlinks(filepath.Join(dir, "postgres"))
			if err == nil && hasServer(filepath.Dir(program)) {
				return filepath.Dir(program), nil
			}
		}
	}
	installed, _ := filepath.Glob(pattern) // the pattern is well-formed
	version := func(dir string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(dir)))
		return n
	}
	slices.SortFunc(installed, func(a, b string) int { return version(b) - version(a) })
	for _, dir := range installed {
		if hasServer(dir) {
			return dir, nil
		}
	}
	dir, err := fetch()
	if err != nil {
		return "", fmt.Errorf("no PostgreSQL server is on this machine, and none could be downloaded: "+
			"install one (apt-get install postgresql, brew install postgresql) or give the URL of one: %w", err)
	}
	return dir, nil
}

func hasServer(dir string) bool {
	for _, program := range []string{"postgres", "initdb"} {
		if info, err := os.Stat(filepath.Join(dir, program)); err != nil || info.Mode()&0o111 == 0 { //nolint:gosec // PATH is the user's own
			return false
		}
	}
	return true
}

// repository is where the library finds PostgreSQL.
const repository = "https://repo1.maven.org/maven2"

// fetchEmbedded downloads PostgreSQL into the user's cache, once.
func fetchEmbedded() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("download PostgreSQL: %w", err)
	}
	return download(filepath.Join(cache, "liftlog-postgres"), repository)
}

// download brings PostgreSQL into the folder home. The library can only download when it starts a server, which root
// may not do: so what counts is whether the programs are there afterwards.
func download(home, repository string) (string, error) {
	binaries := filepath.Join(home, "server", "bin")
	if hasServer(binaries) {
		return binaries, nil
	}
	scratch, err := os.MkdirTemp("", "liftlog-postgres-")
	if err != nil {
		return "", fmt.Errorf("download PostgreSQL: %w", err)
	}
	defer func() { _ = os.RemoveAll(scratch) }()
	server := embeddedpostgres.NewDatabase(embeddedpostgres.DefaultConfig().Version(embeddedpostgres.V17).
		BinaryRepositoryURL(repository).CachePath(home).BinariesPath(filepath.Dir(binaries)).RuntimePath(scratch).Logger(io.Discard))
	err = server.Start()
	if err == nil {
		err = server.Stop()
	}
	if hasServer(binaries) {
		return binaries, nil
	}
	return "", errors.Join(errors.New("download PostgreSQL"), err)
}
