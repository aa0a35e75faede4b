package logging

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// PanicMessage is the message of the log line about a panic, for the deferred function that has recovered its value. Of the
// value it tells no more than its type, unless it is the runtime's own, because it may hold anything. Error Reporting finds a Go
// panic by a message of a header line and the stack.
func PanicMessage(value any) string {
	said := fmt.Sprintf("%T", value)
	if fault, ok := value.(runtime.Error); ok {
		said = fault.Error()
	}
	return fmt.Sprintf("panic: %s\n\n%s", said, debug.Stack())
}
