package functions_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/functions"
	"github.com/liftlog/liftlog-api/shared/config"
)

func TestTheReadmeListsTheConfiguration(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	others := struct {
		Chat    config.Chat
		Cleanup config.Cleanup
		Logins  config.Logins
	}{}
	for _, v := range append(config.Describe(functions.ConfigFor(functions.Manifest()...)), config.Describe(&others)...) {
		row := fmt.Sprintf("| `%s` | %s", v.Name, v.Doc)
		if v.Default != "" {
			row += fmt.Sprintf(" (default `%s`)", v.Default)
		}
		if !strings.Contains(string(readme), row+" |\n") {
			t.Errorf("the README lacks %s |", row)
		}
	}
}
