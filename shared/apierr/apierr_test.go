package apierr_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/liftlog/liftlog-api/shared/apierr"
)

func TestKindSurvivesWrapping(t *testing.T) {
	t.Parallel()
	cause := errors.New("cause")
	err := fmt.Errorf("act: %w", &apierr.Error{Kind: apierr.NotFound, Detail: "gone", Err: cause})
	assert.Equal(t, apierr.NotFound, apierr.KindOf(err))
	assert.ErrorIs(t, err, cause)
	assert.Equal(t, apierr.Internal, apierr.KindOf(cause))
	assert.Equal(t, apierr.Internal, apierr.KindOf(nil))
}

func TestErrorTextNamesFieldsAndCause(t *testing.T) {
	t.Parallel()
	err := &apierr.Error{Kind: apierr.Invalid, Detail: "no", Fields: map[string][]string{"b": {"x"}, "a": {"y"}}, Err: errors.New("cause")}
	assert.Equal(t, "invalid: no (a, b): cause", err.Error())
	assert.Equal(t, "kind 99", apierr.Kind(99).String())
}

func TestBusyAsksToComeBack(t *testing.T) {
	t.Parallel()
	err := apierr.Busy("later", nil)
	assert.Equal(t, apierr.Unavailable, err.Kind)
	assert.WithinDuration(t, time.Now().Add(time.Second), err.RetryAt, 5*time.Second)
}

func TestFaults(t *testing.T) {
	t.Parallel()
	var faults apierr.Faults
	faults.Check(true, "a", "fine")
	assert.NoError(t, faults.Err())
	faults.Check(false, "a", "too long")
	faults.Check(false, "a", "too odd")
	faults.Check(false, "users[0].since", "missing")
	invalid, ok := errors.AsType[*apierr.Error](faults.Err())
	assert.True(t, ok)
	assert.Equal(t, map[string][]string{"a": {"too long", "too odd"}, "users[0].since": {"missing"}}, invalid.Fields)
	assert.Equal(t, apierr.Invalid, invalid.Kind)
}

func TestFewFaultsAreTold(t *testing.T) {
	t.Parallel()
	var faults apierr.Faults
	faults.Check(false, "chunks[7]", "too long")
	for i := range 1000 {
		path := fmt.Sprintf("users[%d].since", i)
		faults.Check(false, path, "missing")
		faults.Check(false, path, "odd")
	}
	faults.Check(false, "", "and more")
	assert.Len(t, faults, 1+10, "of 20 faults two each are one item's, and one has two items")
	assert.Equal(t, []string{"too long"}, faults["chunks[7]"])
	assert.Equal(t, []string{"missing", "odd"}, faults["users[0].since"])
	assert.Equal(t, []string{"missing"}, faults["users[9].since"])
	assert.NotContains(t, faults, "")
}
