package capture

import (
	"time"

	"golang.org/x/net/bpf"
)

// A Packet is one captured packet, from its link-layer header on.
type Packet struct {
	// Data is the captured bytes. It is valid until the next call of the Source's Next.
	Data []byte
	// Time is when the packet was captured.
	Time time.Time
	// WireLen is the packet's length on the wire in bytes. It is larger than
	// len(Data) where the capture cut the packet short.
	WireLen int
	// Link is the link-layer header type: a DLT or LINKTYPE number of 16 bits,
	// as listed at https://www.tcpdump.org/linktypes.html.
	Link uint16
	// Ifindex is the number of the interface the packet was seen on, 0 if it is
	// not known. It tells the interfaces of one Source apart and means nothing beyond it
	// (in a pcapng file it counts the interfaces that the file describes, from 1).
	Ifindex int
	// Type is how the packet came by: one of Host, Broadcast, Multicast,
	// OtherHost, Outgoing. Host where it is not known.
	Type uint8
}

// The values of Packet.Type: those of sll_pkttype in Linux's packet(7).
const (
	Host      = 0 // to this host
	Broadcast = 1
	Multicast = 2
	OtherHost = 3 // between other hosts, seen in promiscuous mode
	Outgoing  = 4 // sent by this host
)

// A Source yields packets, oldest first.
//
// Next returns the next packet, and waits for one where packets are live.
// The error is io.EOF at the end of a file; any other error means that the
// source is broken, and further calls return an error again. A Source is used by
// one goroutine at a time, but where it is an io.Closer too, Close may be
// called from any goroutine and ends a Next that waits with an error that
// unwraps to net.ErrClosed or os.ErrClosed.
type Source interface {
	Next() (Packet, error)
}

// Buffered is implemented by a Source that knows how many further packets Next
// returns without waiting. It may say fewer than there are, but says 0 only
// where the next call of Next may wait: then is the time to hand on what was
// gathered so far. It is called by the goroutine that calls Next.
type Buffered interface {
	Buffered() int
}

// Stats counts packets since the source was opened.
type Stats struct {
	// Received is how many passed the kernel's filter, the dropped included.
	Received uint64
	// KernelDropped is how many were lost because the buffer was full.
	KernelDropped uint64
	// InterfaceDropped is how many the interface or its driver lost, where
	// that is known.
	InterfaceDropped uint64
}

// Statser is implemented by a Source that knows what was lost before it. Stats
// may be called from any goroutine.
type Statser interface {
	Stats() (Stats, error)
}

// Stopper is implemented by a live Source that can end without losing what was
// captured already: after Stop, Next returns that, and then io.EOF, soon. Stop may be
// called from any goroutine.
type Stopper interface {
	Stop()
}

// Filterable is implemented by a live Source whose filter in the kernel can be
// replaced while it captures.
type Filterable interface {
	// SetFilter has the kernel run another program from the next packet on; it loses
	// none. The program is of the same kind as the one the Source was opened with:
	// its offsets count from the same header. SetFilter may be called from any goroutine.
	SetFilter(program []bpf.RawInstruction) error
}
