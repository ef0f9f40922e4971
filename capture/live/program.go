//go:build cgo && (linux || darwin || freebsd || netbsd || openbsd)

package live

import (
	"golang.org/x/net/bpf"

	"kagami/capture/kernel"
)

// KernelLink returns what packets begin with as the kernel's filter sees them. Where
// libpcap puts a header of its own before them, that is not there yet.
func (s *Source) KernelLink() (link kernel.Link, ok bool) {
	switch s.link {
	case 1:
		return kernel.Ethernet, canAttach
	case 12, 101: // DLT_RAW, LINKTYPE_RAW
		return kernel.RawIP, canAttach
	case 113, linkSLL2:
		return kernel.Network, canAttach
	}
	return 0, false
}

// program makes and attaches the program.
func (s *Source) program(cfg Config) error {
	if cfg.Program == nil {
		return nil
	}
	err := ErrNoLink
	if link, ok := s.KernelLink(); ok {
		var program []bpf.RawInstruction
		if program, err = cfg.Program(link); err == nil {
			err = s.SetFilter(program)
		}
	}
	if err != nil {
		s.file.Close()
	}
	return err
}

// SetFilter has the kernel run another program from the next packet on. It is
// attached to the socket itself: libpcap would throw away what the buffer
// holds. So libpcap does not know it, and what the kernel took before passes. The error says
// what the kernel has against it; then the program before stays.
func (s *Source) SetFilter(program []bpf.RawInstruction) error {
	var failed error
	if err := s.conn.Control(func(fd uintptr) { failed = attach(int(fd), program) }); err != nil {
		return err
	}
	return failed
}
