package ring

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/net/bpf"
)

// Config says what to capture, and how. The zero value of a field is the documented
// default.
type Config struct {
	// Interface is the name of a device, or "any" for all there are now and later. It is
	// required.
	Interface string
	// Program is the filter that the kernel runs, for packets that begin at the network
	// header (kernel.Network). None lets everything through.
	Program []bpf.RawInstruction
	// BufferSize is the size of the ring, in bytes. Default: 16 MiB. It is part of
	// the process's resident memory.
	BufferSize int64
	// Timeout is how long after its first packet a block is handed over that is not full,
	// in whole milliseconds. Default: 20 ms.
	Timeout time.Duration
	// Promiscuous asks for packets that are for other hosts, too.
	Promiscuous bool
}

// Any is the name that stands for all interfaces.
const Any = "any"

const (
	defaultBuffer  = 16 << 20
	defaultTimeout = 20 * time.Millisecond
	maxBuffer      = 1 << 30

	// minBlock holds a packet of 64 KiB, as receive offload makes them, whole; block one
	// of 250 KB, the most that BIG TCP makes by default; largeBlock spares wake-ups
	// where there is room for minBlocks of them.
	minBlock   = 128 << 10
	block      = 256 << 10
	largeBlock = 1 << 20
	// minBlocks is how many blocks there should be: a timeout hands one over however
	// little is in it, so that the ring holds no more than so many timeouts.
	minBlocks = 32
	minRing   = 4 // blocks, at the least
)

// withDefaults returns cfg with all fields set, or says what is wrong with it.
func (cfg Config) withDefaults() (Config, error) {
	if cfg.BufferSize == 0 {
		cfg.BufferSize = defaultBuffer
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = defaultTimeout
	}
	switch {
	case cfg.Interface == "":
		return cfg, errors.New("no interface: name one, or \"any\"")
	case cfg.BufferSize < 0 || cfg.BufferSize > maxBuffer:
		return cfg, fmt.Errorf("buffer of %d bytes: want at most %d", cfg.BufferSize, maxBuffer)
	case cfg.Timeout < time.Millisecond || cfg.Timeout > time.Minute:
		return cfg, fmt.Errorf("timeout of %v: want 1ms to 1m", cfg.Timeout)
	}
	return cfg, nil
}

// geometry returns the size of a block and how many there are, for a buffer of a size.
func geometry(buffer int64) (size, blocks int) {
	size = block
	switch {
	case buffer >= minBlocks*largeBlock:
		size = largeBlock
	case buffer < minRing*block:
		size = minBlock
	}
	return size, max(minRing, int(buffer)/size)
}
