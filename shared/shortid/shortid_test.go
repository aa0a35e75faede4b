package shortid_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/shared/shortid"
)

func TestIDsHaveTheirForm(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 1000 {
		id := shortid.New()
		require.Regexp(t, `^[a-z][a-z0-9]{11}$`, id)
		seen[id] = true
	}
	assert.Len(t, seen, 1000)
}
