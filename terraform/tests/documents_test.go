package tests

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	link    = regexp.MustCompile(`\]\(([^)#:]*)(#[^)]*)?\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	noWord  = regexp.MustCompile(`[^a-z0-9 -]`)
)

// anchors are those that a page's headings have where it is read.
func anchors(page string) (all []string) {
	for _, match := range heading.FindAllStringSubmatch(page, -1) {
		all = append(all, "#"+strings.ReplaceAll(noWord.ReplaceAllString(strings.ToLower(match[1]), ""), " ", "-"))
	}
	return all
}

// TestTheRunbookLeadsToEveryAlertsPage needs no Terraform either.
func TestTheRunbookLeadsToEveryAlertsPage(t *testing.T) {
	t.Parallel()
	runbook, err := os.ReadFile(root + "/terraform/runbook.md")
	require.NoError(t, err)
	pages, err := filepath.Glob(root + "/terraform/runbooks/*.md")
	require.NoError(t, err)
	require.NotEmpty(t, pages)
	for _, page := range pages {
		assert.Contains(t, string(runbook), "](runbooks/"+filepath.Base(page)+")")
	}
}

func TestLinksOfTheDocumentsLeadSomewhere(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"README.md", "runbook.md", "recovery.md", "costs.md"} {
		page, err := os.ReadFile(filepath.Join(root, "terraform", name))
		require.NoError(t, err)
		for _, match := range link.FindAllStringSubmatch(string(page), -1) {
			target := page
			if match[1] != "" {
				target, err = os.ReadFile(filepath.Join(root, "terraform", match[1]))
				require.NoError(t, err, "%s: %s", name, match[0])
			}
			if match[2] != "" {
				assert.Contains(t, anchors(string(target)), match[2], "%s: %s", name, match[0])
			}
		}
	}
}
