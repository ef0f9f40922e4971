package kernel_test

import (
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"kagami"
	"kagami/capture/kernel"
)

var packets = flag.Int("packets", 300, "random packets for each of the configurations")

// A runner has the real kernel run a program, on what is sent through a pair of sockets.
type runner struct{ in, out int }

func newRunner(t testing.TB, program []bpf.RawInstruction) runner {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fds[0]); unix.Close(fds[1]) })
	if err := kernel.Attach(fds[1], program); err != nil {
		t.Fatal(err)
	}
	return runner{fds[0], fds[1]}
}

// keep returns how many bytes of the packet came through.
func (r runner) keep(t testing.TB, b, buffer []byte) int {
	if _, err := unix.Write(r.in, b); err != nil && !errors.Is(err, unix.EPERM) {
		t.Fatal(err)
	}
	n, err := unix.Read(r.out, buffer)
	if errors.Is(err, unix.EAGAIN) {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// fixed returns the program with what it asks of the kernel beside the packet
// replaced by what the answer is: on a socket pair there is none.
func fixed(program []bpf.RawInstruction, m kernel.Meta) []bpf.RawInstruction {
	present := uint32(0)
	if m.HasTag {
		present = 1
	}
	const base = 0xfffff000
	answers := map[uint32]uint32{
		base + uint32(bpf.ExtProto): uint32(m.Protocol), base + uint32(bpf.ExtType): uint32(m.Type),
		base + uint32(bpf.ExtInterfaceIndex): uint32(m.Ifindex),
		base + uint32(bpf.ExtVLANTagPresent): present, base + uint32(bpf.ExtVLANTag): uint32(m.Tag),
	}
	out := make([]bpf.RawInstruction, len(program))
	for i, in := range program {
		if answer, ok := answers[in.K]; ok && in.Op == 0x20 { // ld [k]
			in = bpf.RawInstruction{Op: 0, K: answer} // ld #k
		}
		out[i] = in
	}
	return out
}

func newVM(t testing.TB, program []bpf.RawInstruction) *bpf.VM {
	t.Helper()
	list, whole := bpf.Disassemble(program)
	vm, err := bpf.NewVM(list)
	if !whole || err != nil {
		t.Fatal(whole, err)
	}
	return vm
}

// The kernel, x/net's machine and the Go function say the same of every packet.
func TestKernelAgrees(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	total, kept, cut := 0, 0, 0
	for range 150 {
		link, cfg, meta := kernel.Link(r.IntN(3)), randomConfig(r), randomMeta(r)
		program, err := kernel.Program(link, cfg)
		if err != nil {
			t.Fatal(err)
		}
		program = fixed(program, meta)
		run, vm, buffer := newRunner(t, program), newVM(t, program), make([]byte, 4096)
		for range *packets {
			b := randomPacket(r, link, meta)
			want := cfg.Keep(link, meta, b)
			machine, err := vm.Run(b)
			if err != nil {
				t.Fatal(err)
			}
			got := run.keep(t, b, buffer)
			if got != want || min(machine, len(b)) != want {
				t.Fatalf("link %d %+v %+v\n% x\nkernel %d, machine %d, Go %d", link, cfg, meta, b, got, machine, want)
			}
			total++
			if want > 0 {
				kept++
			}
			if want > 0 && want < len(b) {
				cut++
			}
		}
	}
	t.Logf("%d packets, %d kept, %d of them cut", total, kept, cut)
	if kept < total/50 || cut < total/1000 {
		t.Errorf("this tests little: of %d packets %d are kept, %d of them cut", total, kept, cut)
	}
}

var addresses = []string{"10.0.0.1", "10.0.0.2", "192.168.3.4", "fd00::1", "fd00::2", "::ffff:10.0.0.1", "::ffff:10.0.0.9", "::", "2001:db8:1:2:3:4:5:6"}

func randomConfig(r *rand.Rand) kernel.Config {
	c := kernel.Config{Responses: kernel.Responses(r.IntN(3)), Loopback: r.IntN(3), VLAN: r.IntN(2) == 0}
	for range r.IntN(4) {
		c.Ports = append(c.Ports, uint16(80+r.IntN(6)))
	}
	if r.IntN(8) == 0 {
		for range 200 + r.IntN(1000) {
			c.Ports = append(c.Ports, uint16(r.IntN(65536)))
		}
	}
	if r.IntN(2) == 0 {
		for range r.IntN(len(addresses)) {
			c.Hosts = append(c.Hosts, netip.MustParseAddr(addresses[r.IntN(len(addresses))]))
		}
	}
	if r.IntN(8) == 0 && len(c.Ports) < 10 {
		for i := range 60 { // a node's pods
			c.Hosts = append(c.Hosts, netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 5)}), netip.AddrFrom16([16]byte{0xfd, 15: byte(i)}))
		}
	}
	if r.IntN(4) == 0 {
		c.VLANIDs = []uint16{1, 3}
	}
	for range r.IntN(4) {
		share, _ := kagami.ShareOf([]float64{0, 1, 30, 50, 99, 100}[r.IntN(6)])
		c.Samples = append(c.Samples, kernel.Sample{By: kernel.By(r.IntN(2)), Salt: kagami.Salt(r.Uint32()), Share: share})
	}
	if r.IntN(2) == 0 {
		c.Head, c.Snaplen = uint32(40+r.IntN(60)), uint32(60+r.IntN(200))
	}
	return c
}

func randomMeta(r *rand.Rand) kernel.Meta {
	return kernel.Meta{
		Protocol: []uint16{0x0800, 0x0800, 0x86dd, 0x86dd, 0x8100, 0x88a8, 0x0806}[r.IntN(7)], Type: []uint8{0, 4}[r.IntN(2)],
		Ifindex: r.IntN(3), HasTag: r.IntN(4) == 0, Tag: uint16(r.IntN(4)) | 0x2000,
	}
}

// randomPacket returns something like TCP over IP, with all that can be odd about it.
func randomPacket(r *rand.Rand, link kernel.Link, m kernel.Meta) []byte {
	be := binary.BigEndian
	one := func(n int) bool { return r.IntN(n) == 0 }
	v6 := one(2)
	if link == kernel.Network && !one(20) && (m.Protocol == 0x0800 || m.Protocol == 0x86dd) {
		v6 = m.Protocol == 0x86dd
	}
	port := func() uint16 {
		if one(3) {
			return uint16(r.IntN(65536))
		}
		return uint16(80 + r.IntN(6))
	}
	t := be.AppendUint16(be.AppendUint16(nil, port()), port())
	words := 5 + r.IntN(11)
	t = append(t, 0, 0, 0, 0, 0, 0, 0, 0, byte(words)<<4, []byte{16, 16, 24, 2, 17, 4}[r.IntN(6)], 0, 0, 0, 0, 0, 0)
	t = append(t, make([]byte, 4*words-20)...)
	if one(2) {
		t = append(t, make([]byte, 1+r.IntN(200))...)
	}
	proto := byte(6)
	if one(20) {
		proto = 17
	}
	var b []byte
	kind := uint16(0x0800)
	if v6 {
		b, kind = ipv6(r, t, proto), 0x86dd
	} else {
		b = ipv4(r, t, proto)
	}
	tags := max(0, r.IntN(5)-2)
	if link == kernel.Network && m.Protocol >= 0x8100 && m.Protocol != 0x86dd && one(2) {
		tags = max(1, tags)
	}
	for range tags {
		b = append(be.AppendUint16(be.AppendUint16(nil, uint16(r.IntN(4))|uint16(r.IntN(8))<<13), kind), b...)
		kind = []uint16{0x8100, 0x88a8, 0x9100}[r.IntN(3)]
	}
	if link == kernel.Ethernet {
		b = append(be.AppendUint16(make([]byte, 12), kind), b...)
	}
	b = append(b, make([]byte, r.IntN(8))...)
	if one(6) {
		b = b[:1+r.IntN(len(b)-1)]
	}
	return b
}

func randomAddr(r *rand.Rand, v6 bool) []byte {
	for {
		if a := netip.MustParseAddr(addresses[r.IntN(len(addresses))]); a.Is6() == v6 {
			return a.AsSlice()
		}
	}
}

func ipv4(r *rand.Rand, t []byte, proto byte) []byte {
	be, words := binary.BigEndian, 5
	if r.IntN(3) == 0 {
		words += r.IntN(11)
	}
	b := make([]byte, 12, 4*words+len(t))
	b[0], b[9] = 0x40|byte(words), proto
	if r.IntN(8) > 0 {
		be.PutUint16(b[2:], uint16(4*words+len(t)))
	}
	if r.IntN(5) == 0 {
		be.PutUint16(b[6:], uint16(r.IntN(2))<<13|uint16(r.IntN(3)))
	}
	b = append(append(b, randomAddr(r, false)...), randomAddr(r, false)...)
	return append(append(b, make([]byte, 4*words-20)...), t...)
}

func ipv6(r *rand.Rand, t []byte, next byte) []byte {
	be := binary.BigEndian
	for n := max(0, r.IntN(6)-2); n > 0; n-- {
		kind := []byte{0, 43, 60, 44, 51}[r.IntN(5)]
		e := make([]byte, 8+8*r.IntN(3))
		if kind == 44 {
			e = e[:8]
			be.PutUint16(e[2:], uint16(r.IntN(3))<<3|uint16(r.IntN(2)))
		} else {
			e[1] = byte(len(e)/8 - 1)
		}
		e[0] = next
		t, next = append(e, t...), kind
	}
	b := make([]byte, 8)
	b[0], b[6] = 0x60, next
	if r.IntN(6) > 0 {
		be.PutUint16(b[4:], uint16(len(t)))
	}
	b = append(append(b, randomAddr(r, true)...), randomAddr(r, true)...)
	return append(b, t...)
}

// Ten thousand consecutive ports of one client: what the kernel lets through of them is the
// share asked for, and nests.
func TestKernelShare(t *testing.T) {
	t.Run("IPv4", func(t *testing.T) { checkShares(t, false, 0) })
	t.Run("IPv6", func(t *testing.T) { checkShares(t, true, 1) })
}

func checkShares(t *testing.T, v6 bool, seed uint64) {
	salt := kagami.NewSalt(seed, 0, kagami.InputSide)
	meta, buffer := kernel.Meta{Protocol: 0x0800}, make([]byte, 4096)
	if v6 {
		meta.Protocol = 0x86dd
	}
	smaller := map[int]bool{}
	for _, percent := range []float64{1, 10, 20, 50} {
		share, _ := kagami.ShareOf(percent)
		program, err := kernel.Program(kernel.Network, kernel.Config{Ports: []uint16{80}, Responses: kernel.WholeResponses,
			Samples: []kernel.Sample{{Salt: salt, Share: share}}})
		if err != nil {
			t.Fatal(err)
		}
		run := newRunner(t, fixed(program, meta))
		in := map[int]bool{}
		for port := 20000; port < 30000; port++ {
			request, response := syn(v6, port, true), syn(v6, port, false)
			n := run.keep(t, request, buffer)
			if m := run.keep(t, response, buffer); n != m {
				t.Fatalf("port %d: %d bytes of the request, %d of the response", port, n, m)
			}
			if n > 0 {
				in[port] = true
			}
		}
		for port := range smaller {
			if !in[port] {
				t.Fatalf("port %d is in the smaller share, not in %v", port, share)
			}
		}
		smaller = in
		p := percent / 100
		if d := float64(len(in)) - 10000*p; d*d > 9*10000*p*(1-p) {
			t.Errorf("%v: %d of 10000", share, len(in))
		}
	}
}

// syn is a packet between a client's port and port 80.
func syn(v6 bool, port int, request bool) []byte {
	client, server := netip.MustParseAddrPort(fmt.Sprintf("10.0.0.1:%d", port)), netip.MustParseAddrPort("10.0.0.2:80")
	head := []byte{0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0}
	if v6 {
		client, server = netip.MustParseAddrPort(fmt.Sprintf("[fd00::1]:%d", port)), netip.MustParseAddrPort("[fd00::2]:80")
		head = []byte{0x60, 0, 0, 0, 0, 20, 6, 64}
	}
	if !request {
		client, server = server, client
	}
	b := append(append(head, client.Addr().AsSlice()...), server.Addr().AsSlice()...)
	b = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, client.Port()), server.Port())
	return append(b, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0)
}

// FuzzKeep holds the Go function against x/net's machine, on any bytes.
func FuzzKeep(f *testing.F) {
	f.Add(uint64(1), syn(false, 1, true))
	f.Add(uint64(2), syn(true, 1, false))
	f.Fuzz(func(t *testing.T, seed uint64, b []byte) {
		r := rand.New(rand.NewPCG(seed, 0))
		link, cfg, meta := kernel.Link(r.IntN(3)), randomConfig(r), randomMeta(r)
		program, err := kernel.Program(link, cfg)
		if err != nil {
			t.Fatal(err)
		}
		n, err := newVM(t, fixed(program, meta)).Run(b)
		if err != nil {
			t.Fatal(err)
		}
		if want := cfg.Keep(link, meta, b); min(n, len(b)) != want {
			t.Fatalf("link %d %+v %+v: machine %d, Go %d", link, cfg, meta, n, want)
		}
	})
}

// However many ports there are, there is a program that the kernel takes.
func TestManyPorts(t *testing.T) {
	var ports []uint16
	for p := 1; p < 65536; p += 11 {
		ports = append(ports, uint16(p))
	}
	share, _ := kagami.ShareOf(10)
	for _, n := range []int{1, 100, 500, len(ports)} {
		program, err := kernel.Program(kernel.Ethernet, kernel.Config{Ports: ports[:n], Responses: kernel.WholeResponses, Samples: []kernel.Sample{{Share: share}}})
		if err != nil {
			t.Fatal(err)
		}
		newRunner(t, program)
		t.Logf("%d ports: %d instructions", n, len(program))
	}
	_, err := kernel.Program(kernel.Ethernet, kernel.Config{VLANIDs: make([]uint16, 5000)})
	if err == nil {
		t.Error("a program of 5000 VLANs: no error")
	}
}

// BenchmarkKernel is a packet through a pair of sockets whose filter drops it, with
// the program and with none to speak of.
func BenchmarkKernel(b *testing.B) {
	share, _ := kagami.ShareOf(0)
	one, _ := kernel.Program(kernel.Network, kernel.Config{Ports: []uint16{80}, Samples: []kernel.Sample{{Share: share}}})
	for name, program := range map[string][]bpf.RawInstruction{"ret 0": {{Op: 6}}, "sample": fixed(one, kernel.Meta{Protocol: 0x0800})} {
		b.Run(name, func(b *testing.B) {
			run, packet := newRunner(b, program), syn(false, 1234, true)
			for b.Loop() {
				unix.Write(run.in, packet)
			}
		})
	}
}
