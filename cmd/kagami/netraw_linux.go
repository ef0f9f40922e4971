package main

import (
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// withNetRaw calls open with the capability NET_RAW in effect, if the process
// is permitted to have it: a binary with the file capability cap_net_raw+p is,
// and holds it in effect for no longer than it takes to open a socket. Where it
// is not, open is called all the same, and its error says what is missing.
func withNetRaw(open func() error) (err error) {
	runtime.LockOSThread() // capabilities are a thread's
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var was [2]unix.CapUserData
	if err := unix.Capget(&header, &was[0]); err != nil {
		runtime.UnlockOSThread()
		return open()
	}
	const bit = uint32(1) << unix.CAP_NET_RAW
	if was[0].Permitted&bit == 0 || was[0].Effective&bit != 0 {
		runtime.UnlockOSThread()
		return open()
	}
	raised := was
	raised[0].Effective |= bit
	if err := unix.Capset(&header, &raised[0]); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("raise the capability NET_RAW: %w", err)
	}
	err = open()
	if lowerErr := unix.Capset(&header, &was[0]); lowerErr != nil {
		// The thread stays locked, and so ends with its goroutine: no other one
		// runs on it with more rights than it should have.
		return errors.Join(err, fmt.Errorf("lower the capability NET_RAW: %w", lowerErr))
	}
	runtime.UnlockOSThread()
	return err
}
