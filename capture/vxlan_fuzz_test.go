package capture

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"

	"kagami"
)

// What arrives by UDP is decoded as what is captured at an interface, with the
// header of UDP before it.
func FuzzVXLAN(f *testing.F) {
	tr := newTrace(nil)
	tr.dial(aClient, aServer).send(get("/"))
	for _, p := range tr.packets {
		f.Add(append([]byte{8, 0, 0, 0, 0, 0, 1, 0}, append(append(make([]byte, 12), 8, 0), p.Data...)...))
	}
	for _, p := range tr.packets {
		f.Add(append([]byte{0x01, 0, 8, 0, 0, 0, 1, 0, 1, 3, 0, 0}, p.Data...)) // Geneve, with an option
		f.Add(append([]byte{0, 0, 0x65, 0x58, 0, 0, 3, 0}, append(append(make([]byte, 12), 8, 0), p.Data...)...))
	}
	f.Add([]byte{})
	f.Add([]byte{8, 0, 0, 0, 0, 0, 1})
	f.Add(append([]byte{0xff, 1, 2, 3, 4, 5, 6, 7}, make([]byte, 60)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		unwrap(t, b, false)
		unwrap(t, b, true)
	})
}

// unwrap takes b for VXLAN or Geneve.
func unwrap(t *testing.T, b []byte, geneve bool) {
	v := &VXLAN{geneve: geneve, except: map[uint32]bool{3: true}, packets: make([]Packet, 0, 1)}
	v.take(b, len(b), time.Unix(1, 0))
	taken := len(v.packets) == 1
	vni, _, ok := parseVXLAN(b)
	port := uint16(portVXLAN)
	if geneve {
		vni, _, _, ok = parseGeneve(b)
		port = portGeneve
		if !ok && len(b) > 4 && b[0]>>6 == 0 {
			return // by what else it carries, an interface's packets may be told
		}
	}
	if taken == (ok && vni == 3) || vni > MaxVNI {
		t.Fatalf("taken %v, VXLAN %v, VNI %d", taken, ok, vni)
	}
	if !taken {
		return
	}
	var live, captured decoder
	var got, want segment
	r := live.decode(&v.packets[0], &got)
	if len(b) > 65507 {
		return // no UDP datagram
	}
	udp := make([]byte, 8, 8+len(b))
	binary.BigEndian.PutUint16(udp[2:], port)
	udp = append(udp, b...)
	wanted := captured.udp(udp, len(udp), &want)
	if r != wanted {
		t.Fatalf("%v, captured at an interface it is %v", r, wanted)
	}
	if r != kagami.Delivered {
		return
	}
	if got.src != want.src || got.dst != want.dst || got.seq != want.seq || got.length != want.length || !bytes.Equal(got.payload, want.payload) {
		t.Fatalf("%+v, captured at an interface it is %+v", got, want)
	}
}
