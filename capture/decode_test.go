package capture

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"kagami"
)

const hello = "GET / HTTP/1.1\r\n\r\n"

func TestDecode(t *testing.T) {
	tcp := tcpFrame(hello)
	ip4 := ip4Frame(6, 0x4000, nil, tcp)
	ip6 := ip6Frame(6, tcp)
	options := zeros(8)
	hopByHop := func(next int, b []byte) []byte { return cat([]byte{byte(next), 0}, zeros(6), b) }
	jumbo := cat([]byte{6, 0, 0xc2, 4}, be32(8+len(tcp)), tcp)
	zeroLength4, zeroLength6 := bytes.Clone(ip4), bytes.Clone(ip6)
	zeroLength4[2], zeroLength4[3] = 0, 0
	zeroLength6[4], zeroLength6[5] = 0, 0
	jumboFrame := ip6Frame(0, jumbo)
	jumboFrame[4], jumboFrame[5] = 0, 0

	for _, c := range []struct {
		name    string
		link    uint16
		data    []byte
		version int // 0: not TCP
		ifindex int
		kind    uint8
	}{
		{"Ethernet IPv4", 1, etherFrame(0x800, ip4), 4, 0, 0},
		{"Ethernet IPv6", 1, etherFrame(0x86dd, ip6), 6, 0, 0},
		{"VLAN", 1, etherFrame(0x8100, tagFrame(10, 0x800, ip4)), 4, 0, 0},
		{"VLAN IPv6", 1, etherFrame(0x8100, tagFrame(10, 0x86dd, ip6)), 6, 0, 0},
		{"QinQ", 1, etherFrame(0x88a8, tagFrame(10, 0x8100, tagFrame(20, 0x800, ip4))), 4, 0, 0},
		{"QinQ of old", 1, etherFrame(0x9100, tagFrame(10, 0x8100, tagFrame(20, 0x800, ip4))), 4, 0, 0},
		{"three tags", 1, etherFrame(0x8100, tagFrame(1, 0x8100, tagFrame(2, 0x8100, tagFrame(3, 0x800, ip4)))), 4, 0, 0},
		{"SLL", 113, sllFrame(4, 0x800, ip4), 4, 0, 4},
		{"SLL IPv6", 113, sllFrame(0, 0x86dd, ip6), 6, 0, 0},
		{"SLL2", 276, sll2Frame(9, 4, 0x800, ip4), 4, 9, 4},
		{"SLL2 IPv6", 276, sll2Frame(9, 0, 0x86dd, ip6), 6, 9, 0},
		{"SLL2 VLAN", 276, sll2Frame(9, 0, 0x8100, tagFrame(10, 0x800, ip4)), 4, 9, 0},
		{"SLL2 VLAN of priority 2", 276, sll2Frame(9, 4, 0x8100, tagFrame(0x4500, 0x800, ip4)), 4, 9, 4},
		{"SLL2 sent, tag's type without the tag", 276, sll2Frame(9, 4, 0x8100, ip4), 4, 9, 4},
		{"SLL2 sent, tag's type without the tag, IPv6", 276, sll2Frame(9, 4, 0x8100, ip6), 6, 9, 4},
		{"raw", 101, ip4, 4, 0, 0},
		{"raw IPv6", 12, ip6, 6, 0, 0},
		{"raw on OpenBSD", 14, ip6, 6, 0, 0},
		{"IPv4", 228, ip4, 4, 0, 0},
		{"IPv6", 229, ip6, 6, 0, 0},
		{"null", 0, cat([]byte{2, 0, 0, 0}, ip4), 4, 0, 0},
		{"null IPv6", 0, cat([]byte{0, 0, 0, 30}, ip6), 6, 0, 0},
		{"loop", 108, cat([]byte{0, 0, 0, 2}, ip4), 4, 0, 0},

		{"IPv4 options", 101, ip4Frame(6, 0, options, tcp), 4, 0, 0},
		{"IPv4 length 0", 101, zeroLength4, 4, 0, 0},
		{"IPv6 length 0", 101, zeroLength6, 6, 0, 0},
		{"IPv6 jumbo payload", 101, jumboFrame, 6, 0, 0},
		{"IPv6 hop-by-hop", 101, ip6Frame(0, hopByHop(6, tcp)), 6, 0, 0},
		{"IPv6 routing, destination", 101, ip6Frame(43, hopByHop(60, hopByHop(6, tcp))), 6, 0, 0},
		{"IPv6 long extension", 101, ip6Frame(60, cat([]byte{6, 2}, zeros(22), tcp)), 6, 0, 0},
		{"IPv6 one fragment", 101, ip6Frame(44, hopByHop(6, tcp)), 6, 0, 0},
		{"IPv6 authentication", 101, ip6Frame(51, cat([]byte{6, 4}, zeros(22), tcp)), 6, 0, 0},
		{"Ethernet padding", 1, cat(etherFrame(0x800, ip4), zeros(9)), 4, 0, 0},
		{"Ethernet padding IPv6", 1, cat(etherFrame(0x86dd, ip6), zeros(9)), 6, 0, 0},

		{"ARP", 1, etherFrame(0x806, zeros(28)), 0, 0, 0},
		{"UDP", 101, ip4Frame(17, 0, nil, udpFrame(1, 2, []byte(hello))), 0, 0, 0},
		{"ICMPv6", 101, ip6Frame(58, tcp), 0, 0, 0},
		{"no next header", 101, ip6Frame(59, tcp), 0, 0, 0},
		{"IPv4 header of 16 bytes", 101, cat([]byte{0x44}, ip4[1:]), 0, 0, 0},
		{"IPv4 length less than the header", 101, cat(ip4[:2], be16(19), ip4[4:]), 0, 0, 0},
		{"version 5", 101, cat([]byte{0x55}, ip4[1:]), 0, 0, 0},
		{"IPv6 as IPv4", 1, etherFrame(0x800, ip6), 0, 0, 0},
		{"IPv4 as IPv6", 1, etherFrame(0x86dd, ip4), 0, 0, 0},
		{"TCP header of 16 bytes", 101, ip4Frame(6, 0, nil, cat(tcp[:12], []byte{0x40}, tcp[13:])), 0, 0, 0},
		{"TCP header longer than the packet", 101, ip4Frame(6, 0, nil, cat(tcp[:12], []byte{0xf0}, tcp[13:])), 0, 0, 0},
		{"unknown link", 999, ip4, 0, 0, 0},
		{"nothing", 1, nil, 0, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			now := time.Unix(1e9, 5)
			p := Packet{Data: c.data, WireLen: len(c.data), Link: c.link, Time: now}
			var d decoder
			s := segment{src: endpoint{port: 1}, payload: []byte("left over")}
			checkFrame(t, d.decode(&p, &s), s, c.version)
			if c.version != 0 && (s.ifindex != c.ifindex || s.kind != c.kind || s.time != now) {
				t.Errorf("interface %d, type %d, time %v; want %d, %d, %v", s.ifindex, s.kind, s.time, c.ifindex, c.kind, now)
			}
			checkPrefixes(t, p, s, c.version)
		})
	}
}

// checkFrame checks what was decoded of a packet that holds tcpFrame(hello).
func checkFrame(t *testing.T, got kagami.Reason, s segment, version int) {
	t.Helper()
	if version == 0 {
		if got != kagami.NotTCP {
			t.Fatalf("%v, want %v", got, kagami.NotTCP)
		}
		return
	}
	src, dst := "10.1.2.3:50000", "10.4.5.6:80"
	if version == 6 {
		src, dst = "[fd00::1]:50000", "[fd00::2]:80"
	}
	have := fmt.Sprintf("%v %v→%v seq %#x ack %#x flags %d %q of %d", got, s.src.addrPort(), s.dst.addrPort(), s.seq, s.ack, s.flags, s.payload, s.length)
	want := fmt.Sprintf("delivered %s→%s seq %#x ack %#x flags %d %q of %d", src, dst, frameSeq, frameAck, frameFlags, hello, len(hello))
	if have != want {
		t.Fatalf("got  %s\nwant %s", have, want)
	}
}

// checkPrefixes cuts the packet short at each length, as a small snaplen does: the
// length on the wire stays what it was, and there is as much payload as was captured.
func checkPrefixes(t *testing.T, p Packet, whole segment, version int) {
	t.Helper()
	data, delivered := p.Data, 0
	for n := range data {
		p.Data = data[:n:n]
		var d decoder
		var s segment
		if d.decode(&p, &s) != kagami.Delivered {
			continue
		}
		delivered++
		if s.src != whole.src || s.seq != whole.seq || s.length != len(hello) || !bytes.HasPrefix([]byte(hello), s.payload) {
			t.Fatalf("cut at %d: %v seq %#x %q of %d", n, s.src.addrPort(), s.seq, s.payload, s.length)
		}
	}
	// All of the payload and the 12 bytes of options before may be missing.
	if version != 0 && delivered < len(hello)+12 {
		t.Errorf("decoded %d of the prefixes, want %d", delivered, len(hello)+12)
	}
}

func TestEndpointIsUnmapped(t *testing.T) {
	var e endpoint
	setIPv4(&e.addr, []byte{192, 0, 2, 1})
	e.port = 8080
	if want := netip.MustParseAddrPort("192.0.2.1:8080"); e.addrPort() != want {
		t.Errorf("got %v, want %v", e.addrPort(), want)
	}
}

// An address of IPv6 stays one, also where it holds one of IPv4: as packets say it.
func TestEndpointIsMapped(t *testing.T) {
	tr := newTrace(t)
	tr.dial("[::ffff:5.6.7.8]:6666", "[::ffff:1.2.3.4]:80").send(get("/6")).answer(ok("6"))
	tr.dial("5.6.7.8:6666", "1.2.3.4:80").send(get("/4")).answer(ok("4"))
	for i, m := range tr.run(withAnswers).requests {
		want := []string{"[::ffff:5.6.7.8]:6666 [::ffff:1.2.3.4]:80", "5.6.7.8:6666 1.2.3.4:80"}[i]
		if got := fmt.Sprint(m.Client, " ", m.Server); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	if len(tr.requests) != 2 || len(tr.responses) != 2 {
		t.Errorf("%d requests, %d answers", len(tr.requests), len(tr.responses))
	}
}

// A packet of more than 64 KiB, whose header cannot say how long it is.
func TestDecodeBigTCP(t *testing.T) {
	tcp := tcpFrame(string(zeros(200_000)))
	ip4, ip6 := ip4Frame(6, 0, nil, tcp), ip6Frame(6, tcp)
	ip4[2], ip4[3], ip6[4], ip6[5] = 0, 0, 0, 0
	for _, p := range []Packet{
		{Link: 1, Data: etherFrame(0x800, ip4)},
		{Link: 276, Data: sll2Frame(1, 0, 0x86dd, ip6)},
	} {
		wire := len(p.Data)
		for _, captured := range []int{wire, 1000} {
			p.Data, p.WireLen = p.Data[:captured], wire
			var d decoder
			var s segment
			if got := d.decode(&p, &s); got != kagami.Delivered || s.length != 200_000 || captured == wire && len(s.payload) != 200_000 {
				t.Errorf("link %d, %d captured: %v, length %d, %d of payload", p.Link, captured, got, s.length, len(s.payload))
			}
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	tcp := tcpFrame(hello)
	ip4, ip6 := ip4Frame(6, 0x4000, nil, tcp), ip6Frame(6, tcp)
	for _, c := range []struct {
		name string
		link uint16
		data []byte
	}{
		{"Ethernet IPv4", 1, etherFrame(0x800, ip4)},
		{"Ethernet IPv6", 1, etherFrame(0x86dd, ip6)},
		{"Ethernet VLAN", 1, etherFrame(0x8100, tagFrame(1, 0x800, ip4))},
		{"SLL2 IPv4", 276, sll2Frame(1, 0, 0x800, ip4)},
		{"VXLAN", 1, etherFrame(0x800, ip4Frame(17, 0, nil, udpFrame(9, 4789, cat([]byte{8}, zeros(7), etherFrame(0x800, ip4)))))},
	} {
		b.Run(c.name, func(b *testing.B) {
			var d decoder
			var s segment
			p := Packet{Data: c.data, WireLen: len(c.data), Link: c.link}
			b.ReportAllocs()
			for b.Loop() {
				if d.decode(&p, &s) != kagami.Delivered {
					b.Fatal("not decoded")
				}
			}
		})
	}
}
