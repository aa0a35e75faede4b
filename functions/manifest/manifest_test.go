package manifest_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/functions/manifest"
	"github.com/liftlog/liftlog-api/shared/postgres/grants"
)

const valid = `{"function": "PutThing", "method": "PUT", "path": "/v2/thing", "summary": "Put it.", "auth": "none", "databases": ["user"],
	"memory": "256Mi", "cpu": "1", "concurrency": 8, "timeout_s": 60, "handler_timeout_s": 15, "max_instances": 5, "pool": 4, "max_body": 100, "secrets": [], "settings": []}`

func TestParse(t *testing.T) {
	t.Parallel()
	m, err := manifest.Parse([]byte("[" + valid + "]"))
	require.NoError(t, err)
	route, ok := m.Find("PutThing")
	require.True(t, ok)
	assert.Equal(t, "/thing", route.V1Path())
	assert.Equal(t, "put-thing", route.Service())
	assert.Equal(t, time.Minute, route.Timeout())
	assert.Equal(t, 15*time.Second, route.HandlerTimeout())
	assert.EqualValues(t, 256<<20, route.MemoryBytes())
	assert.InDelta(t, 0.8*256*(1<<20), route.MemoryLimit(), 10)
	assert.True(t, route.Needs(manifest.DatabaseUser))
	assert.False(t, route.Needs(manifest.DatabaseRateLimit))
	assert.Equal(t, []string{"PutThing"}, m.Functions())
	_, ok = m.Find("Nothing")
	assert.False(t, ok)
}

func TestParseReportsEveryFault(t *testing.T) {
	t.Parallel()
	_, err := manifest.Parse([]byte(`[` + valid + `, ` + valid + `, {"function": "x", "method": "PATCH", "path": "v2/ThingZ", "summary": "No sentence",
		"auth": "magic", "databases": ["other"], "memory": "3Gi", "cpu": "9", "concurrency": 0, "timeout_s": 0, "handler_timeout_s": 1, "max_instances": 11, "min_instances": 12, "pool": 0,
		"max_body": 5, "secrets": []}]`))
	require.Error(t, err)
	for _, fault := range []string{
		"route 1 (PutThing): is there twice", "route 2 (x): function is not a Go name", "method is unknown", "path is malformed",
		"summary is no sentence", "auth is unknown", "a database is unknown", "memory is not one", "cpu is not", "concurrency is out of range",
		"timeout_s is out of range", "handler_timeout_s is not from 1 to less", "max_instances is not from 1 to 10", "min_instances is not from 0", "pool and databases do not agree", "max_body and method do not agree",
	} {
		assert.ErrorContains(t, err, fault)
	}
	_, err = manifest.Parse([]byte(`[{"functoin": "x"}]`))
	assert.ErrorContains(t, err, "functoin")
}

func TestInstancesLeftOutAreTheMost(t *testing.T) {
	t.Parallel()
	m, err := manifest.Parse([]byte("[" + strings.Replace(valid, `"max_instances": 5, `, "", 1) + "]"))
	require.NoError(t, err)
	assert.Equal(t, 10, m[0].MaxInstances)
}

func TestALongNameIsRefused(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"PutAnythingOfAnybody":                "",
		"PutAnythingOfAnybodyEver":            "a name too long for its login",
		"P" + strings.Repeat("utAnything", 7): "is not a Go name",
	} {
		_, err := manifest.Parse([]byte("[" + strings.Replace(valid, "PutThing", name, 1) + "]"))
		if want == "" {
			require.NoError(t, err, name)
			continue
		}
		assert.ErrorContains(t, err, want, name)
	}
}

func TestPrograms(t *testing.T) {
	t.Parallel()
	groups := []grants.Group{grants.Owner}
	for _, right := range grants.Rights() {
		groups = append(groups, right.Group)
	}
	for _, p := range manifest.Programs() {
		assert.Equal(t, p, manifest.ProgramOf(p.Program))
		assert.InDelta(t, 0.8*float64(p.MemoryBytes()), p.MemoryLimit(), 10)
		assert.Positive(t, p.MemoryBytes())
		assert.Positive(t, p.Pool, p.Program)
		for _, d := range p.Databases {
			assert.Contains(t, []string{manifest.DatabaseUser, manifest.DatabaseRateLimit}, d, p.Program)
		}
		for _, group := range p.Groups {
			assert.Contains(t, groups, grants.Group(group), p.Program)
		}
		assert.DirExists(t, filepath.Join("..", "..", p.Package), p.Program)
		assert.NotEmpty(t, p.Image, p.Program)
		assert.True(t, p.Job || p.Schedule == "", "%s is a service, and nothing starts it by a schedule", p.Program)
	}
	assert.Panics(t, func() { manifest.ProgramOf("nobody") })
}
