//go:build cgo

package live_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"kagami/capture"
	"kagami/capture/live"
	"kagami/internal/testbed"
)

// open opens a capture in a namespace, and closes it when the test ends.
func open(t testing.TB, ns testbed.Netns, cfg live.Config) *live.Source {
	t.Helper()
	var s *live.Source
	ns.Do(t, func() (err error) {
		s, err = live.Open(cfg)
		return err
	})
	t.Cleanup(func() { s.Close() })
	return s
}

// A seg is what these tests look at in a packet.
type seg struct {
	version          int
	srcPort, dstPort uint16
	seq              uint32
	flags            byte
	payload          []byte
	cut              bool
	ifindex          int
	kind             uint8
}

// parse reads a TCP packet without options in its IP header, whose lengths are those of the
// packet. ok is false for any other.
func parse(p capture.Packet) (s seg, ok bool) {
	b := p.Data
	switch p.Link {
	case 1:
		b = b[14:]
	case 276:
		b = b[20:]
	default:
		return s, false
	}
	switch {
	case len(b) >= 40 && b[0] == 0x45 && b[9] == 6:
		if n := int(binary.BigEndian.Uint16(b[2:])); n != 0 {
			b = b[:min(n, len(b))]
		}
		b = b[20:]
		s.version = 4
	case len(b) >= 60 && b[0]>>4 == 6 && b[6] == 6:
		b = b[40:]
		s.version = 6
	case len(b) >= 68 && b[0]>>4 == 6 && b[6] == 0 && b[40] == 6:
		b = b[48:]
		s.version = 6
	default:
		return s, false
	}
	s.srcPort, s.dstPort = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	s.seq, s.flags = binary.BigEndian.Uint32(b[4:]), b[13]
	s.payload = bytes.Clone(b[b[12]>>4*4:])
	s.cut = p.WireLen != len(p.Data)
	s.ifindex, s.kind = p.Ifindex, p.Type
	return s, true
}

// drain stops the capture and returns all that there was.
func drain(t testing.TB, s *live.Source) []seg {
	t.Helper()
	s.Stop()
	var all []seg
	for {
		p, err := s.Next()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if g, ok := parse(p); ok {
			all = append(all, g)
		}
	}
}

// The first packets must be there and must have passed the filter, though there was
// other traffic before the filter was installed; and each is to come once.
func TestRootFirstPacketsOnce(t *testing.T) {
	for _, device := range []string{"lo", live.Any} {
		for _, addr := range []string{"127.0.0.1", "::1"} {
			t.Run(device+" "+addr, func(t *testing.T) {
				ns := testbed.NewNetns(t)
				port, other := testbed.Service(t, ns, addr), testbed.Service(t, ns, addr)
				stop := make(chan struct{})
				noise := make(chan struct{})
				go func() {
					defer close(noise)
					for {
						select {
						case <-stop:
							return
						default:
							testbed.Ask(t, ns, addr, other, testbed.Pings(5)...)
						}
					}
				}()
				s := open(t, ns, live.Config{Interface: device, Filter: capture.FilterExpression(capture.FilterConfig{Ports: []uint16{port}})})
				want := testbed.Pings(20)
				testbed.Ask(t, ns, addr, port, want...)
				close(stop)
				<-noise
				if w := s.Warning(); w != "" {
					t.Errorf("warning: %s", w)
				}

				got, syn := []string{}, 0
				for i, g := range drain(t, s) {
					if g.dstPort != port {
						t.Errorf("packet %d from port %d to %d, which is filtered", i, g.srcPort, g.dstPort)
					}
					if g.ifindex != 1 || device == live.Any && g.kind != capture.Host {
						t.Errorf("packet %d on interface %d of type %d, want 1 and 0", i, g.ifindex, g.kind)
					}
					if g.flags&2 != 0 {
						syn++
					} else if len(g.payload) > 0 {
						got = append(got, string(g.payload))
					} else if g.flags&5 == 0 {
						t.Errorf("packet %d says nothing: flags %#x", i, g.flags)
					}
				}
				if syn != 1 || !slices.Equal(got, want) {
					t.Errorf("%d SYNs, want 1; payloads\n%q, want\n%q", syn, got, want)
				}
			})
		}
	}
}

// With responses, both directions come.
func TestRootResponses(t *testing.T) {
	here, there := testbed.Pair(t)
	for _, addr := range []string{testbed.Here4, testbed.Here6} {
		for _, device := range []string{"veth", live.Any} {
			port := testbed.Service(t, here, addr)
			s := open(t, here, live.Config{Interface: device, Filter: capture.FilterExpression(capture.FilterConfig{Ports: []uint16{port}, Responses: true})})
			testbed.Ask(t, there, addr, port, testbed.Pings(3)...)
			var got []string
			var kinds []uint8
			for _, g := range drain(t, s) {
				if len(g.payload) > 0 {
					got, kinds = append(got, string(g.payload)), append(kinds, g.kind)
				}
			}
			if want := []string{"ping 0\n", "pong\n", "ping 1\n", "pong\n", "ping 2\n", "pong\n"}; !slices.Equal(got, want) {
				t.Errorf("%s on %s: %q, want %q", addr, device, got, want)
			}
			if want := []uint8{0, 4, 0, 4, 0, 4}; device == live.Any && !slices.Equal(kinds, want) {
				t.Errorf("%s on %s: types %v, want %v", addr, device, kinds, want)
			}
		}
	}
}

// Packets of offloads are larger than the MTU, and are to be whole.
func TestRootLargePackets(t *testing.T) {
	for _, c := range []struct {
		name, addr string
		big        bool
	}{{"IPv4", testbed.Here4, false}, {"IPv6", testbed.Here6, false}, {"BIG TCP IPv4", testbed.Here4, true}, {"BIG TCP IPv6", testbed.Here6, true}} {
		t.Run(c.name, func(t *testing.T) {
			here, there := testbed.Pair(t)
			if c.big {
				for _, ns := range []testbed.Netns{here, there} {
					if err := ns.SetMaxSize(t, "veth", 200_000); err != nil {
						t.Skipf("no BIG TCP here: %v", err)
					}
				}
			}
			port := testbed.Service(t, here, c.addr)
			filter := capture.FilterExpression(capture.FilterConfig{Ports: []uint16{port}})
			// A block of libpcap's has 256 KiB: room for one of these packets.
			one := open(t, here, live.Config{Interface: "veth", Filter: filter, BufferSize: 64 << 20})
			any := open(t, here, live.Config{Interface: live.Any, Filter: filter, BufferSize: 64 << 20})
			size := 200 << 10
			if c.big {
				size = 4 << 20 // the packets grow with the speed of the connection
			}
			request := strings.Repeat("0123456789abcdef", size/16) + "\n"
			testbed.Ask(t, there, c.addr, port, request, request)
			for _, s := range []*live.Source{one, any} {
				all := drain(t, s)
				if w := s.Warning(); w != "" {
					t.Errorf("warning: %s", w)
				}
				largest := checkCoverage(t, all, request+request)
				st, err := s.Stats()
				t.Logf("%s: %d packets, the largest with %d bytes; %+v, %v", s.Interface(), len(all), largest, st, err)
				if largest <= 1500 || c.big && largest <= 64<<10 {
					t.Errorf("%s: the largest has %d bytes of payload: this tests nothing", s.Interface(), largest)
				}
			}
		})
	}
}

// checkCoverage checks that the payloads are what was sent, and returns how
// long the longest is.
func checkCoverage(t *testing.T, all []seg, want string) (largest int) {
	t.Helper()
	if len(all) == 0 || all[0].flags&2 == 0 {
		t.Fatal("no SYN at the begin")
	}
	got := make([]byte, len(want))
	seen := make([]bool, len(want))
	for _, g := range all {
		if g.cut {
			t.Errorf("a packet of %d bytes is cut short", len(g.payload))
		}
		at := int(g.seq - all[0].seq - 1)
		if g.flags&2 != 0 || at+len(g.payload) > len(want) {
			continue
		}
		copy(got[at:], g.payload)
		for i := range g.payload {
			seen[at+i] = true
		}
		largest = max(largest, len(g.payload))
	}
	if i := slices.Index(seen, false); i >= 0 {
		t.Errorf("byte %d was not captured", i)
	} else if string(got) != want {
		t.Error("what was captured differs from what was sent")
	}
	return largest
}

// Close has to end a wait on an interface where nothing happens.
func TestRootCloseOnIdleInterface(t *testing.T) {
	for _, device := range []string{"veth", live.Any} {
		here, _ := testbed.Pair(t)
		s := open(t, here, live.Config{Interface: device, Filter: "tcp port 1"})
		waiting, ended := make(chan struct{}), make(chan error)
		go func() {
			close(waiting)
			_, err := s.Next()
			ended <- err
		}()
		<-waiting
		begun := time.Now()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		select {
		case err := <-ended:
			if !errors.Is(err, os.ErrClosed) {
				t.Errorf("%s: Next returned %v, want %v", device, err, os.ErrClosed)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%s: Next still waits", device)
		}
		if took := time.Since(begun); took > time.Second {
			t.Errorf("%s: Close took %v", device, took)
		}
		if _, err := s.Next(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s: Next after Close: %v", device, err)
		}
		if _, err := s.Stats(); err != nil {
			t.Errorf("%s: Stats after Close: %v", device, err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("%s: second Close: %v", device, err)
		}
	}
}

// Data that Next returned must not go away with the capture.
func TestRootDataAfterClose(t *testing.T) {
	ns := testbed.NewNetns(t)
	port := testbed.Service(t, ns, "127.0.0.1")
	s := open(t, ns, live.Config{Interface: "lo", Filter: fmt.Sprintf("tcp dst port %d", port)})
	testbed.Ask(t, ns, "127.0.0.1", port, testbed.Pings(1)...)
	p, err := s.Next()
	if err != nil {
		t.Fatal(err)
	}
	before := bytes.Clone(p.Data)
	s.Close()
	if !bytes.Equal(before, p.Data) {
		t.Error("the data changed")
	}
}

// Several wait, one is closed again and again: no call may hang or crash.
func TestRootCloseWhileBusy(t *testing.T) {
	ns := testbed.NewNetns(t)
	port := testbed.Service(t, ns, "127.0.0.1")
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				testbed.Ask(t, ns, "127.0.0.1", port, testbed.Pings(50)...)
			}
		}
	}()
	for range 10 {
		s := open(t, ns, live.Config{Interface: "lo", Timeout: time.Millisecond})
		ended := make(chan error)
		seen := make(chan struct{})
		go func() {
			for n := 0; ; n++ {
				if n == 10 {
					close(seen)
				}
				if _, err := s.Next(); err != nil {
					ended <- err
					return
				}
			}
		}()
		<-seen
		if _, err := s.Stats(); err != nil {
			t.Error(err)
		}
		s.Close()
		if err := <-ended; !errors.Is(err, os.ErrClosed) {
			t.Errorf("Next returned %v", err)
		}
	}
	close(stop)
	<-done
}

// An interface that goes is an error that names it, once what it brought is read.
func TestRootInterfaceGoes(t *testing.T) {
	for _, c := range []struct {
		name, want string
		args       []string
	}{
		{"down", "veth: the interface went down", []string{"link", "set", "veth", "down"}},
		{"deleted", "veth: the interface disappeared", []string{"link", "del", "veth"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			here, there := testbed.Pair(t)
			port := testbed.Service(t, here, testbed.Here4)
			s := open(t, here, live.Config{Interface: "veth", Filter: fmt.Sprintf("tcp dst port %d", port)})
			testbed.Ask(t, there, testbed.Here4, port, testbed.Pings(1)...)
			if _, err := s.Next(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error)
			go func() {
				for {
					if _, err := s.Next(); err != nil {
						ended <- err
						return
					}
				}
			}()
			here.IP(t, c.args...)
			select {
			case err := <-ended:
				// Of a device that is being deleted the first to be seen may be that it is down.
				if !strings.Contains(err.Error(), c.want) && !(c.name == "deleted" && strings.Contains(err.Error(), "veth: the interface went down")) {
					t.Errorf("error %q, want %q", err, c.want)
				}
			case <-time.After(10 * time.Second):
				t.Fatal("Next still waits")
			}
			if _, err := s.Next(); err == nil {
				t.Error("Next goes on after an error")
			}
		})
	}
}

// What the kernel says it received and what came must agree where nothing is lost
// and the kernel runs the filter.
func TestRootStats(t *testing.T) {
	here, there := testbed.Pair(t)
	port := testbed.Service(t, here, testbed.Here4)
	for _, device := range []string{"veth", live.Any} {
		s := open(t, here, live.Config{Interface: device, Filter: fmt.Sprintf("tcp dst port %d", port)})
		testbed.Ask(t, there, testbed.Here4, port, testbed.Pings(100)...)
		n := len(drain(t, s))
		for _, when := range []string{"open", "closed"} {
			st, err := s.Stats()
			if err != nil {
				t.Fatal(err)
			}
			if st.Received != uint64(n) || s.Delivered() != uint64(n) || st.KernelDropped != 0 || st.InterfaceDropped != 0 || n < 100 {
				t.Errorf("%s, %s: %+v, %d delivered, %d seen, want as many and 100", device, when, st, s.Delivered(), n)
			}
			s.Close()
		}
	}
}

// Packets that the buffer has no room for are counted.
func TestRootStatsOfDrops(t *testing.T) {
	ns := testbed.NewNetns(t)
	s := open(t, ns, live.Config{Interface: "lo", Filter: "udp", BufferSize: 1 << 20})
	var c net.Conn
	ns.Do(t, func() (err error) {
		c, err = net.Dial("udp", "127.0.0.1:9")
		return err
	})
	defer c.Close()
	const sent = 4000
	for range sent {
		c.Write(make([]byte, 1400)) // refused, for nobody listens: it was captured all the same
	}
	s.Stop()
	n := uint64(0)
	for {
		if _, err := s.Next(); err != nil {
			break
		}
		n++
	}
	st, err := s.Stats()
	if err != nil {
		t.Fatal(err)
	}
	// lo shows each packet twice, and libpcap leaves one of the two out.
	if n != s.Delivered() || n == 0 || st.KernelDropped == 0 || st.Received-st.KernelDropped != 2*n && st.Received-st.KernelDropped != 2*n-1 {
		t.Errorf("%+v, %d delivered of %d sent", st, n, sent)
	}
}

// What was sent just before Stop comes, and then the end.
func TestRootStop(t *testing.T) {
	ns := testbed.NewNetns(t)
	port := testbed.Service(t, ns, "127.0.0.1")
	s := open(t, ns, live.Config{Interface: "lo", Filter: fmt.Sprintf("tcp dst port %d", port), Timeout: 200 * time.Millisecond})
	want := testbed.Pings(10)
	testbed.Ask(t, ns, "127.0.0.1", port, want...)
	var got []string
	for _, g := range drain(t, s) {
		if len(g.payload) > 0 {
			got = append(got, string(g.payload))
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if _, err := s.Next(); err != io.EOF {
		t.Errorf("Next at the end: %v", err)
	}
}

// A listener that gets no processor for longer than Stop waits still reads all that the kernel has, in
// as many turns as that takes. Here it is the test that stands still for so long: whatever comes
// of the wait, all has to be there.
func TestRootStopWhileMuchIsLeft(t *testing.T) {
	ns := testbed.NewNetns(t)
	port := testbed.Service(t, ns, "127.0.0.1")
	s := open(t, ns, live.Config{Interface: "lo", Filter: fmt.Sprintf("tcp dst port %d", port), Timeout: time.Millisecond, BufferSize: 32 << 20})
	request := strings.Repeat("0123456789abcdef", 4<<20/16) + "\n"
	testbed.Ask(t, ns, "127.0.0.1", port, request)
	s.Stop()
	<-time.After(100 * time.Millisecond)
	checkCoverage(t, drain(t, s), request)
}

// frame returns an Ethernet frame with TCP in tags: to port 80, with the payload.
func frame(payload string, tags ...uint16) []byte {
	b := []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2}
	for _, tag := range tags {
		b = append(b, 0x81, 0)
		b = binary.BigEndian.AppendUint16(b, tag)
	}
	b = append(b, 8, 0)
	b = append(b, 0x45, 0, 0, byte(40+len(payload)), 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2)
	b = append(b, 0x30, 0x39, 0, 80, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x18, 1, 0, 0, 0, 0, 0)
	return append(b, payload...)
}

// Linux keeps the outer tag of a packet that comes in beside the packet, and that of one
// that is sent in it. The filter has to find both.
func TestRootVLAN(t *testing.T) {
	const untagged, ten, nested, seven = "ping 0", "ping 10", "ping 10 in 20", "ping 7"
	all := []string{untagged, ten, nested, seven}
	for _, c := range []struct {
		name     string
		cfg      capture.FilterConfig
		in, sent []string
	}{
		{"no VLAN asked for", capture.FilterConfig{}, []string{untagged, ten, seven}, []string{untagged}},
		{"any VLAN", capture.FilterConfig{VLAN: true}, all, all},
		{"of several", capture.FilterConfig{VLANIDs: []uint16{5, 7, 10}}, []string{ten, seven}, []string{ten, seven}},
		{"of one", capture.FilterConfig{VLANIDs: []uint16{7}}, []string{seven}, []string{seven}},
	} {
		t.Run(c.name, func(t *testing.T) {
			here, there := testbed.Pair(t)
			c.cfg.Ports = []uint16{80}
			cfg := live.Config{Interface: "veth", Filter: capture.FilterExpression(c.cfg)}
			in, sent := open(t, here, cfg), open(t, there, cfg)
			there.SendFrame(t, "veth", frame(untagged))
			there.SendFrame(t, "veth", frame(ten, 10))
			there.SendFrame(t, "veth", frame(nested, 20, 10))
			there.SendFrame(t, "veth", frame(seven, 7))
			there.SendFrame(t, "veth", frame("", 7)) // an acknowledgement
			for _, end := range []struct {
				name string
				s    *live.Source
				want []string
			}{{"in", in, c.in}, {"sent", sent, c.sent}} {
				if w := end.s.Warning(); w != "" {
					t.Errorf("%s: warning: %s", end.name, w)
				}
				end.s.Stop()
				var got []string
				for {
					p, err := end.s.Next()
					if err != nil {
						break
					}
					got = append(got, string(p.Data[bytes.Index(p.Data, []byte("ping")):]))
				}
				if !slices.Equal(got, end.want) {
					t.Errorf("%s: %q, want %q", end.name, got, end.want)
				}
			}
		})
	}
}

func TestRootOpenErrors(t *testing.T) {
	ns := testbed.NewNetns(t)
	ns.IP(t, "link", "add", "down0", "type", "veth", "peer", "name", "down1")
	for _, c := range []struct {
		name, want string
		cfg        live.Config
		is         error
	}{
		{"no such interface", ", lo, ", live.Config{Interface: "nothere"}, fs.ErrNotExist},
		{"filter", "syntax error", live.Config{Interface: "lo", Filter: "tcp port"}, nil},
		{"time stamps", "want host", live.Config{Interface: "lo", TimestampType: "sundial"}, nil},
		{"monitor", "monitor mode", live.Config{Interface: "lo", Monitor: true}, nil},
		{"down", "down0 up", live.Config{Interface: "down0"}, nil},
		{"VLAN on any", "no VLAN support", live.Config{Interface: live.Any, Filter: "vlan and tcp"}, nil},
		{"long filter", "fewer ports", live.Config{Interface: "lo", Filter: strings.Repeat("tcp port 80\n", 400)}, nil},
	} {
		ns.Do(t, func() error {
			s, err := live.Open(c.cfg)
			if err == nil {
				s.Close()
				t.Errorf("%s: no error", c.name)
			} else if !strings.Contains(err.Error(), c.want) || c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("%s: error %q, want %q in it", c.name, err, c.want)
			}
			return nil
		})
	}
}

func TestRootPromiscuousAnyWarns(t *testing.T) {
	s := open(t, testbed.NewNetns(t), live.Config{Interface: live.Any, Promiscuous: true})
	if !strings.Contains(s.Warning(), "promiscuous") {
		t.Errorf("warning %q", s.Warning())
	}
}

// The kernel cannot look at all of a cooked header. libpcap filters then, after
// the kernel has copied everything: the user should know.
func TestRootFilterInUserSpaceWarns(t *testing.T) {
	ns := testbed.NewNetns(t)
	s := open(t, ns, live.Config{Interface: live.Any, Filter: "ether[7] = 1"})
	if !strings.Contains(s.Warning(), "the kernel does not run the filter") {
		t.Errorf("warning %q", s.Warning())
	}
}

func TestRootDevices(t *testing.T) {
	here, _ := testbed.Pair(t)
	here.Do(t, func() error {
		devices, err := live.Devices()
		if err != nil {
			return err
		}
		found := map[string]live.Device{}
		for _, d := range devices {
			found[d.Name] = d
		}
		if d := found["lo"]; !d.Loopback || !d.Up || fmt.Sprint(d.Addrs) != "[127.0.0.1 ::1]" {
			t.Errorf("lo: %+v", d)
		}
		if d := found["veth"]; d.Loopback || !d.Up || !strings.Contains(fmt.Sprint(d.Addrs), testbed.Here4+" "+testbed.Here6) {
			t.Errorf("veth: %+v", d)
		}
		if _, ok := found[live.Any]; !ok {
			t.Error("no any")
		}
		return nil
	})
}
