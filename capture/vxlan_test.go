package capture_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"kagami"
	"kagami/capture"
)

// inVXLAN puts a frame into a VXLAN packet.
func inVXLAN(vni uint32, frame []byte) []byte {
	b := []byte{0x08, 0, 0, 0}
	b = binary.BigEndian.AppendUint32(b, vni<<8)
	return append(b, frame...)
}

// inEthernet puts a TCP segment over IPv4 into a frame. The server is 10.9.0.1.
func inEthernet(fromClient bool, client, server uint16, seq, ack uint32, flags byte, data string) []byte {
	const a, b = "\x0a\x09\x00\x02", "\x0a\x09\x00\x01"
	src, dst, from, to := a, b, client, server
	if !fromClient {
		src, dst, from, to = b, a, server, client
	}
	f := append(make([]byte, 12), 8, 0)
	f = append(f, 0x45, 0, 0, 0, 0, 0, 0, 0, 64, 6, 0, 0)
	binary.BigEndian.PutUint16(f[16:], uint16(40+len(data)))
	f = append(f, src+dst...)
	f = binary.BigEndian.AppendUint16(f, from)
	f = binary.BigEndian.AppendUint16(f, to)
	f = binary.BigEndian.AppendUint32(f, seq)
	f = binary.BigEndian.AppendUint32(f, ack)
	f = append(f, 5<<4, flags, 0xff, 0xff, 0, 0, 0, 0)
	return append(f, data...)
}

// exchange is the frames of a connection with a request and its answer.
func exchange(client, server uint16, request, answer string) [][]byte {
	const syn, ack, push = 2, 16, 24
	n, m := uint32(len(request)), uint32(len(answer))
	return [][]byte{
		inEthernet(true, client, server, 99, 0, syn, ""),
		inEthernet(false, client, server, 499, 100, syn|ack, ""),
		inEthernet(true, client, server, 100, 500, push, request),
		inEthernet(false, client, server, 500, 100+n, push, answer),
		inEthernet(true, client, server, 100+n, 500+m, ack, ""),
	}
}

// receive opens a source on the loopback interface, and a socket that sends to it.
func receive(t testing.TB, cfg capture.VXLANConfig) (v *capture.VXLAN, send func(...[]byte)) {
	t.Helper()
	if cfg.Address == "" {
		cfg.Address = "127.0.0.1:0"
	}
	v, err := capture.OpenVXLAN(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.Close() })
	to := v.Addr()
	if to.Addr().IsUnspecified() {
		to = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), to.Port())
	}
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return v, func(datagrams ...[]byte) {
		t.Helper()
		for _, b := range datagrams {
			if _, err := c.Write(b); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// drain stops a source and returns what it had.
func drain(t testing.TB, v *capture.VXLAN) (ps []capture.Packet) {
	t.Helper()
	v.Stop()
	for {
		p, err := v.Next()
		if err == io.EOF {
			return ps
		}
		if err != nil {
			t.Fatal(err)
		}
		p.Data = bytes.Clone(p.Data)
		ps = append(ps, p)
	}
}

// From datagrams to messages, with everything accounted for: the port filter is
// about the packets inside, and what is no VXLAN is a packet that is not TCP.
func TestVXLANToMessages(t *testing.T) {
	v, send := receive(t, capture.VXLANConfig{ExceptVNIs: []uint32{666}})
	l, err := capture.New(capture.Config{Ports: []uint16{80}, Responses: true}, v)
	if err != nil {
		t.Fatal(err)
	}
	const n = 50
	var want []string
	for i := range n {
		request := fmt.Sprintf("GET /%d HTTP/1.1\r\nHost: a\r\n\r\n", i)
		answer := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n%02d", i)
		for _, frame := range exchange(uint16(1000+i), 80, request, answer) {
			send(inVXLAN(uint32(i%3), frame))
		}
		for _, frame := range exchange(uint16(1000+i), 81, request, answer) {
			send(inVXLAN(1, frame))
		}
		send(inVXLAN(666, exchange(1, 80, "GET /excluded HTTP/1.1\r\n\r\n", "")[2]))
		want = append(want, request, answer)
	}
	garbage := [][]byte{{}, {8}, inVXLAN(1, nil), inVXLAN(1, make([]byte, 13)), inVXLAN(1, make([]byte, 60)), []byte("GET / HTTP/1.1\r\n\r\n")}
	unset := inVXLAN(1, exchange(2, 80, "GET /unset HTTP/1.1\r\n\r\n", "")[2])
	unset[0] = 0xf7 // every flag but the one that makes it valid
	send(append(garbage, unset)...)

	ctx, cancel := context.WithCancel(t.Context())
	cancel() // all there is has arrived, and Stop loses nothing of it
	var got []string
	if err := l.Run(ctx, func(_ context.Context, b kagami.Batch) error {
		for _, m := range b.Messages {
			got = append(got, string(m.Raw))
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got %d messages, want %d:\n%q", len(got), len(want), got)
	}
	const frames = 5 * n
	for i, want := range []struct {
		unit    kagami.Unit
		in, out int64
		dropped map[kagami.Reason]int64
	}{
		{kagami.Packets, 2*frames + 7, frames, map[kagami.Reason]int64{kagami.NotTCP: 7, kagami.OtherPort: frames}},
		{kagami.Connections, n, n, nil},
		{kagami.Messages, 2 * n, 2 * n, nil},
	} {
		st := l.Stages()[i].Statement()
		if st.Unit != want.unit || st.In != want.in || st.Out != want.out || st.InFlight != 0 {
			t.Errorf("%v: %+v, want in %d, out %d", st.Unit, st, want.in, want.out)
		}
		if len(st.Dropped) != len(want.dropped) {
			t.Errorf("%v: dropped %v, want %v", st.Unit, st.Dropped, want.dropped)
		}
		for r, n := range want.dropped {
			if st.Dropped[r] != n {
				t.Errorf("%v: dropped %v, want %v", st.Unit, st.Dropped, want.dropped)
			}
		}
	}
	if v.Excluded() != n {
		t.Errorf("%d excluded, want %d", v.Excluded(), n)
	}
	if s, err := v.Stats(); err != nil || s != (capture.Stats{Received: 2*frames + 7}) {
		t.Errorf("stats %+v, %v", s, err)
	}
}

func TestVXLANVNIs(t *testing.T) {
	for _, test := range []struct {
		name         string
		vnis, except []uint32
		want         []int
	}{
		{"all", nil, nil, []int{0, 1, 5, capture.MaxVNI}},
		{"one", []uint32{5}, nil, []int{5}},
		{"some", []uint32{0, capture.MaxVNI}, nil, []int{0, capture.MaxVNI}},
		{"all but one", nil, []uint32{5}, []int{0, 1, capture.MaxVNI}},
		{"all but some", nil, []uint32{0, 1, 5, capture.MaxVNI}, nil},
		{"some but one", []uint32{0, 1}, []uint32{1}, []int{0}},
		{"none that comes", []uint32{7}, nil, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			v, send := receive(t, capture.VXLANConfig{VNIs: test.vnis, ExceptVNIs: test.except})
			for _, vni := range []uint32{0, 1, 5, capture.MaxVNI} {
				b := inVXLAN(vni, []byte("frame"))
				b[1], b[2], b[3], b[7] = 0xff, 0xff, 0xff, 0xff // reserved: ignored
				b[0] |= 0xf7
				send(b)
			}
			var got []int
			for _, p := range drain(t, v) {
				got = append(got, p.Ifindex)
				if string(p.Data) != "frame" || p.WireLen != 5 || p.Link != 1 || p.Type != capture.Host {
					t.Errorf("packet %+v", p)
				}
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("packets of VNI %v, want %v", got, test.want)
			}
			if n := int(v.Excluded()); n != 4-len(test.want) {
				t.Errorf("%d excluded", n)
			}
		})
	}
}

// Geneve is received in the same way: frames and IP packets, with options and without.
func TestGeneve(t *testing.T) {
	v, send := receive(t, capture.VXLANConfig{Geneve: true, ExceptVNIs: []uint32{7}})
	frame := inEthernet(true, 1000, 80, 1, 1, 24, "GET / HTTP/1.1\r\n\r\n")
	geneve := func(first byte, ether uint16, vni uint32, parts ...[]byte) []byte {
		b := binary.BigEndian.AppendUint16([]byte{first, 0xc0}, ether)
		b = binary.BigEndian.AppendUint32(b, vni<<8|0xff) // what is reserved may be anything
		return append(b, slices.Concat(parts...)...)
	}
	option := []byte{1, 8, 0x81, 1, 0, 0, 0, 9}
	send(geneve(0, 0x6558, 5, frame), geneve(2, 0x6558, capture.MaxVNI, option, frame), geneve(2, 0x800, 0, option, frame[14:]),
		geneve(0, 0x86dd, 6, []byte{0x60}), geneve(0, 0x6558, 7, frame))
	none := [][]byte{{}, make([]byte, 7), geneve(0x40, 0x6558, 5, frame), geneve(63, 0x6558, 5, frame), geneve(0, 0x8847, 5, frame)}
	send(none...)
	want := []capture.Packet{
		{Data: frame, Link: 1, Ifindex: 5}, {Data: frame, Link: 1, Ifindex: capture.MaxVNI},
		{Data: frame[14:], Link: 101}, {Data: []byte{0x60}, Link: 101, Ifindex: 6},
	}
	got := drain(t, v)
	if len(got) != len(want)+len(none) {
		t.Fatalf("%d packets, want %d", len(got), len(want)+len(none))
	}
	for i, p := range got {
		switch {
		case i >= len(want) && len(p.Data) > 0:
			t.Errorf("packet %d is no Geneve: %+v", i, p)
		case i < len(want) && (!bytes.Equal(p.Data, want[i].Data) || p.Link != want[i].Link || p.Ifindex != want[i].Ifindex || p.WireLen != len(p.Data)):
			t.Errorf("packet %d: %+v, want %+v", i, p, want[i])
		}
	}
	if v.Excluded() != 1 {
		t.Errorf("%d excluded, want 1", v.Excluded())
	}
}

// The largest datagram there is comes whole, and several of them in one block do
// not mix.
func TestVXLANJumbo(t *testing.T) {
	const largest = 65535 - 20 - 8 - 8 // but for the headers of IPv4, UDP and VXLAN
	v, send := receive(t, capture.VXLANConfig{})
	var want [][]byte
	for i, size := range []int{largest, 14, 9001, largest, 1526, 1527, 65000} {
		frame := bytes.Repeat([]byte{byte(i + 1)}, size)
		want = append(want, frame)
		send(inVXLAN(1, frame))
	}
	ps := drain(t, v)
	if len(ps) != len(want) {
		t.Fatalf("%d packets, want %d", len(ps), len(want))
	}
	for i, p := range ps {
		if !bytes.Equal(p.Data, want[i]) || p.WireLen != len(want[i]) {
			t.Errorf("packet %d: %d bytes, %d on the wire, want %d", i, len(p.Data), p.WireLen, len(want[i]))
		}
	}
}

// A mirror that cuts frames to its MTU makes messages that are not whole. They
// are counted; those after them are captured.
func TestVXLANCutFrames(t *testing.T) {
	v, send := receive(t, capture.VXLANConfig{})
	l, err := capture.New(capture.Config{Ports: []uint16{80}}, v)
	if err != nil {
		t.Fatal(err)
	}
	body := strings.Repeat("x", 1000)
	first := "POST /cut HTTP/1.1\r\nContent-Length: 1000\r\n\r\n" + body
	second := "GET /whole HTTP/1.1\r\n\r\n"
	frames := exchange(7, 80, first, "HTTP/1.1 204 No Content\r\n\r\n")
	frames[2] = frames[2][:500]
	frames = append(frames, inEthernet(true, 7, 80, 100+uint32(len(first)), 600, 24, second))
	for _, f := range frames {
		send(inVXLAN(1, f))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var got []string
	err = l.Run(ctx, func(_ context.Context, b kagami.Batch) error {
		for _, m := range b.Messages {
			got = append(got, string(m.Raw))
		}
		return nil
	})
	if err != nil || !slices.Equal(got, []string{second}) {
		t.Errorf("got %q, %v", got, err)
	}
	st := l.Stages()[2].Statement()
	if st.In != 2 || st.Out != 1 || st.Dropped[kagami.SequenceGap] != 1 {
		t.Errorf("messages: %+v", st)
	}
}

// Buffered says 0 where the next call waits, and only then: packets that are not
// wanted are none.
func TestVXLANBuffered(t *testing.T) {
	v, send := receive(t, capture.VXLANConfig{ExceptVNIs: []uint32{2}})
	send(inVXLAN(1, []byte("a")), inVXLAN(2, []byte("b")), inVXLAN(1, []byte("c")), inVXLAN(2, []byte("d")))
	seen := 0
	for {
		if _, err := v.Next(); err != nil {
			t.Fatal(err)
		}
		if seen++; v.Buffered() == 0 {
			break
		}
	}
	if runtime.GOOS == "linux" && seen != 2 {
		t.Errorf("%d packets in the block, want 2", seen)
	}
}

// What the kernel has when Stop is called is not lost, however much it is.
func TestVXLANStop(t *testing.T) {
	v, send := receive(t, capture.VXLANConfig{})
	const n = 1000
	for i := range n {
		send(inVXLAN(uint32(i), []byte("frame")))
	}
	s, err := v.Stats()
	if err != nil {
		t.Fatal(err)
	}
	lost := int(s.KernelDropped) // where the system's limit for buffers is low
	ps := drain(t, v)
	if len(ps)+lost != n {
		t.Errorf("%d packets and %d lost, want %d", len(ps), lost, n)
	}
	for i, p := range ps {
		if p.Ifindex != i {
			t.Fatalf("packet %d has VNI %d", i, p.Ifindex)
		}
	}
	send(inVXLAN(1, []byte("late")))
	if p, err := v.Next(); err != io.EOF {
		t.Errorf("after the end: %+v, %v", p, err)
	}
}

// What goes on arriving does not keep a source that was stopped from its end.
func TestVXLANStopUnderLoad(t *testing.T) {
	v, send := receive(t, capture.VXLANConfig{})
	for range 10 {
		send(inVXLAN(1, []byte("frame")))
	}
	v.Stop()
	for n := range 100_000 {
		send(inVXLAN(2, []byte("frame")), inVXLAN(2, []byte("frame")))
		if _, err := v.Next(); err == io.EOF {
			if n < 10 {
				t.Errorf("ended after %d packets", n)
			}
			return
		}
	}
	t.Error("did not end")
}

func TestVXLANStopEndsWait(t *testing.T) {
	v, _ := receive(t, capture.VXLANConfig{})
	end := make(chan error)
	go func() {
		_, err := v.Next()
		end <- err
	}()
	v.Stop()
	if err := <-end; err != io.EOF {
		t.Errorf("got %v, want io.EOF", err)
	}
}

func TestVXLANCloseEndsWait(t *testing.T) {
	v, send := receive(t, capture.VXLANConfig{})
	send(inVXLAN(1, []byte("frame")))
	if _, err := v.Next(); err != nil {
		t.Fatal(err)
	}
	end := make(chan error)
	go func() {
		_, err := v.Next()
		end <- err
	}()
	if err := v.Close(); err != nil {
		t.Error(err)
	}
	if err := <-end; !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v, want net.ErrClosed", err)
	}
	if _, err := v.Next(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v, want net.ErrClosed", err)
	}
	if err := v.Close(); err != nil {
		t.Errorf("the second Close: %v", err)
	}
	if s, err := v.Stats(); err != nil || s.Received != 1 {
		t.Errorf("stats after Close: %+v, %v", s, err)
	}
}

func TestVXLANAllAddresses(t *testing.T) {
	v, send := receive(t, capture.VXLANConfig{Address: ":0"})
	send(inVXLAN(1, []byte("frame")))
	if ps := drain(t, v); len(ps) != 1 {
		t.Errorf("%d packets", len(ps))
	}
}

func TestVXLANErrors(t *testing.T) {
	busy, _ := receive(t, capture.VXLANConfig{})
	for _, test := range []struct {
		name string
		cfg  capture.VXLANConfig
		says string
	}{
		{"busy port", capture.VXLANConfig{Address: busy.Addr().String()}, "another program has this UDP port"},
		{"another host's address", capture.VXLANConfig{Address: "192.0.2.1:4789"}, "want an IP address of this host"},
		{"an interface", capture.VXLANConfig{Address: "eth0:4789"}, `"eth0" is not an IP address`},
		{"no port", capture.VXLANConfig{Address: "127.0.0.1"}, "as in 10.0.0.5:4789 or :4789"},
		{"a port's name", capture.VXLANConfig{Address: ":vxlan"}, "want 0 to 65535"},
		{"no port for Geneve", capture.VXLANConfig{Address: "127.0.0.1", Geneve: true}, "receive Geneve: address \"127.0.0.1\": want an IP address and a port, as in 10.0.0.5:6081 or :6081"},
		{"VNI", capture.VXLANConfig{VNIs: []uint32{1 << 24}}, "VNI 16777216: want 0 to 16777215"},
		{"VNI left out", capture.VXLANConfig{ExceptVNIs: []uint32{1 << 24}}, "VNI 16777216: want 0 to 16777215"},
		{"no buffer", capture.VXLANConfig{BufferSize: -1}, "want 1 to 2147483647"},
		{"a buffer too large", capture.VXLANConfig{BufferSize: 4 << 30}, "want 1 to 2147483647"},
	} {
		t.Run(test.name, func(t *testing.T) {
			v, err := capture.OpenVXLAN(test.cfg)
			if err == nil {
				v.Close()
			}
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %v, want %q", err, test.says)
			}
		})
	}
}

// Packets have the time at which they arrived, not that at which they were read.
func TestVXLANTime(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux says when a datagram arrived")
	}
	v, send := receive(t, capture.VXLANConfig{})
	for range 100_000 { // the kernel switches time stamps on a while after it was asked to
		before := time.Now()
		send(inVXLAN(1, []byte("frame")))
		after := time.Now()
		p, err := v.Next()
		if err != nil {
			t.Fatal(err)
		}
		if p.Time.Before(before.Truncate(0).Add(-time.Millisecond)) {
			t.Fatalf("sent at %v, arrived at %v", before, p.Time)
		}
		if !p.Time.After(after) {
			return
		}
	}
	t.Error("packets have the time at which they were read")
}

func BenchmarkVXLAN(b *testing.B) {
	v, send := receive(b, capture.VXLANConfig{})
	packet := inVXLAN(1, make([]byte, 200))
	b.ReportAllocs()
	b.ResetTimer()
	for left := b.N; left > 0; {
		n := min(left, 64)
		left -= n
		b.StopTimer()
		for range n {
			send(packet)
		}
		b.StartTimer()
		for range n {
			if _, err := v.Next(); err != nil {
				b.Fatal(err)
			}
		}
	}
}
