//go:build cgo

package live_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/net/bpf"

	"kagami"
	"kagami/capture/kernel"
	"kagami/capture/live"
	"kagami/internal/testbed"
)

// programOf is the Config.Program of a kernel.Config.
func programOf(cfg kernel.Config) func(kernel.Link) ([]bpf.RawInstruction, error) {
	return func(l kernel.Link) ([]bpf.RawInstruction, error) { return kernel.Program(l, cfg) }
}

// Of all connections the kernel lets through those that the Go function says, packet by
// packet, in both directions.
func TestRootKernelSample(t *testing.T) {
	share, err := kagami.ShareOf(30)
	if err != nil {
		t.Fatal(err)
	}
	for _, device := range []string{"lo", live.Any, "veth"} {
		for _, addr := range []string{testbed.Here4, testbed.Here6} {
			t.Run(device+" "+addr, func(t *testing.T) {
				here, there := testbed.Pair(t)
				client, from := there, netip.MustParseAddr(map[string]string{testbed.Here4: testbed.There4, testbed.Here6: testbed.There6}[addr])
				if device == "lo" { // the address is this host's own
					client, from = here, netip.MustParseAddr(addr)
				}
				port := testbed.Service(t, here, addr)
				cfg := kernel.Config{Ports: []uint16{port}, Responses: kernel.WholeResponses, Loopback: 1}
				all := open(t, here, live.Config{Interface: device, Program: programOf(cfg)})
				cfg.Samples = []kernel.Sample{{Salt: kagami.NewSalt(3, 0, kagami.InputSide), Share: share}}
				some := open(t, here, live.Config{Interface: device, Program: programOf(cfg)})
				for range 60 {
					testbed.Ask(t, client, addr, port, "ping\n")
				}
				var want []string
				everything := drain(t, all)
				for _, g := range everything {
					if cfg.Samples[0].Includes(netip.AddrPortFrom(from, g.srcPort^g.dstPort^port)) {
						want = append(want, g.key())
					}
				}
				var got []string
				for _, g := range drain(t, some) {
					got = append(got, g.key())
				}
				if !slices.Equal(got, want) || len(want) == 0 || len(want) == len(everything) {
					t.Errorf("%d packets of %d, want %d", len(got), len(everything), len(want))
				}
			})
		}
	}
}

// The filter is replaced a hundred times while packets come, and all of them are there.
func TestRootSwapLosesNothing(t *testing.T) {
	for _, device := range []string{"veth", live.Any} {
		t.Run(device, func(t *testing.T) {
			here, there := testbed.Pair(t)
			port := testbed.Service(t, here, testbed.Here4)
			cfg := kernel.Config{Ports: []uint16{port}}
			s := open(t, here, live.Config{Interface: device, Program: programOf(cfg), BufferSize: 64 << 20})
			link, ok := s.KernelLink()
			if !ok {
				t.Fatal("no link")
			}
			want, ended := testbed.Pings(20_000), make(chan struct{})
			go func() {
				defer close(ended)
				testbed.Ask(t, there, testbed.Here4, port, want...)
			}()
			swaps := 0
			for running := true; running || swaps < 100; swaps++ {
				select {
				case <-ended:
					running = false
				default:
				}
				cfg.Ports = []uint16{port, uint16(1 + swaps%1000)}
				program, err := kernel.Program(link, cfg)
				if err == nil {
					err = s.SetFilter(program)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			var got []string
			for _, g := range drain(t, s) {
				if len(g.payload) > 0 {
					got = append(got, string(g.payload))
				}
			}
			t.Logf("%d swaps, %d of %d requests", swaps, len(got), len(want))
			if !slices.Equal(got, want) {
				t.Errorf("%d requests of %d", len(got), len(want))
			}
		})
	}
}

// key tells a packet from the others of a test.
func (s seg) key() string { return fmt.Sprint(s.srcPort, s.dstPort, s.seq, s.flags, len(s.payload)) }
