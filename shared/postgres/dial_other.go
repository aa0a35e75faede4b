//go:build !linux

package postgres

import "syscall"

// setUserTimeout does nothing: other systems than the cloud's have no such option, or another one.
func setUserTimeout(_, _ string, _ syscall.RawConn) error { return nil }
