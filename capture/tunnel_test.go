package capture

import (
	"testing"

	"kagami"
)

func TestDecodeTunnels(t *testing.T) {
	tcp := tcpFrame(hello)
	ip4, ip6 := ip4Frame(6, 0, nil, tcp), ip6Frame(6, tcp)
	frame := etherFrame(0x800, ip4)
	udp := func(src, dst int, parts ...[]byte) []byte {
		return ip4Frame(17, 0, nil, udpFrame(src, dst, cat(parts...)))
	}
	gre := func(parts ...[]byte) []byte { return ip4Frame(47, 0, nil, cat(parts...)) }
	label := func(bottom int) []byte { return []byte{0, 1, byte(bottom), 64} }
	snap := cat([]byte{0xaa, 0xaa, 3, 0, 0, 0}, be16(0x800), ip4)
	wlan := cat([]byte{0x08, 1, 0, 0}, zeros(20), snap)
	wlanQoS := cat([]byte{0x88, 1, 0, 0}, zeros(20), zeros(2), snap)
	radiotap := []byte{0, 0, 8, 0, 0, 0, 0, 0}
	radiotapPad := cat([]byte{0, 0, 17, 0, 3, 0, 0, 0}, zeros(8), []byte{0x20})
	nested := func(n int) []byte {
		b := ip4
		for range n {
			b = ip4Frame(4, 0, nil, b)
		}
		return b
	}

	for _, c := range []struct {
		name    string
		link    uint16
		data    []byte
		version int
	}{
		{"ARCNET, RFC 1051", 7, cat([]byte{1, 2, 240}, ip4), 4},
		{"ARCNET, RFC 1201", 7, cat([]byte{1, 2, 212, 0, 0, 9}, ip4), 4},
		{"ARCNET, exception packet, IPv6", 7, cat([]byte{1, 2, 196, 255, 255, 255, 196, 0, 0, 9}, ip6), 6},
		{"ARCNET, split", 7, cat([]byte{1, 2, 212, 1, 0, 9}, ip4), 0},
		{"ARCNET, split, exception packet", 7, cat([]byte{1, 2, 212, 255, 255, 255, 212, 2, 0, 9}, ip4), 0},
		{"ARCNET, ARP", 7, cat([]byte{1, 2, 213, 0, 0, 9}, ip4), 0},
		{"ARCNET of Linux, RFC 1051", 129, cat([]byte{1, 2, 77, 78, 240}, ip4), 4},
		{"ARCNET of Linux, RFC 1201", 129, cat([]byte{1, 2, 77, 78, 212, 0, 0, 9}, ip4), 4},
		{"ARCNET of Linux, IPv6", 129, cat([]byte{1, 2, 77, 78, 196, 0, 0, 9}, ip6), 6},
		{"ARCNET of Linux, old ARP", 129, cat([]byte{1, 2, 77, 78, 241}, ip4), 0},

		{"IPv4 in IPv4", 101, nested(1), 4},
		{"IPv6 in IPv4", 101, ip4Frame(41, 0, nil, ip6), 6},
		{"IPv4 in IPv6", 101, ip6Frame(4, ip4), 4},
		{"IPv6 in IPv6", 101, ip6Frame(60, cat([]byte{41, 0}, zeros(6), ip6)), 6},
		{"GRE", 101, gre(be16(0), be16(0x800), ip4), 4},
		{"GRE, all options, IPv6", 101, gre(be16(0xb000), be16(0x86dd), zeros(12), ip6), 6},
		{"GRE, Ethernet", 101, gre(be16(0), be16(0x6558), frame), 4},
		{"GRE version 1, PPP", 101, gre(be16(0x3081), be16(0x880b), zeros(12), []byte{0xff, 3, 0, 0x21}, ip4), 4},
		{"GRE with routes", 101, gre(be16(0x4000), be16(0x800), zeros(4), ip4), 0},
		{"ERSPAN I", 101, gre(be16(0), be16(0x88be), frame), 4},
		{"ERSPAN II", 101, gre(be16(0x1000), be16(0x88be), zeros(4), zeros(8), frame), 4},
		{"ERSPAN III", 101, gre(be16(0x1000), be16(0x22eb), zeros(4), zeros(12), frame), 4},
		{"ERSPAN III with subheader", 101, gre(be16(0x1000), be16(0x22eb), zeros(4), zeros(11), []byte{1}, zeros(8), frame), 4},
		{"VXLAN", 101, udp(1, 4789, []byte{8}, zeros(7), frame), 4},
		{"VXLAN of Linux", 101, udp(1, 8472, []byte{8}, zeros(7), frame), 4},
		{"VXLAN without its flag", 101, udp(1, 4789, zeros(8), frame), 0},
		{"VXLAN answered", 101, udp(4789, 1, []byte{8}, zeros(7), frame), 0},
		{"VXLAN-GPE", 101, udp(1, 4790, []byte{12, 0, 0, 2}, zeros(4), ip6), 6},
		{"VXLAN-GPE Ethernet", 101, udp(1, 4790, []byte{12, 0, 0, 3}, zeros(4), frame), 4},
		{"Geneve", 101, udp(1, 6081, []byte{0, 0}, be16(0x6558), zeros(4), frame), 4},
		{"Geneve with options", 101, udp(1, 6081, []byte{2, 0}, be16(0x800), zeros(4), zeros(8), ip4), 4},
		{"Geneve of version 1", 101, udp(1, 6081, []byte{0x40, 0}, be16(0x800), zeros(4), ip4), 0},
		{"MPLS in UDP", 101, udp(1, 6635, label(1), ip4), 4},
		{"MPLS in IP", 101, ip4Frame(137, 0, nil, cat(label(1), ip6)), 6},
		{"GTP", 101, udp(2152, 2152, []byte{0x30, 255}, zeros(6), ip4), 4},
		{"GTP with sequence", 101, udp(2152, 2152, []byte{0x32, 255}, zeros(6), zeros(4), ip4), 4},
		{"GTP with extensions", 101, udp(2152, 2152, []byte{0x34, 255}, zeros(6), []byte{0, 0, 0, 0x85}, []byte{1, 0, 0, 0xc0}, []byte{2, 0, 0, 0, 0, 0, 0, 0}, ip6), 6},
		{"GTP extension of no length", 101, udp(2152, 2152, []byte{0x34, 255}, zeros(6), []byte{0, 0, 0, 0x85}, zeros(4), ip4), 0},
		{"GTP, not a packet", 101, udp(2152, 2152, []byte{0x30, 1}, zeros(6), ip4), 0},
		{"Teredo", 101, udp(1, 3544, ip6), 6},
		{"Teredo with headers", 101, udp(3544, 1, []byte{0, 1, 2, 1}, zeros(12), zeros(8), ip6), 6},
		{"AYIYA", 101, udp(1, 5072, []byte{0x41, 0x52, 0x11, 41}, zeros(4), zeros(16), zeros(20), ip6), 6},
		{"L2TP", 101, udp(1701, 1701, []byte{0, 2}, zeros(4), []byte{0xff, 3, 0, 0x21}, ip4), 4},
		{"L2TP with all fields", 101, udp(1701, 1701, []byte{0x4a, 2}, zeros(10), be16(2), zeros(2), []byte{0x21}, ip4), 4},
		{"L2TP control", 101, udp(1701, 1701, []byte{0xc8, 2}, zeros(10), ip4), 0},
		{"MPLS", 1, etherFrame(0x8847, cat(label(0), label(1), ip4)), 4},
		{"MPLS IPv6", 1, etherFrame(0x8848, cat(label(1), ip6)), 6},
		{"MPLS Ethernet", 1, etherFrame(0x8847, cat(label(1), frame)), 4},
		{"MPLS Ethernet, control word", 1, etherFrame(0x8847, cat(label(1), zeros(4), frame)), 4},
		{"MPLS without end", 1, etherFrame(0x8847, cat(label(0), label(0))), 0},
		{"PPPoE", 1, etherFrame(0x8864, cat([]byte{0x11, 0, 0, 1}, be16(2+len(ip4)), []byte{0, 0x21}, ip4)), 4},
		{"PPPoE IPv6", 1, etherFrame(0x8864, cat([]byte{0x11, 0, 0, 1}, be16(2+len(ip6)), []byte{0, 0x57}, ip6)), 6},
		{"PPPoE discovery", 1, etherFrame(0x8864, cat([]byte{0x11, 9, 0, 1}, be16(2+len(ip4)), []byte{0, 0x21}, ip4)), 0},
		{"backbone bridge", 1, etherFrame(0x88e7, cat(zeros(4), frame)), 4},
		{"VN-Tag", 1, etherFrame(0x8926, cat(zeros(4), be16(0x800), ip4)), 4},
		{"length and SNAP", 1, etherFrame(len(snap), snap), 4},
		{"length and another LLC", 1, etherFrame(len(ip4), ip4), 0},
		{"PPP", 9, cat([]byte{0, 0x21}, ip4), 4},
		{"PPP with MPLS", 50, cat([]byte{0xff, 3}, be16(0x281), label(1), ip6), 6},
		{"PPPoE link", 51, cat([]byte{0x11, 0, 0, 1}, be16(2+len(ip4)), []byte{0, 0x21}, ip4), 4},
		{"Cisco HDLC", 104, cat([]byte{0x0f, 0}, be16(0x86dd), ip6), 6},
		{"802.11", 105, wlan, 4},
		{"802.11 four addresses", 105, cat([]byte{0x08, 3, 0, 0}, zeros(26), snap), 4},
		{"802.11 QoS", 105, wlanQoS, 4},
		{"802.11 QoS and HT", 105, cat([]byte{0x88, 0x81, 0, 0}, zeros(20), zeros(6), snap), 4},
		{"802.11 aggregate", 105, cat([]byte{0x88, 1, 0, 0}, zeros(20), []byte{0x80, 0}, snap), 0},
		{"802.11 encrypted", 105, cat([]byte{0x08, 0x41, 0, 0}, zeros(20), snap), 0},
		{"802.11 beacon", 105, cat([]byte{0x80, 0, 0, 0}, zeros(20), snap), 0},
		{"radiotap", 127, cat(radiotap, wlan), 4},
		{"radiotap, padded", 127, cat(radiotapPad, wlanQoS[:26], zeros(2), snap), 4},
		{"radiotap, two maps of fields", 127, cat([]byte{0, 0, 13, 0, 2, 0, 0, 0x80, 0, 0, 0, 0, 0x20}, wlanQoS[:26], zeros(2), snap), 4},
		{"Prism", 119, cat(be32(0x44), le32(20), zeros(12), wlan), 4},
		{"AVS", 163, cat(be32(0x80211001), be32(20), zeros(12), wlan), 4},
		{"AVS as Prism", 119, cat(be32(0x80211001), be32(20), zeros(12), wlan), 4},
		{"NFLOG", 239, cat([]byte{2, 0, 0, 0}, le16(5), le16(3), zeros(4), le16(4+len(ip4)), le16(9), ip4), 4},
		{"NFLOG without a packet", 239, cat([]byte{2, 0, 0, 0}, le16(8), le16(3), zeros(4)), 0},
		{"PKTAP", 258, cat(le32(16), le32(0), le32(1), zeros(4), frame), 4},
		{"eight tunnels", 101, nested(8), 4},
		{"nine tunnels", 101, nested(9), 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			var d decoder
			var s segment
			p := Packet{Data: c.data, WireLen: len(c.data), Link: c.link}
			checkFrame(t, d.decode(&p, &s), s, c.version)
			checkPrefixes(t, p, s, 0)
			if c.version != 0 && testing.AllocsPerRun(10, func() { d.decode(&p, &s) }) != 0 {
				t.Error("it allocates")
			}
		})
	}
}

// Packets of PKTAP in each other must not be decoded without end.
func TestDecodeNestedLinks(t *testing.T) {
	b := ip4Frame(6, 0, nil, tcpFrame(hello))
	kind := 101
	for range 20 {
		b = cat(le32(12), le32(0), le32(kind), b)
		kind = linkPKTAP
	}
	var d decoder
	var s segment
	if got := d.decode(&Packet{Data: b, WireLen: len(b), Link: linkPKTAP}, &s); got != kagami.NotTCP {
		t.Errorf("%v, want %v", got, kagami.NotTCP)
	}
}
