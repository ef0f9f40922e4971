// Package ring captures packets from Linux network interfaces without libpcap and without cgo:
// through a ring of blocks that the kernel fills and this process reads in place (TPACKET_V3,
// https://docs.kernel.org/networking/packet_mmap.html).
//
//	program, err := kernel.Program(kernel.Network, kernel.Config{Ports: []uint16{8080}})
//	…
//	s, err := ring.Open(ring.Config{Interface: "eth0", Program: program})
//	…
//	l, err := capture.New(capture.Config{Ports: []uint16{8080}}, s)
//
// The kernel hands over a block when it is full, or Config.Timeout after its first packet;
// between blocks the goroutine waits in Go's own poller. So there is one wake-up a block, no
// system call and no copy a packet, and none of either while nothing comes.
//
// The socket has no link-layer headers (SOCK_DGRAM), so that one filter suits every kind of
// interface. This package does not decode packets; a capture.Listener does.
package ring
