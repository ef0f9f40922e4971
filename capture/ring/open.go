//go:build linux

package ring

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"kagami/capture/kernel"
)

// Open begins to capture. The packets it yields passed the filter, from the first on; it
// needs the permission to capture, which is root's or CAP_NET_RAW. An error says what can be done
// about it, and unwraps to fs.ErrPermission or fs.ErrNotExist where that is the reason.
func Open(cfg Config) (*Source, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Source{name: cfg.Interface, timeout: cfg.Timeout}
	s.poll = s.look
	if err := s.open(cfg); err != nil {
		return nil, fmt.Errorf("capture on %s: %w", cfg.Interface, err)
	}
	return s, nil
}

// open makes the socket, which is bound last: what came before the filter was attached
// would pass unfiltered.
func (s *Source) open(cfg Config) error {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return because{"permission denied: run it with sudo, or allow it for good: sudo setcap cap_net_raw+p FILE, FILE being the program's", fs.ErrPermission}
	case err != nil:
		return os.NewSyscallError("socket", err)
	}
	s.file = os.NewFile(uintptr(fd), s.name)
	for _, step := range []func(int, Config) error{s.device, s.filter, s.options, s.ring, s.bind} {
		if err = step(fd, cfg); err != nil {
			break
		}
	}
	if err == nil {
		if err = s.file.SetReadDeadline(time.Time{}); err == nil { // else nothing could wait for it
			s.conn, err = s.file.SyscallConn()
		}
	}
	if err != nil {
		s.unmap()
		s.file.Close()
	}
	return err
}

// device finds the interface.
func (s *Source) device(fd int, cfg Config) error {
	if cfg.Interface == Any {
		return nil
	}
	state, err := interfaceState(fd, s.name)
	switch {
	case err != nil:
		return because{"no such interface" + available(), fs.ErrNotExist}
	case state&unix.IFF_UP == 0:
		return errors.New("the interface is down: sudo ip link set " + s.name + " up")
	}
	s.loopback = state&unix.IFF_LOOPBACK != 0
	ifr, err := unix.NewIfreq(s.name)
	if err == nil {
		err = unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, ifr)
	}
	if err == nil {
		s.ifindex = int(ifr.Uint32())
	}
	return err
}

// interfaceState is the flags of an interface in the socket's network namespace.
func interfaceState(fd int, name string) (flags int, err error) {
	ifr, err := unix.NewIfreq(name)
	if err == nil {
		err = unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, ifr)
	}
	if err != nil {
		return 0, err
	}
	return int(ifr.Uint16()), nil
}

func (s *Source) filter(fd int, cfg Config) error {
	if len(cfg.Program) == 0 {
		return nil
	}
	return kernel.Attach(fd, cfg.Program)
}

// options sets what has to be set before packets come.
func (s *Source) options(fd int, cfg Config) error {
	if s.loopback {
		// There each packet comes twice, once on its way out and once on its way in.
		if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1); err != nil {
			return fmt.Errorf("leave out the second copy of each packet: %w", err)
		}
	}
	if !cfg.Promiscuous {
		return nil
	}
	if s.ifindex == 0 {
		s.warning = "promiscuous mode is not switched on: name an interface instead of any"
		return nil
	}
	err := unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP,
		&unix.PacketMreq{Ifindex: int32(s.ifindex), Type: unix.PACKET_MR_PROMISC})
	if err != nil {
		return fmt.Errorf("promiscuous mode: %w", err)
	}
	return nil
}

// ring makes the ring and maps it into memory.
func (s *Source) ring(fd int, cfg Config) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V3); err != nil {
		return fmt.Errorf("TPACKET_V3: %w", err)
	}
	const frame = 2 << 10 // a formality: the packets of a block lie one behind the other
	size, blocks := geometry(cfg.BufferSize)
	err := unix.SetsockoptTpacketReq3(fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &unix.TpacketReq3{
		Block_size:     uint32(size),
		Block_nr:       uint32(blocks),
		Frame_size:     frame,
		Frame_nr:       uint32(size / frame * blocks),
		Retire_blk_tov: uint32(cfg.Timeout.Milliseconds()),
	})
	if err != nil {
		return fmt.Errorf("a ring of %d blocks of %d bytes: %w", blocks, size, err)
	}
	memory, err := unix.Mmap(fd, 0, size*blocks, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map the ring of %d bytes: %w", size*blocks, err)
	}
	s.memory = memory
	s.blocks = make([][]byte, blocks)
	for i := range s.blocks {
		s.blocks[i] = memory[i*size : (i+1)*size : (i+1)*size]
	}
	return nil
}

// bind begins the capture.
func (s *Source) bind(fd int, _ Config) error {
	all := uint16(unix.ETH_P_ALL)
	b := (*[2]byte)(unsafe.Pointer(&all))
	b[0], b[1] = byte(unix.ETH_P_ALL>>8), byte(unix.ETH_P_ALL)
	return os.NewSyscallError("bind", unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: s.ifindex}))
}

// because is an error of a known kind, with a text of its own.
type because struct {
	text string
	kind error
}

func (e because) Error() string { return e.text }
func (e because) Unwrap() error { return e.kind }

// available lists the interfaces there are, for an error.
func available() string {
	devices, err := net.Interfaces()
	if err != nil || len(devices) == 0 {
		return ""
	}
	names := make([]string, len(devices))
	for i, d := range devices {
		names[i] = d.Name
	}
	return ", there are " + strings.Join(names, ", ")
}
