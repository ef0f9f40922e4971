package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"kagami"
	"kagami/internal/testbed"
)

// mirrorTraffic makes production's host do what a cloud's traffic mirroring does: the
// kernel wraps a copy of every packet of the clients' cable into VXLAN, once
// for each VNI, and sends it to staging.
func mirrorTraffic(t *testing.T, h *testbed.Hosts, vnis ...int) {
	t.Helper()
	needs := func(what string, cmd *exec.Cmd) {
		t.Helper()
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Skipf("this kernel has no %s: %v: %s", what, err, out)
		}
	}
	var actions []string
	for _, vni := range vnis {
		device := fmt.Sprintf("vx%d", vni)
		needs("vxlan devices", exec.Command("ip", "-n", h.Production, "link", "add", device, "mtu", "9100", "type", "vxlan",
			"id", fmt.Sprint(vni), "remote", testbed.StagingIP, "dstport", "4789"))
		testbed.IP(t, "-n", h.Production, "link", "set", device, "up")
		actions = append(actions, "action", "mirred", "egress", "mirror", "dev", device)
	}
	needs("clsact", testbed.In(h.Production, "tc", "qdisc", "add", "dev", "eth0", "clsact"))
	for _, way := range []string{"ingress", "egress"} {
		filter := []string{"filter", "add", "dev", "eth0", way, "protocol", "all", "u32", "match", "u32", "0", "0"}
		needs("u32 and mirred", testbed.In(h.Production, "tc", append(filter, actions...)...))
	}
}

// Traffic mirrored to another host in VXLAN: staging gets exactly what
// production's nginx served, and the ledger balances.
func TestRootVXLAN(t *testing.T) {
	const (
		short = "echo ok;"
		long  = `echo_duplicate 2000 "0123456789";` // several packets, or one that the card is to cut up
	)
	for _, test := range []struct {
		name   string
		answer string
		vnis   []int
		mtu    int      // of both cables; the second one's is larger by what VXLAN adds
		offer  bool     // packets larger than the MTU, for the network card to cut up
		load   []string // ab's flags
		flags  []string
	}{
		{name: "a connection each", answer: short, vnis: []int{42}, mtu: 1500, load: []string{"-n", "2000"}},
		{name: "keep-alive", answer: short, vnis: []int{42}, mtu: 1500, load: []string{"-k", "-n", "2000"}},
		{name: "large answers", answer: long, vnis: []int{42}, mtu: 1500, load: []string{"-k", "-n", "150", "-c", "5"}},
		{name: "jumbo frames", answer: long, vnis: []int{42}, mtu: 9001, load: []string{"-k", "-n", "150", "-c", "5"}},
		{name: "unsegmented packets", answer: long, vnis: []int{42}, mtu: 1500, offer: true, load: []string{"-k", "-n", "150", "-c", "5"}},
		{name: "mirrored twice", answer: short, vnis: []int{42, 43}, mtu: 1500, load: []string{"-k", "-n", "2000"}},
		{name: "one network of two", answer: short, vnis: []int{42, 43}, mtu: 1500, load: []string{"-k", "-n", "2000"},
			flags: []string{"--input-raw-vxlan-vni", "43"}},
		{name: "all networks but one", answer: short, vnis: []int{42, 43}, mtu: 1500, load: []string{"-k", "-n", "2000"},
			flags: []string{"--input-raw-vxlan-vni", "-43"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := testbed.NewHosts(t)
			for _, end := range [][2]string{{h.Client, "eth0"}, {h.Production, "eth0"}} {
				testbed.IP(t, "-n", end[0], "link", "set", end[1], "mtu", fmt.Sprint(test.mtu))
				if !test.offer { // as on a wire, where a cloud's mirror stands
					testbed.IP(t, "-n", end[0], "link", "set", end[1], "gso_max_size", fmt.Sprint(test.mtu), "gso_max_segs", "1")
				}
			}
			for _, end := range [][2]string{{h.Staging, "eth0"}, {h.Production, "eth1"}} {
				testbed.IP(t, "-n", end[0], "link", "set", end[1], "mtu", fmt.Sprint(test.mtu+50))
			}
			production := testbed.StartNginx(t, h.Production, test.answer)
			staging := testbed.StartNginx(t, h.Staging, answer)
			body := filepath.Join(t.TempDir(), "body")
			sent := bytes.Repeat([]byte("body "), 4000)
			if err := os.WriteFile(body, sent, 0o644); err != nil {
				t.Fatal(err)
			}
			all := filepath.Join(t.TempDir(), "all.kgm")
			k := testbed.StartKagami(t, h.Staging, capturing, append([]string{"listen", "--input-raw", ":8080", "--input-raw-engine", "vxlan",
				"--input-raw-track-response", "--output-http", "http://" + testbed.Addr(testbed.StagingIP), "--output-file", all,
				"--queue-bytes", "1gb", "--queue-messages", "100000"}, test.flags...)...)
			mirrorTraffic(t, h, test.vnis...)
			ab(t, h, test.load...)
			ab(t, h, "-n", "50", "-c", "5", "-p", body)
			st := k.Stop()
			served := production.Requests()
			var requests, answers int
			want := map[string]int{}
			for _, m := range messages(t, all) {
				switch {
				case m.Kind == kagami.Response:
					answers++
				case m.Kind == kagami.Request:
					requests++
					want[m.Exchange.ID.String()]++
				}
				if head, rest, _ := bytes.Cut(m.Raw, []byte("\r\n\r\n")); bytes.HasPrefix(head, []byte("POST")) && !bytes.Equal(rest, sent) {
					t.Errorf("a body of %d bytes came as %d", len(sent), len(rest))
				}
			}
			if requests != len(served) || answers != len(served) {
				t.Errorf("nginx served %d requests, captured %d and %d answers", len(served), requests, answers)
			}
			expectIDs(t, staging.IDs(), want)
			if n := len(staging.Requests()); n != len(served) {
				t.Errorf("staging got %d requests, production %d", n, len(served))
			}
			expectOut(t, st, "capture", "", 2*len(served))
			packets, _ := st.Stage("capture", "", kagami.Packets)
			t.Logf("%d requests; packets: %d in, dropped %v", len(served), packets.In, packets.Dropped)
			if st.Bounded || packets.Dropped[kagami.KernelDrop] > 0 {
				t.Errorf("packets were lost: %+v", packets)
			}
			copies := packets.Dropped[kagami.DuplicateCopy] > 0
			if twice := len(test.vnis) > 1 && test.flags == nil; copies != twice {
				t.Errorf("copies of packets: %v, mirrored twice: %v", packets.Dropped, twice)
			}
		})
	}
}

// Whoever receives VXLAN needs no right to capture. What is in the way is said.
func TestRootVXLANNeedsNoRoot(t *testing.T) {
	h := testbed.NewHosts(t)
	production := testbed.StartNginx(t, h.Production, answer)
	path := copyOfBinary(t)
	asNobodyAtStaging := func(args ...string) *exec.Cmd {
		args = append([]string{"listen", "--input-raw-engine", "vxlan"}, args...)
		return asNobody(&testbed.Hosts{Production: h.Staging}, path, args...)
	}
	all := filepath.Join(filepath.Dir(path), "all.gor")
	k := testbed.Start(t, asNobodyAtStaging("--input-raw", ":8080", "--input-raw-buffer-size", "1gb", "--memory-limit", "4gb", "--output-file", all))
	k.WaitFor("net.core.rmem_max=1073741824")
	k.WaitFor(capturing)
	for name, test := range map[string]struct {
		flags []string
		says  string
	}{
		"busy port":      {[]string{"--input-raw", ":8080"}, "another program has this UDP port"},
		"root's port":    {[]string{"--input-raw", ":8080", "--input-raw-vxlan-port", "789"}, "a port below 1024 is for root"},
		"another host's": {[]string{"--input-raw", testbed.ClientIP + ":80"}, "want an IP address of this host"},
	} {
		out, err := asNobodyAtStaging(append(test.flags, "--output-null")...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), test.says) {
			t.Errorf("%s: %v: %s", name, err, out)
		}
	}
	mirrorTraffic(t, h, 42)
	ab(t, h, "-n", "100", "-c", "1")
	k.Cmd.Process.Signal(syscall.SIGTERM)
	if code := k.Wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if n, served := len(recorded(t, all)), len(production.Requests()); n != served {
		t.Errorf("nginx served %d requests, captured %d", served, n)
	}
}
