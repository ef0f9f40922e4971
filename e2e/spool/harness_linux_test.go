package spool

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
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
	streaming = `msg=streaming`
	port      = 28020
)

// A chain is production, a listener with a spool, a replayer, and staging.
type chain struct {
	t          *testing.T
	hosts      *testbed.Hosts
	production *testbed.Nginx
	staging    *testbed.Nginx
	secure     bool
	trust      string // the replayer's directory
	spool      string
	replayer   *testbed.Process
	listener   *testbed.Process
}

func newChain(t *testing.T, secure bool) *chain {
	t.Helper()
	h := testbed.NewHosts(t)
	c := &chain{t: t, hosts: h, secure: secure, trust: t.TempDir(), spool: filepath.Join(t.TempDir(), "spool")}
	c.production = testbed.StartNginx(t, h.Production, answer)
	c.staging = testbed.StartNginx(t, h.Staging, answer)
	return c
}

func address(port int) string { return fmt.Sprintf("%s:%d", testbed.StagingIP, port) }

// startReplayer starts a replayer that loses nothing of what it takes in.
func (c *chain) startReplayer(port int) *testbed.Process {
	c.t.Helper()
	args := []string{"replay", "--input-tcp", address(port), "--output-http", "http://" + testbed.Addr(testbed.StagingIP),
		"--on-full", "wait", "--drain-timeout", "30s", "--log-format", "text"}
	if c.secure {
		args = append(args, "--tls-dir", c.trust, "--join-address", address(port))
	} else {
		args = append(args, "--insecure")
	}
	c.replayer = testbed.StartKagami(c.t, c.hosts.Staging, listening, args...)
	return c.replayer
}

// startListener starts a listener with a spool. Where it is to stream over TLS, a replayer has run before.
func (c *chain) startListener(to string, args ...string) *testbed.Process {
	c.t.Helper()
	args = append([]string{"listen", "--input-raw", ":8080", "--output-tcp", to, "--spool", c.spool, "--drain-timeout", "30s", "--log-format", "text"}, args...)
	if c.secure {
		args = append(args, "--join-file", filepath.Join(c.trust, "default.join"))
	} else {
		args = append(args, "--insecure")
	}
	c.listener = testbed.StartKagami(c.t, c.hosts.Production, capturing, args...)
	return c.listener
}

// load asks production, each request for another path.
func (c *chain) load(perSecond int, body func() io.Reader) *testbed.Load {
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

// count is how many of what production served arrived at staging, never, and twice or more.
func (c *chain) count() (once, never, again int) {
	c.t.Helper()
	c.staging.Settle()
	arrived := map[string]int{}
	for _, r := range c.staging.Requests() {
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

// missing is how many requests of a load are in the spans of their numbers, and how many of those staging
// did not get.
func (c *chain) missing(spans [][2]int64) (all, missing int) {
	c.t.Helper()
	arrived := map[string]bool{}
	for _, r := range c.staging.Requests() {
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
