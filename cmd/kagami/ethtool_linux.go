package main

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// groOf asks whether generic receive offload is on at an interface
// (ETHTOOL_GGRO of SIOCETHTOOL, see linux/ethtool.h).
func groOf(fd int, name string) (on bool, err error) {
	const ethtoolGetGRO = 0x2b
	value := struct{ command, data uint32 }{command: ethtoolGetGRO}
	var request struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte // the rest of the union of struct ifreq
	}
	copy(request.name[:len(request.name)-1], name)
	request.data = unsafe.Pointer(&value)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request)))
	runtime.KeepAlive(&value)
	if errno != 0 {
		return false, errno
	}
	return value.data != 0, nil
}
