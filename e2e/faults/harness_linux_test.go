package faults

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"kagami"
	"kagami/internal/stream"
	"kagami/internal/testbed"
)

func TestMain(m *testing.M) { os.Exit(testbed.Main(m)) }

const (
	answer    = "echo ok;"
	capturing = "capturing"
	listening = "listening"
	streaming = "msg=streaming"
	port      = 28020
)

// A chain is production with a listener beside it, and a replayer with staging behind it.
type chain struct {
	t           *testing.T
	hosts       *testbed.Hosts
	production  *testbed.Nginx
	staging     []*testbed.Nginx
	targets     []string // where the replayer sends to: all of staging
	inClear     bool     // the two know each other by a join file else
	trust       string   // the replayer's directory of key and join file
	state       string   // its directory of what it has sent; "" none
	spool       string   // the listener's directory; "" none
	drain       string   // how long each may take to end
	replayerEnv []string
	replayer    *testbed.Process
	listener    *testbed.Process
}

// newChain starts production, and a staging server for each of the words for nginx's echo module.
func newChain(t *testing.T, staging ...string) *chain {
	t.Helper()
	h := testbed.NewHosts(t)
	c := &chain{t: t, hosts: h, trust: t.TempDir(), drain: "30s", production: testbed.StartNginx(t, h.Production, answer)}
	for i, echo := range staging {
		c.staging = append(c.staging, testbed.StartNginxOn(t, h.Staging, 8080+i, echo))
		c.targets = append(c.targets, fmt.Sprintf("http://%s:%d", testbed.StagingIP, 8080+i))
	}
	return c
}

// withSpool gives the listener a spool, and withState the replayer a state.
func (c *chain) withSpool() *chain { c.spool = filepath.Join(c.t.TempDir(), "spool"); return c }
func (c *chain) withState() *chain { c.state = filepath.Join(c.t.TempDir(), "state"); return c }

func address(port int) string { return fmt.Sprintf("%s:%d", testbed.StagingIP, port) }

// startReplayer starts a replayer that loses nothing of what it takes in.
func (c *chain) startReplayer(port int, args ...string) *testbed.Process {
	c.t.Helper()
	args = append([]string{"replay", "--input-tcp", address(port), "--on-full", "wait", "--drain-timeout", c.drain, "--log-format", "text"}, args...)
	for _, url := range c.targets {
		args = append(args, "--output-http", url)
	}
	if c.state != "" {
		args = append(args, "--state", c.state)
	}
	if c.inClear {
		args = append(args, "--insecure")
	} else {
		args = append(args, "--tls-dir", c.trust, "--join-address", address(port))
	}
	c.replayer = testbed.StartBinary(c.t, testbed.Binary, c.replayerEnv, c.hosts.Staging, listening, args...)
	return c.replayer
}

// startListener starts a listener. Where it is to stream over TLS, a replayer has run before.
func (c *chain) startListener(to string, args ...string) *testbed.Process {
	c.t.Helper()
	args = append([]string{"listen", "--input-raw", ":8080", "--output-tcp", to, "--drain-timeout", c.drain, "--log-format", "text"}, args...)
	if c.spool != "" {
		args = append(args, "--spool", c.spool)
	}
	if c.inClear {
		args = append(args, "--insecure")
	} else {
		args = append(args, "--join-file", filepath.Join(c.trust, "default.join"))
	}
	c.listener = testbed.StartKagami(c.t, c.hosts.Production, capturing, args...)
	return c.listener
}

// start starts both, and waits until they stream.
func (c *chain) start() {
	c.t.Helper()
	c.startReplayer(port)
	c.startListener(address(port)).WaitFor(streaming)
}

// kill is kill -9.
func kill(p *testbed.Process) {
	p.Cmd.Process.Kill()
	p.Wait()
}

// startLoad asks production, each request for another path.
func (c *chain) startLoad(perSecond int, body func() io.Reader) *testbed.Load {
	c.t.Helper()
	return testbed.StartLoad(c.t, testbed.Netns(c.hosts.Client), testbed.Addr(testbed.ProductionIP), perSecond, body)
}

// endLoad ends the load, which production has answered in full.
func (c *chain) endLoad(l *testbed.Load) {
	c.t.Helper()
	if asked, failed := l.End(); failed > 0 {
		c.t.Errorf("production failed %d of %d requests", failed, asked)
	}
	c.production.Settle()
}

// count is how many of what production served arrived at the first staging server, never, and twice or more.
func (c *chain) count() (once, never, again int) {
	c.t.Helper()
	c.staging[0].Settle()
	arrived := map[string]int{}
	for _, r := range c.staging[0].Requests() {
		arrived[r.URI]++
	}
	for _, r := range c.production.Requests() {
		switch arrived[r.URI] {
		case 0:
			never++
		case 1:
			once++
		default:
			again++
		}
		delete(arrived, r.URI)
	}
	if len(arrived) > 0 {
		c.t.Errorf("staging got %d requests that production did not", len(arrived))
	}
	return once, never, again
}

// missing is how many requests of a load are in the spans of their numbers, and how many of those the first staging
// server did not get.
func (c *chain) missing(spans [][2]int64) (all, missing int) {
	c.t.Helper()
	arrived := map[string]bool{}
	for _, r := range c.staging[0].Requests() {
		arrived[r.URI] = true
	}
	for _, x := range spans {
		for n := x[0]; n < x[1]; n++ {
			if all++; !arrived[fmt.Sprintf("/%d", n)] {
				missing++
			}
		}
	}
	return all, missing
}

// spooled returns the ids of the messages that are in the spools at the moment, which no process uses.
func (c *chain) spooled() (ids []kagami.ID) {
	c.t.Helper()
	files, _ := filepath.Glob(filepath.Join(c.spool, "*", "*.kgm"))
	for _, path := range files {
		f, err := os.Open(path)
		if err != nil {
			c.t.Fatal(err)
		}
		r, err := stream.NewFileReader(f)
		for err == nil {
			var m *kagami.Message
			if m, err = r.Next(); err == nil {
				ids = append(ids, m.Exchange.ID)
			}
		}
		var torn *stream.DamageError // which the listener cuts off
		if err != io.EOF && !errors.As(err, &torn) {
			c.t.Errorf("%s: %v", path, err)
		}
		f.Close()
	}
	return ids
}

// books are the lines of the ledgers of several processes, added up.
type books struct {
	captured, delivered int64
	dropped             map[kagami.Reason]int64
	carried, left       int64 // of the last process: what it found, and what it left
}

// add takes in a listener's ledger.
func (b *books) add(t *testing.T, st kagami.Statement) {
	t.Helper()
	if b.dropped == nil {
		b.dropped = map[kagami.Reason]int64{}
	}
	before := b.left
	b.carried, b.left = 0, 0
	for _, s := range st.Stages {
		if s.Unit != kagami.Messages {
			continue
		}
		switch s.Stage {
		case "capture":
			b.captured += s.In
		case "carried":
			b.carried += s.In
		case "spool":
			b.delivered += s.Out
			b.left += s.InFlight
		}
		for r, n := range s.Dropped {
			b.dropped[r] += n
		}
	}
	if b.carried != before {
		t.Errorf("%d were left in the spool, and %d found", before, b.carried)
	}
	if st.Bounded {
		t.Error("the kernel lost packets: the load is too much for this machine")
	}
}

func (b *books) drops() (n int64) {
	for _, d := range b.dropped {
		n += d
	}
	return n
}

// await waits until something is so.
func await(t *testing.T, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(testbed.Patience); !so(); {
		if time.Now().After(deadline) {
			t.Fatalf("still not: %s", what)
		}
		time.Sleep(20 * time.Millisecond) // polling other processes
	}
}

// output is a statement's line of the n-th output.
func output(t *testing.T, st kagami.Statement, n int) kagami.StageStatement {
	t.Helper()
	for _, s := range st.Stages {
		if s.Stage == "output" {
			if n == 0 {
				return s
			}
			n--
		}
	}
	t.Fatalf("no such output in %+v", st)
	return kagami.StageStatement{}
}

// killCount is how many kills a test has: KAGAMI_TEST_KILLS, or so many.
func killCount(t *testing.T, otherwise int) int {
	t.Helper()
	s := os.Getenv("KAGAMI_TEST_KILLS")
	if s == "" {
		return otherwise
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
