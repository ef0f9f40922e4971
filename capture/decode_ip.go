package capture

import (
	"encoding/binary"

	"kagami"
)

// IP protocol numbers (IANA).
const (
	protoHopByHop    = 0
	protoTCP         = 6
	protoRouting     = 43
	protoFragment    = 44
	protoAH          = 51
	protoDestination = 60
)

// ipv4 decodes an IPv4 packet (RFC 791 §3.1).
func (d *decoder) ipv4(b []byte, wire int, s *segment) kagami.Reason {
	if len(b) < 20 || b[0]>>4 != 4 {
		return kagami.NotTCP
	}
	header := int(b[0]&15) * 4
	total := int(binary.BigEndian.Uint16(b[2:]))
	if total == 0 {
		total = wire // larger than 64 KiB, or to be cut up by the card: the length is not set
	}
	if header < 20 || len(b) < header || total < header {
		return kagami.NotTCP
	}
	if len(b) > total {
		b = b[:total] // what follows is padding
	}
	setIPv4(&s.src.addr, b[12:16])
	setIPv4(&s.dst.addr, b[16:20])
	if frag := binary.BigEndian.Uint16(b[6:]); frag&0x3fff != 0 {
		return d.fragment(fragment{
			id: uint32(binary.BigEndian.Uint16(b[4:])), proto: b[9],
			offset: int(frag&0x1fff) * 8, more: frag&0x2000 != 0,
			data: b[header:], whole: len(b) == total,
		}, s)
	}
	if b[9] == protoTCP {
		return d.tcp(b[header:], total-header, s)
	}
	return d.transport(b[9], b[header:], total-header, s)
}

// setIPv4 sets a to the mapped form of an IPv4 address (RFC 4291 §2.5.5.2).
func setIPv4(a *[16]byte, v4 []byte) {
	binary.BigEndian.PutUint64(a[:], 0)
	binary.BigEndian.PutUint64(a[8:], 0xffff<<32|uint64(binary.BigEndian.Uint32(v4)))
}

// ipv6 decodes an IPv6 packet (RFC 8200 §3).
func (d *decoder) ipv6(b []byte, wire int, s *segment) kagami.Reason {
	if len(b) < 40 || b[0]>>4 != 6 {
		return kagami.NotTCP
	}
	next, n := b[6], int(binary.BigEndian.Uint16(b[4:]))
	copy(s.src.addr[:], b[8:24])
	copy(s.dst.addr[:], b[24:40])
	markMapped(&s.src.addr)
	markMapped(&s.dst.addr)
	b = b[40:]
	if n == 0 {
		// Larger than 64 KiB (RFC 2675), with or without the option that says
		// so. What is on the wire is as long.
		n = wire - 40
	}
	if len(b) > n {
		b = b[:n]
	}
	if next == protoTCP {
		return d.tcp(b, n, s)
	}
	return d.transport(next, b, n, s)
}

// transport decodes what has the given IP protocol number: TCP, or an extension
// header (RFC 8200 §4) before it.
func (d *decoder) transport(proto uint8, b []byte, wire int, s *segment) kagami.Reason {
	for {
		var n int
		switch proto {
		case protoTCP:
			return d.tcp(b, wire, s)
		case protoHopByHop, protoRouting, protoDestination:
			if len(b) < 8 {
				return kagami.NotTCP
			}
			n = 8 + int(b[1])*8
		case protoFragment:
			if len(b) < 8 {
				return kagami.NotTCP
			}
			if frag := binary.BigEndian.Uint16(b[2:]); frag&0xfff9 != 0 {
				return d.fragment(fragment{
					id: binary.BigEndian.Uint32(b[4:]), proto: b[0],
					offset: int(frag & 0xfff8), more: frag&1 != 0,
					data: b[8:], whole: len(b) == wire,
				}, s)
			}
			n = 8 // the only fragment (RFC 6946)
		case protoAH: // RFC 4302 §2.2
			if len(b) < 8 {
				return kagami.NotTCP
			}
			n = (int(b[1]) + 2) * 4
		default:
			return d.tunnel(proto, b, wire, s)
		}
		if len(b) < n {
			return kagami.NotTCP
		}
		proto, b, wire = b[0], b[n:], wire-n
	}
}

// tcp decodes a TCP segment (RFC 9293 §3.1).
func (d *decoder) tcp(b []byte, wire int, s *segment) kagami.Reason {
	if len(b) < 20 {
		return kagami.NotTCP
	}
	header := int(b[12]>>4) * 4
	if header < 20 || wire < header {
		return kagami.NotTCP
	}
	s.src.port = binary.BigEndian.Uint16(b)
	s.dst.port = binary.BigEndian.Uint16(b[2:])
	s.seq = binary.BigEndian.Uint32(b[4:])
	s.ack = binary.BigEndian.Uint32(b[8:])
	s.flags = b[13]
	s.payload = b[min(header, len(b)):]
	s.length = wire - header
	return kagami.Delivered
}

// markMapped tells a mapped address (RFC 4291 §2.5.5.2) that an IPv6 packet carries from
// the IPv4 address in it: they are different hosts.
func markMapped(a *[16]byte) {
	if binary.BigEndian.Uint64(a[:]) == 0 && binary.BigEndian.Uint32(a[8:]) == 0xffff {
		a[0] = reallyMapped
	}
}
