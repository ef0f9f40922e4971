package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// binary is kagami, built once for all tests of the package; losing is the
// same with the build tag that lets it lose a message on purpose.
var binary, losing string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	if os.Geteuid() != 0 {
		return m.Run() // every test will skip itself
	}
	dir, err := os.MkdirTemp("", "kagami-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary, losing = filepath.Join(dir, "kagami"), filepath.Join(dir, "kagami-losing")
	for path, tags := range map[string]string{binary: "", losing: "kagami_lose"} {
		build := exec.Command("go", "build", "-tags", tags, "-o", path, "kagami/cmd/kagami")
		build.Env = append(os.Environ(), "CGO_ENABLED=1")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
			return 1
		}
	}
	return m.Run()
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, for network namespaces and packet capture")
	}
	for _, tool := range []string{"ip", "nginx", "ab", "wrk"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s: run scripts/deps test", tool)
		}
	}
}

// The three hosts' addresses: client and staging each have a cable to production.
const (
	clientIP      = "10.77.0.1"
	productionIP  = "10.77.0.2"
	production2IP = "10.77.1.1" // its address on the cable to staging
	stagingIP     = "10.77.1.2"
	productionIP6 = "fd77:0:0:0::2"
)

// hosts are network namespaces that play three machines.
type hosts struct {
	client, production, staging string
}

var hostsMade atomic.Int32

// newHosts makes the three hosts and their cables, for one test.
func newHosts(t *testing.T) *hosts {
	t.Helper()
	needRoot(t)
	prefix := fmt.Sprintf("kg%d-%d-", os.Getpid(), hostsMade.Add(1))
	h := &hosts{prefix + "client", prefix + "prod", prefix + "staging"}
	for _, ns := range []string{h.client, h.production, h.staging} {
		ip(t, "netns", "add", ns)
		t.Cleanup(func() {
			if out, err := exec.Command("ip", "netns", "del", ns).CombinedOutput(); err != nil {
				t.Errorf("ip netns del %s: %v: %s", ns, err, out)
			}
		})
		ip(t, "-n", ns, "link", "set", "lo", "up")
	}
	cable(t, h.client, clientIP, "fd77::1", h.production, productionIP, "fd77::2", "eth0", "eth0")
	cable(t, h.staging, stagingIP, "fd77:0:0:1::2", h.production, production2IP, "fd77:0:0:1::1", "eth0", "eth1")
	return h
}

func cable(t *testing.T, nsA, a4, a6, nsB, b4, b6, devA, devB string) {
	t.Helper()
	ip(t, "link", "add", devA, "netns", nsA, "type", "veth", "peer", "name", devB, "netns", nsB)
	for _, end := range [][4]string{{nsA, a4, a6, devA}, {nsB, b4, b6, devB}} {
		ip(t, "-n", end[0], "addr", "add", end[1]+"/24", "dev", end[3])
		ip(t, "-n", end[0], "addr", "add", end[2]+"/64", "dev", end[3], "nodad")
		ip(t, "-n", end[0], "link", "set", end[3], "up")
	}
}

func ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// in returns a command that runs in a namespace.
func in(ns string, name string, args ...string) *exec.Cmd {
	return exec.Command("ip", append([]string{"netns", "exec", ns, name}, args...)...)
}

// run runs a command in a namespace to its end and returns what it printed.
func run(t *testing.T, ns, name string, args ...string) string {
	t.Helper()
	out, err := in(ns, name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}
