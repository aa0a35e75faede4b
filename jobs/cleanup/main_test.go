package main

import (
	"bytes"
	"context"
	"flag"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/shared/postgres/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }

func TestCleanup(t *testing.T) {
	t.Parallel()
	environ := []string{"DATABASE_URL=" + pgtest.URL(t)}
	for _, args := range [][]string{nil, {"--dry-run"}} {
		var output bytes.Buffer
		require.NoError(t, run(t.Context(), args, environ, &output))
		assert.Equal(t, 5, bytes.Count(output.Bytes(), []byte("\n")))
		assert.Contains(t, output.String(), `"message":"clean-up ended","deleted":0`)
	}
	var output bytes.Buffer
	require.NoError(t, run(t.Context(), nil, append(environ, "CLEANUP_EVENT_GRACE=24h"), &output))
	assert.Contains(t, output.String(), `"purge":"events","deleted":0,"batches":1,"left":0,"grace":"24h0m0s"`)
	ctx, stop := context.WithCancel(t.Context())
	stop()
	require.Error(t, run(ctx, nil, environ, &bytes.Buffer{}))
}

func TestHelpAndFaults(t *testing.T) {
	t.Parallel()
	var output bytes.Buffer
	require.ErrorIs(t, run(t.Context(), []string{"--help"}, nil, &output), flag.ErrHelp)
	assert.Contains(t, output.String(), "-dry-run")
	require.ErrorContains(t, run(t.Context(), nil, nil, &output), "DATABASE_URL: is required")
}
