package capture

import (
	"fmt"
	"net"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// datagrams reads a UDP socket, up to datagramBatch datagrams in one call. The
// memory for them is 4 MiB, of which small ones touch little.
type datagrams struct {
	conn  syscall.RawConn
	read  func(fd uintptr) bool // d.receive, made once so that a call does not allocate
	n     int                   // datagrams read
	errno syscall.Errno

	heads  [datagramBatch]unix.Mmsghdr
	parts  [datagramBatch]unix.Iovec
	stamps [datagramBatch]stamp
	buffer []byte
	now    time.Time // when they were read
}

// A stamp is the control message that says when a datagram arrived (SO_TIMESTAMPNS).
type stamp struct {
	head unix.Cmsghdr
	time unix.Timespec
	_    [16]byte
}

// newDatagrams returns a reader of c, to which it gives a buffer of that size. The
// warning says what could not be had.
func newDatagrams(c *net.UDPConn, size int) (d *datagrams, warning string, err error) {
	conn, err := c.SyscallConn()
	if err == nil {
		err = conn.Control(func(fd uintptr) { warning = setDatagramOptions(int(fd), size) })
	}
	if err != nil {
		return nil, "", err
	}
	d = &datagrams{conn: conn, buffer: make([]byte, datagramBatch*datagramSize)}
	d.read = d.receive
	for i := range d.heads {
		d.parts[i].Base = &d.buffer[i*datagramSize]
		d.parts[i].SetLen(datagramSize)
		h := &d.heads[i].Hdr
		h.Iov = &d.parts[i]
		h.SetIovlen(1)
		h.Control = (*byte)(unsafe.Pointer(&d.stamps[i]))
	}
	return d, warning, nil
}

// setDatagramOptions sets the options of a socket, and returns what could not be had.
func setDatagramOptions(s, size int) (warning string) {
	// Without it packets get the time at which they are read.
	unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
	// VXLAN over IPv6 may do without a checksum (RFC 6935), which is else refused.
	unix.SetsockoptInt(s, unix.IPPROTO_UDP, unix.UDP_NO_CHECK6_RX, 1)
	if unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, size) == nil {
		return ""
	}
	unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_RCVBUF, size)
	got, err := unix.GetsockoptInt(s, unix.SOL_SOCKET, unix.SO_RCVBUF)
	if got /= 2; err != nil || got >= size { // it says twice as much, see socket(7)
		return ""
	}
	return fmt.Sprintf("the kernel's buffer has %d KiB instead of %d: sudo sysctl net.core.rmem_max=%d allows more", got>>10, size>>10, size)
}

// wait waits for datagrams and reads them. After a deadline it returns
// os.ErrDeadlineExceeded, whether there are any or not.
func (d *datagrams) wait() (int, error) {
	d.n, d.errno = 0, 0
	err := d.conn.Read(d.read)
	return d.result(err)
}

// poll reads the datagrams that are there, if any.
func (d *datagrams) poll() (int, error) {
	d.n, d.errno = 0, 0
	err := d.conn.Control(func(fd uintptr) { d.receive(fd) })
	return d.result(err)
}

func (d *datagrams) result(err error) (int, error) {
	if err == nil && d.errno != 0 {
		err = os.NewSyscallError("recvmmsg", d.errno)
	}
	return d.n, err
}

// receive reads the datagrams that are there, and reports whether it need not be
// tried again.
func (d *datagrams) receive(fd uintptr) (done bool) {
	for i := range d.heads {
		d.heads[i].Hdr.SetControllen(int(unsafe.Sizeof(stamp{})))
	}
	for {
		// MSG_TRUNC: the length is that of the datagram, also where it is cut.
		n, _, errno := syscall.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&d.heads[0])), datagramBatch,
			unix.MSG_DONTWAIT|unix.MSG_TRUNC, 0, 0)
		switch errno {
		case 0:
			d.n, d.now = int(n), time.Now()
			return true
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return false
		}
		d.errno = errno
		return true
	}
}

// datagram returns one of those that were read last, its length before it was
// cut, and when it arrived.
func (d *datagrams) datagram(i int) (b []byte, wire int, at time.Time) {
	wire, at = int(d.heads[i].Len), d.now
	s := &d.stamps[i]
	if int(d.heads[i].Hdr.Controllen) >= int(unsafe.Offsetof(s.time)+unsafe.Sizeof(s.time)) &&
		s.head.Level == unix.SOL_SOCKET && s.head.Type == unix.SCM_TIMESTAMPNS {
		at = time.Unix(s.time.Unix())
	}
	n := min(wire, datagramSize)
	return d.buffer[i*datagramSize:][:n:n], wire, at
}

// dropped returns how many datagrams the kernel had for the socket and threw
// away, modulo 2^32.
func (d *datagrams) dropped() (uint32, error) {
	info, err := d.memory()
	return info[unix.SK_MEMINFO_DROPS], err
}

// waiting returns how many datagrams there are to read, at most.
func (d *datagrams) waiting() int {
	const least = 512 // bytes that a datagram takes; the structures around it are larger
	info, err := d.memory()
	if err != nil {
		return manyDatagrams
	}
	return int(info[unix.SK_MEMINFO_RMEM_ALLOC]) / least
}

// memory asks for the socket's SO_MEMINFO.
func (d *datagrams) memory() (info [unix.SK_MEMINFO_DROPS + 1]uint32, err error) {
	var errno syscall.Errno
	err = d.conn.Control(func(fd uintptr) {
		size := uint32(unsafe.Sizeof(info))
		_, _, errno = syscall.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_MEMINFO,
			uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	})
	if err == nil && errno != 0 {
		err = os.NewSyscallError("getsockopt SO_MEMINFO", errno)
	}
	return info, err
}
