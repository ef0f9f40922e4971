package journal

import (
	"os"

	"golang.org/x/sys/unix"
)

// syncData puts a file's bytes on disk, and of what is known about it only its length.
func syncData(f *os.File) error {
	for {
		err := unix.Fdatasync(int(f.Fd()))
		if err != unix.EINTR {
			return os.NewSyscallError("fdatasync", err)
		}
	}
}
