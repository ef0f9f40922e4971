package kernel

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

// Meta is what the kernel knows of a packet that is not in its bytes.
type Meta struct {
	Protocol uint16 // the EtherType, which only Network goes by
	Type     uint8  // as capture.Packet's; 4 is outgoing
	Ifindex  int
	HasTag   bool // the card took a tag off, which was
	Tag      uint16
}

// Keep returns how many bytes of a packet the kernel would keep that runs the
// program made of c, 0 if it does not let the packet through. b is the packet from
// where the link begins.
func (c Config) Keep(link Link, m Meta, b []byte) int {
	c = c.withDefaults()
	if c.Loopback != 0 && m.Ifindex == c.Loopback && m.Type == outgoing {
		return 0
	}
	proto, network, ok := c.network(link, m, b)
	if !ok {
		return 0
	}
	p, ok := parse(proto, b[min(network, len(b)):])
	if !ok {
		return 0
	}
	return min(len(b), int(c.keep(p)))
}

// network finds the network header, and the protocol it is of.
func (c Config) network(link Link, m Meta, b []byte) (proto uint16, at int, ok bool) {
	proto, at = m.Protocol, int(link.base())
	switch link {
	case RawIP:
		proto, ok = version(b)
		return proto, 0, ok && len(c.VLANIDs) == 0
	case Ethernet:
		if proto, ok = half(b, 12); !ok {
			return 0, 0, false
		}
	}
	wanted := func(tag uint16) bool { return slices.Contains(c.VLANIDs, tag&0xfff) }
	tagged := proto == 0x8100 || proto == 0x88a8 || proto == 0x9100
	switch {
	case len(c.VLANIDs) > 0 && m.HasTag:
		return proto, at, wanted(m.Tag)
	case len(c.VLANIDs) > 0:
		tag, whole := half(b, at)
		if !tagged || !whole || !wanted(tag) || link == Network && m.Type == outgoing {
			return 0, 0, false
		}
		proto, ok = half(b, at+2)
		return proto, at + 4, ok
	case c.VLAN && tagged && link == Network && m.Type == outgoing:
		proto, ok = version(b)
		return proto, at, ok
	}
	for n := 0; c.VLAN && n < 2 && (proto == 0x8100 || proto == 0x88a8 || proto == 0x9100); n++ {
		if proto, ok = half(b, at+2); !ok {
			return 0, 0, false
		}
		at += 4
	}
	return proto, at, true
}

// version is the protocol by what the IP header says itself.
func version(b []byte) (proto uint16, ok bool) {
	if len(b) == 0 {
		return 0, false
	}
	switch b[0] >> 4 {
	case 4:
		return 0x0800, true
	case 6:
		return 0x86dd, true
	}
	return 0, false
}

func half(b []byte, at int) (uint16, bool) {
	if len(b) < at+2 {
		return 0, false
	}
	return binary.BigEndian.Uint16(b[at:]), true
}

// A packet is what matters of a TCP packet, or of a part of one.
type packet struct {
	src, dst      netip.AddrPort
	fragment      bool // a later one: there are no ports
	insignificant bool // neither payload nor a flag that matters
	v6            bool
}

func parse(proto uint16, b []byte) (p packet, ok bool) {
	var at, end int
	switch proto {
	case 0x0800:
		at, end, p.fragment, ok = parse4(b)
		p.src, p.dst = addr(b, 12, 4), addr(b, 16, 4)
	case 0x86dd:
		at, end, p.fragment, ok = parse6(b)
		p.src, p.dst = addr(b, 8, 16), addr(b, 24, 16)
		p.v6 = true
	}
	if !ok || p.fragment {
		return p, ok
	}
	if len(b) < at+14 {
		return p, false
	}
	t := b[at:]
	p.src = netip.AddrPortFrom(p.src.Addr(), binary.BigEndian.Uint16(t))
	p.dst = netip.AddrPortFrom(p.dst.Addr(), binary.BigEndian.Uint16(t[2:]))
	p.insignificant = t[13]&7 == 0 && end != 0 && end == at+int(t[12]>>4)*4
	return p, true
}

// parse4 returns where TCP begins in an IPv4 packet, and where the packet ends, 0 if unknown.
func parse4(b []byte) (at, end int, fragment, ok bool) {
	if len(b) < 20 || b[9] != 6 {
		return 0, 0, false, false
	}
	part := binary.BigEndian.Uint16(b[6:])
	if part&0x1fff != 0 {
		return 0, 0, true, true
	}
	if part&0x2000 == 0 {
		end = int(binary.BigEndian.Uint16(b[2:]))
	}
	return int(b[0]&0xf) * 4, end, false, true
}

// parse6 does so in an IPv6 packet.
func parse6(b []byte) (at, end int, fragment, ok bool) {
	if len(b) < 40 {
		return 0, 0, false, false
	}
	if n := int(binary.BigEndian.Uint16(b[4:])); n != 0 {
		end = 40 + n
	}
	next, at := b[6], 40
	for range maxExtensions {
		switch next {
		case 0, 43, 60:
			if len(b) < at+2 {
				return 0, 0, false, false
			}
			next, at = b[at], at+8*(int(b[at+1])+1)
		case 44:
			if len(b) < at+4 {
				return 0, 0, false, false
			}
			if binary.BigEndian.Uint16(b[at+2:])&0xfff8 != 0 {
				return 0, 0, true, b[at] == 6
			}
			next, at, end = b[at], at+8, 0
		}
	}
	return at, end, false, next == 6
}

// addr returns the address at an offset, none if it is not all there.
func addr(b []byte, at, n int) netip.AddrPort {
	if len(b) < at+n {
		return netip.AddrPort{}
	}
	a, _ := netip.AddrFromSlice(b[at : at+n])
	return netip.AddrPortFrom(a, 0)
}

// keep returns how many bytes to keep of a packet.
func (c Config) keep(p packet) uint32 {
	toServer, fromServer := c.server(p.dst, p), c.server(p.src, p)
	switch {
	case p.insignificant:
		return 0
	case p.fragment:
		if toServer || fromServer && c.Responses != NoResponses {
			return c.Snaplen
		}
		return 0
	case toServer && (fromServer || !c.directed()):
		return c.Snaplen
	case toServer:
		return c.sampled(p.src, c.Snaplen)
	case fromServer && c.Responses == ResponseHeads:
		return c.sampled(p.dst, c.Head)
	case fromServer && c.Responses == WholeResponses:
		return c.sampled(p.dst, c.Snaplen)
	}
	return 0
}

// server reports whether an end of a packet may be a server's.
func (c Config) server(a netip.AddrPort, p packet) bool {
	if len(c.Hosts) > 0 && !slices.ContainsFunc(c.Hosts, func(h netip.Addr) bool { return h.Is6() == p.v6 && h == a.Addr() }) {
		return false
	}
	if p.fragment || len(c.Ports) == 0 {
		return true
	}
	return slices.ContainsFunc(PortRanges(c.Ports, maxRanges), func(r PortRange) bool { return r.From <= a.Port() && a.Port() <= r.To })
}

// sampled returns n if a client is in all samples.
func (c Config) sampled(client netip.AddrPort, n uint32) uint32 {
	for _, s := range c.Samples {
		if !s.Includes(client) {
			return 0
		}
	}
	return n
}
