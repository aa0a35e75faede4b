package manifest_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/functions/manifest"
)

const valid = `{"function": "PutThing", "method": "PUT", "path": "/v2/thing", "summary": "Put it.", "auth": "none", "databases": ["user"],
	"memory": "256Mi", "cpu": "1", "concurrency": 8, "timeout_s": 15, "max_instances": 5, "pool": 4, "max_body": 100, "secrets": []}`

func TestParse(t *testing.T) {
	t.Parallel()
	m, err := manifest.Parse([]byte("[" + valid + "]"))
	require.NoError(t, err)
	route, ok := m.Find("PutThing")
	require.True(t, ok)
	assert.Equal(t, "/thing", route.V1Path())
	assert.EqualValues(t, 256<<20, route.MemoryBytes())
	assert.True(t, route.Needs(manifest.DatabaseUser))
	assert.False(t, route.Needs(manifest.DatabaseRateLimit))
	assert.Equal(t, []string{"PutThing"}, m.Functions())
	_, ok = m.Find("Nothing")
	assert.False(t, ok)
}

func TestParseReportsEveryFault(t *testing.T) {
	t.Parallel()
	_, err := manifest.Parse([]byte(`[` + valid + `, ` + valid + `, {"function": "x", "method": "PATCH", "path": "v2/ThingZ", "summary": "No sentence",
		"auth": "magic", "databases": ["other"], "memory": "3Gi", "cpu": "9", "concurrency": 0, "timeout_s": 0, "max_instances": 0, "pool": 0,
		"max_body": 5, "secrets": []}]`))
	require.Error(t, err)
	for _, fault := range []string{
		"route 1 (PutThing): is there twice", "route 2 (x): function is not a Go name", "method is unknown", "path has not the form",
		"summary is no sentence", "auth is unknown", "a database is unknown", "memory is not one", "cpu is not", "concurrency is out of range",
		"timeout_s is out of range", "max_instances is not positive", "pool and databases do not agree", "max_body and method do not agree",
	} {
		assert.ErrorContains(t, err, fault)
	}
	_, err = manifest.Parse([]byte(`[{"functoin": "x"}]`))
	assert.ErrorContains(t, err, "functoin")
}
