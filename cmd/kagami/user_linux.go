package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/psx"
)

// A privileges is what the process gives up when everything is open. The zero value
// gives up nothing.
type privileges struct {
	to      identity
	wanted  bool // --user was given
	dropped bool
}

// newPrivileges finds out whether the process can become the user. Groups are given
// up right away.
func newPrivileges(name string) (*privileges, error) {
	if name == "" {
		return &privileges{}, nil
	}
	to, err := lookUpUser(name)
	switch {
	case err != nil:
		return nil, err
	case os.Geteuid() == to.uid && to.uid != 0:
		return &privileges{to: to, wanted: true}, nil
	case os.Geteuid() != 0:
		return nil, usagef("--user %s: only root can become another user: leave it out, or run it with sudo", name)
	case to.uid == 0:
		return nil, usagef("--user %s: this is root: name a user who is not", name)
	}
	if err := syscall.Setgroups(nil); err != nil {
		return nil, fmt.Errorf("--user %s: give up groups: %w: does root have the capabilities SETGID and SETUID here? "+
			"In a container without them start it as the user, with NET_RAW alone", name, err)
	}
	return &privileges{to: to, wanted: true}, nil
}

// as calls f as the user that the process is to become, so that what f makes belongs to that
// user, and what it may not do is known at once.
func (p *privileges) as(f func() error) error {
	if !p.wanted || p.dropped || os.Geteuid() != 0 {
		return f()
	}
	if err := errors.Join(syscall.Setegid(p.to.gid), syscall.Seteuid(p.to.uid)); err != nil {
		return errors.Join(fmt.Errorf("--user %s: %w", p.to.name, err), syscall.Seteuid(0), syscall.Setegid(0))
	}
	err := f()
	return errors.Join(err, syscall.Seteuid(0), syscall.Setegid(0))
}

// drop gives up, on every thread and for good, all but the right to capture: the process has the
// user's ids, no groups, and of the capabilities NET_RAW, if it had that: permitted, and
// effective only where withNetRaw raises it. No program that it might run gets more, and
// system calls that it never needs are refused.
func (p *privileges) drop() error {
	if !p.wanted {
		return nil
	}
	if os.Geteuid() == 0 {
		if err := p.becomeUser(); err != nil {
			return fmt.Errorf("--user %s: %w", p.to.name, err)
		}
	}
	p.dropped = true
	if err := limitCapabilities(); err != nil {
		return fmt.Errorf("--user %s: give up capabilities: %w", p.to.name, err)
	}
	if _, _, errno := psx.Syscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); errno != 0 {
		return fmt.Errorf("--user %s: no_new_privs: %w", p.to.name, errno)
	}
	if err := refuseCalls(); err != nil {
		return fmt.Errorf("--user %s: seccomp: %w", p.to.name, err)
	}
	return nil
}

func (p *privileges) becomeUser() error {
	// Without it capabilities would be gone with root. It is each thread's own.
	if _, _, errno := psx.Syscall6(unix.SYS_PRCTL, unix.PR_SET_KEEPCAPS, 1, 0, 0, 0, 0); errno != 0 {
		return fmt.Errorf("keep capabilities: %w", errno)
	}
	if err := syscall.Setresgid(p.to.gid, p.to.gid, p.to.gid); err != nil {
		return fmt.Errorf("become group %d: %w", p.to.gid, err)
	}
	if err := syscall.Setresuid(p.to.uid, p.to.uid, p.to.uid); err != nil {
		return fmt.Errorf("become user %d: %w", p.to.uid, err)
	}
	if _, _, errno := psx.Syscall6(unix.SYS_PRCTL, unix.PR_SET_KEEPCAPS, 0, 0, 0, 0, 0); errno != 0 {
		return fmt.Errorf("keep capabilities: %w", errno)
	}
	return nil
}

// limitCapabilities leaves NET_RAW permitted, if it is, and nothing else; on every thread.
func limitCapabilities() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var have, want [2]unix.CapUserData
	if err := unix.Capget(&header, &have[0]); err != nil {
		return err
	}
	want[0].Permitted = have[0].Permitted & (1 << unix.CAP_NET_RAW)
	_, _, errno := psx.Syscall3(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&want[0])), 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// checkWritable says if the user cannot write what the process is to write at its end.
func (p *privileges) checkWritable(flag, path string) error {
	if !p.wanted || path == "" {
		return nil
	}
	if err := unix.Access(filepath.Dir(path), unix.W_OK|unix.X_OK); err != nil {
		return fmt.Errorf("%s %s: the user %s cannot write there: %w: name another place, or give it to the user: sudo chown %s %s",
			flag, path, p.to.name, err, p.to.name, filepath.Dir(path))
	}
	return nil
}

// hint is what to say to whom runs everything as root; "" is nothing.
func (p *privileges) hint() string {
	if p.wanted || os.Geteuid() != 0 {
		return ""
	}
	return "this runs as root: with --user NAME it keeps the right to capture and nothing else; sudo setcap cap_net_raw+p FILE needs no root at all"
}
