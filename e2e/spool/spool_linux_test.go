package spool

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kagami"
	"kagami/internal/testbed"
)

// ways are how a listener may stream.
var ways = map[string]struct {
	secure bool
	args   []string
}{
	"in clear":       {},
	"TLS, with zstd": {true, []string{"--output-tcp-compress", "zstd"}},
}

const kills = 20

// settle is how long before a kill a request has to be sent to be in the spool for sure: the capture hands over
// what it has every 20 ms, and this is a busy machine.
const settle = 300 * time.Millisecond

// A listener is killed at twenty random instants under load, and started again: whatever had come into its
// spool arrives, and so does all that it had had a moment for; nothing arrives twice. What it has in memory is lost, as is
// what production is asked while no listener runs.
func TestRootSpoolListenerKilled(t *testing.T) {
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			c := newChain(t, way.secure)
			c.startReplayer(port)
			seed := uint64(time.Now().UnixNano())
			t.Logf("seed %d", seed)
			random := rand.New(rand.NewPCG(seed, 0))
			load := c.load(400, nil)
			accepted := map[kagami.ID]bool{}
			var sure, risky [][2]int64 // numbers of requests: from, to
			for range kills {
				c.startListener(address(port), way.args...)
				from := load.Sent() + 10
				time.Sleep(time.Duration(random.IntN(300)) * time.Millisecond) // the instant is what is random
				to := load.Sent()
				time.Sleep(settle)
				c.listener.Cmd.Process.Kill()
				risky = append(risky, [2]int64{to, load.Sent()})
				sure = append(sure, [2]int64{from, to})
				c.listener.Wait()
				for _, id := range c.spooled() {
					accepted[id] = true
				}
			}
			c.startListener(address(port), way.args...)
			c.endLoad(load)
			st := c.listener.Stop()
			var b books
			b.left = carriedOf(st) // by processes that could not say so
			b.add(t, st)
			if b.left != 0 || b.drops() != 0 {
				t.Errorf("%d left in the spool, dropped %v", b.left, b.dropped)
			}
			c.replayer.Stop()
			once, never, again := c.count()
			ids := c.staging.IDs()
			lost := 0
			for id := range accepted {
				if ids[id.String()] == 0 {
					lost++
				}
			}
			had, missing := c.missing(sure)
			atRisk, gone := c.missing(risky)
			t.Logf("production served %d, and %d arrived once, %d more than once; of %d seen in the spool at a kill %d were lost; "+
				"of %d captured %v before a kill %d, of %d captured later %d",
				once+never+again, once, again, len(accepted), lost, had, settle, missing, atRisk, gone)
			if again > 0 || lost > 0 || missing > 0 {
				t.Error("the spool did not hold what it took in, or sent it twice")
			}
			if len(accepted) == 0 || had == 0 {
				t.Error("nothing was proved")
			}
		})
	}
}

func carriedOf(st kagami.Statement) int64 {
	s, _ := st.Stage("carried", "", kagami.Messages)
	return s.In
}

// The replayer is away while the listener is stopped and started again, three times: what each process leaves
// the next one finds, and in the end all that was captured arrives.
func TestRootSpoolRestarts(t *testing.T) {
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			c := newChain(t, way.secure)
			c.startReplayer(port).Stop() // it makes its join file
			load := c.load(400, nil)
			var b books
			for range 3 {
				c.startListener(address(port), way.args...)
				before := len(c.production.Requests())
				await(t, "load", func() bool { return len(c.production.Requests()) > before+200 })
				b.add(t, c.listener.Stop())
				if b.left == 0 {
					t.Error("nothing is left in the spool while the replayer is away")
				}
			}
			c.startListener(address(port), way.args...)
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
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			c := newChain(t, way.secure)
			c.startReplayer(port)
			c.startListener(address(port), way.args...)
			c.listener.WaitFor(streaming)
			load := c.load(400, nil)
			for i := range 10 {
				c.listener.WaitForTimes(streaming, i+1)
				before := len(c.staging.Requests())
				await(t, "something arrives", func() bool { return len(c.staging.Requests()) > before })
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
}

// The replayer is away and the spool's disk full, or the spool as large as it may be: what has no room is dropped by
// name, production does not notice, and when the replayer is back and there is room again, so is the mirror.
func TestRootSpoolFull(t *testing.T) {
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
			c := newChain(t, false)
			if test.disk > 0 {
				if err := os.Mkdir(c.spool, 0o700); err != nil {
					t.Fatal(err)
				}
				testbed.Tmpfs(t, c.spool, test.disk)
			}
			c.startListener(address(port), test.args...)
			load := c.load(300, func() io.Reader { return bytes.NewReader(body) })
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
	c := newChain(t, false)
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
	c := newChain(t, false)
	other := c.startReplayer(port + 1)
	c.startReplayer(port)
	c.startListener(address(port)+","+address(port+1), "--failover-after", "1s")
	c.listener.WaitForTimes(streaming, 2)
	load := c.load(400, nil)
	await(t, "both get something", func() bool { return len(c.staging.Requests()) > 300 })
	other.Cmd.Process.Kill()
	other.Wait()
	c.listener.WaitFor("its share goes to the others")
	before := len(c.staging.Requests())
	await(t, "all goes to one", func() bool { return len(c.staging.Requests()) > before+400 })
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
