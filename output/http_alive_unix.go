//go:build unix

package output

import "syscall"

// peek looks whether there is anything to read on a socket that should be
// silent. It returns false if there is, be it the end: the peer has closed it,
// or says something nobody asked for.
func peek(raw syscall.RawConn) bool {
	silent := true
	err := raw.Read(func(fd uintptr) bool {
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK)
		silent = err == syscall.EAGAIN || err == syscall.EWOULDBLOCK || err == syscall.EINTR
		return true
	})
	return err == nil && silent
}
