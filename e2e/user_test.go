package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"kagami"
	"kagami/internal/testbed"
)

// nobodyID is a user without rights.
const nobodyID = 65534

// statusOf are the fields of a thread in /proc/PID/task/TID/status.
func statusOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		t.Fatal(err)
	}
	fields := map[string]string{}
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		fields[name] = strings.Join(strings.Fields(value), " ")
	}
	return fields
}

// startAs starts a listener that gives up root. stop ends it and returns its ledger.
func startAs(t *testing.T, h *testbed.Hosts, dir string, args ...string) (k *testbed.Process, stop func() kagami.Statement) {
	t.Helper()
	summary := filepath.Join(dir, "summary.json")
	k = testbed.Start(t, testbed.In(h.Production, testbed.Binary, append([]string{"listen", "--summary", summary}, args...)...))
	k.WaitFor("root is given up")
	return k, func() kagami.Statement {
		t.Helper()
		k.Cmd.Process.Signal(syscall.SIGTERM)
		if code := k.Wait(); code != 0 {
			t.Fatalf("exit code %d:\n%s", code, k.Stderr())
		}
		return readStatement(t, summary)
	}
}

// captured is how many messages the listener has captured so far, by its metrics.
func captured(t *testing.T, h *testbed.Hosts) int {
	t.Helper()
	text := testbed.Run(t, h.Production, "curl", "-sf", "http://127.0.0.1:9090/metrics")
	m := regexp.MustCompile(`(?m)^kagami_messages_total\{output="",reason="delivered",stage="capture"\} (\d+)$`).FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("no such metric in\n%s", text)
	}
	n, _ := strconv.Atoi(m[1])
	return n
}

// With --user every thread is the user, has no groups and no right but NET_RAW, which is in effect on none,
// gets none by running something, and has the filter of system calls. Capturing goes on, on
// an interface that comes later too; the recordings, later files of them included, are the user's.
func TestRootUser(t *testing.T) {
	h := testbed.NewHosts(t)
	production := testbed.StartNginx(t, h.Production, answer)
	staging := testbed.StartNginx(t, h.Staging, answer)
	dir := filepath.Dir(copyOfBinary(t)) // where everybody may write
	file := filepath.Join(dir, "all.gor.gz")
	config := filepath.Join(dir, "kagami.yaml")
	outputs := "outputs:\n  - {file: " + file + ", queue-limit: 300}\n"
	if err := os.WriteFile(config, []byte(outputs), 0o644); err != nil {
		t.Fatal(err)
	}
	k, stop := startAs(t, h, dir, "--user", fmt.Sprint(nobodyID), "--input-raw", ":8080", "--config", config, "--admin", "127.0.0.1:9090")
	ab(t, h, "-n", "500", "-c", "10")

	testbed.IP(t, "-n", h.Production, "link", "add", "later", "type", "veth", "peer", "name", "later", "netns", h.Client)
	testbed.IP(t, "-n", h.Production, "addr", "add", "10.77.9.2/24", "dev", "later")
	testbed.IP(t, "-n", h.Client, "addr", "add", "10.77.9.1/24", "dev", "later")
	testbed.IP(t, "-n", h.Production, "link", "set", "later", "up")
	testbed.IP(t, "-n", h.Client, "link", "set", "later", "up")
	// That the address is this host's is found out within a second; what comes before is left alone.
	unknown := 0
	for deadline := time.Now().Add(testbed.Patience); ; unknown++ {
		testbed.Run(t, h.Client, "curl", "-s", "-o", "/dev/null", "http://10.77.9.2:8080/probe")
		if seen := captured(t, h); seen > 500 {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("%d requests captured: none at the interface that came later", seen)
		}
	}
	testbed.Run(t, h.Client, "ab", "-q", "-n", "500", "-c", "10", "http://10.77.9.2:8080/")

	for deadline := time.Now().Add(testbed.Patience); captured(t, h) < 1001; { // the kernel hands packets over a little late
		if time.Now().After(deadline) {
			t.Fatalf("%d requests captured of 1001", captured(t, h))
		}
	}

	// A reload opens a target and a file as the user.
	more := filepath.Join(dir, "more.kgm")
	if err := os.WriteFile(config, []byte(outputs+"  - {http: 'http://"+testbed.Addr(testbed.StagingIP)+"'}\n  - {file: "+more+"}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	k.Cmd.Process.Signal(syscall.SIGHUP)
	k.WaitFor("the configuration is reloaded")
	ab(t, h, "-n", "200", "-c", "10")
	staging.WaitForRequests(200)

	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", k.Cmd.Process.Pid))
	if err != nil || len(threads) < 3 {
		t.Fatalf("threads %v, %v", threads, err)
	}
	four := fmt.Sprintf("%[1]d %[1]d %[1]d %[1]d", nobodyID)
	for _, thread := range threads {
		got := statusOf(t, thread)
		for name, want := range map[string]string{
			"Uid": four, "Gid": four, "Groups": "",
			"CapPrm": "0000000000002000", "CapEff": "0000000000000000", "CapInh": "0000000000000000", "CapAmb": "0000000000000000",
			"NoNewPrivs": "1", "Seccomp": "2",
		} {
			if got[name] != want {
				t.Errorf("%s: %s is %q, want %q", thread, name, got[name], want)
			}
		}
	}
	t.Logf("%d threads", len(threads))
	st := stop()
	if n := len(production.Requests()); n != 1201+unknown {
		t.Errorf("nginx served %d requests", n)
	}
	names, _ := filepath.Glob(filepath.Join(dir, "all_*"))
	if len(names) < 4 {
		t.Errorf("files %v, want 4 or more", names)
	}
	n, all := 0, int64(0)
	for _, name := range append(names, more) {
		for _, m := range messages(t, name) {
			if all++; !strings.Contains(string(m.Raw), "/probe") {
				n++
			}
		}
		info, err := os.Stat(name)
		if err != nil || info.Sys().(*syscall.Stat_t).Uid != nobodyID || info.Sys().(*syscall.Stat_t).Gid != nobodyID {
			t.Errorf("%s is not the user's: %+v, %v", name, info.Sys(), err)
		}
	}
	if s, _ := st.Stage("capture", "", kagami.Messages); n != 1200+200 || all != s.Out+200 {
		t.Errorf("%d requests recorded that are no probes, %d in all, %d captured", n, all, s.Out)
	}
}

// The same through libpcap, by name, with a resolver of libc's, where the filter of system calls could get in the way.
func TestRootUserLibpcap(t *testing.T) {
	if os.Getenv("KAGAMI_TEST_CGO") == "0" {
		t.Skip("this build has no libpcap")
	}
	h := testbed.NewHosts(t)
	testbed.StartNginx(t, h.Production, answer)
	testbed.StartNginxOn(t, h.Production, 8081, answer)
	dir := filepath.Dir(copyOfBinary(t))
	t.Setenv("GODEBUG", "netdns=cgo")
	_, stop := startAs(t, h, dir, "--user", "nobody", "--input-raw", "eth0:8080", "--input-raw-engine", "libpcap",
		"--output-file", filepath.Join(dir, "all.gor"), "--output-http", "http://localhost:8081")
	ab(t, h, "-n", "300", "-c", "10")
	st := stop()
	expectOut(t, st, "output", filepath.Join(dir, "all.gor"), 300)
	expectOut(t, st, "output", "http://localhost:8081", 300)
}

// What cannot be is said, with what to do.
func TestRootUserErrors(t *testing.T) {
	h := testbed.NewHosts(t)
	closed := t.TempDir() // root's own
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"--user", "no-such-user", "--output-null"}, 2, "useradd"},
		{[]string{"--user", "root", "--output-null"}, 2, "this is root"},
		{[]string{"--user", "nobody", "--output-file", filepath.Join(closed, "x.gor")}, 1, "permission denied"},
		{[]string{"--user", "nobody", "--output-null", "--summary", filepath.Join(closed, "x.json")}, 1, "the user nobody cannot write there"},
	} {
		code, _, stderr := testbed.RunKagami(t, h.Production, append([]string{"listen", "--input-raw", ":8080", "--exit-after", "1ms"}, c.args...)...)
		if code != c.code || !strings.Contains(stderr, c.says) {
			t.Errorf("%v: exit code %d, want %d and %q:\n%s", c.args, code, c.code, c.says, stderr)
		}
	}
	out, err := asNobody(h, copyOfBinary(t), "--user", "daemon", "--input-raw", ":8080", "--output-null").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "only root can become another user") {
		t.Errorf("as nobody: %v: %s", err, out)
	}
	// Root without --user is told about it once.
	k := testbed.StartKagami(t, h.Production, capturing, "listen", "--input-raw", ":8080", "--output-null")
	k.WaitFor("this runs as root: with --user")
	k.Stop()
	// A container without the capabilities to become somebody.
	out, err = exec.Command("setpriv", "--bounding-set=-setuid,-setgid", "--inh-caps=-all", testbed.Binary, "listen", "--user", "nobody", "--input-raw", ":8080", "--output-null").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "SETGID") {
		t.Errorf("without SETGID: %v: %s", err, out)
	}
}
