package capture

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"kagami/capture/kernel"
)

// A FilterConfig says which packets are wanted.
type FilterConfig struct {
	Ports     []uint16   // the servers' ports; empty: any
	Responses bool       // what servers send, too
	Host      netip.Addr // the server's address; zero: any
	// VLAN wants packets in an IEEE 802.1Q tag, or in two, as well. A card that
	// takes the tag off (most do) needs no VLAN; a trunk may. Only
	// Ethernet interfaces can filter by tag: "any" cannot.
	VLAN bool
	// VLANIDs wants packets with one of these tags, and no others. It implies VLAN.
	VLANIDs []uint16
}

// FilterExpression returns the expression in the language of pcap-filter(7)
// that lets through the packets wanted: TCP over IPv4 and IPv6 to the servers' ports
// (and from them, with Responses), but for acknowledgements without payload, SYN,
// FIN or RST, which say nothing that is needed.
//
// Fragments of IP packets that hold TCP are let through whatever their port. So
// are IPv6 packets with one extension header, as packets larger than 64 KiB have,
// where the port is that behind it; with two they are not. What is in a tunnel
// is not let through: that needs a filter of one's own. With more than 128 ranges of
// ports, some ports between them are let through as well.
//
// Several lines in the result are alternatives, to be compiled each on its own: the
// keyword vlan moves the offsets of all that comes behind it in an expression. Without
// VLAN there is one line. It loads from the network header on, at offsets that the
// kernel can filter by on cooked interfaces too.
func FilterExpression(cfg FilterConfig) string {
	inner := "(" + strings.Join(slices.Concat(cfg.ipv4(), cfg.ipv6()), ") or (") + ")"
	if len(cfg.VLANIDs) > 0 {
		lines := make([]string, len(cfg.VLANIDs))
		for i, id := range cfg.VLANIDs {
			lines[i] = fmt.Sprintf("vlan %d and (%s)", id, inner)
		}
		return strings.Join(lines, "\n")
	}
	if cfg.VLAN {
		return fmt.Sprintf("%s\nvlan and (%[1]s)\nvlan and vlan and (%[1]s)", inner)
	}
	return inner
}

// ipv4 returns the alternatives for IPv4. tcp[…] implies a first fragment.
func (cfg FilterConfig) ipv4() []string {
	if cfg.Host.IsValid() && !cfg.Host.Unmap().Is4() {
		return nil
	}
	const wanted = "(tcp[13] & 7 != 0 or ip[2:2] = 0 or ip[2:2] != ((ip[0] & 0xf) << 2) + ((tcp[12] & 0xf0) >> 2))"
	whole := "tcp"
	if ends := cfg.ends("tcp[0:2]", "tcp[2:2]", "ip"); ends != "" {
		whole = ends
	}
	return []string{
		"ip and " + whole + " and " + wanted,
		and("ip proto 6 and ip[6:2] & 0x1fff != 0", cfg.hosts("ip")),
	}
}

// ipv6 returns the alternatives for IPv6, whose header has a fixed length.
func (cfg FilterConfig) ipv6() []string {
	if cfg.Host.IsValid() && cfg.Host.Unmap().Is4() {
		return nil
	}
	const (
		wanted    = "(ip6[53] & 7 != 0 or ip6[4:2] != (ip6[52] & 0xf0) >> 2)"
		extension = "(ip6[6] = 0 or ip6[6] = 43 or ip6[6] = 60) and ip6[40] = 6"
	)
	return []string{
		and("ip6[6] = 6", cfg.ends("ip6[40:2]", "ip6[42:2]", "ip6"), wanted),
		and(extension, cfg.ends("ip6[48 + (ip6[41] << 3) : 2]", "ip6[50 + (ip6[41] << 3) : 2]", "ip6")),
		and("ip6[6] = 44 and ip6[40] = 6", cfg.hosts("ip6")),
	}
}

// ends returns the condition on ports and address, "" for none.
func (cfg FilterConfig) ends(src, dst, family string) string {
	request := and(cfg.ports(dst), cfg.host("dst", family))
	if !cfg.Responses || request == "" {
		return request
	}
	return "((" + request + ") or (" + and(cfg.ports(src), cfg.host("src", family)) + "))"
}

// hosts returns the condition on the address alone.
func (cfg FilterConfig) hosts(family string) string {
	if !cfg.Responses || !cfg.Host.IsValid() {
		return cfg.host("dst", family)
	}
	return "(" + cfg.host("dst", family) + " or " + cfg.host("src", family) + ")"
}

func (cfg FilterConfig) host(direction, family string) string {
	if !cfg.Host.IsValid() {
		return ""
	}
	return fmt.Sprintf("%s %s host %s", family, direction, cfg.Host.Unmap().WithZone(""))
}

// ports returns the condition that the value is one of the ports.
func (cfg FilterConfig) ports(value string) string {
	var terms []string
	for _, r := range kernel.PortRanges(cfg.Ports, maxRanges) {
		if r.From == r.To {
			terms = append(terms, fmt.Sprintf("%s = %d", value, r.From))
		} else {
			terms = append(terms, fmt.Sprintf("(%[1]s >= %[2]d and %[1]s <= %[3]d)", value, r.From, r.To))
		}
	}
	if len(terms) == 0 {
		return ""
	}
	return "(" + strings.Join(terms, " or ") + ")"
}

// maxRanges bounds how many ranges of ports a filter names: the kernel takes
// programs of 4096 instructions, and libpcap takes long to make long ones.
const maxRanges = 128

// and joins conditions, leaving out empty ones.
func and(conditions ...string) string {
	return strings.Join(slices.DeleteFunc(conditions, func(c string) bool { return c == "" }), " and ")
}
