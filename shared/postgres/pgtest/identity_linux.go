package pgtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// identity is the user that PostgreSQL runs as. It refuses to run as root.
type identity struct {
	uid, gid  int
	namespace bool // root appears as that user, in a user namespace, and PostgreSQL's files still belong to root
	other     bool // PostgreSQL runs as that user, who owns its files
}

// account chooses the user: this process's own, or another one when that is root.
func account(binaries, dir string) (identity, error) {
	if os.Geteuid() != 0 {
		return identity{}, nil
	}
	as, err := unprivileged()
	if err != nil {
		return identity{}, err
	}
	as.namespace = true
	if as.works(filepath.Join(binaries, "postgres"), "--version") {
		return as, nil
	}
	as.namespace, as.other = false, true
	if err := as.own(dir); err != nil {
		return identity{}, err
	}
	if !as.works("/bin/sh", "-c", "cd \"$0\"", dir) {
		return identity{}, fmt.Errorf("PostgreSQL does not run as root, and its folder %s cannot be entered by another user: "+
			"use --ephemeral, or run as an ordinary user", dir)
	}
	return as, nil
}

// unprivileged finds a user that is not root. PostgreSQL needs one with a name.
func unprivileged() (identity, error) {
	for _, name := range []string{"postgres", "nobody"} {
		found, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.Atoi(found.Uid)
		gid, gidErr := strconv.Atoi(found.Gid)
		if uidErr == nil && gidErr == nil && uid != 0 {
			return identity{uid: uid, gid: gid}, nil
		}
	}
	return identity{}, errors.New("PostgreSQL does not run as root, and this machine has no user postgres or nobody: run as an ordinary user")
}

func (i identity) works(program string, arguments ...string) bool {
	cmd := exec.Command(program, arguments...) //nolint:gosec,noctx // a program of ours that ends at once
	cmd.SysProcAttr = i.attributes()
	return cmd.Run() == nil
}

// own gives the folder to the user that PostgreSQL runs as.
func (i identity) own(dir string) error {
	if !i.other {
		return nil
	}
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, i.uid, i.gid) //nolint:gosec // the folder is ours alone
	})
	if err != nil {
		return fmt.Errorf("give PostgreSQL its folder: %w", err)
	}
	return nil
}

// attributes make a child that a Ctrl-C in the terminal does not reach, and that ends when this process does.
func (i identity) attributes() *syscall.SysProcAttr {
	attributes := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGINT}
	switch {
	case i.namespace:
		attributes.Cloneflags = syscall.CLONE_NEWUSER
		attributes.UidMappings = []syscall.SysProcIDMap{{ContainerID: i.uid, HostID: 0, Size: 1}}
		attributes.GidMappings = []syscall.SysProcIDMap{{ContainerID: i.gid, HostID: 0, Size: 1}}
	case i.other:
		attributes.Credential = &syscall.Credential{Uid: uint32(i.uid), Gid: uint32(i.gid), NoSetGroups: false} //nolint:gosec // ids are small
	}
	return attributes
}
