package functions

import (
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/shared/config"
)

func TestTheReadmeListsTheConfiguration(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	for _, v := range config.Describe(ConfigFor(Manifest()...)) {
		row := fmt.Sprintf("| `%s` | %s", v.Name, v.Doc)
		if v.Default != "" {
			row += fmt.Sprintf(" (default `%s`)", v.Default)
		}
		assert.Contains(t, string(readme), row+" |\n")
	}
}
