package testbed

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// Binary is kagami, built once for all tests of a package, when the first of
// them makes its hosts. Losing is the same with the build tag that lets it lose
// a message on purpose.
var Binary, Losing string

var (
	buildOnce sync.Once
	buildDir  string
	buildErr  error
)

// Main is a package's TestMain: it runs the tests, takes away what was built
// for them, and returns the exit code.
func Main(m *testing.M) int {
	defer func() { os.RemoveAll(buildDir) }()
	return m.Run()
}

func build() {
	if buildDir, buildErr = os.MkdirTemp("", "kagami-e2e-"); buildErr != nil {
		return
	}
	Binary, Losing = filepath.Join(buildDir, "kagami"), filepath.Join(buildDir, "kagami-losing")
	for path, tags := range map[string]string{Binary: "", Losing: "kagami_lose"} {
		if buildErr = Build(path, tags); buildErr != nil {
			return
		}
	}
}

// Build builds kagami with build tags.
func Build(path, tags string) error {
	build := exec.Command("go", "build", "-tags", tags, "-o", path, "kagami/cmd/kagami")
	build.Env = append(os.Environ(), "CGO_ENABLED="+cmp.Or(os.Getenv("KAGAMI_TEST_CGO"), "1"))
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
}

// NeedRoot skips a test that is not run as root, or where a tool is missing.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, for network namespaces and packet capture")
	}
	for _, tool := range []string{"ip", "nginx", "ab", "wrk"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s: run scripts/deps test", tool)
		}
	}
	buildOnce.Do(build)
	if buildErr != nil {
		t.Fatal(buildErr)
	}
}

// The three hosts' addresses: client and staging each have a cable to production.
const (
	ClientIP      = "10.77.0.1"
	ProductionIP  = "10.77.0.2"
	Production2IP = "10.77.1.1" // its address on the cable to staging
	StagingIP     = "10.77.1.2"
	ProductionIP6 = "fd77:0:0:0::2"
)

// Hosts are network namespaces that play three machines.
type Hosts struct {
	Client, Production, Staging string
}

var hostsMade atomic.Int32

// NewHosts makes the three hosts and their cables, for one test.
func NewHosts(t testing.TB) *Hosts {
	t.Helper()
	NeedRoot(t)
	prefix := fmt.Sprintf("kg%d-%d-", os.Getpid(), hostsMade.Add(1))
	h := &Hosts{prefix + "client", prefix + "prod", prefix + "staging"}
	for _, ns := range []string{h.Client, h.Production, h.Staging} {
		IP(t, "netns", "add", ns)
		t.Cleanup(func() {
			if out, err := exec.Command("ip", "netns", "del", ns).CombinedOutput(); err != nil {
				t.Errorf("ip netns del %s: %v: %s", ns, err, out)
			}
		})
		IP(t, "-n", ns, "link", "set", "lo", "up")
	}
	cable(t, h.Client, ClientIP, "fd77::1", h.Production, ProductionIP, "fd77::2", "eth0", "eth0")
	cable(t, h.Staging, StagingIP, "fd77:0:0:1::2", h.Production, Production2IP, "fd77:0:0:1::1", "eth0", "eth1")
	return h
}

func cable(t testing.TB, nsA, a4, a6, nsB, b4, b6, devA, devB string) {
	t.Helper()
	IP(t, "link", "add", devA, "netns", nsA, "type", "veth", "peer", "name", devB, "netns", nsB)
	for _, end := range [][4]string{{nsA, a4, a6, devA}, {nsB, b4, b6, devB}} {
		IP(t, "-n", end[0], "addr", "add", end[1]+"/24", "dev", end[3])
		IP(t, "-n", end[0], "addr", "add", end[2]+"/64", "dev", end[3], "nodad")
		IP(t, "-n", end[0], "link", "set", end[3], "up")
	}
}

// IP runs iproute2's ip.
func IP(t testing.TB, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// In returns a command that runs in a namespace.
func In(ns string, name string, args ...string) *exec.Cmd {
	return exec.Command("ip", append([]string{"netns", "exec", ns, name}, args...)...)
}

// Run runs a command in a namespace to its end and returns what it printed.
func Run(t testing.TB, ns, name string, args ...string) string {
	t.Helper()
	out, err := In(ns, name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}
