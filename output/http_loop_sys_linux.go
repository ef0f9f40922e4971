package output

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The system calls of each exchange. None of them blocks, so the scheduler need
// not know: were it told, its monitor would take the processor away from a write
// that takes longer than 20 µs (it runs the receiving side of a local
// connection too), and stay awake for that.

func rawWrite(fd int, p []byte) (n int, err error) {
	return result(syscall.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p))))
}

func rawRead(fd int, p []byte) (n int, err error) {
	return result(syscall.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p))))
}

// rawDiscard has the kernel throw away up to len(p) bytes: with MSG_TRUNC they
// are not copied (tcp(7)).
func rawDiscard(fd int, p []byte) (n int, err error) {
	return result(syscall.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), unix.MSG_TRUNC, 0, 0))
}

// rawEvents returns the events that there are.
func rawEvents(fd uintptr, events []unix.EpollEvent) int {
	n, _ := result(syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, fd, uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)), 0, 0, 0))
	return max(n, 0)
}

func result(n, _ uintptr, errno syscall.Errno) (int, error) {
	if errno != 0 {
		return -1, errno
	}
	return int(n), nil
}
