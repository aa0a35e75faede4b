package gcloudtest_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/scripts/gcloudtest"
)

// inline is code within a line.
var inline = regexp.MustCompile("`(gcloud [^`]+)`")

// end is where a command ends in a line of several.
var end = regexp.MustCompile(` (\||&&|#) `)

// examples stand for what a reader has to fill in, where the parser looks at it.
var examples = strings.NewReplacer("$PROJECT", "liftlog-dev", "PROJECT", "liftlog-dev", "$IMAGES", "liftlog-images", "=OLD", "=liftlog-old",
	"$BILLING", "000000-000000-000000", "BILLING", "000000-000000-000000", "$REGION", "europe-west1", "REGION", "europe-west1", "$BUCKET", "liftlog-terraform")

// TestDocumentsHaveCommandsThatAre holds every command of gcloud in the documents to the tool's own parser.
func TestDocumentsHaveCommandsThatAre(t *testing.T) {
	t.Parallel()
	var lines []string
	for _, pattern := range []string{"../../terraform/*.md", "../../terraform/runbooks/*.md"} {
		pages, err := filepath.Glob(pattern)
		require.NoError(t, err)
		require.NotEmpty(t, pages)
		for _, page := range pages {
			content, err := os.ReadFile(page)
			require.NoError(t, err)
			text := strings.ReplaceAll(string(content), "\n   gcloud", "\ngcloud")
			for line := range strings.Lines(text) {
				if strings.HasPrefix(strings.TrimSpace(line), "gcloud ") {
					lines = append(lines, strings.TrimSpace(line))
				}
			}
			for _, match := range inline.FindAllStringSubmatch(strings.Join(strings.Fields(text), " "), -1) {
				lines = append(lines, match[1])
			}
		}
	}
	for i, line := range lines {
		lines[i] = examples.Replace(strings.TrimRight(end.Split(line, 2)[0], " \\"))
	}
	require.Greater(t, len(lines), 20)
	gcloudtest.Lint(t, lines)
}
