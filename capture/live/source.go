//go:build cgo && (linux || darwin || freebsd || netbsd || openbsd)

package live

/*
#cgo LDFLAGS: -lpcap
#include <stdlib.h>
#include "shim.h"
*/
import "C"

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"kagami/capture"
)

// blockSize is how much of packets one call into C takes at most, in bytes.
const blockSize = 1 << 20

// stopSlack is how much later than the timeout says the kernel may hand over a
// block: its timer may be as coarse as two ticks of 100 Hz.
const stopSlack = 25 * time.Millisecond

// A Source is a capture on an interface. Next and Buffered are for one goroutine;
// the other methods may be called from any.
type Source struct {
	name    string
	ifindex int // of name, 0 for "any"
	link    uint16
	snaplen int
	unit    int64 // nanoseconds in a unit of libpcap's fraction of a second
	timeout time.Duration
	warning string

	file *os.File // a duplicate of libpcap's socket, for Go's poller
	conn syscall.RawConn
	poll func(uintptr) bool // s.read, made once so that a call does not allocate

	// mu guards what belongs to libpcap: handle is nil once it is closed. It is
	// held while C runs, never while waiting.
	mu     sync.Mutex
	handle *C.pcap_t
	device *C.char // name, if its going down can be seen
	stats  capture.Stats
	last   C.struct_pcap_stat // stats is kept in more than libpcap's 32 bits

	// The block at hand: what Next still has to return is block[at:end].
	block     []byte
	at, end   int
	left      int   // packets in it
	failure   error // for when the block is used up
	rest      int64 // bytes that may be read at most once Stop's time is over: the kernel's buffer
	stopped   atomic.Bool
	closed    atomic.Bool
	delivered atomic.Uint64
}

var (
	_ capture.Source   = (*Source)(nil)
	_ capture.Buffered = (*Source)(nil)
	_ capture.Statser  = (*Source)(nil)
	_ capture.Stopper  = (*Source)(nil)
	_ io.Closer        = (*Source)(nil)

	_ capture.Filterable = (*Source)(nil)
)

// Next returns the next packet, and waits for it. Its Data is valid until the
// next call. The error is io.EOF after Stop, os.ErrClosed after Close, and one that
// names the interface if that went down or away.
func (s *Source) Next() (capture.Packet, error) {
	if s.left == 0 {
		if err := s.fill(); err != nil {
			return capture.Packet{}, err
		}
	}
	// The fields of a struct kgm_record, in order.
	const header = int(unsafe.Sizeof(C.struct_kgm_record{}))
	b := s.block[s.at:s.end]
	captured := int(binary.NativeEndian.Uint32(b))
	data := b[header : header+captured : header+captured]
	p := capture.Packet{
		Data:    data,
		Time:    time.Unix(int64(binary.NativeEndian.Uint64(b[8:])), int64(binary.NativeEndian.Uint64(b[16:]))),
		WireLen: int(binary.NativeEndian.Uint32(b[4:])),
		Link:    s.link,
		Ifindex: s.ifindex,
	}
	if s.link == linkSLL2 && captured >= 20 {
		p.Ifindex, p.Type = int(binary.BigEndian.Uint32(data[4:])), data[10]
	}
	s.at += (header + captured + 7) &^ 7
	s.left--
	return p, nil
}

// fill waits for a block of packets.
func (s *Source) fill() error {
	if s.failure != nil {
		return s.failure
	}
	err := s.conn.Read(s.poll)
	switch {
	case s.closed.Load():
		s.failure = os.ErrClosed
	case errors.Is(err, os.ErrDeadlineExceeded): // Stop
		// On a busy machine much may be left. What comes meanwhile is not waited for, and
		// not read for ever.
		if s.rest > 0 {
			s.read(0)
			s.rest -= int64(s.end)
		}
		if s.left == 0 && s.failure == nil {
			s.failure = io.EOF
		}
	case err != nil:
		s.failure = fmt.Errorf("capture on %s: %w", s.name, err)
	}
	if s.left > 0 {
		return nil
	}
	return s.failure
}

// read takes the packets that are ready, and reports whether there were any, or
// there will never be.
func (s *Source) read(uintptr) (done bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.handle == nil {
		return true
	}
	r := C.kgm_read(s.handle, (*C.uchar)(&s.block[0]), C.size_t(len(s.block)), C.uint32_t(s.snaplen), C.int64_t(s.unit), s.device)
	s.at, s.end, s.left = 0, int(r.bytes), int(r.packets)
	s.delivered.Add(uint64(r.packets))
	switch r.status {
	case C.KGM_OK:
		return s.left > 0
	case C.KGM_DOWN:
		s.failure = fmt.Errorf("capture on %s: the interface went down", s.name)
	case C.KGM_GONE:
		s.failure = fmt.Errorf("capture on %s: the interface disappeared", s.name)
	default:
		s.failure = fmt.Errorf("capture on %s: %s", s.name, s.lastError())
	}
	return true
}

// lastError is libpcap's own words about what went wrong.
func (s *Source) lastError() string {
	text := C.GoString(C.pcap_geterr(s.handle))
	if rest, ok := strings.CutPrefix(text, "The "); ok {
		return "the " + rest
	}
	return text
}

// Buffered returns how many packets of the block at hand are left.
func (s *Source) Buffered() int { return s.left }

// Interface returns the name of the interface.
func (s *Source) Interface() string { return s.name }

// Warning returns what is not as it was asked for, or "": promiscuous mode that the
// interface does not have, a filter that the kernel does not run.
func (s *Source) Warning() string { return s.warning }

// Delivered returns how many packets libpcap handed over so far. Where Stats says that
// many more were received and not dropped, libpcap filters in user space, or what is
// seen twice on a loopback interface was captured once.
func (s *Source) Delivered() uint64 { return s.delivered.Load() }

// Stats returns what the kernel counted since Open; after Close, up to then. Packets
// that the filter did not let through are counted nowhere.
func (s *Source) Stats() (capture.Stats, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.handle == nil {
		return s.stats, nil
	}
	var now C.struct_pcap_stat
	if C.pcap_stats(s.handle, &now) != 0 {
		return s.stats, fmt.Errorf("statistics of %s: %s", s.name, s.lastError())
	}
	s.stats.Received += uint64(now.ps_recv - s.last.ps_recv)
	s.stats.KernelDropped += uint64(now.ps_drop - s.last.ps_drop)
	s.stats.InterfaceDropped += uint64(now.ps_ifdrop - s.last.ps_ifdrop)
	s.last = now
	return s.stats, nil
}

// Stop ends the capture without losing what the kernel has already: Next goes on
// for as long as the kernel may hold packets back, and then returns io.EOF.
func (s *Source) Stop() {
	if !s.stopped.Swap(true) {
		s.file.SetReadDeadline(time.Now().Add(s.timeout + stopSlack)) // fails only once it is closed
	}
}

// Close ends the capture, at once: a Next that waits returns os.ErrClosed, and any
// other does after the block at hand. What is left in the kernel is lost. Data that
// Next returned stays valid.
func (s *Source) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	s.Stats() // for those who ask later; what cannot be read then is as it was
	err := s.file.Close()
	s.free()
	return err
}

// free gives back what belongs to libpcap.
func (s *Source) free() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.handle != nil {
		C.pcap_close(s.handle)
		s.handle = nil
	}
	C.free(unsafe.Pointer(s.device))
	s.device = nil
}
