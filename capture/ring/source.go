//go:build linux

package ring

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"kagami/capture"
	"kagami/capture/kernel"
)

// stopSlack is how much later than the timeout says the kernel may hand over a
// block: its timer may be as coarse as two ticks of 100 Hz.
const stopSlack = 25 * time.Millisecond

// A Source is a capture on an interface. Next and Buffered are for one goroutine; the
// other methods may be called from any.
type Source struct {
	name     string
	ifindex  int // 0 for "any"
	loopback bool
	timeout  time.Duration
	warning  string

	file *os.File
	conn syscall.RawConn
	poll func(uintptr) bool // s.look, made once so that a call does not allocate

	// The ring, for the goroutine that calls Next.
	memory  []byte
	blocks  [][]byte
	current int  // the block that is read, or is next
	holding bool // it is read: at holds what is left of it
	at      walk
	drain   bool // Stop's time has come: what the kernel has handed over is the rest
	rest    int  // so many blocks at most, for traffic goes on
	failure error

	stopped, closed atomic.Bool

	mu    sync.Mutex // the kernel's counters begin anew when they are read
	stats capture.Stats
}

var (
	_ capture.Source     = (*Source)(nil)
	_ capture.Buffered   = (*Source)(nil)
	_ capture.Statser    = (*Source)(nil)
	_ capture.Stopper    = (*Source)(nil)
	_ capture.Filterable = (*Source)(nil)
	_ io.Closer          = (*Source)(nil)
)

// Next returns the next packet, and waits for it. Its Data is in the ring, and valid until
// the next call. The error is io.EOF after Stop, os.ErrClosed after Close, and one that names the
// interface if that went down or away.
func (s *Source) Next() (capture.Packet, error) {
	for {
		if s.holding {
			if p, ok := s.at.next(); ok {
				return p, nil
			}
			s.giveBack()
		}
		if err := s.wait(); err != nil {
			return capture.Packet{}, err
		}
	}
}

// giveBack gives the block that was read back to the kernel.
func (s *Source) giveBack() {
	release(s.blocks[s.current])
	s.holding = false
	if s.current++; s.current == len(s.blocks) {
		s.current = 0
	}
}

// wait waits for the next block.
func (s *Source) wait() error {
	if s.closed.Load() {
		s.failure = os.ErrClosed
		s.unmap()
	}
	if s.failure != nil {
		return s.failure
	}
	if !s.drain {
		err := s.conn.Read(s.poll)
		switch {
		case s.closed.Load():
			return s.wait()
		case errors.Is(err, os.ErrDeadlineExceeded): // Stop
			s.drain, s.rest = true, len(s.blocks)
		case err != nil:
			s.failure = fmt.Errorf("capture on %s: %w", s.name, err)
		}
	}
	switch {
	case s.failure != nil:
	case !s.drain || s.rest > 0 && ready(s.blocks[s.current]):
		s.rest--
		s.at, s.holding = newWalk(s.blocks[s.current]), true
	default:
		s.failure = io.EOF
	}
	return s.failure
}

// look reports whether the next block is there, or there will never be one.
func (s *Source) look(fd uintptr) (done bool) {
	if ready(s.blocks[s.current]) {
		return true
	}
	// Why was it woken? An interface that goes down says so once.
	errno, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil || errno == 0 {
		return false
	}
	what := syscall.Errno(errno).Error()
	if syscall.Errno(errno) == unix.ENETDOWN {
		what = "the interface went down"
		if _, err := interfaceState(int(fd), s.name); err != nil {
			what = "the interface disappeared"
		}
	}
	s.failure = fmt.Errorf("capture on %s: %s", s.name, what)
	return true
}

// Buffered returns how many packets there are in the block at hand, and at least 1 if the
// next is there.
func (s *Source) Buffered() int {
	if s.holding && s.at.left > 0 {
		return s.at.left
	}
	next := s.current
	if s.holding {
		if next++; next == len(s.blocks) {
			next = 0
		}
	}
	if s.blocks != nil && ready(s.blocks[next]) {
		return 1
	}
	return 0
}

// Interface returns the name of the interface.
func (s *Source) Interface() string { return s.name }

// Warning returns what is not as it was asked for, or "".
func (s *Source) Warning() string { return s.warning }

// Stats returns what the kernel counted since Open; after Close, up to then. Packets that
// the filter did not let through are counted nowhere.
func (s *Source) Stats() (capture.Stats, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var now *unix.TpacketStatsV3
	var failed error
	err := s.conn.Control(func(fd uintptr) {
		now, failed = unix.GetsockoptTpacketStatsV3(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS)
	})
	if err != nil && s.closed.Load() {
		return s.stats, nil
	}
	if err = errors.Join(err, failed); err != nil {
		return s.stats, fmt.Errorf("statistics of %s: %w", s.name, err)
	}
	s.stats.Received += uint64(now.Packets)
	s.stats.KernelDropped += uint64(now.Drops)
	return s.stats, nil
}

// SetFilter has the kernel run another program from the next packet on, for packets that begin
// at the network header. The error says what the kernel has against it; then the one before stays.
func (s *Source) SetFilter(program []bpf.RawInstruction) error {
	var failed error
	if err := s.conn.Control(func(fd uintptr) { failed = kernel.Attach(int(fd), program) }); err != nil {
		return err
	}
	return failed
}

// Stop ends the capture without losing what the kernel has already: Next goes on for as
// long as the kernel may hold packets back, and then returns io.EOF.
func (s *Source) Stop() {
	if !s.stopped.Swap(true) {
		s.file.SetReadDeadline(time.Now().Add(s.timeout + stopSlack)) // fails only once it is closed
	}
}

// Close ends the capture, at once: a Next that waits returns os.ErrClosed, and any other does
// after the block at hand. What is left in the ring is lost. The memory of the ring is given back by
// the next call of Next, for whoever called it last may still read what it returned.
func (s *Source) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	s.Stats() // for those who ask later; what cannot be read then is as it was
	return s.file.Close()
}

// unmap gives the ring back.
func (s *Source) unmap() {
	if s.memory != nil {
		_ = unix.Munmap(s.memory) // it is a mapping of ours: this cannot fail
		s.memory, s.blocks = nil, nil
	}
}
