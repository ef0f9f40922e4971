// Package live captures packets from a network interface by libpcap. It is the
// one package that needs cgo; built without it, Open returns an error that says so.
//
// A [Source] reads a block of packets at a time: one call into C takes all that the
// kernel has ready, and between blocks the goroutine waits in Go's own poller. So
// a listener that is idle costs nothing, one that is busy wakes up once every
// Config.Timeout or block, and Close ends a wait at once.
//
// What is captured leaves the kernel through the filter, which the kernel runs; an
// program that suits a set of ports comes from kernel.Program.
// This package does not decode packets; a capture.Listener does.
package live

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"time"

	"golang.org/x/net/bpf"

	"kagami/capture/kernel"
)

// ErrNoLink is what an interface's packets begin with a header for which there is no
// generated program: the filter has to be an expression.
var ErrNoLink = errors.New("no program fits this kind of interface: give a filter expression")

// Config says what to capture, and how. The zero value of a field is the
// documented default.
type Config struct {
	// Interface is the name of a device, or "any" for all there are now and
	// later, on Linux. It is required.
	Interface string
	// Filter is an expression as in pcap-filter(7); none lets everything through. Lines
	// of it are alternatives: each is compiled on its own.
	Filter string
	// Program, in place of Filter, makes the program that the kernel runs, for the kind of link the
	// interface turns out to be; kernel.Program does. It is attached to the socket itself,
	// and can be replaced later (Source.SetFilter). A few packets that come while the
	// capture begins may be among those captured unfiltered. Only Linux has it;
	// on a link that is none of kernel's, Open returns an error that is ErrNoLink.
	Program func(kernel.Link) ([]bpf.RawInstruction, error)
	// Snaplen is how many bytes of a packet are kept. Default and most: 262144, for less
	// cuts off the large packets that receive offload makes of several.
	Snaplen int
	// BufferSize is the size of the kernel's buffer, in bytes. Default: 16 MiB.
	BufferSize int64
	// Timeout is for how long the kernel holds packets back to hand over many at
	// once, in whole milliseconds. Default: 20 ms.
	Timeout time.Duration
	// Promiscuous asks for packets that are for other hosts, too.
	Promiscuous bool
	// Monitor puts a wireless interface into monitor mode.
	Monitor bool
	// TimestampType is who gives packets their time, by the name libpcap has for
	// it: "host", "host_lowprec", "adapter", … Default: the interface's.
	TimestampType string
}

const (
	maxSnaplen     = 262144 // libpcap's own limit
	defaultBuffer  = 16 << 20
	defaultTimeout = 20 * time.Millisecond
)

// Any is the name that stands for all interfaces, on Linux.
const Any = "any"

// withDefaults returns cfg with all fields set, or says what is wrong with it.
func (cfg Config) withDefaults() (Config, error) {
	if cfg.Snaplen == 0 {
		cfg.Snaplen = maxSnaplen
	}
	if cfg.BufferSize == 0 {
		cfg.BufferSize = defaultBuffer
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = defaultTimeout
	}
	switch {
	case cfg.Program != nil && cfg.Filter != "":
		return cfg, errors.New("both a filter and a program: want one")
	case cfg.Interface == "":
		return cfg, errors.New("no interface: name one, or \"any\"")
	case cfg.Snaplen < 0 || cfg.Snaplen > maxSnaplen:
		return cfg, fmt.Errorf("snaplen of %d: want 1 to %d", cfg.Snaplen, maxSnaplen)
	case cfg.BufferSize < 0 || cfg.BufferSize > math.MaxInt32:
		return cfg, fmt.Errorf("buffer of %d bytes: want at most %d", cfg.BufferSize, math.MaxInt32)
	case cfg.Timeout < time.Millisecond || cfg.Timeout > time.Minute:
		return cfg, fmt.Errorf("timeout of %v: want 1ms to 1m", cfg.Timeout)
	}
	return cfg, nil
}

// A Device is an interface that can be captured.
type Device struct {
	Name        string
	Description string // where the system has one
	Addrs       []netip.Addr
	Up          bool
	Loopback    bool
}
