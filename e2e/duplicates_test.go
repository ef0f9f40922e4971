package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"kagami"
	"kagami/internal/testbed"
)

const (
	containerIP = "10.77.9.2"
	bridgeIP    = "10.77.9.1"
)

// container makes a namespace on a bridge in production's host, as containers
// are connected, and returns its name. The client reaches it through production.
func container(t *testing.T, h *testbed.Hosts) string {
	t.Helper()
	testbed.IP(t, "-n", h.Production, "link", "add", "bridge0", "type", "bridge")
	testbed.IP(t, "-n", h.Production, "addr", "add", bridgeIP+"/24", "dev", "bridge0")
	testbed.IP(t, "-n", h.Production, "link", "set", "bridge0", "up")
	testbed.Run(t, h.Production, "sysctl", "-qw", "net.ipv4.ip_forward=1")
	return plugIn(t, h, "0", containerIP)
}

// plugIn makes a container on the bridge that is there.
func plugIn(t *testing.T, h *testbed.Hosts, name, ip string) string {
	t.Helper()
	ns, cable := h.Production+"-c"+name, "cable"+name
	testbed.IP(t, "netns", "add", ns)
	t.Cleanup(func() { testbed.IP(t, "netns", "del", ns) })
	testbed.IP(t, "link", "add", cable, "netns", h.Production, "type", "veth", "peer", "name", "eth0", "netns", ns)
	testbed.IP(t, "-n", h.Production, "link", "set", cable, "master", "bridge0")
	for _, up := range [][2]string{{h.Production, cable}, {ns, "eth0"}, {ns, "lo"}} {
		testbed.IP(t, "-n", up[0], "link", "set", up[1], "up")
	}
	testbed.IP(t, "-n", ns, "addr", "add", ip+"/24", "dev", "eth0")
	testbed.IP(t, "-n", ns, "route", "add", "default", "via", bridgeIP)
	testbed.IP(t, "-n", h.Client, "route", "add", ip+"/32", "via", testbed.ProductionIP)
	return ns
}

// load sends n requests from the client.
func load(t *testing.T, h *testbed.Hosts, address string, flags ...string) {
	t.Helper()
	out := testbed.Run(t, h.Client, "ab", append(append([]string{"-q", "-c", "20"}, flags...), "http://"+address+"/page?x=1")...)
	if !strings.Contains(out, "Failed requests:        0") {
		t.Fatalf("ab: %s", out)
	}
}

// expectOnce compares a recording with what nginx served, and returns the
// servers' addresses in it.
func expectOnce(t *testing.T, all string, st kagami.Statement, served int, responses bool) map[string]int {
	t.Helper()
	servers := map[string]int{}
	requests, answers := 0, 0
	for _, m := range messages(t, all) {
		servers[m.Server.String()]++
		if m.Kind == kagami.Request {
			requests++
		} else {
			answers++
		}
	}
	want := 0
	if responses {
		want = served
	}
	if requests != served || answers != want {
		t.Errorf("nginx served %d requests, captured %d and %d answers", served, requests, answers)
	}
	expectOut(t, st, "capture", "", served+want)
	packets, _ := st.Stage("capture", "", kagami.Packets)
	connections, _ := st.Stage("capture", "", kagami.Connections)
	t.Logf("%d requests; packets: %d in, dropped %v; connections: %d in, dropped %v", served, packets.In, packets.Dropped, connections.In, connections.Dropped)
	if packets.Dropped[kagami.DuplicateCopy] == 0 {
		t.Error("no packet was seen twice: the test shows nothing")
	}
	if st.Bounded {
		t.Errorf("packets were lost: %v", packets.Dropped)
	}
	return servers
}

// A container behind a bridge: each packet is seen on three interfaces, each
// message captured once.
func TestRootBridge(t *testing.T) {
	for _, responses := range []bool{false, true} {
		t.Run(fmt.Sprintf("responses %v", responses), func(t *testing.T) {
			h := testbed.NewHosts(t)
			production := testbed.StartNginx(t, container(t, h), answer)
			all := filepath.Join(t.TempDir(), "all.kgm")
			k := testbed.StartKagami(t, h.Production, capturing, "--input-raw", ":8080",
				fmt.Sprintf("--input-raw-track-response=%v", responses), "--output-file", all, "--queue-bytes", "1gb", "--queue-messages", "100000")
			load(t, h, testbed.Addr(containerIP), "-n", "1000")
			load(t, h, testbed.Addr(containerIP), "-n", "3000", "-k")
			st := k.Stop()
			for server := range expectOnce(t, all, st, len(production.Requests()), responses) {
				if server != testbed.Addr(containerIP) {
					t.Errorf("server %s", server)
				}
			}
		})
	}
}

// A container's published port: before the translation of the address a packet
// goes to the host, behind it to the container. It is one connection, to the
// host.
func TestRootDNAT(t *testing.T) {
	for _, test := range []struct {
		name      string
		published string // port of the host
		ports     string
		responses bool
	}{
		{"same port", "8080", ":8080", false},
		{"same port, responses", "8080", ":8080", true},
		{"another port", "80", ":80,8080", false},
		{"another port, responses", "80", ":80,8080", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := testbed.NewHosts(t)
			production := testbed.StartNginx(t, container(t, h), answer)
			testbed.Run(t, h.Production, "nft", publish(test.published))
			all := filepath.Join(t.TempDir(), "all.kgm")
			k := testbed.StartKagami(t, h.Production, capturing, "--input-raw", test.ports,
				fmt.Sprintf("--input-raw-track-response=%v", test.responses), "--output-file", all, "--queue-bytes", "1gb", "--queue-messages", "100000")
			host := testbed.ProductionIP + ":" + test.published
			load(t, h, host, "-n", "1000")
			load(t, h, host, "-n", "3000", "-k")
			st := k.Stop()
			for server := range expectOnce(t, all, st, len(production.Requests()), test.responses) {
				if server != host {
					t.Errorf("server %s", server)
				}
			}
			// ab speaks HTTP/1.0 and opens a few connections more than it uses.
			served := len(production.Requests())
			if c, _ := st.Stage("capture", "", kagami.Connections); c.In > int64(served)+100 {
				t.Errorf("%d connections captured for %d requests", c.In, served)
			}
		})
	}
}

// Capture begins and ends in the middle of a connection to a published port:
// between the first and the last request captured none is missing or twice.
func TestRootDNATJoined(t *testing.T) {
	h := testbed.NewHosts(t)
	testbed.StartNginx(t, container(t, h), answer)
	testbed.Run(t, h.Production, "nft", publish("80"))
	const requests = 1_000_000
	curl := testbed.Start(t, testbed.In(h.Client, "curl", "-s", "-o", "/dev/null",
		fmt.Sprintf("http://%s:80/[1-%d]", testbed.ProductionIP, requests)))
	all := filepath.Join(t.TempDir(), "all.kgm")
	k := testbed.StartKagami(t, h.Production, capturing, "--input-raw", ":80,8080", "--output-file", all,
		"--input-raw-track-response", "--queue-bytes", "1gb", "--queue-messages", "1000000")
	testbed.Run(t, h.Client, "ab", "-q", "-n", "2000", "http://"+testbed.ProductionIP+":80/x") // as long as that takes
	k.Stop()
	curl.Cmd.Process.Kill()
	seen, first, last := map[int]int{}, requests, 0
	for _, m := range messages(t, all) {
		var n int
		if _, err := fmt.Sscanf(string(m.Raw[:min(len(m.Raw), 40)]), "GET /%d HTTP", &n); err != nil || m.Kind != kagami.Request {
			continue
		}
		seen[n]++
		first, last = min(first, n), max(last, n)
	}
	t.Logf("requests %d to %d", first, last)
	if last-first < 100 {
		t.Errorf("requests %d to %d captured: too few", first, last)
	}
	for n := first; n <= last; n++ {
		if seen[n] != 1 {
			t.Fatalf("request %d of %d to %d captured %d times", n, first, last, seen[n])
		}
	}
}

// publish is what nft is told to translate a port of the host to the container.
func publish(port string) string {
	return "add table ip nat; add chain ip nat prerouting { type nat hook prerouting priority dstnat; }; " +
		"add rule ip nat prerouting iifname eth0 tcp dport " + port + " dnat to " + testbed.Addr(containerIP)
}
