package capture

import (
	"encoding/binary"
	"net/netip"
	"time"

	"kagami"
)

// Link-layer header types (https://www.tcpdump.org/linktypes.html). Some have
// several numbers, for a DLT in memory and a LINKTYPE in a file can differ.
const (
	linkNull     = 0
	linkEthernet = 1
	linkRawBSD   = 12
	linkRawOBSD  = 14
	linkRaw      = 101
	linkLoop     = 108
	linkSLL      = 113
	linkIPv4     = 228
	linkIPv6     = 229
	linkSLL2     = 276
)

// EtherTypes (IEEE 802, as listed by IANA).
const (
	etherIPv4    = 0x0800
	etherVLAN    = 0x8100
	etherIPv6    = 0x86dd
	etherQinQ    = 0x88a8
	etherQinQOld = 0x9100
)

// An endpoint is one end of a TCP connection. It is comparable and has no
// pointers. An IPv4 address is in its mapped form, ::ffff:a.b.c.d; one of that form that
// IPv6 carried is another, and in the form of reallyMapped.
type endpoint struct {
	addr [16]byte
	port uint16
}

// reallyMapped is the first byte of a mapped address that an IPv6 packet carried: no end
// of a TCP connection has an address that begins so (RFC 4291 §2.7).
const reallyMapped = 0xff

// addrPort returns the endpoint with an IPv4 address as such.
func (e endpoint) addrPort() netip.AddrPort {
	switch {
	case e.addr[0] == reallyMapped:
		e.addr[0] = 0
	case binary.BigEndian.Uint64(e.addr[:]) == 0 && binary.BigEndian.Uint32(e.addr[8:]) == 0xffff:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(e.addr[12:])), e.port)
	}
	return netip.AddrPortFrom(netip.AddrFrom16(e.addr), e.port)
}

// The flags of a TCP segment (RFC 9293 §3.1).
const (
	flagFIN = 1
	flagSYN = 2
	flagRST = 4
	flagPSH = 8
	flagACK = 16
)

// A segment is what a TCP segment says (RFC 9293 §3.1), and when and where it
// was seen.
type segment struct {
	src, dst endpoint
	seq, ack uint32
	flags    uint8
	// payload is the captured bytes of the payload. They belong to the Packet,
	// or to the decoder until its next decode where the packet was the last of
	// several IP fragments.
	payload []byte
	// length is the length of the payload on the wire, ≥ len(payload).
	length  int
	time    time.Time
	ifindex int
	kind    uint8 // Packet.Type
}

// maxDepth bounds how many headers of tunnels one packet may have.
const maxDepth = 8

// A decoder finds the TCP segment in a packet, in tunnels too. It remembers IP
// fragments, within the bounds of a defragmenter, and is otherwise stateless. It never
// verifies checksums: packets captured where they are sent do not have them yet.
// The zero value works.
type decoder struct {
	fragments defragmenter
	depth     int // how many tunnels the packet at hand has had so far
}

// decode sets s to the TCP segment in p and returns Delivered, or returns
// NotTCP where there is none, or it is not whole (a fragment).
func (d *decoder) decode(p *Packet, s *segment) kagami.Reason {
	s.time, s.ifindex, s.kind = p.Time, p.Ifindex, p.Type
	d.depth = 0
	return d.link(p.Link, p.Data, max(p.WireLen, len(p.Data)), s)
}

// link decodes what has a link-layer header of the given type. In this and the
// following, b is the captured bytes and wire their number on the wire, at least len(b).
func (d *decoder) link(link uint16, b []byte, wire int, s *segment) kagami.Reason {
	switch link {
	case linkEthernet:
		return d.ethernet(b, wire, s)
	case linkSLL: // https://www.tcpdump.org/linktypes/LINKTYPE_LINUX_SLL.html
		if len(b) < 16 {
			return kagami.NotTCP
		}
		s.kind = b[1]
		return d.cooked(binary.BigEndian.Uint16(b[14:]), b[16:], wire-16, s)
	case linkSLL2: // https://www.tcpdump.org/linktypes/LINKTYPE_LINUX_SLL2.html
		if len(b) < 20 {
			return kagami.NotTCP
		}
		s.ifindex = int(binary.BigEndian.Uint32(b[4:]))
		s.kind = b[10]
		return d.cooked(binary.BigEndian.Uint16(b), b[20:], wire-20, s)
	case linkRaw, linkRawBSD, linkRawOBSD, linkIPv4, linkIPv6:
		return d.ip(b, wire, s)
	case linkNull, linkLoop:
		if len(b) < 4 {
			return kagami.NotTCP
		}
		return d.ip(b[4:], wire-4, s)
	}
	return d.rareLink(link, b, wire, s)
}

// cooked decodes what is behind a header of Linux's cooked captures. Of a VLAN
// packet that this host sends Linux may give the tag's EtherType and leave out the tag.
func (d *decoder) cooked(ether uint16, b []byte, wire int, s *segment) kagami.Reason {
	if ether == etherVLAN && s.kind == Outgoing && isIP(b, wire) {
		return d.ip(b, wire, s)
	}
	return d.network(ether, b, wire, s)
}

// isIP reports whether b begins with an IP header that gives the length wire. The
// version alone does not tell: a tag of priority 2 begins with the same 4 bits.
func isIP(b []byte, wire int) bool {
	if len(b) < 20 {
		return false
	}
	switch b[0] >> 4 {
	case 4:
		n := int(binary.BigEndian.Uint16(b[2:]))
		return n == wire || n == 0
	case 6:
		n := int(binary.BigEndian.Uint16(b[4:]))
		return n == wire-40 || n == 0
	}
	return false
}

// ethernet decodes a frame (IEEE 802.3).
func (d *decoder) ethernet(b []byte, wire int, s *segment) kagami.Reason {
	if len(b) < 14 {
		return kagami.NotTCP
	}
	return d.network(binary.BigEndian.Uint16(b[12:]), b[14:], wire-14, s)
}

// network decodes what has the given EtherType.
func (d *decoder) network(ether uint16, b []byte, wire int, s *segment) kagami.Reason {
	for {
		switch ether {
		case etherIPv4:
			return d.ipv4(b, wire, s)
		case etherIPv6:
			return d.ipv6(b, wire, s)
		case etherVLAN, etherQinQ, etherQinQOld: // IEEE 802.1Q: any number of tags
			if len(b) < 4 {
				return kagami.NotTCP
			}
			ether = binary.BigEndian.Uint16(b[2:])
			b, wire = b[4:], wire-4
		default:
			return d.rareNetwork(ether, b, wire, s)
		}
	}
}

// ip decodes an IP packet of either version.
func (d *decoder) ip(b []byte, wire int, s *segment) kagami.Reason {
	if len(b) == 0 {
		return kagami.NotTCP
	}
	switch b[0] >> 4 {
	case 4:
		return d.ipv4(b, wire, s)
	case 6:
		return d.ipv6(b, wire, s)
	}
	return kagami.NotTCP
}
