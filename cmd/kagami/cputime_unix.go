//go:build unix

package main

import (
	"syscall"
	"time"
)

// processCPU is the CPU time that this process has used, in user and kernel mode.
func processCPU() (time.Duration, error) {
	var u syscall.Rusage
	err := syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), err
}
