//go:build linux

package bench

import (
	"encoding/binary"
	"fmt"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kagami"
	"kagami/internal/testbed"
)

// BenchmarkRootFlood is how much memory a live listener takes at most, --memory-limit as it is
// by default, while it is flooded as fast as one sender can: with connections that only begin,
// that stop in the middle of a request, or in the middle of an upload.
func BenchmarkRootFlood(b *testing.B) {
	for _, c := range []struct {
		name        string
		connections int
		say         func(t *traffic, i int)
	}{
		{"SYN", 4_000_000, func(t *traffic, i int) { t.packet(clientAt(i), true, syn, "") }},
		{"half a request", 1_000_000, func(t *traffic, i int) {
			c := clientAt(i)
			t.packet(c, true, syn, "")
			t.send(c, smallGet(i)[:100])
		}},
		{"a request", 1_000_000, func(t *traffic, i int) {
			c := clientAt(i)
			t.packet(c, true, syn, "")
			t.send(c, smallGet(i))
		}},
		{"part of an upload", 100_000, func(t *traffic, i int) {
			c := clientAt(i)
			t.packet(c, true, syn, "")
			t.send(c, unfinished)
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				flood(b, c.connections, c.say)
			}
		})
	}
}

func flood(b *testing.B, connections int, say func(t *traffic, i int)) {
	h := testbed.NewHosts(b)
	production := func(args ...string) { testbed.IP(b, append([]string{"-n", h.Production}, args...)...) }
	production("addr", "add", "10.255.0.1/32", "dev", "lo") // nothing leads back to the clients: no RST is sent
	mac := [6]byte{2, 0, 0, 0, 0, 2}
	production("link", "set", "eth0", "address", net.HardwareAddr(mac[:]).String())
	k := testbed.StartKagami(b, h.Production, `capturing`, "listen", "--input-raw", "eth0:80", "--output-null")
	begin := time.Now()
	testbed.Netns(h.Client).Do(b, func() error { return send(connections, say) })
	took := time.Since(begin)
	peak := float64(testbed.Memory(b, k.Cmd.Process.Pid, "VmHWM")) / (1 << 20)
	st := k.Stop()
	var captured, lost int64
	for _, s := range st.Stages {
		if s.Stage == "capture" && s.Unit == kagami.Packets {
			captured, lost = s.In, s.Dropped[kagami.KernelDrop]
		}
	}
	b.ReportMetric(peak, "MiB-peak")
	b.ReportMetric(float64(captured)/took.Seconds(), "packets/s")
	b.ReportMetric(float64(lost)/float64(max(captured, 1)), "lost-by-kernel")
}

// send sends what clients say from an interface eth0 at one go.
func send(connections int, say func(t *traffic, i int)) error {
	eth0, err := net.InterfaceByName("eth0")
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	defer unix.Close(fd)
	// ETH_P_IP in network order, on machines of little endian.
	to := &unix.SockaddrLinklayer{Ifindex: eth0.Index, Protocol: 0x0008}
	t := &traffic{}
	for i := range connections {
		t.buf = t.buf[:0]
		say(t, i)
		for p := t.buf; len(p) > 0; {
			n := int(binary.LittleEndian.Uint32(p[8:]))
			frame := p[record : record+n]
			copy(frame[:6], []byte{2, 0, 0, 0, 0, 2})
			if err := unix.Sendto(fd, frame, 0, to); err != nil && err != unix.ENOBUFS {
				return fmt.Errorf("send: %w", err)
			}
			p = p[record+n:]
		}
	}
	return nil
}
