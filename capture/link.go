package capture

import (
	"encoding/binary"

	"kagami"
)

// Link-layer header types that are rare where HTTP is captured.
const (
	linkARCNET   = 7
	linkPPP      = 9
	linkFDDI     = 10
	linkPPPWith  = 50 // with the header of RFC 1662
	linkPPPoE    = 51
	linkCiscoPPP = 104 // Cisco's variant of HDLC
	linkWLAN     = 105
	linkPFLog    = 117 // OpenBSD's packet filter
	linkPrism    = 119
	linkRadiotap = 127
	linkARCLinux = 129 // ARCNET as Linux captures it
	linkAVS      = 163
	linkNFLOG    = 239
	linkPKTAP    = 258 // macOS: any interface
	linkPKTAPOld = 149 // the same as a DLT
)

// rareLink decodes what has a link-layer header of a rare type.
func (d *decoder) rareLink(link uint16, b []byte, wire int, s *segment) kagami.Reason {
	if !d.deeper() || len(b) < 12 {
		return kagami.NotTCP
	}
	switch link {
	case linkARCNET:
		return d.arcnet(b, wire, s)
	case linkARCLinux:
		return d.arcnetLinux(b, wire, s)
	case linkPPP, linkPPPWith:
		return d.ppp(b, wire, s)
	case linkPPPoE:
		return d.rareNetwork(etherPPPoE, b, wire, s)
	case linkCiscoPPP:
		return d.network(binary.BigEndian.Uint16(b[2:]), b[4:], wire-4, s)
	case linkWLAN:
		return d.wlan(b, wire, false, s)
	case linkRadiotap:
		n := int(binary.LittleEndian.Uint16(b[2:]))
		if n < 8 || len(b) < n {
			return kagami.NotTCP
		}
		return d.wlan(b[n:], wire-n, radiotapPads(b[:n]), s)
	case linkPrism, linkAVS: // AVS is big-endian, and may stand for Prism
		n := binary.LittleEndian.Uint32(b[4:])
		if link == linkAVS || b[0] == 0x80 {
			n = binary.BigEndian.Uint32(b[4:])
		}
		if int64(n) > int64(len(b)) {
			return kagami.NotTCP
		}
		return d.wlan(b[n:], wire-int(n), false, s)
	case linkFDDI: // frame control, destination, source
		if b[0]&0xf0 != 0x50 || len(b) < 13 { // an asynchronous LLC frame
			return kagami.NotTCP
		}
		return d.llc(b[13:], wire-13, s)
	case linkPFLog: // its length, without the padding, first
		n := (int(b[0]) + 3) &^ 3
		if n < 48 || len(b) < n {
			return kagami.NotTCP
		}
		return d.ip(b[n:], wire-n, s)
	case linkNFLOG:
		return d.nflog(b, wire, s)
	case linkPKTAP, linkPKTAPOld:
		n := binary.LittleEndian.Uint32(b)
		if n < 12 || int64(n) > int64(len(b)) {
			return kagami.NotTCP
		}
		return d.link(uint16(binary.LittleEndian.Uint32(b[8:])), b[n:], wire-int(n), s)
	}
	return kagami.NotTCP
}

// ARCNET's system codes.
const (
	arcOldIP = 240 // RFC 1051
	arcIP    = 212 // RFC 1201
	arcIPv6  = 196 // RFC 2497
)

// arcnet decodes an ARCNET packet as it was on the wire
// (https://www.tcpdump.org/linktypes/LINKTYPE_ARCNET_BSD.html): source, destination, system
// code, and except with RFC 1051 a split flag and a sequence number. Of what was split
// nothing is decoded: only Linux puts it together.
func (d *decoder) arcnet(b []byte, wire int, s *segment) kagami.Reason {
	code, n := b[2], 3
	if code != arcOldIP {
		n = 6
		if b[3] == 0xff { // an exception packet (RFC 1201): padding, then the header again
			n = 10
		}
		if b[n-3] != 0 {
			return kagami.NotTCP
		}
	}
	return d.arcnetIP(code, b[n:], wire-n, s)
}

// arcnetLinux decodes an ARCNET packet as Linux gives it
// (https://www.tcpdump.org/linktypes/LINKTYPE_ARCNET_LINUX.html): put together, and
// with two bytes, the offset in the card's buffer, before the system code.
func (d *decoder) arcnetLinux(b []byte, wire int, s *segment) kagami.Reason {
	code, n := b[4], 5
	if code != arcOldIP {
		n = 8
	}
	return d.arcnetIP(code, b[n:], wire-n, s)
}

func (d *decoder) arcnetIP(code byte, b []byte, wire int, s *segment) kagami.Reason {
	switch code {
	case arcOldIP, arcIP:
		return d.ipv4(b, wire, s)
	case arcIPv6:
		return d.ipv6(b, wire, s)
	}
	return kagami.NotTCP
}

// radiotapPads reports whether a radiotap header (https://www.radiotap.org) says
// that the 802.11 header is padded to a multiple of four bytes.
func radiotapPads(b []byte) bool {
	const timeField, flagsField, extended, pads = 1, 2, 0x80, 0x20
	present := b[4]
	n := 8
	for more := b[7]; more&extended != 0; more = b[n-1] {
		if n += 4; n > len(b) {
			return false
		}
	}
	if present&flagsField == 0 {
		return false
	}
	if present&timeField != 0 {
		n = (n+7)&^7 + 8
	}
	return n < len(b) && b[n]&pads != 0
}

// wlan decodes a data frame that is not encrypted (IEEE 802.11 §9.2, §9.3.2). One that
// is an aggregate of several is not decoded.
func (d *decoder) wlan(b []byte, wire int, padded bool, s *segment) kagami.Reason {
	if len(b) < 24 || b[0]&3 != 0 { // protocol version 0
		return kagami.NotTCP
	}
	const data, empty, qos = 0x08, 0x40, 0x80
	const toDS, fromDS, protected, order = 0x01, 0x02, 0x40, 0x80
	if b[0]&0x0c != data || b[0]&empty != 0 || b[1]&protected != 0 {
		return kagami.NotTCP
	}
	n := 24
	if b[1]&(toDS|fromDS) == toDS|fromDS {
		n += 6
	}
	if b[0]&qos != 0 {
		const aggregate = 0x80
		if len(b) < n+2 || b[n]&aggregate != 0 {
			return kagami.NotTCP
		}
		n += 2
		if b[1]&order != 0 {
			n += 4
		}
	}
	if padded {
		n = (n + 3) &^ 3
	}
	if len(b) < n {
		return kagami.NotTCP
	}
	return d.llc(b[n:], wire-n, s)
}

// nflog decodes what Linux's netfilter logged
// (https://www.tcpdump.org/linktypes/LINKTYPE_NFLOG.html). Lengths and types are
// in the byte order of the host that captured; little-endian is taken for granted.
func (d *decoder) nflog(b []byte, wire int, s *segment) kagami.Reason {
	const payload = 9
	for b, wire = b[4:], wire-4; len(b) >= 4; {
		n, kind := int(binary.LittleEndian.Uint16(b)), binary.LittleEndian.Uint16(b[2:])
		if n < 4 {
			return kagami.NotTCP
		}
		if kind == payload {
			return d.ip(b[4:min(n, len(b))], n-4, s)
		}
		if n = (n + 3) &^ 3; n > len(b) {
			return kagami.NotTCP
		}
		b, wire = b[n:], wire-n
	}
	return kagami.NotTCP
}
