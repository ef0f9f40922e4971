package ring_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"kagami/capture"
	"kagami/capture/kernel"
	"kagami/capture/ring"
	"kagami/internal/testbed"
)

// open opens a capture in a namespace, and closes it when the test ends.
func open(t *testing.T, ns testbed.Netns, cfg ring.Config) *ring.Source {
	t.Helper()
	var s *ring.Source
	ns.Do(t, func() (err error) {
		s, err = ring.Open(cfg)
		return err
	})
	t.Cleanup(func() { s.Close() })
	return s
}

func program(t *testing.T, cfg kernel.Config) ring.Config {
	t.Helper()
	p, err := kernel.Program(kernel.Network, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return ring.Config{Program: p}
}

// tcp is a packet's TCP header and what is behind it; its IP header has no options.
func tcp(p capture.Packet) []byte {
	switch {
	case p.Data[0]>>4 != 6:
		return p.Data[20:]
	case p.Data[6] == 0: // a jumbogram
		return p.Data[48:]
	}
	return p.Data[40:]
}

// payload is what a TCP packet carries.
func payload(p capture.Packet) string {
	t := tcp(p)
	return string(t[t[12]>>4*4:])
}

// drain stops the capture and returns the payloads that it still has.
func drain(t *testing.T, s *ring.Source) []string {
	t.Helper()
	s.Stop()
	return rest(t, s)
}

// rest returns the payloads up to the end.
func rest(t *testing.T, s *ring.Source) (all []string) {
	for {
		p, err := s.Next()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Error(err)
			return all
		}
		if p.WireLen != len(p.Data) {
			t.Errorf("%d of %d bytes", len(p.Data), p.WireLen)
		}
		if text := payload(p); text != "" {
			all = append(all, text)
		}
	}
}

// Each request comes once, by IPv4 and IPv6, on one interface, on lo and on all; and
// what was captured when Stop was called still comes.
func TestRootRingOnce(t *testing.T) {
	for _, device := range []string{"veth", "lo", ring.Any} {
		for _, addr := range []string{testbed.Here4, testbed.Here6} {
			t.Run(device+" "+addr, func(t *testing.T) {
				here, there := testbed.Pair(t)
				client := there
				if device == "lo" {
					client = here
				}
				port := testbed.Service(t, here, addr)
				cfg := program(t, kernel.Config{Ports: []uint16{port}, Loopback: 1})
				cfg.Interface = device
				s := open(t, here, cfg)
				want := testbed.Pings(200)
				testbed.Ask(t, client, addr, port, want...)
				if got := drain(t, s); !slices.Equal(got, want) {
					t.Errorf("%d payloads, want %d: %.200q", len(got), len(want), got)
				}
				st, err := s.Stats()
				if err != nil || st.Received < uint64(len(want)) || st.KernelDropped != 0 {
					t.Errorf("%+v, %v", st, err)
				}
			})
		}
	}
}

// On lo a packet comes once without a filter too.
func TestRootRingLoopbackWithoutFilter(t *testing.T) {
	here := testbed.NewNetns(t)
	port := testbed.Service(t, here, "127.0.0.1")
	s := open(t, here, ring.Config{Interface: "lo"})
	testbed.Ask(t, here, "127.0.0.1", port, testbed.Pings(20)...)
	asked := slices.DeleteFunc(drain(t, s), func(p string) bool { return p == "pong\n" })
	if want := testbed.Pings(20); !slices.Equal(asked, want) {
		t.Errorf("%q", asked)
	}
}

// The filter is replaced a hundred times while packets come, and all of them are there.
func TestRootRingSwapLosesNothing(t *testing.T) {
	for _, device := range []string{"veth", ring.Any} {
		t.Run(device, func(t *testing.T) {
			here, there := testbed.Pair(t)
			port := testbed.Service(t, here, testbed.Here4)
			cfg := program(t, kernel.Config{Ports: []uint16{port}, Loopback: 1})
			cfg.Interface, cfg.BufferSize = device, 64<<20
			s := open(t, here, cfg)
			want, ended := testbed.Pings(20_000), make(chan struct{})
			go func() {
				defer close(ended)
				testbed.Ask(t, there, testbed.Here4, port, want...)
			}()
			all := make(chan []string)
			go func() { all <- rest(t, s) }()
			swaps := 0
			for running := true; running || swaps < 100; swaps++ {
				select {
				case <-ended:
					running = false
				default:
				}
				other := program(t, kernel.Config{Ports: []uint16{port, uint16(1 + swaps%1000)}, Loopback: 1})
				if err := s.SetFilter(other.Program); err != nil {
					t.Fatal(err)
				}
			}
			s.Stop()
			got := <-all
			t.Logf("%d swaps, %d of %d requests", swaps, len(got), len(want))
			if !slices.Equal(got, want) {
				t.Errorf("%d requests of %d", len(got), len(want))
			}
		})
	}
}

// Packets that segmentation offload makes come whole, BIG TCP's too where the kernel has it.
func TestRootRingLargePackets(t *testing.T) {
	here, there := testbed.Pair(t)
	if err := there.SetMaxSize(t, "veth", 200_000); err != nil {
		t.Logf("no BIG TCP: %v", err)
	}
	port := testbed.Service(t, here, testbed.Here6)
	cfg := program(t, kernel.Config{Ports: []uint16{port}})
	cfg.Interface, cfg.BufferSize = "veth", 64<<20
	s := open(t, here, cfg)
	want := strings.Repeat("x", 4<<20) + "\n"
	testbed.Ask(t, there, testbed.Here6, port, want)
	s.Stop()
	got, largest, n := make([]byte, len(want)), 0, 0
	for first := uint32(0); ; n++ {
		p, err := s.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		seq := binary.BigEndian.Uint32(tcp(p)[4:])
		if n == 0 { // the SYN
			first = seq + 1
		}
		if text := payload(p); text != "" { // TCP may send some of it again
			copy(got[seq-first:], text)
			largest = max(largest, len(text))
		}
	}
	if string(got) != want {
		t.Errorf("what was captured differs from what was sent, from byte %d on", strings.IndexFunc(string(got), func(r rune) bool { return r != 'x' }))
	}
	t.Logf("the largest of %d packets has %d bytes", n, largest)
	if largest <= 1500 {
		t.Errorf("the largest packet has %d bytes: no offload", largest)
	}
}

// Close ends a call of Next that waits, and so does an interface that goes.
func TestRootRingEnds(t *testing.T) {
	for name, test := range map[string]struct {
		end  func(*ring.Source, testbed.Netns)
		want string
	}{
		"close": {func(s *ring.Source, _ testbed.Netns) { s.Close() }, os.ErrClosed.Error()},
		"down":  {func(_ *ring.Source, ns testbed.Netns) { ns.IP(t, "link", "set", "veth", "down") }, "capture on veth: the interface "},
		"gone":  {func(_ *ring.Source, ns testbed.Netns) { ns.IP(t, "link", "del", "veth") }, "capture on veth: the interface "},
	} {
		t.Run(name, func(t *testing.T) {
			here, _ := testbed.Pair(t)
			cfg := program(t, kernel.Config{Ports: []uint16{9}})
			cfg.Interface = "veth"
			s := open(t, here, cfg)
			ended := make(chan error)
			go func() {
				_, err := s.Next()
				ended <- err
			}()
			test.end(s, here)
			if err := <-ended; err == nil || !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("%v, want %s…", err, test.want)
			}
			if _, err := s.Next(); err == nil {
				t.Error("Next goes on")
			}
			if err := s.Close(); err != nil && name != "close" {
				t.Error(err)
			}
			if _, err := s.Next(); !errors.Is(err, os.ErrClosed) {
				t.Errorf("after Close: %v", err)
			}
			if st, err := s.Stats(); err != nil || st.Received != 0 {
				t.Errorf("%+v, %v", st, err)
			}
		})
	}
}

func TestRootRingOpenErrors(t *testing.T) {
	here, _ := testbed.Pair(t)
	here.IP(t, "link", "set", "veth", "down")
	for device, want := range map[string]string{
		"":       "no interface: name one",
		"nought": "capture on nought: no such interface, there are",
		"veth":   "capture on veth: the interface is down: sudo ip link set veth up",
	} {
		err := func() (err error) {
			here.Do(t, func() error { _, err = ring.Open(ring.Config{Interface: device}); return nil })
			return err
		}()
		if err == nil || !strings.HasPrefix(err.Error(), want) || device == "nought" && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: %v, want %s…", device, err, want)
		}
	}
	for _, cfg := range []ring.Config{{Interface: "lo", BufferSize: -1}, {Interface: "lo", Timeout: 1}} {
		if _, err := ring.Open(cfg); err == nil {
			t.Errorf("%+v: no error", cfg)
		}
	}
	s := open(t, here, ring.Config{Interface: ring.Any, Promiscuous: true})
	if s.Warning() == "" || s.Interface() != ring.Any {
		t.Errorf("%q %q", s.Warning(), s.Interface())
	}
	if err := s.SetFilter(nil); err == nil {
		t.Error("an empty filter is taken")
	}
}

// Packets that the ring has no room for are counted, and those that it had room for come.
func TestRootRingStatsOfDrops(t *testing.T) {
	ns := testbed.NewNetns(t)
	s := open(t, ns, ring.Config{Interface: "lo", BufferSize: 1})
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
		_, err := s.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	for range 2 { // before and after Close
		st, err := s.Stats()
		if err != nil || n == 0 || st.KernelDropped == 0 || st.Received < sent || st.Received-st.KernelDropped != n {
			t.Errorf("%+v, %v; %d came of %d sent", st, err, n, sent)
		}
		s.Close()
	}
}

// Without the permission to capture, the error says how to get it.
func TestRootRingPermission(t *testing.T) {
	const child = "KAGAMI_TEST_RING_CHILD"
	if os.Getenv(child) != "" {
		_, err := ring.Open(ring.Config{Interface: "lo"})
		fmt.Printf("permission %v: %v\n", errors.Is(err, fs.ErrPermission), err)
		return
	}
	testbed.NeedNamespaces(t)
	cmd := exec.Command("setpriv", "--bounding-set=-net_raw", "--inh-caps=-net_raw", os.Args[0], "-test.run=^TestRootRingPermission$")
	cmd.Env = append(os.Environ(), child+"=1")
	out, err := cmd.CombinedOutput()
	if want := "permission true: capture on lo: permission denied: run it with sudo, or allow it for good: sudo setcap cap_net_raw+p"; err != nil || !strings.Contains(string(out), want) {
		t.Errorf("%v: %s, want %s", err, out, want)
	}
}

func ExampleOpen() {
	program, err := kernel.Program(kernel.Network, kernel.Config{Ports: []uint16{8080}})
	if err != nil {
		fmt.Println(err)
		return
	}
	s, err := ring.Open(ring.Config{Interface: "lo", Program: program})
	if err != nil {
		fmt.Println(err) // root's, or CAP_NET_RAW
		return
	}
	defer s.Close()
	l, err := capture.New(capture.Config{Ports: []uint16{8080}}, s)
	_, _ = l, err // l.Run hands on the requests
}
