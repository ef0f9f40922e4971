package capture

import (
	"testing"

	"kagami"
)

// Links that are a header and nothing more.
func TestDecodeOtherLinks(t *testing.T) {
	inner := ip4Frame(6, 0, nil, tcpFrame("GET / HTTP/1.1\r\n\r\n"))
	const pflog, fddi, unknown = 117, 10, 147
	logged := cat([]byte{61, 2}, zeros(58), []byte{1, 0, 0, 0}, inner)
	ring := cat([]byte{0x50}, zeros(12), []byte{0xaa, 0xaa, 3, 0, 0, 0}, be16(etherIPv4), inner)
	for _, c := range []struct {
		name string
		link uint16
		data []byte
		want kagami.Reason
	}{
		{"pflog", pflog, logged, kagami.Delivered},
		{"FDDI", fddi, ring, kagami.Delivered},
		{"pflog, cut in its header", pflog, logged[:40], kagami.NotTCP},
		{"pflog, nothing behind it", pflog, logged[:64], kagami.NotTCP},
		{"a link nobody knows", unknown, inner, kagami.NotTCP},
		{"FDDI, another kind of frame", fddi, cat([]byte{0xc0}, ring[1:]), kagami.NotTCP},
		{"FDDI, cut in its header", fddi, ring[:13], kagami.NotTCP},
		{"a link of more than 8 bits", 300, inner, kagami.NotTCP},
	} {
		t.Run(c.name, func(t *testing.T) {
			var d decoder
			var s segment
			got := d.decode(&Packet{Data: c.data, WireLen: len(c.data), Link: c.link}, &s)
			if got != c.want {
				t.Fatalf("decode: %v, want %v", got, c.want)
			}
			if got == kagami.Delivered && (string(s.payload) != "GET / HTTP/1.1\r\n\r\n" || s.dst.port != frameDstPort || s.length != 18) {
				t.Errorf("payload %q of %d bytes to port %d", s.payload, s.length, s.dst.port)
			}
		})
	}
}
