//go:build linux

package ring

import (
	"encoding/binary"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"kagami/capture"
)

// Where things are in a block, a packet's header and the address behind that: struct
// tpacket_block_desc, struct tpacket3_hdr (linux/if_packet.h) and struct sockaddr_ll.
const (
	blockStatus  = 8
	blockPackets = 12
	blockFirst   = 16

	packetNext    = 0
	packetSec     = 4
	packetNsec    = 8
	packetSnaplen = 12
	packetLen     = 16
	packetNet     = 26 // 16 bits
	packetAddr    = 48 // sockaddr_ll
	addrProtocol  = packetAddr + 2
	addrIfindex   = packetAddr + 4
	addrHatype    = packetAddr + 8
	addrType      = packetAddr + 10
	packetHeader  = packetAddr + unix.SizeofSockaddrLinklayer
)

// Link-layer header types (https://www.tcpdump.org/linktypes.html).
const (
	linkRaw  = 101 // IP
	linkSLL2 = 276
	sll2     = 20 // its length
)

// A walk goes through the packets of a block.
type walk struct {
	block []byte
	at    uint32 // the offset of the next packet's header
	left  int
}

// status is the block's word that says whose it is.
func status(block []byte) *uint32 {
	return (*uint32)(unsafe.Pointer(&block[blockStatus]))
}

// ready reports whether the kernel has handed a block over.
func ready(block []byte) bool { return atomic.LoadUint32(status(block))&unix.TP_STATUS_USER != 0 }

// release gives a block back to the kernel.
func release(block []byte) { atomic.StoreUint32(status(block), unix.TP_STATUS_KERNEL) }

func newWalk(block []byte) walk {
	e := binary.NativeEndian
	return walk{block: block, at: e.Uint32(block[blockFirst:]), left: int(e.Uint32(block[blockPackets:]))}
}

// next returns the next packet, whose Data is in the block. ok is false where there is none: at
// the end, or where the block is not as the kernel makes them.
func (w *walk) next() (p capture.Packet, ok bool) {
	size := uint64(len(w.block))
	if w.left <= 0 || uint64(w.at)+packetHeader > size {
		w.left = 0
		return p, false
	}
	e := binary.NativeEndian
	h := w.block[w.at:]
	net, snaplen := int(e.Uint16(h[packetNet:])), int(e.Uint32(h[packetSnaplen:]))
	if net < packetHeader || net+snaplen > len(h) {
		w.left = 0
		return p, false
	}
	p = capture.Packet{
		Data:    h[net : net+snaplen : net+snaplen],
		Time:    time.Unix(int64(e.Uint32(h[packetSec:])), int64(e.Uint32(h[packetNsec:]))),
		WireLen: int(e.Uint32(h[packetLen:])),
		Link:    linkRaw,
		Ifindex: int(e.Uint32(h[addrIfindex:])),
		Type:    h[addrType],
	}
	if protocol := binary.BigEndian.Uint16(h[addrProtocol:]); protocol != unix.ETH_P_IP && protocol != unix.ETH_P_IPV6 && net >= packetHeader+sll2 {
		cook(h[net-sll2:net], h)
		p.Data, p.Link = h[net-sll2:net+snaplen:net+snaplen], linkSLL2
		p.WireLen += sll2
	}
	w.left--
	// That of the last is 0. Any other leads on, or the walk would not end.
	if step := e.Uint32(h[packetNext:]); step >= packetHeader && uint64(step) <= uint64(len(h)) {
		w.at += step
	} else {
		w.left = 0
	}
	return p, true
}

// cook makes a packet that is not IP by itself (a tag, MPLS, PPPoE) one with a header that
// says what it is: https://www.tcpdump.org/linktypes/LINKTYPE_LINUX_SLL2.html. The kernel
// leaves room for one before the packet.
func cook(b, h []byte) {
	clear(b)
	copy(b, h[addrProtocol:addrProtocol+2])
	binary.BigEndian.PutUint32(b[4:], binary.NativeEndian.Uint32(h[addrIfindex:]))
	binary.BigEndian.PutUint16(b[8:], binary.NativeEndian.Uint16(h[addrHatype:]))
	b[10] = h[addrType]
}
