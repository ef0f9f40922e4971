package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"kagami"
	"kagami/internal/testbed"
)

// A ledger proves nothing unless it can be wrong: a build that loses one
// message at each place in turn must be told from one that balances.
func TestRootLostMessageIsNoticed(t *testing.T) {
	h := testbed.NewHosts(t)
	testbed.StartNginx(t, h.Production, answer)
	staging := testbed.StartNginx(t, h.Staging, answer)
	target := "http://" + testbed.Addr(testbed.StagingIP)
	onePlace := func(place string, outputs ...string) {
		t.Run(place, func(t *testing.T) {
			k := testbed.StartBinary(t, testbed.Losing, []string{"LOSE_KAGAMI_MESSAGE=" + place}, h.Production, capturing,
				append([]string{"--input-raw", ":8080"}, outputs...)...)
			ab(t, h, "-n", "200", "-c", "10")
			expectUnbalanced(t, k)
		})
	}
	for _, place := range []string{"capture", "filter", "queue", "limit", "http"} {
		onePlace(place, "--output-http", target+"|100000/s")
	}
	onePlace("file", "--output-file", filepath.Join(t.TempDir(), "all.gor"))
	onePlace("spool", "--output-tcp", "127.0.0.1:1", "--spool", t.TempDir())
	for _, place := range []string{"tcp", "stream"} {
		t.Run(place, func(t *testing.T) {
			env := []string{"LOSE_KAGAMI_MESSAGE=" + place}
			listener, replayer := startPair(t, h, testbed.Losing, env, target)
			ab(t, h, "-n", "200", "-c", "10")
			if place == "tcp" {
				expectUnbalanced(t, listener)
				replayer.Stop()
			} else {
				staging.Settle()
				listener.Cmd.Process.Signal(syscall.SIGTERM)
				listener.Wait() // in doubt about one: the replayer never acknowledged it
				expectUnbalanced(t, replayer)
			}
		})
	}
	t.Run("none", func(t *testing.T) {
		k := testbed.StartBinary(t, testbed.Losing, nil, h.Production, capturing, "--input-raw", ":8080", "--output-http", target)
		ab(t, h, "-n", "200", "-c", "10")
		k.Stop()
	})
}

func startPair(t *testing.T, h *testbed.Hosts, path string, env []string, target string) (listener, replayer *testbed.Process) {
	t.Helper()
	replayer = testbed.StartBinary(t, path, env, h.Staging, listening, "replay", "--insecure",
		"--input-tcp", ":28020", "--output-http", target, "--on-full", "wait")
	listener = testbed.StartBinary(t, path, env, h.Production, capturing, "listen", "--insecure",
		"--input-raw", ":8080", "--output-tcp", testbed.StagingIP+":28020")
	return listener, replayer
}

func expectUnbalanced(t *testing.T, p *testbed.Process) {
	t.Helper()
	p.Cmd.Process.Signal(syscall.SIGTERM)
	if code := p.Wait(); code != 4 {
		t.Errorf("exit code %d, want 4:\n%s", code, p.Stderr())
	}
	if st := p.RawStatement(); st.Balanced || len(st.Faults) == 0 {
		t.Errorf("a message was lost, and the ledger says: %+v", st)
	}
}

// A staging server that is down costs its own copies, with a reason each; when
// it is back, so is the mirror.
func TestRootStagingDown(t *testing.T) {
	t.Parallel()
	h := testbed.NewHosts(t)
	testbed.StartNginx(t, h.Production, answer)
	staging := testbed.StartNginx(t, h.Staging, answer)
	k := testbed.StartKagami(t, h.Production, capturing, "--input-raw", ":8080", "--output-http", "http://"+testbed.Addr(testbed.StagingIP),
		"--queue-messages", "500") // a larger one would bridge the gap
	staging.Kill()
	ab(t, h)
	staging.Start()
	before := len(staging.Requests())
	for deadline := time.Now().Add(testbed.Patience); len(staging.Requests()) == before; {
		if time.Now().After(deadline) {
			t.Fatal("nothing reaches staging after it came back")
		}
		testbed.Run(t, h.Client, "curl", "-s", "http://"+testbed.Addr(testbed.ProductionIP)+"/again")
	}
	st := k.Stop()
	o, _ := st.Stage("output", "", kagami.Messages)
	if failed := o.Dropped[kagami.SendError] + o.Dropped[kagami.QueueFull] + o.Dropped[kagami.Timeout]; failed < total/2 || failed > total {
		t.Errorf("staging was down for %d requests; dropped %v", total, o.Dropped)
	}
	if got := int64(len(staging.Requests())); o.Out != got {
		t.Errorf("%d delivered, staging logged %d", o.Out, got)
	}
}

// A staging server that takes ten seconds a request: the queue fills, the rest
// is counted, memory stays within its limit, and production gets its answers.
func TestRootStagingSlow(t *testing.T) {
	t.Parallel()
	h := testbed.NewHosts(t)
	production := testbed.StartNginx(t, h.Production, answer)
	testbed.StartNginx(t, h.Staging, "echo_sleep 10; echo ok;")
	k := testbed.StartKagami(t, h.Production, capturing, "--input-raw", ":8080", "--output-http", "http://"+testbed.Addr(testbed.StagingIP),
		"--output-http-timeout", "20s", "--drain-timeout", "1s", "--queue-messages", "1000")
	ab(t, h)
	ab(t, h, "-k")
	peak := testbed.Memory(t, k.Cmd.Process.Pid, "VmHWM")
	st := k.Stop()
	if n := len(production.Requests()); n != 2*total {
		t.Errorf("production answered %d requests", n)
	}
	o, _ := st.Stage("output", "", kagami.Messages)
	if o.Dropped[kagami.QueueFull] == 0 || o.DroppedTotal()+o.Out != 2*total {
		t.Errorf("dropped %v, out %d", o.Dropped, o.Out)
	}
	if limit := 64 << 20; peak > limit {
		t.Errorf("peak memory %d MiB, limit %d MiB", peak>>20, limit>>20)
	}
}

// The replayer is restarted under load: what the listener's window and queue
// hold arrives afterwards, the rest is counted, and nothing arrives twice.
func TestRootReplayerRestart(t *testing.T) {
	t.Parallel()
	h := testbed.NewHosts(t)
	testbed.StartNginx(t, h.Production, answer)
	staging := testbed.StartNginx(t, h.Staging, answer)
	target := "http://" + testbed.Addr(testbed.StagingIP)
	listener, replayer := startPair(t, h, testbed.Binary, nil, target)
	ab(t, h, "-n", "2000")
	replayer.Stop()
	ab(t, h, "-n", "8000")
	replayer = testbed.StartKagami(t, h.Staging, listening, "replay", "--insecure",
		"--input-tcp", ":28020", "--output-http", target, "--on-full", "wait")
	ab(t, h, "-n", "2000")
	listened := listener.Stop()
	replayer.Stop()
	o, _ := listened.Stage("output", "", kagami.Messages)
	ids := staging.IDs()
	for id, n := range ids {
		if n != 1 {
			t.Errorf("%s arrived %d times", id, n)
		}
	}
	t.Logf("%d in, %d out, dropped %v; staging has %d", o.In, o.Out, o.Dropped, len(ids))
	if o.In != 12000 || int64(len(ids)) != o.Out {
		t.Errorf("%d captured, %d acknowledged, %d arrived", o.In, o.Out, len(ids))
	}
	if len(ids) <= 4000 {
		t.Errorf("nothing of what was captured without a replayer arrived later")
	}
}

// A captured interface that vanishes ends the listener with 1, so that what
// supervises it starts it again, in the namespace that there is then.
func TestRootInterfaceVanishes(t *testing.T) {
	h := testbed.NewHosts(t)
	k := testbed.StartKagami(t, h.Production, capturing, "listen", "--input-raw", "eth0:8080", "--output-null")
	testbed.IP(t, "-n", h.Production, "link", "del", "eth0")
	if code := k.Wait(); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	if !strings.Contains(k.Stderr(), "eth0") {
		t.Errorf("does not name the interface:\n%s", k.Stderr())
	}
	k.Statement()
}

// What a user may get wrong on a host: the sentence says what to do.
func TestRootBadInput(t *testing.T) {
	h := testbed.NewHosts(t)
	busy := testbed.StartKagami(t, h.Production, listening, "replay", "--input-tcp", "127.0.0.1:28020", "--output-null")
	defer busy.Stop()
	existing := filepath.Join(t.TempDir(), "existing.gor")
	if err := os.WriteFile(existing, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		args []string
		code int
		says []string
	}{
		{"unknown interface", []string{"--input-raw", "eth9:8080", "--output-null"}, 1, []string{"eth9", "eth0", "eth1", "lo"}},
		{"busy port", []string{"--input-tcp", "127.0.0.1:28020", "--output-null"}, 1, []string{"28020", "in use"}},
		{"output file exists", []string{"--input-raw", ":8080", "--output-file", existing}, 1, []string{existing, "--output-file-append"}},
		{"target is captured", []string{"--input-raw", ":8080", "--output-http", "http://" + testbed.Addr(testbed.ProductionIP)}, 1, []string{"--allow-self"}},
		{"replayer elsewhere, in clear", []string{"--input-raw", ":8080", "--output-tcp", testbed.StagingIP + ":28020"}, 1, []string{"--insecure"}},
		{"bad packet filter", []string{"--input-raw", ":8080", "--input-raw-bpf-filter", "tcp prt 80", "--output-null"}, 1, []string{"tcp prt 80"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, stdout, stderr := testbed.RunKagami(t, h.Production, c.args...)
			if code != c.code || stdout != "" {
				t.Errorf("exit code %d, want %d; stdout %q; stderr:\n%s", code, c.code, stdout, stderr)
			}
			for _, text := range c.says {
				if !strings.Contains(stderr, text) {
					t.Errorf("does not say %q:\n%s", text, stderr)
				}
			}
		})
	}
	t.Run("no permission", func(t *testing.T) {
		out, err := asNobody(h, copyOfBinary(t), "--input-raw", ":8080", "--output-null").CombinedOutput()
		if err == nil || !strings.Contains(string(out), "setcap") || !strings.Contains(string(out), "sudo") {
			t.Errorf("%v: %s", err, out)
		}
	})
}

// A file capability is enough to capture, permitted and not effective: the
// process raises it itself.
func TestRootFileCapability(t *testing.T) {
	h := testbed.NewHosts(t)
	production := testbed.StartNginx(t, h.Production, answer)
	path := copyOfBinary(t)
	if out, err := exec.Command("setcap", "cap_net_raw+p", path).CombinedOutput(); err != nil {
		t.Fatalf("setcap: %v: %s", err, out)
	}
	all := filepath.Join(filepath.Dir(path), "all.gor")
	k := testbed.Start(t, asNobody(h, path, "--input-raw", ":8080", "--output-file", all))
	k.WaitFor(capturing)
	ab(t, h, "-n", "100", "-c", "1")
	k.Cmd.Process.Signal(syscall.SIGTERM)
	if code := k.Wait(); code != 0 {
		t.Errorf("exit code %d:\n%s", code, k.Stderr())
	}
	if n := len(recorded(t, all)); n != 100 || len(production.Requests()) != 100 {
		t.Errorf("%d requests recorded", n)
	}
}

// asNobody returns a command that runs without any privilege of ours.
func asNobody(h *testbed.Hosts, path string, args ...string) *exec.Cmd {
	return testbed.In(h.Production, "setpriv",
		append([]string{"--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", path}, args...)...)
}

// copyOfBinary puts kagami where other users can run it, and write beside it.
func copyOfBinary(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "kagami-shared-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(testbed.Binary)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "kagami")
	if err := os.WriteFile(path, b, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}
