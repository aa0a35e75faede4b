//go:build !linux

package pgtest

import (
	"errors"
	"os"
	"syscall"
)

// identity is the user that PostgreSQL runs as: here always this process's own.
type identity struct{}

func account(_, _ string) (identity, error) {
	if os.Geteuid() == 0 {
		return identity{}, errors.New("PostgreSQL does not run as root: run as an ordinary user")
	}
	return identity{}, nil
}

func (identity) own(string) error { return nil }

// attributes make a child that a Ctrl-C in the terminal does not reach.
func (identity) attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
