package functions

import (
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestManifestAndTableAgree(t *testing.T) {
	t.Parallel()
	assert.ElementsMatch(t, Manifest().Functions(), slices.Collect(maps.Keys(endpoints)))
	for _, route := range Manifest() {
		endpoint := endpoints[route.Function](Deps{})
		assert.NotNil(t, endpoint.Request, route.Function)
	}
}
