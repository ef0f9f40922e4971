package faults

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kagami"
	"kagami/internal/testbed"
)

// ways are how a listener with a spool may stream.
var ways = map[string]struct {
	inClear bool
	args    []string // the listener's
	state   bool
}{
	"in clear":                   {inClear: true},
	"TLS, with zstd and a state": {args: []string{"--output-tcp-compress", "zstd"}, state: true},
}

// inEachWay runs a test in each of them, with a chain that is not started and the listener's flags.
func inEachWay(t *testing.T, test func(t *testing.T, c *chain, args []string)) {
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			c := newChain(t, answer).withSpool()
			if c.inClear = way.inClear; way.state {
				c.withState()
			}
			test(t, c, way.args)
		})
	}
}

// The replayer is away while the listener is stopped and started again, three times: what each process leaves
// the next one finds, and in the end all that was captured arrives.
func TestRootSpoolRestarts(t *testing.T) {
	t.Parallel()
	inEachWay(t, func(t *testing.T, c *chain, args []string) {
		c.startReplayer(port).Stop() // it makes its join file
		load := c.startLoad(400, nil)
		var b books
		for range 3 {
			c.startListener(address(port), args...)
			before := len(c.production.Requests())
			await(t, "load", func() bool { return len(c.production.Requests()) > before+200 })
			b.add(t, c.listener.Stop())
			if b.left == 0 {
				t.Error("nothing is left in the spool while the replayer is away")
			}
		}
		c.startListener(address(port), args...)
		c.startReplayer(port)
		c.listener.WaitFor(streaming)
		c.endLoad(load)
		b.add(t, c.listener.Stop())
		c.replayer.Stop()
		once, never, again := c.count()
		t.Logf("production served %d: %d arrived once, %d never; ledgers: %+v", once+never+again, once, never, b)
		if again > 0 || b.drops() != 0 || b.left != 0 || b.delivered != b.captured || int64(once) != b.captured {
			t.Errorf("%d captured, %d delivered, %d arrived once, %d more than once, dropped %v", b.captured, b.delivered, once, again, b.dropped)
		}
	})
}

// cutFor is how long the network is cut: longer than the 8 seconds after which both ends take each other for dead.
// KAGAMI_TEST_CUT=30s is the full measure.
func cutFor(t *testing.T) time.Duration {
	if s := os.Getenv("KAGAMI_TEST_CUT"); s != "" {
		d, err := time.ParseDuration(s)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	return 10 * time.Second
}

// The connection is reset again and again, and the network cut for longer than both ends bear: all arrives, once.
func TestRootSpoolCutOff(t *testing.T) {
	t.Parallel()
	inEachWay(t, func(t *testing.T, c *chain, args []string) {
		c.startReplayer(port)
		c.startListener(address(port), args...)
		c.listener.WaitFor(streaming)
		load := c.startLoad(400, nil)
		for i := range 10 {
			c.listener.WaitForTimes(streaming, i+1)
			before := len(c.staging[0].Requests())
			await(t, "something arrives", func() bool { return len(c.staging[0].Requests()) > before })
			if n := testbed.KillSockets(t, c.hosts.Production, port); n == 0 {
				t.Error("no connection to reset")
			}
		}
		c.listener.WaitForTimes(streaming, 11)
		heal := testbed.Cut(t, c.hosts.Staging, port)
		time.Sleep(cutFor(t)) // how long the cut is, is the test
		if n := strings.Count(c.listener.Stderr(), "no sign of life") + strings.Count(c.listener.Stderr(), "no stream"); n == 0 {
			t.Error("the listener did not notice the cut")
		}
		heal()
		c.listener.WaitForTimes(streaming, 12)
		c.endLoad(load)
		var b books
		b.add(t, c.listener.Stop())
		c.replayer.Stop()
		once, never, again := c.count()
		t.Logf("production served %d: %d arrived once, %d never; ledger: %+v", once+never+again, once, never, b)
		if never > 0 || again > 0 || b.drops() != 0 || b.left != 0 || b.delivered != int64(once) || b.captured != int64(once) {
			t.Errorf("%d captured, %d delivered, %d arrived once, %d more than once, dropped %v", b.captured, b.delivered, once, again, b.dropped)
		}
	})
}

// The replayer is away and the spool's disk full, or the spool as large as it may be: what has no room is dropped by
// name, production does not notice, and when the replayer is back and there is room again, so is the mirror.
func TestRootSpoolFull(t *testing.T) {
	t.Parallel()
	body := bytes.Repeat([]byte("x"), 16<<10)
	for name, test := range map[string]struct {
		disk   int
		args   []string
		reason kagami.Reason
	}{
		"disk": {2 << 20, nil, kagami.SpoolError},
		"size": {0, []string{"--spool-size", "2mb"}, kagami.SpoolFull},
	} {
		t.Run(name, func(t *testing.T) {
			c := newChain(t, answer).withSpool()
			c.inClear = true
			if test.disk > 0 {
				if err := os.Mkdir(c.spool, 0o700); err != nil {
					t.Fatal(err)
				}
				testbed.Tmpfs(t, c.spool, test.disk)
			}
			c.startListener(address(port), test.args...)
			load := c.startLoad(300, func() io.Reader { return bytes.NewReader(body) })
			await(t, "the spool is full, and twice as much has come", func() bool {
				return len(c.production.Requests())*len(body) > 15<<20
			})
			c.startReplayer(port)
			c.listener.WaitFor(streaming)
			before := len(c.production.Requests())
			await(t, "load with a replayer", func() bool { return len(c.production.Requests()) > before+300 })
			if test.disk > 0 {
				c.listener.WaitFor("can be written again")
			}
			c.endLoad(load)
			peak := testbed.Memory(t, c.listener.Cmd.Process.Pid, "VmHWM")
			var b books
			b.add(t, c.listener.Stop())
			c.replayer.Stop()
			once, never, again := c.count()
			t.Logf("production served %d: %d arrived once, %d never; ledger %+v; peak memory %d MiB", once+never+again, once, never, b, peak>>20)
			if again > 0 || b.left != 0 || b.delivered != int64(once) || b.captured != b.delivered+b.drops() || int64(never) != b.drops() {
				t.Errorf("%d captured, %d delivered, %d arrived once, %d never, %d more than once, dropped %v", b.captured, b.delivered, once, never, again, b.dropped)
			}
			if b.dropped[test.reason] == 0 || b.dropped[test.reason] != b.drops() {
				t.Errorf("dropped %v, want %v alone", b.dropped, test.reason)
			}
			if peak > 64<<20 {
				t.Errorf("peak memory %d MiB", peak>>20)
			}
			if test.disk > 0 && !strings.Contains(c.listener.Stderr(), "no space left") {
				t.Error("does not say what is wrong with the disk")
			}
		})
	}
}

// A spool is of one process.
func TestRootSpoolIsLocked(t *testing.T) {
	t.Parallel()
	c := newChain(t, answer).withSpool()
	c.inClear = true
	first := c.startListener(address(port))
	code, _, stderr := testbed.RunKagami(t, c.hosts.Production, "listen", "--input-raw", ":8080", "--insecure", "--output-tcp", address(port), "--spool", c.spool)
	if code != 1 || !strings.Contains(stderr, "another process uses it") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	first.Stop()
	dir := filepath.Join(c.spool, "gone_28020")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%016x.kgm", 1)), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	second := c.startListener(address(port))
	if !strings.Contains(second.Stderr(), "holds messages for a replayer that is none of --output-tcp") {
		t.Errorf("says nothing of a spool that nobody sends:\n%s", second.Stderr())
	}
	second.Stop()
}

// Of two replayers that share the load one is killed for good: after a while the other has its share, what
// was on its way at that instant is in doubt, and all else arrives once.
func TestRootSpoolFailover(t *testing.T) {
	t.Parallel()
	c := newChain(t, answer).withSpool()
	c.inClear = true
	other := c.startReplayer(port + 1)
	c.startReplayer(port)
	c.startListener(address(port)+","+address(port+1), "--failover-after", "1s")
	c.listener.WaitForTimes(streaming, 2)
	load := c.startLoad(400, nil)
	await(t, "both get something", func() bool { return len(c.staging[0].Requests()) > 300 })
	kill(other)
	c.listener.WaitFor("its share goes to the others")
	before := len(c.staging[0].Requests())
	await(t, "all goes to one", func() bool { return len(c.staging[0].Requests()) > before+400 })
	c.endLoad(load)
	st := c.listener.Stop()
	var b books
	b.add(t, st)
	stayed, _ := c.replayer.Stop().Stage("stream", "", kagami.Messages)
	once, never, again := c.count()
	failover, _ := st.Stage("failover", "", kagami.Messages)
	doubt := failover.Dropped[kagami.InDoubt] + stayed.Dropped[kagami.InDoubt] // where the other replayer knows of it, it is there
	t.Logf("production served %d: %d arrived once, %d never, %d twice; %d moved, in doubt %d; %+v", once+never+again, once, never, again, failover.In, doubt, b)
	if b.left != 0 || b.captured != int64(once+never+again) {
		t.Errorf("%d captured, %d left", b.captured, b.left)
	}
	// Those in doubt were delivered before, or not; all others were.
	if int64(never) > doubt || failover.In == 0 || failover.Missing() != 0 {
		t.Errorf("%d never arrived, %d in doubt, failover %+v", never, doubt, failover)
	}
}
