package kernel

import (
	"errors"
	"fmt"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Attach has the kernel run a program on what a socket receives, from the next packet on, in
// place of the one it has. The error says what the kernel has against it; then the one before stays.
func Attach(fd int, program []bpf.RawInstruction) error {
	if len(program) == 0 || len(program) > MaxInstructions {
		return fmt.Errorf("a filter of %d instructions: the kernel takes 1 to %d", len(program), MaxInstructions)
	}
	filter := make([]unix.SockFilter, len(program))
	for i, in := range program {
		filter[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
	switch {
	case errors.Is(err, unix.ENOMEM):
		return fmt.Errorf("the kernel does not take the filter: %w: %d instructions need more than net.core.optmem_max allows; raise that, or name fewer ports", err, len(program))
	case err != nil:
		return fmt.Errorf("the kernel does not take the filter: %w", err)
	}
	return nil
}
