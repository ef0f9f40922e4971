package capture_test

import (
	"net"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kagami/capture"
)

// Every datagram that was sent is either read or counted as dropped by the kernel.
func TestVXLANKernelDrops(t *testing.T) {
	v, send := receive(t, capture.VXLANConfig{BufferSize: 64 << 10})
	const n = 2000
	for range n {
		send(inVXLAN(1, make([]byte, 1000)))
	}
	before, err := v.Stats()
	if err != nil {
		t.Fatal(err)
	}
	ps := drain(t, v)
	s, err := v.Stats()
	if err != nil {
		t.Fatal(err)
	}
	if s.KernelDropped == 0 || s.KernelDropped != before.KernelDropped || len(ps)+int(s.KernelDropped) != n || s.Received != n {
		t.Errorf("%d packets, %+v (%+v before they were read), want %d in all", len(ps), s, before, n)
	}
	v.Close()
	if after, err := v.Stats(); after != s || err != nil {
		t.Errorf("after Close: %+v, %v, want %+v", after, err, s)
	}
}

// What was dropped is known after Close, also where nobody had asked before.
func TestVXLANKernelDropsAfterClose(t *testing.T) {
	v, send := receive(t, capture.VXLANConfig{BufferSize: 64 << 10})
	for range 2000 {
		send(inVXLAN(1, make([]byte, 1000)))
	}
	v.Close()
	if s, err := v.Stats(); err != nil || s.KernelDropped == 0 || s.KernelDropped >= 2000 {
		t.Errorf("%+v, %v", s, err)
	}
}

// What the kernel does not give is said.
func TestVXLANWarning(t *testing.T) {
	small, _ := receive(t, capture.VXLANConfig{BufferSize: 64 << 10})
	if w := small.Warning(); w != "" {
		t.Errorf("64 KiB: %s", w)
	}
	huge, _ := receive(t, capture.VXLANConfig{BufferSize: 1 << 30})
	// Root gets what it asks for.
	if w := huge.Warning(); w != "" && !strings.Contains(w, "net.core.rmem_max=1073741824") {
		t.Errorf("1 GiB: %s", w)
	}
}

// Over IPv6 a sender of VXLAN may leave out the checksum.
func TestVXLANWithoutChecksum(t *testing.T) {
	v, err := capture.OpenVXLAN(capture.VXLANConfig{Address: "[::1]:0"})
	if err != nil {
		t.Skipf("no IPv6: %v", err)
	}
	defer v.Close()
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(v.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_NO_CHECK6_TX, 1) })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(inVXLAN(1, []byte("frame"))); err != nil {
		t.Fatal(err)
	}
	if ps := drain(t, v); len(ps) != 1 {
		s, err := v.Stats()
		t.Errorf("%d packets, %+v, %v", len(ps), s, err)
	}
}

func TestVXLANDoesNotAllocate(t *testing.T) {
	v, send := receive(t, capture.VXLANConfig{})
	packet := [][]byte{inVXLAN(1, make([]byte, 200))}
	if n := testing.AllocsPerRun(200, func() {
		send(packet...)
		if _, err := v.Next(); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations a packet", n)
	}
}
