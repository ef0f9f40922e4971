//go:build cgo && (linux || darwin || freebsd || netbsd || openbsd)

package live

/*
#include <stdlib.h>
#include "shim.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

const linkSLL2 = 276 // DLT_LINUX_SLL2

// Open begins to capture. The packets it yields passed the filter, from the first
// on; it needs the permission to capture, which is root's or CAP_NET_RAW. An error says what can
// be done about it, and unwraps to fs.ErrPermission or fs.ErrNotExist where that is
// the reason.
func Open(cfg Config) (*Source, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Source{
		name:    cfg.Interface,
		snaplen: cfg.Snaplen,
		timeout: cfg.Timeout,
		rest:    cfg.BufferSize,
		unit:    int64(time.Microsecond),
		block:   make([]byte, max(blockSize, 2*cfg.Snaplen)),
	}
	s.poll = s.read
	for _, step := range []func(Config) error{s.create, s.activate, s.filter, s.attach, s.program} {
		if err := step(cfg); err != nil {
			s.free()
			return nil, fmt.Errorf("capture on %s: %w", cfg.Interface, err)
		}
	}
	return s, nil
}

// create makes the handle and sets what has to be set before it is activated.
func (s *Source) create(cfg Config) error {
	if strings.ContainsRune(cfg.Interface, 0) {
		return errors.New("the name has a zero byte")
	}
	name := C.CString(cfg.Interface)
	defer C.free(unsafe.Pointer(name))
	text := (*C.char)(C.calloc(1, C.PCAP_ERRBUF_SIZE))
	defer C.free(unsafe.Pointer(text))
	if s.handle = C.pcap_create(name, text); s.handle == nil {
		return errors.New(C.GoString(text))
	}
	C.pcap_set_snaplen(s.handle, C.int(cfg.Snaplen))
	C.pcap_set_buffer_size(s.handle, C.int(cfg.BufferSize))
	C.pcap_set_timeout(s.handle, C.int(cfg.Timeout.Milliseconds()))
	if cfg.Promiscuous {
		C.pcap_set_promisc(s.handle, 1)
	}
	if cfg.Monitor {
		switch n := C.pcap_can_set_rfmon(s.handle); {
		case n == 0:
			return errors.New("the interface has no monitor mode")
		case n < 0:
			return s.explain(n)
		}
		C.pcap_set_rfmon(s.handle, 1)
	}
	if cfg.TimestampType != "" {
		if err := s.setTimestampType(cfg.TimestampType); err != nil {
			return err
		}
	}
	if C.pcap_set_tstamp_precision(s.handle, C.PCAP_TSTAMP_PRECISION_NANO) == 0 {
		s.unit = 1
	}
	return nil
}

// setTimestampType chooses who gives packets their time.
func (s *Source) setTimestampType(name string) error {
	c := C.CString(name)
	defer C.free(unsafe.Pointer(c))
	kind := C.pcap_tstamp_type_name_to_val(c)
	if kind >= 0 && C.pcap_set_tstamp_type(s.handle, kind) == 0 {
		return nil
	}
	return fmt.Errorf("time stamps of type %q: want %s", name, s.timestampTypes())
}

// timestampTypes names the types the interface has.
func (s *Source) timestampTypes() string {
	var list *C.int
	n := C.pcap_list_tstamp_types(s.handle, &list)
	if n <= 0 {
		return "the default"
	}
	defer C.pcap_free_tstamp_types(list)
	var names []string
	for _, kind := range unsafe.Slice(list, n) {
		names = append(names, C.GoString(C.pcap_tstamp_type_val_to_name(kind)))
	}
	return strings.Join(names, " or ")
}

// activate begins the capture, and finds out what kind of packets there are.
func (s *Source) activate(cfg Config) error {
	switch n := C.pcap_activate(s.handle); {
	case n < 0:
		return s.explain(n)
	case n > 0:
		s.warn(C.GoString(C.pcap_statustostr(n)) + detail(s.lastError()))
	}
	if cfg.Interface == Any {
		if cfg.Promiscuous {
			s.warn("promiscuous mode is not switched on: name an interface instead of any")
		}
		// Of the two kinds of header this one says on which interface a packet was seen.
		if C.pcap_set_datalink(s.handle, linkSLL2) != 0 {
			return errors.New(s.lastError() + " (libpcap is older than 1.10?)")
		}
	} else if device, err := net.InterfaceByName(cfg.Interface); err == nil {
		s.ifindex = device.Index
		s.device = C.CString(cfg.Interface)
	}
	s.link = uint16(C.pcap_datalink(s.handle))
	return nil
}

// attach makes reading wait in Go's poller.
func (s *Source) attach(Config) error {
	text := (*C.char)(C.calloc(1, C.PCAP_ERRBUF_SIZE))
	defer C.free(unsafe.Pointer(text))
	if C.pcap_setnonblock(s.handle, 1, text) != 0 {
		return errors.New(C.GoString(text))
	}
	fd := C.pcap_get_selectable_fd(s.handle)
	if fd < 0 {
		return errors.New("the interface cannot be waited for")
	}
	// The duplicate is the os.File's own; the original is closed by libpcap.
	syscall.ForkLock.RLock()
	dup, err := syscall.Dup(int(fd))
	if err == nil {
		syscall.CloseOnExec(dup)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return os.NewSyscallError("dup", err)
	}
	s.file = os.NewFile(uintptr(dup), s.name)
	if err := s.file.SetReadDeadline(time.Time{}); err != nil {
		s.file.Close()
		return fmt.Errorf("wait for packets: %w", err)
	}
	if s.conn, err = s.file.SyscallConn(); err != nil {
		s.file.Close()
	}
	return err
}

func (s *Source) warn(text string) {
	if s.warning != "" {
		s.warning += "; "
	}
	s.warning += text
}

// explain turns an error number of libpcap into an error with a hint.
func (s *Source) explain(n C.int) error {
	text := detail(s.lastError())
	switch n {
	case C.PCAP_ERROR_PERM_DENIED, C.PCAP_ERROR_PROMISC_PERM_DENIED:
		return because{"permission denied" + text + ": run it with sudo, or allow it for good: sudo setcap cap_net_raw+p FILE, FILE being the program's", fs.ErrPermission}
	case C.PCAP_ERROR_NO_SUCH_DEVICE:
		return because{"no such interface" + available(), fs.ErrNotExist}
	case C.PCAP_ERROR_IFACE_NOT_UP:
		return errors.New("the interface is down: sudo ip link set " + s.name + " up")
	case C.PCAP_ERROR:
		return errors.New(s.lastError())
	}
	return errors.New(C.GoString(C.pcap_statustostr(n)) + text)
}

// because is an error of a known kind, with a text of its own.
type because struct {
	text string
	kind error
}

func (e because) Error() string { return e.text }
func (e because) Unwrap() error { return e.kind }

func detail(text string) string {
	if text == "" {
		return ""
	}
	return " (" + text + ")"
}

// available lists the interfaces there are, for an error.
func available() string {
	devices, err := Devices()
	if err != nil || len(devices) == 0 {
		return ""
	}
	names := make([]string, len(devices))
	for i, d := range devices {
		names[i] = d.Name
	}
	return ", there are " + strings.Join(names, ", ")
}
