package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"kagami"
	"kagami/internal/testbed"
)

// examined runs kagami doctor and returns its exit code and what it printed.
func examined(t *testing.T, cmd *exec.Cmd) (code int, out string) {
	t.Helper()
	b, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(b)
}

// kagami doctor says what is missing and what mends it, as root, as a user without rights, and where the right is out of
// reach; and after the command that it names it is content.
func TestRootDoctor(t *testing.T) {
	h := testbed.NewHosts(t)
	path := copyOfBinary(t)
	dir := filepath.Dir(path)
	closed := t.TempDir()
	root := func(args ...string) *exec.Cmd {
		return testbed.In(h.Production, testbed.Binary, append([]string{"doctor"}, args...)...)
	}
	nobody := func(args ...string) *exec.Cmd { return asNobody(h, path, append([]string{"doctor"}, args...)...) }
	bounded := func(args ...string) *exec.Cmd {
		return testbed.In(h.Production, "setpriv", append([]string{"--bounding-set=-net_raw", "--inh-caps=-all", testbed.Binary, "doctor"}, args...)...)
	}
	testbed.IP(t, "-n", h.Production, "link", "add", "sleeping", "type", "veth", "peer", "name", "asleep")
	check := func(name string, cmd *exec.Cmd, code int, says ...string) {
		t.Helper()
		got, out := examined(t, cmd)
		for _, s := range says {
			if !regexp.MustCompile(s).MatchString(out) {
				t.Errorf("%s: does not say %q", name, s)
			}
		}
		if got != code {
			t.Errorf("%s: exit code %d, want %d", name, got, code)
		}
		if t.Failed() {
			t.Logf("%s:\n%s", name, out)
		}
	}
	check("root", root(), 0, `ok +capability`, `ok +interface +any: .*eth0`, `ok +engine +af_packet: the kernel has TPACKET_V3`, `(ok|warn) +clock`, `(ok|warn) +memory`, `ok +open files`)
	check("an interface and a disk", root("--input-raw", "eth0:8080", "--output-file", filepath.Join(dir, "x.gor")), 0, `ok +interface +eth0 is up`, `ok +disk .* MiB are free`)
	check("mirrored packets", root("--input-raw", ":8080", "--input-raw-engine", "vxlan"), 0, `(ok|warn) +buffer`)
	if os.Getenv("KAGAMI_TEST_CGO") == "0" {
		check("no libpcap", root("--input-raw-engine", "libpcap"), 1, `FAIL +engine +libpcap, which --input-raw-engine libpcap needs: .*\n +→ make build`)
		check("no libpcap, asked for by a filter", root("--input-raw-bpf-filter", "tcp"), 1, `FAIL +engine +libpcap, which --input-raw-bpf-filter needs`)
	} else {
		check("libpcap", root("--input-raw-engine", "libpcap"), 0, `ok +engine +libpcap is built in`)
	}
	check("an interface that is down", root("--input-raw", "sleeping:8080"), 1, `FAIL +interface +sleeping is down\n +→ sudo ip link set sleeping up`)
	check("no interface", root("--input-raw", "eth7:8080"), 1, `FAIL +interface +eth7 does not exist; there are .*eth0`)
	check("no disk", root("--output-file", "/nowhere/x.gor"), 1, `FAIL +disk +/nowhere: .*no such file`, `mkdir -p /nowhere`)
	check("little disk", root("--output-file", filepath.Join(dir, "x.gor"), "--min-free-disk", "1000000gb"), 1, `FAIL +disk .*--min-free-disk`)
	check("a replayer needs no capability", nobody("--input-file", "x.gor", "--output-http", "http://staging"), 0)
	check("open files", testbed.In(h.Production, "prlimit", "--nofile=100:100", testbed.Binary, "doctor", "--output-http", "http://staging"), 1, `FAIL +open files +the process may have 100, and wants up to 192`, `LimitNOFILE`)
	check("out of reach", bounded(), 1, `FAIL +capability +NET_RAW is out of reach`, `--cap-add NET_RAW`)
	check("no right to the directory", nobody("--output-file", filepath.Join(closed, "x.gor")), 1, `FAIL +disk .*permission denied`)

	// Offloads, and the command that mends them.
	testbed.Run(t, h.Production, "ethtool", "-K", "eth0", "gro", "off")
	_, out := examined(t, root("--input-raw", "eth0:8080"))
	fix := regexp.MustCompile(`warn +offloads +eth0: .*\n +→ sudo (ethtool -K eth0 gro on)\n`).FindStringSubmatch(out)
	if fix == nil {
		t.Fatalf("GRO is off, and the doctor says:\n%s", out)
	}
	testbed.Run(t, h.Production, "sh", "-c", fix[1])
	check("offloads, mended", root("--input-raw", "eth0:8080"), 0, `ok +offloads +eth0`)

	code, out := examined(t, nobody())
	fix = regexp.MustCompile(`FAIL +capability .*\n +→ sudo (setcap cap_net_raw\+p \S+)\n`).FindStringSubmatch(out)
	if code != 1 || fix == nil {
		t.Fatalf("as nobody: exit code %d\n%s", code, out)
	}
	if b, err := exec.Command("sh", "-c", fix[1]).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", fix[1], err, b)
	}
	check("as nobody, mended", nobody(), 0, `ok +capability`, `ok +engine`)
	check("as nobody, with no_new_privs", asNobody(h, "setpriv", "--no-new-privs", path, "doctor"), 1, `FAIL +capability .*no_new_privs`)
}

// The commands of docs/privileges.md do what it says.
func TestRootPrivilegesDocs(t *testing.T) {
	h := testbed.NewHosts(t)
	testbed.StartNginx(t, h.Production, answer)
	commands := commandsIn(t, "privileges.md")
	if len(commands) < 3 {
		t.Fatalf("commands %q", commands)
	}
	dir := filepath.Dir(copyOfBinary(t))
	here := func(line string) string {
		return strings.ReplaceAll(line, "/tmp/cap.gor", filepath.Join(dir, "cap.gor"))
	}

	summary := filepath.Join(dir, "summary.json")
	cmd := asTyped(t, h.Production, dir, here(commands[0]))
	cmd.Env = append(cmd.Env, "KAGAMI_SUMMARY="+summary)
	k := testbed.Start(t, cmd)
	k.WaitFor("root is given up")
	ab(t, h, "-n", "100", "-c", "10")
	if got := statusOf(t, fmt.Sprintf("/proc/%d", cmd.Process.Pid)); got["NoNewPrivs"] != "1" || got["CapPrm"] != "0000000000002000" {
		t.Errorf("no_new_privs %q, permitted %q", got["NoNewPrivs"], got["CapPrm"])
	}
	cmd.Process.Signal(syscall.SIGTERM)
	if code := k.Wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	st := readStatement(t, summary)
	if s, _ := st.Stage("output", "", kagami.Messages); s.Out != 100 || len(recorded(t, filepath.Join(dir, "cap.gor"))) != 100 {
		t.Errorf("%+v", s)
	}

	if out, err := asTyped(t, h.Production, dir, commands[1]).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", commands[1], err, out)
	}
	if code, out := examined(t, asTyped(t, h.Production, dir, here(commands[2]))); code != 0 || !strings.Contains(out, "ok    capability") {
		t.Errorf("exit code %d:\n%s", code, out)
	}
	os.Remove(summary)
}
