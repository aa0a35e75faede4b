package apierr_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/liftlog/liftlog-api/shared/apierr"
)

func TestTraced(t *testing.T) {
	t.Parallel()
	require.NoError(t, apierr.Traced(nil))
	cause := errors.New("cause")
	assert.Empty(t, apierr.StackOf(cause))
	first := apierr.Traced(cause)
	require.ErrorIs(t, first, cause)
	assert.Equal(t, "cause", first.Error())
	assert.Regexp(t, `^goroutine 1 \[running\]:\n.*/apierr_test\.TestTraced\(\.\.\.\)\n\t.*trace_test\.go:\d+\n`, apierr.StackOf(first))
	later := apierr.Traced(fmt.Errorf("later: %w", first))
	assert.Equal(t, apierr.StackOf(first), apierr.StackOf(later), "the first place counts")
	assert.Equal(t, apierr.Internal, apierr.KindOf(later))
}
