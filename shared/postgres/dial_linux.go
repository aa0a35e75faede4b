package postgres

import (
	"errors"
	"fmt"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// setUserTimeout bounds how long the kernel goes on sending what nobody acknowledges; by itself that is a quarter of an hour.
// https://www.rfc-editor.org/rfc/rfc5482
func setUserTimeout(network, _ string, conn syscall.RawConn) (err error) {
	if !strings.HasPrefix(network, "tcp") {
		return nil
	}
	controlErr := conn.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(userTimeout.Milliseconds()))
	})
	if err := errors.Join(controlErr, err); err != nil {
		return fmt.Errorf("set the TCP user timeout: %w", err)
	}
	return nil
}
