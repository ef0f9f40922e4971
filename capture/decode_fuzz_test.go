package capture

import (
	"testing"
	"unsafe"

	"kagami"
)

// FuzzDecode decodes a packet twice, after another: whatever is in it, nothing panics,
// the result is the same, and the payload is a part of the packet where no fragment is.
func FuzzDecode(f *testing.F) {
	tcp := tcpFrame(hello)
	ip4, ip6 := ip4Frame(6, 0, nil, tcp), ip6Frame(6, tcp)
	frame := etherFrame(0x800, ip4)
	for link, data := range map[uint16][]byte{
		0: cat([]byte{2, 0, 0, 0}, ip4), 1: frame, 9: cat([]byte{0, 0x21}, ip4), 12: ip4, 14: ip6, 50: cat([]byte{0xff, 3, 0, 0x57}, ip6),
		51: cat([]byte{0x11, 0, 0, 1, 0, 0, 0, 0x21}, ip4), 101: ip6, 104: cat([]byte{0x0f, 0, 8, 0}, ip4),
		105: cat([]byte{0x88, 1, 0, 0}, zeros(22), []byte{0xaa, 0xaa, 3, 0, 0, 0, 8, 0}, ip4), 108: cat([]byte{0, 0, 0, 2}, ip4),
		113: sllFrame(0, 0x800, ip4), 119: cat(be32(0x44), le32(12), zeros(4), zeros(40)),
		127: cat([]byte{0, 0, 13, 0, 2, 0, 0, 0x80, 0, 0, 0, 0, 0x20, 8, 1, 0, 0}, zeros(22), []byte{0xaa, 0xaa, 3, 0, 0, 0, 8, 0}, ip4),
		149: cat(le32(12), le32(0), le32(1), frame), 163: cat(be32(0x80211001), be32(12), zeros(4), zeros(40)), 228: ip4, 229: ip6,
		239: cat([]byte{2, 0, 0, 0}, le16(4+len(ip4)), le16(9), ip4), 258: cat(le32(12), le32(0), le32(1), frame), 276: sll2Frame(1, 0, 0x800, ip4),
	} {
		f.Add(link, data, uint16(0))
	}
	for _, data := range [][]byte{
		ip4Frame(6, 0x2000, nil, tcp[:24]), ip4Frame(6, 3, nil, tcp[24:]),
		ip6Frame(44, cat([]byte{6, 0}, be16(1), be32(77), tcp[:24])), ip6Frame(44, cat([]byte{6, 0}, be16(24), be32(77), tcp[24:])),
		ip6Frame(0, cat([]byte{43, 0}, zeros(6), []byte{60, 0}, zeros(6), []byte{6, 0}, zeros(6), tcp)),
		ip4Frame(47, 0, nil, cat(be16(0x1000), be16(0x22eb), zeros(15), []byte{1}, zeros(8), frame)),
		ip4Frame(17, 0, nil, udpFrame(1, 4789, cat([]byte{8}, zeros(7), frame))),
		ip4Frame(17, 0, nil, udpFrame(1, 6081, cat([]byte{2, 0, 8, 0}, zeros(12), ip4))),
		ip4Frame(17, 0, nil, udpFrame(1, 2152, cat([]byte{0x34, 255}, zeros(6), []byte{0, 0, 0, 0x85, 1, 0, 0, 0}, ip4))),
		ip4Frame(17, 0, nil, udpFrame(1, 1701, cat([]byte{0x4a, 2}, zeros(10), be16(2), zeros(2), []byte{0x21}, ip4))),
		ip4Frame(137, 0, nil, cat([]byte{0, 1, 1, 64}, zeros(4), frame)),
	} {
		f.Add(uint16(linkRaw), data, uint16(9))
	}
	f.Fuzz(func(t *testing.T, link uint16, data []byte, more uint16) {
		var d, again decoder
		p := Packet{Link: link, Data: data, WireLen: len(data) + int(more)}
		var s, other segment
		got := d.decode(&p, &s)
		if got != kagami.Delivered {
			if got != kagami.NotTCP {
				t.Fatalf("reason %v", got)
			}
			d.decode(&p, &s) // a fragment, again
			return
		}
		if len(s.payload) > s.length || s.length > p.WireLen+1<<16 {
			t.Fatalf("%d bytes of payload, %d on the wire", len(s.payload), s.length)
		}
		if len(s.payload) > 0 {
			from := uintptr(unsafe.Pointer(&s.payload[0])) - uintptr(unsafe.Pointer(&data[0]))
			if from+uintptr(len(s.payload)) > uintptr(len(data)) {
				t.Fatal("the payload is not in the packet")
			}
		}
		if again.decode(&p, &other); other.seq != s.seq || other.src != s.src || other.dst != s.dst || other.length != s.length {
			t.Fatalf("decoded again: %+v and %+v", s, other)
		}
	})
}
