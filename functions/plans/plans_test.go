package plans_test

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/functions"
	"github.com/liftlog/liftlog-api/functions/manifest"
	"github.com/liftlog/liftlog-api/functions/plans"
	"github.com/liftlog/liftlog-api/shared/postgres/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }

func TestNoStatementReadsMuchMoreThanItReturns(t *testing.T) {
	t.Parallel()
	all, err := plans.Explain(t.Context(), pgtest.URL(t), plans.Hundredfold.Part(50))
	require.NoError(t, err)
	explained := map[string]bool{}
	for _, p := range all {
		function, _, _ := strings.Cut(p.Scenario, ",")
		explained[function] = true
		assert.LessOrEqual(t, p.Blocks, p.Allowed(), "%s (generic: %t): blocks read for %d rows: %v: %s",
			p.Scenario, p.Generic, p.Rows, p.Scans, p.Statement)
	}
	for _, route := range functions.Manifest() {
		if route.Needs(manifest.DatabaseUser) {
			assert.True(t, explained[route.Function], "no statement of %s was explained", route.Function)
		}
	}
}
