package tests

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A breakage is a file of breaks/: what is broken and why it matters, the one test that has to notice, and a line of a file
// with the line in its place.
type breakage struct{ why, test, file, from, to string }

func readBreakage(path string) (b breakage, err error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return b, err
	}
	for line := range strings.Lines(string(content)) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case strings.HasPrefix(line, "# "):
			b.why += line[2:] + " "
		case strings.HasPrefix(line, "test: "):
			b.test = line[6:]
		case strings.HasPrefix(line, "file: "):
			b.file = line[6:]
		case strings.HasPrefix(line, "-"):
			b.from = strings.TrimSpace(line[1:])
		case strings.HasPrefix(line, "+"):
			b.to = strings.TrimSpace(line[1:])
		default:
			return b, fmt.Errorf("%s: %q is not understood", path, line)
		}
	}
	if b.why == "" || b.test == "" || b.file == "" || b.from == "" || b.to == b.from {
		return b, fmt.Errorf("%s: something is missing", path)
	}
	return b, nil
}

// apply changes the one line of the workspace's copy.
func (b breakage) apply(w workspace) error {
	path := filepath.Join(w.dir, b.file)
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	lines, found := strings.Split(string(content), "\n"), 0
	for i, line := range lines {
		if strings.TrimSpace(line) == b.from {
			lines[i] = b.to
			found++
		}
	}
	if found != 1 {
		return fmt.Errorf("%s has %d lines %q", b.file, found, b.from)
	}
	return os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o600)
}

// TestBreaks breaks one line at a time, and requires that the test that is for it notices.
func TestBreaks(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("breaks/*")
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(files), 15)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			b, err := readBreakage(file)
			require.NoError(t, err)
			w := newWorkspace(t)
			require.NoError(t, b.apply(w))
			var failure error
			switch b.test {
			case "routes":
				failure = checkRoutes(t.Context(), w)
			case "services":
				failure = checkServices(t.Context(), w)
			case "environments":
				failure = checkEnvironments(t.Context(), w)
			case "alerts":
				failure = checkAlerts(t.Context(), w, promtool(t))
			case "refusals", "parts":
				_, failure = w.test(t.Context(), b.test)
			default:
				t.Fatalf("there is no test %s", b.test)
			}
			require.Error(t, failure, "nobody notices: %s", b.why)
			require.False(t, isBroken(failure), "it was noticed because nothing works any more: %v", failure)
			t.Logf("%s\nnoticed: %.600s", b.why, failure)
		})
	}
}

// isBroken tells a break that a test has noticed from one that leaves no valid configuration.
func isBroken(failure error) bool {
	if !errors.Is(failure, errFailed) {
		return false
	}
	text := failure.Error()
	return !strings.Contains(text, "Test assertion failed") && !strings.Contains(text, "Missing expected failure") &&
		!strings.Contains(text, "Resource precondition failed")
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	_, err := newWorkspace(t).test(t.Context(), "refusals")
	require.NoError(t, err)
}

func TestParts(t *testing.T) {
	t.Parallel()
	_, err := newWorkspace(t).test(t.Context(), "parts")
	require.NoError(t, err)
}
