//go:build cgo && (linux || darwin || freebsd || netbsd || openbsd)

package live_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/bpf"

	"kagami/capture"
	"kagami/capture/live"
)

// A sample is a packet in words.
type sample struct {
	tags           []uint16
	v6, udp        bool
	src, dst       int // the last byte of the addresses
	sport, dport   uint16
	flags          byte
	payload        int
	ipOptions      int  // in units of 4 bytes, IPv4
	tcpOptions     int  // in units of 4 bytes
	noLength       bool // as packets larger than 64 KiB
	offset         int  // of the fragment, in units of 8
	extension      int  // the header's number, 0xff for none; IPv6
	extensionWords int  // in units of 8 bytes, after the first
	extensions     int  // how many
	padding        int
}

func randomSample(r *rand.Rand) sample {
	ports := []uint16{80, 81, 8080, 9000, 9001, 9002, 9003, 443}
	one := func(n int) bool { return r.IntN(n) == 0 }
	s := sample{
		v6: one(2), udp: one(10), src: 1 + r.IntN(3), dst: 1 + r.IntN(3),
		sport: ports[r.IntN(len(ports))], dport: ports[r.IntN(len(ports))],
		flags: []byte{16, 16, 24, 2, 18, 17, 4, 20}[r.IntN(8)], tcpOptions: r.IntN(11), extension: 0xff,
	}
	if one(2) {
		s.payload = 1 + r.IntN(30)
	}
	if !s.v6 && one(3) {
		s.ipOptions = r.IntN(11)
	}
	if one(8) {
		s.noLength = true
	}
	if one(6) {
		s.offset = r.IntN(3)
	}
	if s.v6 && one(3) {
		s.extension, s.extensionWords, s.extensions = []int{0, 43, 60, 44}[r.IntN(4)], r.IntN(3), 1+r.IntN(2)
	}
	if one(3) {
		s.padding = r.IntN(20)
	}
	for range r.IntN(4) - 1 {
		s.tags = append(s.tags, uint16(r.IntN(4))|uint16(r.IntN(8))<<13)
	}
	return s
}

// bytes is the packet.
func (s sample) bytes(link uint16) []byte {
	be := binary.BigEndian
	proto := byte(6)
	if s.udp {
		proto = 17
	}
	t := be.AppendUint16(be.AppendUint16(nil, s.sport), s.dport)
	t = append(t, 0, 0, 0, 0, 0, 0, 0, 0, byte(5+s.tcpOptions)<<4, s.flags, 0, 0, 0, 0, 0, 0)
	t = append(t, make([]byte, 4*s.tcpOptions+s.payload)...)
	kind := uint16(0x0800)
	var b []byte
	if s.v6 {
		kind = 0x86dd
		next := proto
		for i := range s.extensions {
			e := []byte{next, byte(s.extensionWords)}
			if s.extension == 44 {
				e[1] = 0
				if i == 0 {
					e = be.AppendUint16(e, uint16(s.offset)<<3)
				}
			}
			e = append(e, make([]byte, 8+8*int(e[1])-len(e))...)
			t = append(e, t...)
			next = byte(s.extension)
		}
		b = append([]byte{0x60, 0, 0, 0, 0, 0, next, 64, 0xfd}, make([]byte, 31)...)
		b[23], b[39] = byte(s.src), byte(s.dst)
		b[24] = 0xfd
		if !s.noLength {
			be.PutUint16(b[4:], uint16(len(t)))
		}
	} else {
		b = append([]byte{byte(0x45 + s.ipOptions)}, make([]byte, 19+4*s.ipOptions)...)
		if !s.noLength {
			be.PutUint16(b[2:], uint16(len(b)+len(t)))
		}
		be.PutUint16(b[6:], uint16(s.offset))
		b[9], b[12], b[15], b[16], b[19] = proto, 10, byte(s.src), 10, byte(s.dst)
	}
	b = append(b, t...)
	for _, tag := range slices.Backward(s.tags) {
		b = append(be.AppendUint16(be.AppendUint16(nil, tag), kind), b...)
		kind = 0x8100
	}
	b = append(b, make([]byte, s.padding)...)
	switch link {
	case 1:
		b = append(be.AppendUint16(make([]byte, 12), kind), b...)
	case 113:
		b = append(be.AppendUint16(make([]byte, 14), kind), b...)
	case 276:
		b = append(append(be.AppendUint16(nil, kind), make([]byte, 18)...), b...)
	}
	return b
}

// wanted says whether the filter should let the packet through.
func (s sample) wanted(cfg capture.FilterConfig) bool {
	switch {
	case len(cfg.VLANIDs) > 0:
		if len(s.tags) != 1 || !slices.Contains(cfg.VLANIDs, s.tags[0]&0xfff) {
			return false
		}
	case len(s.tags) > 0 && !cfg.VLAN || len(s.tags) > 2:
		return false
	}
	if s.udp || s.extensions > 1 {
		return false
	}
	end := func(last int, port uint16, fragment bool) bool {
		if cfg.Host.IsValid() && (cfg.Host.Is6() != s.v6 || int(cfg.Host.As16()[15]) != last) {
			return false
		}
		return fragment || len(cfg.Ports) == 0 || slices.Contains(cfg.Ports, port)
	}
	fragment := !s.v6 && s.offset > 0 || s.extension == 44
	if !end(s.dst, s.dport, fragment) && !(cfg.Responses && end(s.src, s.sport, fragment)) {
		return false
	}
	return fragment || s.extensions > 0 || s.flags&7 != 0 || s.payload > 0 || s.noLength
}

// The program that the filter expression makes must accept what is wanted and nothing
// else, on every kind of link.
func TestFilterExpression(t *testing.T) {
	for _, cfg := range []capture.FilterConfig{
		{},
		{Responses: true},
		{Ports: []uint16{80}},
		{Ports: []uint16{8080, 80}, Responses: true},
		{Ports: []uint16{9002, 80, 9000, 9001}},
		{Ports: []uint16{80}, Host: netip.MustParseAddr("10.0.0.1")},
		{Ports: []uint16{80}, Host: netip.MustParseAddr("10.0.0.1"), Responses: true},
		{Host: netip.MustParseAddr("fd00::1"), Responses: true},
		{Ports: []uint16{80}, Host: netip.MustParseAddr("fd00::2")},
		{Ports: []uint16{80}, VLAN: true},
		{Ports: []uint16{80, 443}, VLAN: true, Responses: true},
		{Ports: []uint16{80}, VLANIDs: []uint16{2}},
		{Ports: []uint16{80}, VLANIDs: []uint16{1, 3}, Responses: true},
	} {
		for _, link := range []uint16{1, 113, 276, 12} {
			if link != 1 && (cfg.VLAN || cfg.VLANIDs != nil) {
				continue
			}
			t.Run(fmt.Sprintf("%+v link %d", cfg, link), func(t *testing.T) { checkFilter(t, cfg, link) })
		}
	}
}

func checkFilter(t *testing.T, cfg capture.FilterConfig, link uint16) {
	raw, err := live.Compile(capture.FilterExpression(cfg), link)
	if err != nil {
		t.Fatal(err)
	}
	program, whole := bpf.Disassemble(raw)
	if !whole {
		t.Fatal("an instruction that is not known")
	}
	vm, err := bpf.NewVM(program)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	accepted := 0
	const tries = 3000
	for range tries {
		s := randomSample(r)
		if link != 1 {
			s.tags = nil
		}
		n, err := vm.Run(s.bytes(link))
		if err != nil {
			t.Fatal(err)
		}
		if (n > 0) != s.wanted(cfg) {
			t.Fatalf("%+v: accepted %d bytes, wanted %v", s, n, s.wanted(cfg))
		}
		if n > 0 {
			accepted++
		}
	}
	if accepted < 10 {
		t.Errorf("%d of %d packets accepted: this tests little", accepted, tries)
	}
}

// However many ports there are, the program is one that the kernel takes, and it is
// made soon; where they are few, it names them all and nothing between.
func TestFilterExpressionOfManyPorts(t *testing.T) {
	var ports []uint16
	for p := 1; p < 65536; p += 11 {
		ports = append(ports, uint16(p))
	}
	for _, cfg := range []capture.FilterConfig{{Ports: ports}, {Ports: ports, Responses: true}, {Ports: ports[:128], Responses: true, VLAN: true}} {
		raw, err := live.Compile(capture.FilterExpression(cfg), 1)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%d ports: %d instructions", len(cfg.Ports), len(raw))
		if len(raw) > 4096 {
			t.Errorf("%d ports: %d instructions", len(cfg.Ports), len(raw))
		}
		program, _ := bpf.Disassemble(raw)
		vm, err := bpf.NewVM(program)
		if err != nil {
			t.Fatal(err)
		}
		between := 0
		for p := range 65536 {
			n, err := vm.Run(sample{dport: uint16(p), flags: 2, extension: 0xff}.bytes(1))
			if err != nil {
				t.Fatal(err)
			}
			is := slices.Contains(cfg.Ports, uint16(p))
			if is && n == 0 {
				t.Fatalf("port %d is refused", p)
			}
			if !is && n > 0 {
				between++
			}
		}
		if len(cfg.Ports) <= 128 && between > 0 {
			t.Errorf("%d other ports are accepted", between)
		}
	}
}

func TestCompileErrors(t *testing.T) {
	for filter, want := range map[string]string{
		"tcp port":            `filter "tcp port": `,
		"tcp\nno such thing":  `filter "no such thing": `,
		"vlan and tcp port 1": "no VLAN support",
	} {
		if _, err := live.Compile(filter, 276); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q in it", filter, err, want)
		}
	}
}
