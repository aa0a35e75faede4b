package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/scripts/gcloud"
	"github.com/liftlog/liftlog-api/scripts/releasefile"
)

var today = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func TestExceptionsEnd(t *testing.T) {
	t.Parallel()
	ids, err := readExceptions([]byte(`[{"id":"CVE-1","until":"2026-11-01","why":"no way in"},{"id":"CVE-2","until":"2027-01-31","why":"x"}]`), today)
	require.NoError(t, err)
	assert.Equal(t, []string{"CVE-1", "CVE-2"}, ids)
	for text, want := range map[string]string{
		`[{"id":"CVE-1","until":"2026-10-31","why":"x"}]`: "has ended on 2026-10-31",
		`[{"id":"CVE-1","until":"2027-03-01","why":"x"}]`: "three months are the longest",
		`[{"id":"CVE-1","until":"2026-11-30"}]`:           "and a reason",
		`[{"id":"CVE-1","why":"x"}]`:                      "a day until which",
		`[{"id":"CVE-1","till":"2026-11-30"}]`:            "unknown field",
		``:                                                "read the exceptions",
	} {
		_, err := readExceptions([]byte(text), today)
		require.ErrorContains(t, err, want)
	}
	_, err = readExceptions(listed, time.Now())
	require.NoError(t, err, "the list itself")
}

func TestOnlyWhatIsCalledCounts(t *testing.T) {
	t.Parallel()
	found, err := readSource([]byte(`{"config":{"protocol_version":"v1.0.0"}}
		{"osv":{"id":"GO-1"}}
		{"finding":{"osv":"GO-1","trace":[{"module":"example.com/m"}]}}
		{"finding":{"osv":"GO-2","trace":[{"module":"example.com/m","function":"F"}]}}
		{"finding":{"osv":"GO-2","trace":[{"module":"example.com/m","function":"G"}]}}`))
	require.NoError(t, err)
	assert.Equal(t, []finding{{"GO-2", "the source, by example.com/m"}}, found)
	for _, said := range []string{"", `{"config":`} {
		_, err := readSource([]byte(said))
		require.Error(t, err)
	}
}

func TestHighAndCriticalOnesAreRefused(t *testing.T) {
	t.Parallel()
	found, err := readImage([]byte(`[
		{"vulnerability":{"effectiveSeverity":"CRITICAL","shortDescription":"CVE-1"}},
		{"vulnerability":{"effectiveSeverity":"HIGH","shortDescription":"CVE-2"}},
		{"vulnerability":{"effectiveSeverity":"MEDIUM","shortDescription":"CVE-3"}},
		{"noteName":"projects/p/notes/CVE-4","vulnerability":{"effectiveSeverity":"SEVERITY_UNSPECIFIED"}}]`), "image")
	require.NoError(t, err)
	assert.Equal(t, []finding{{"CVE-1", "image"}, {"CVE-2", "image"}, {"CVE-4", "image"}}, found)
	for _, said := range []string{"", "{}", "[{}]"} {
		_, err := readImage([]byte(said), "image")
		require.Error(t, err)
	}
	var output bytes.Buffer
	require.NoError(t, judge(found, []string{"CVE-1", "CVE-2", "CVE-4"}, &output))
	require.ErrorContains(t, judge(found, []string{"CVE-1"}, &output), "2 vulnerabilities are refused")
	assert.Contains(t, output.String(), "REFUSED   CVE-2 in image\n")
}

// standIn is a gcloud that knows one image and its scan.
const standIn = `#!/bin/sh
set -eu
case "$*" in
*"docker images scan europe-west1-docker.pkg.dev/p/r/chat@sha256:"*" --remote --location=europe "*) echo projects/p/locations/europe/scans/1 ;;
*"docker images list-vulnerabilities projects/p/locations/europe/scans/1 "*) echo '[{"vulnerability":{"effectiveSeverity":"HIGH","shortDescription":"CVE-9"}}]' ;;
*) echo "NOT_FOUND: $*" >&2; exit 1 ;;
esac
`

func TestAnImageIsScannedWhereItIs(t *testing.T) {
	bin := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(bin, "gcloud"), []byte(standIn), 0o700))
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	cli := gcloud.CLI{Project: "p"}
	reference := "europe-west1-docker.pkg.dev/p/r/chat@sha256:" + strings.Repeat("1", 64)
	found, err := scanImage(t.Context(), cli, reference)
	require.NoError(t, err)
	assert.Equal(t, []finding{{"CVE-9", reference}}, found)
	_, err = scanImage(t.Context(), cli, strings.Replace(reference, "chat", "other", 1))
	require.ErrorContains(t, err, "NOT_FOUND")
}

func TestWhatWouldBeScanned(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "release.json")
	release := releasefile.Release{Commit: strings.Repeat("c", 40), Images: map[string]releasefile.Image{}}
	for i, program := range releasefile.Programs {
		digest := func(digit string) string {
			return "sha256:" + strings.Repeat(digit, 60) + strings.Repeat(string(rune('0'+i)), 4)
		}
		release.Images[program] = releasefile.Image{
			Index:     "europe-west1-docker.pkg.dev/p/r/" + program + "@" + digest("a"),
			Platforms: map[string]string{releasefile.AMD64: digest("b"), releasefile.ARM64: digest("d")},
		}
	}
	require.NoError(t, releasefile.Write(file, release))
	var output bytes.Buffer
	require.NoError(t, run(t.Context(), []string{"--dry-run", "--release", file}, "../..", &output))
	assert.Equal(t, 9, strings.Count(output.String(), "would scan"), "the source and both platforms of each, and no index")
	require.NoError(t, os.WriteFile(file, []byte(`{"commit":`), 0o600))
	require.ErrorContains(t, run(t.Context(), []string{"--dry-run", "--release", file}, "../..", &output), "build the images again")
}
