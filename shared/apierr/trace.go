package apierr

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
)

// traced is an error with the place where it came up.
type traced struct {
	err     error
	callers []uintptr
}

func (t *traced) Error() string { return t.err.Error() }
func (t *traced) Unwrap() error { return t.err }

// maxCallers is how deep a place is remembered.
const maxCallers = 32

// Traced remembers the caller, for the log of a failure that is ours. An error that remembers one already stays as it is, and so
// does nil.
func Traced(err error) error {
	if _, already := errors.AsType[*traced](err); already || err == nil {
		return err
	}
	callers := make([]uintptr, maxCallers)
	return &traced{err, callers[:runtime.Callers(2, callers)]}
}

// StackOf is the stack of the place that [Traced] remembered, as the runtime writes one, and empty if there is none.
func StackOf(err error) string {
	t, ok := errors.AsType[*traced](err)
	if !ok {
		return ""
	}
	var text strings.Builder
	text.WriteString("goroutine 1 [running]:\n")
	frames := runtime.CallersFrames(t.callers)
	for {
		frame, more := frames.Next()
		fmt.Fprintf(&text, "%s(...)\n\t%s:%d\n", frame.Function, frame.File, frame.Line)
		if !more {
			return text.String()
		}
	}
}
