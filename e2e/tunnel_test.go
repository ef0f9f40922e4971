package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"kagami"
	"kagami/internal/testbed"
)

// wrapVariable tells the test's program to be a mirror of that kind: see wrap.
const wrapVariable = "KAGAMI_E2E_WRAP"

// tunnels are what a mirrored frame can come in, each given as what stands before the frame
// or, if bare, before the IP packet in it. GRE is given without the IP header, the others
// without that and the one of UDP.
var tunnels = map[string]struct {
	port   int // of UDP; 0 is GRE
	header string
	bare   bool
}{
	"GRE":              {header: "\x00\x00\x65\x58"},
	"GRE with a key":   {header: "\x20\x00\x08\x00\x00\x00\x00\x07", bare: true},
	"ERSPAN I":         {header: "\x00\x00\x88\xbe"},
	"ERSPAN II":        {header: "\x10\x00\x88\xbe\x00\x00\x00\x01" + "\x10\x01\x00\x05\x00\x00\x00\x00"},
	"ERSPAN III":       {header: "\x10\x00\x22\xeb\x00\x00\x00\x01" + "\x20\x01\x00\x05\x00\x00\x00\x09\x00\x00\x00\x00"},
	"VXLAN":            {port: 4789, header: "\x08\x00\x00\x00\x00\x00\x2a\x00"},
	"Geneve":           {port: 6081, header: "\x00\x00\x65\x58\x00\x00\x2a\x00"},
	"Geneve, bare":     {port: 6081, header: "\x02\x00\x08\x00\x00\x00\x00\x00" + "\x01\x08\x01\x01\x00\x00\x00\x09", bare: true}, // as AWS's gateways
	"VXLAN in Geneve":  {port: 6081, header: "\x00\x00\x08\x00\x00\x00\x00\x00" + outer + "\x12\xb5\x12\xb5\x00\x00\x00\x00" + "\x08\x00\x00\x00\x00\x00\x2a\x00"},
	"Geneve elsewhere": {port: 46081, header: "\x00\x00\x65\x58\x00\x00\x2a\x00"},
}

// outer is an IP header for UDP, without its length.
const outer = "\x45\x00\x00\x00\x00\x00\x00\x00\x40\x11\x00\x00\x0a\x4d\x01\x01\x0a\x4d\x01\x02"

// wrap sends a copy of each frame that passes eth0 to staging, as a switch or a cloud
// does, until it is told to end and has sent all there were. Few kernels have devices for
// all these tunnels.
func wrap(kind string) {
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	t := tunnels[kind]
	from, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
	fail(err)
	fail(unix.SetsockoptInt(from, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 128<<20))
	eth0, err := net.InterfaceByName("eth0")
	fail(err)
	fail(unix.Bind(from, &unix.SockaddrLinklayer{Protocol: 0x0300, Ifindex: eth0.Index})) // ETH_P_ALL
	what, proto := unix.SOCK_RAW, unix.IPPROTO_GRE
	if t.port != 0 {
		what, proto = unix.SOCK_DGRAM, unix.IPPROTO_UDP
	}
	to, err := unix.Socket(unix.AF_INET, what, proto)
	fail(err)
	fail(unix.SetsockoptInt(to, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DONT))
	staging := &unix.SockaddrInet4{Port: t.port, Addr: [4]byte(net.ParseIP(testbed.StagingIP).To4())}
	fail(unix.SetsockoptTimeval(from, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 50_000}))
	end := make(chan os.Signal, 1)
	signal.Notify(end, unix.SIGTERM)
	fmt.Fprintln(os.Stderr, "wrapping")
	for b, ending := make([]byte, 1<<16), false; ; {
		n, _, err := unix.Recvfrom(from, b, 0)
		if err == unix.EAGAIN && ending {
			os.Exit(0)
		}
		select {
		case <-end:
			ending = true
		default:
		}
		if err == unix.EAGAIN || err == unix.EINTR {
			continue
		}
		fail(err)
		frame := b[:n]
		if t.bare {
			frame = frame[14:]
		}
		p := append([]byte(t.header), frame...)
		if i := bytes.Index(p[:len(t.header)], []byte(outer)); i >= 0 {
			binary.BigEndian.PutUint16(p[i+2:], uint16(len(p)-i))
			binary.BigEndian.PutUint16(p[i+24:], uint16(len(p)-i-20))
		}
		fail(unix.Sendto(to, p, 0, staging))
	}
}

// What is mirrored in other tunnels is captured: at the socket that receives it, or at
// the interface where it arrives.
func TestRootTunnels(t *testing.T) {
	const gre, vxlan = "ip proto 47", "udp port 4789 or (ip[6:2] & 0x1fff != 0)"
	for _, test := range []struct {
		tunnel string
		mtu    int // of the cable to staging: packets are larger than 1500 bytes, and cut into fragments if it is
		raw    string
		flags  []string
	}{
		{"GRE", 1600, "eth0:8080", []string{"--input-raw-bpf-filter", gre}},
		{"GRE", 1500, "eth0:8080", []string{"--input-raw-bpf-filter", gre}},
		{"GRE with a key", 1600, "eth0:8080", []string{"--input-raw-bpf-filter", gre}},
		{"GRE", 1600, "any:8080", []string{"--input-raw-bpf-filter", gre}},
		{"ERSPAN I", 1600, "eth0:8080", []string{"--input-raw-bpf-filter", gre}},
		{"ERSPAN II", 1500, "eth0:8080", []string{"--input-raw-bpf-filter", gre}},
		{"ERSPAN III", 1600, "eth0:8080", []string{"--input-raw-bpf-filter", gre}},
		{"VXLAN", 1500, "eth0:8080", []string{"--input-raw-bpf-filter", vxlan}},
		{"Geneve", 1600, "eth0:8080", []string{"--input-raw-bpf-filter", "udp port 6081"}},
		{"Geneve", 1500, ":8080", []string{"--input-raw-engine", "geneve"}},
		{"Geneve", 1600, ":8080", []string{"--input-raw-engine", "geneve", "--input-raw-vxlan-vni", "42"}},
		{"Geneve, bare", 1600, ":8080", []string{"--input-raw-engine", "geneve"}},
		{"VXLAN in Geneve", 1600, ":8080", []string{"--input-raw-engine", "geneve"}},
		{"Geneve elsewhere", 1600, testbed.StagingIP + ":8080", []string{"--input-raw-engine", "geneve", "--input-raw-vxlan-port", "46081"}},
	} {
		t.Run(fmt.Sprint(test.tunnel, " ", test.mtu, " ", test.flags[1]), func(t *testing.T) {
			h := testbed.NewHosts(t)
			for _, ns := range []string{h.Client, h.Production} { // as on a wire
				testbed.IP(t, "-n", ns, "link", "set", "eth0", "gso_max_size", "1500", "gso_max_segs", "1")
			}
			testbed.IP(t, "-n", h.Staging, "link", "set", "eth0", "mtu", fmt.Sprint(test.mtu))
			testbed.IP(t, "-n", h.Production, "link", "set", "eth1", "mtu", fmt.Sprint(test.mtu))
			production := testbed.StartNginx(t, h.Production, `echo_duplicate 400 "0123456789";`)
			body, sent := filepath.Join(t.TempDir(), "body"), bytes.Repeat([]byte("body "), 4000)
			if err := os.WriteFile(body, sent, 0o644); err != nil {
				t.Fatal(err)
			}
			all := filepath.Join(t.TempDir(), "all.kgm")
			k := testbed.StartKagami(t, h.Staging, capturing, append([]string{"listen", "--input-raw", test.raw, "--input-raw-track-response",
				"--output-file", all, "--queue-bytes", "1gb", "--queue-messages", "100000"}, test.flags...)...)
			mirror := testbed.In(h.Production, os.Args[0])
			mirror.Env = append(os.Environ(), wrapVariable+"="+test.tunnel)
			m := testbed.Start(t, mirror)
			m.WaitFor("wrapping")
			ab(t, h, "-k", "-n", "500", "-c", "10")
			ab(t, h, "-n", "50", "-c", "5", "-p", body)
			m.Cmd.Process.Signal(unix.SIGTERM)
			if code := m.Wait(); code != 0 {
				t.Errorf("the mirror ended with %d", code)
			}
			st := k.Stop()
			served := len(production.Requests())
			kinds := map[kagami.Kind]int{}
			for _, m := range messages(t, all) {
				kinds[m.Kind]++
				if head, rest, _ := bytes.Cut(m.Raw, []byte("\r\n\r\n")); bytes.HasPrefix(head, []byte("POST")) && !bytes.Equal(rest, sent) {
					t.Errorf("a body of %d bytes came as %d", len(sent), len(rest))
				}
			}
			if kinds[kagami.Request] != served || kinds[kagami.Response] != served {
				t.Errorf("nginx served %d requests, captured %d and %d answers", served, kinds[kagami.Request], kinds[kagami.Response])
			}
			expectOut(t, st, "capture", "", 2*served)
		})
	}
}
