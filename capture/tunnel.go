package capture

import (
	"encoding/binary"

	"kagami"
)

// IP protocol numbers of tunnels (IANA).
const (
	protoIPv4 = 4
	protoUDP  = 17
	protoIPv6 = 41
	protoGRE  = 47
	protoMPLS = 137
)

// EtherTypes of tunnels.
const (
	etherEthernet = 0x6558 // in GRE and Geneve
	etherERSPAN3  = 0x22eb
	etherPPP      = 0x880b // in GRE
	etherMPLS     = 0x8847
	etherMPLSMany = 0x8848 // multicast
	etherPPPoE    = 0x8864
	etherERSPAN   = 0x88be
	etherPBB      = 0x88e7 // IEEE 802.1ah
	etherVNTag    = 0x8926
	etherLengths  = 0x0600 // less is a length (IEEE 802.3)
)

// UDP ports of tunnels (IANA, but for the second VXLAN: Linux's default).
const (
	portL2TP       = 1701
	portGTP        = 2152
	portTeredo     = 3544
	portVXLAN      = 4789
	portVXLANGPE   = 4790
	portAYIYA      = 5072
	portGeneve     = 6081
	portMPLS       = 6635
	portVXLANLinux = 8472
)

// deeper counts one more header of a tunnel, and reports whether the packet may have it.
func (d *decoder) deeper() bool {
	d.depth++
	return d.depth <= maxDepth
}

// rareNetwork decodes what has an EtherType that is neither IP nor a VLAN tag.
func (d *decoder) rareNetwork(ether uint16, b []byte, wire int, s *segment) kagami.Reason {
	if !d.deeper() {
		return kagami.NotTCP
	}
	switch {
	case ether < etherLengths:
		return d.llc(b, wire, s)
	case ether == etherMPLS || ether == etherMPLSMany:
		return d.mpls(b, wire, s)
	case ether == etherPPPoE && len(b) >= 6 && b[1] == 0: // RFC 2516 §4: code 0 is session data
		return d.ppp(b[6:], wire-6, s)
	case ether == etherEthernet:
		return d.ethernet(b, wire, s)
	case ether == etherPPP:
		return d.ppp(b, wire, s)
	case ether == etherPBB && len(b) >= 4:
		return d.ethernet(b[4:], wire-4, s)
	case ether == etherVNTag && len(b) >= 6:
		return d.network(binary.BigEndian.Uint16(b[4:]), b[6:], wire-6, s)
	}
	return kagami.NotTCP
}

// llc decodes a logical link control header with a SNAP header (RFC 1042).
func (d *decoder) llc(b []byte, wire int, s *segment) kagami.Reason {
	if len(b) < 8 || b[0] != 0xaa || b[1] != 0xaa || b[2] != 3 {
		return kagami.NotTCP
	}
	return d.network(binary.BigEndian.Uint16(b[6:]), b[8:], wire-8, s)
}

// mpls decodes a stack of labels (RFC 3032 §2.1), and what is most likely below
// it, for the labels do not say: IP, or Ethernet with or without a control word
// (RFC 4448 §4.6).
func (d *decoder) mpls(b []byte, wire int, s *segment) kagami.Reason {
	for bottom := false; !bottom; b, wire = b[4:], wire-4 {
		if len(b) < 5 {
			return kagami.NotTCP
		}
		bottom = b[2]&1 != 0
	}
	switch b[0] >> 4 {
	case 4:
		return d.ipv4(b, wire, s)
	case 6:
		return d.ipv6(b, wire, s)
	case 0:
		if len(b) >= 4 && d.ethernet(b[4:], wire-4, s) == kagami.Delivered {
			return kagami.Delivered
		}
	}
	return d.ethernet(b, wire, s)
}

// ppp decodes a PPP frame (RFC 1661 §2), with or without the header of RFC 1662 §3.1.
func (d *decoder) ppp(b []byte, wire int, s *segment) kagami.Reason {
	if len(b) >= 2 && b[0] == 0xff && b[1] == 3 {
		b, wire = b[2:], wire-2
	}
	if len(b) < 2 {
		return kagami.NotTCP
	}
	proto, n := uint16(b[0]), 1
	if proto&1 == 0 { // else the field is compressed to one byte
		proto, n = binary.BigEndian.Uint16(b), 2
	}
	b, wire = b[n:], wire-n
	switch proto {
	case 0x21:
		return d.ipv4(b, wire, s)
	case 0x57:
		return d.ipv6(b, wire, s)
	case 0x281:
		return d.rareNetwork(etherMPLS, b, wire, s)
	}
	return kagami.NotTCP
}

// tunnel decodes what has an IP protocol number that stands for a tunnel.
func (d *decoder) tunnel(proto uint8, b []byte, wire int, s *segment) kagami.Reason {
	if !d.deeper() {
		return kagami.NotTCP
	}
	switch proto {
	case protoIPv4:
		return d.ipv4(b, wire, s)
	case protoIPv6:
		return d.ipv6(b, wire, s)
	case protoUDP:
		return d.udp(b, wire, s)
	case protoGRE:
		return d.gre(b, wire, s)
	case protoMPLS: // RFC 4023
		return d.mpls(b, wire, s)
	}
	return kagami.NotTCP
}

// gre decodes a GRE packet: RFC 2784, RFC 2890, and version 1 (RFC 2637 §4.1).
func (d *decoder) gre(b []byte, wire int, s *segment) kagami.Reason {
	if len(b) < 4 {
		return kagami.NotTCP
	}
	flags, ether := binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	const checksum, routing, key, sequence, ack, version = 0x8000, 0x4000, 0x2000, 0x1000, 0x80, 7
	n := 4
	for _, flag := range [...]uint16{checksum, key, sequence} {
		if flags&flag != 0 {
			n += 4
		}
	}
	if flags&version == 1 && flags&ack != 0 {
		n += 4
	}
	switch {
	case ether == etherERSPAN && flags&sequence != 0: // draft-foschiano-erspan-03 §4.2, type II
		n, ether = n+8, etherEthernet
	case ether == etherERSPAN: // type I
		ether = etherEthernet
	case ether == etherERSPAN3: // §4.3, type III
		if len(b) < n+12 {
			return kagami.NotTCP
		}
		if b[n+11]&1 != 0 { // a platform-specific subheader
			n += 8
		}
		n, ether = n+12, etherEthernet
	}
	if flags&routing != 0 || len(b) < n {
		return kagami.NotTCP
	}
	return d.network(ether, b[n:], wire-n, s)
}

// udp decodes what UDP (RFC 768) carries to the port of a tunnel.
func (d *decoder) udp(b []byte, wire int, s *segment) kagami.Reason {
	if len(b) < 16 {
		return kagami.NotTCP // no tunnel's header is shorter than 8 bytes
	}
	src, dst := binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	b, wire = b[8:], wire-8
	switch dst {
	case portVXLAN, portVXLANLinux: // RFC 7348 §5
		if b[0]&8 == 0 {
			return kagami.NotTCP
		}
		return d.ethernet(b[8:], wire-8, s)
	case portVXLANGPE: // draft-ietf-nvo3-vxlan-gpe-13 §3.1
		switch b[3] {
		case 1, 2:
			return d.ip(b[8:], wire-8, s)
		case 3:
			return d.ethernet(b[8:], wire-8, s)
		}
		return kagami.NotTCP
	case portGeneve: // RFC 8926 §3.4
		n := 8 + int(b[0]&0x3f)*4
		if b[0]>>6 != 0 || len(b) < n {
			return kagami.NotTCP
		}
		return d.network(binary.BigEndian.Uint16(b[2:]), b[n:], wire-n, s)
	case portMPLS: // RFC 7510
		return d.mpls(b, wire, s)
	}
	for _, port := range [...]uint16{dst, src} {
		switch port {
		case portGTP:
			return d.gtp(b, wire, s)
		case portTeredo:
			return d.teredo(b, wire, s)
		case portAYIYA:
			return d.ayiya(b, wire, s)
		case portL2TP:
			return d.l2tp(b, wire, s)
		}
	}
	return kagami.NotTCP
}

// gtp decodes a user plane packet of mobile networks (3GPP TS 29.281 §5.1).
func (d *decoder) gtp(b []byte, wire int, s *segment) kagami.Reason {
	const versionAndType, flags, extension, packet = 0xf0, 7, 4, 255
	if b[0]&versionAndType != 0x30 || b[1] != packet {
		return kagami.NotTCP
	}
	n := 8
	if b[0]&flags != 0 {
		if n += 4; len(b) < n {
			return kagami.NotTCP
		}
		for b[0]&extension != 0 && b[n-1] != 0 { // the type of the next one
			if len(b) <= n || b[n] == 0 || len(b) < n+int(b[n])*4 {
				return kagami.NotTCP
			}
			n += int(b[n]) * 4
		}
	}
	if len(b) < n {
		return kagami.NotTCP
	}
	return d.ip(b[n:], wire-n, s)
}

// teredo decodes IPv6 over UDP (RFC 4380 §5.1.1).
func (d *decoder) teredo(b []byte, wire int, s *segment) kagami.Reason {
	n := 0
	if len(b) >= 4 && b[0] == 0 && b[1] == 1 { // authentication
		n = 13 + int(b[2]) + int(b[3])
	}
	if len(b) >= n+8 && b[n] == 0 && b[n+1] == 0 { // origin
		n += 8
	}
	if len(b) < n {
		return kagami.NotTCP
	}
	return d.ipv6(b[n:], wire-n, s)
}

// ayiya decodes IPv6 in draft-massar-v6ops-ayiya-02 §3.
func (d *decoder) ayiya(b []byte, wire int, s *segment) kagami.Reason {
	n := 8 + 1<<(b[0]>>4) + int(b[1]>>4)*4
	if len(b) < n {
		return kagami.NotTCP
	}
	return d.transport(b[3], b[n:], wire-n, s)
}

// l2tp decodes a data message of L2TP version 2 (RFC 2661 §3.1).
func (d *decoder) l2tp(b []byte, wire int, s *segment) kagami.Reason {
	const control, length, sequence, offset = 0x80, 0x40, 0x08, 0x02
	if b[0]&control != 0 || b[1]&15 != 2 {
		return kagami.NotTCP
	}
	n := 6
	if b[0]&length != 0 {
		n += 2
	}
	if b[0]&sequence != 0 {
		n += 4
	}
	if b[0]&offset != 0 {
		if len(b) < n+2 {
			return kagami.NotTCP
		}
		n += 2 + int(binary.BigEndian.Uint16(b[n:]))
	}
	if len(b) < n {
		return kagami.NotTCP
	}
	return d.ppp(b[n:], wire-n, s)
}
