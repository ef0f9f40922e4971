package nats

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"kagami"
	"kagami/internal/broker"
	"kagami/internal/brokertest"
	"kagami/internal/testbed"
	"kagami/output"
)

var kagamiDir string // for the program, while the tests run

var kagamiOnce = sync.OnceValues(func() (string, error) {
	path := filepath.Join(kagamiDir, "kagami")
	return path, testbed.Build(path, "")
})

func TestMain(m *testing.M) {
	var err error
	if kagamiDir, err = os.MkdirTemp("", "kagami-nats-"); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(kagamiDir)
	os.Exit(code)
}

// A staging is a web server that notes which request came when, each on its own
// log line: the number in the path.
type staging struct {
	target
	server   *http.Server
	url      string
	answered func() // before each answer
}

func startStaging(t *testing.T) *staging {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &staging{url: "http://" + l.Addr().String()}
	s.count, s.more.L = map[int]int{}, &s.mu
	s.server = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		n, err := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/"))
		if err != nil {
			t.Errorf("request for %s", r.URL.Path)
			return
		}
		s.mu.Lock()
		s.count[n]++
		s.order = append(s.order, n)
		s.more.Broadcast()
		s.mu.Unlock()
		if s.answered != nil {
			s.answered()
		}
	})}
	go s.server.Serve(l)
	t.Cleanup(func() { s.server.Close() })
	return s
}

// A replayer is kagami replay as a process.
type replayer struct {
	t       *testing.T
	cmd     *exec.Cmd
	summary string
	log     *os.File
	admin   string
	ended   chan error
}

func startReplayer(t *testing.T, b *brokertest.Brokers, s *staging, args ...string) *replayer {
	t.Helper()
	path, err := kagamiOnce()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	admin := l.Addr().String()
	l.Close()
	r := &replayer{t: t, summary: filepath.Join(dir, "summary.json"), log: log, admin: admin, ended: make(chan error, 1)}
	args = append([]string{"replay", "--input-nats", b.URL() + "/traffic", "--output-http", s.url, "--recognize-tcp-sessions",
		"--summary", r.summary, "--admin", admin}, args...)
	r.cmd = exec.Command(path, args...)
	r.cmd.Stdout, r.cmd.Stderr = log, log
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { r.ended <- r.cmd.Wait() }()
	t.Cleanup(func() {
		r.cmd.Process.Kill()
		if text, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
			t.Logf("replayer %d:\n%s", r.cmd.Process.Pid, text)
		}
		log.Close()
	})
	return r
}

// kill is kill -9.
func (r *replayer) kill() {
	r.cmd.Process.Kill()
	<-r.ended
}

// stop ends the replayer with SIGTERM and returns its ledger, which balances.
func (r *replayer) stop() kagami.Statement {
	r.t.Helper()
	r.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-r.ended:
		if err != nil {
			r.t.Errorf("replayer: %v", err)
		}
	case <-time.After(brokertest.Patience):
		r.t.Fatal("the replayer does not end")
	}
	var st kagami.Statement
	text, err := os.ReadFile(r.summary)
	if err == nil {
		err = json.Unmarshal(text, &st)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	if !st.Balanced {
		r.t.Errorf("the replayer's ledger does not balance: %v", st.Faults)
	}
	return st
}

// metric is the value of one of the replayer's metrics, -1 if there is none.
func (r *replayer) metric(name string) float64 {
	resp, err := http.Get("http://" + r.admin + "/metrics")
	if err != nil {
		return -1
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, name+"{") {
			v, err := strconv.ParseFloat(strings.TrimSpace(line[strings.LastIndexByte(line, ' ')+1:]), 64)
			if err != nil {
				r.t.Fatal(err)
			}
			return v
		}
	}
	return -1
}

func (r *replayer) await(what string, is func() bool) {
	r.t.Helper()
	for begun := time.Now(); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Since(begun) > brokertest.Patience {
			r.t.Fatalf("%s: it does not come to that", what)
		}
	}
}

// half is how many of the 16 shards each of two replayers has.
const half = broker.DefaultShards / 2

// awaitShards waits until a replayer holds so many.
func (r *replayer) awaitShards(n float64) {
	r.t.Helper()
	r.await(fmt.Sprint(n, " shards"), func() bool { return r.metric("kagami_nats_shards") == n })
}

// startTwo starts two replayers that share the work.
func startTwo(t *testing.T, b *brokertest.Brokers, s *staging) (first, second *replayer) {
	t.Helper()
	first, second = startReplayer(t, b, s), startReplayer(t, b, s)
	first.awaitShards(half)
	second.awaitShards(half)
	return first, second
}

// A load writes requests to an output at a rate, until it is told to end.
type load struct {
	t       *testing.T
	out     output.Output
	fates   fates
	stop    chan struct{}
	written chan int
}

func startLoad(t *testing.T, out output.Output, perSecond int) *load {
	l := &load{t: t, out: out, stop: make(chan struct{}), written: make(chan int, 1)}
	go func() { l.written <- l.drive(perSecond) }()
	return l
}

func (l *load) drive(perSecond int) (n int) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-l.stop:
			return n
		}
		b := kagami.Batch{Settle: l.fates.settle}
		for range perSecond / 100 {
			b.Messages = append(b.Messages, request(n))
			n++
		}
		if err := l.out.Write(l.t.Context(), b); err != nil {
			l.t.Error(err)
			return n
		}
	}
}

// end ends the load, of which everything is published, and returns how many requests there were.
func (l *load) end() int {
	l.t.Helper()
	close(l.stop)
	n := <-l.written
	if err := l.out.Close(); err != nil {
		l.t.Error(err)
	}
	if d := l.fates.by[kagami.Delivered].Load(); d != int64(n) || l.fates.all() != int64(n) {
		l.t.Errorf("%d of %d published, %d settled", d, n, l.fates.all())
	}
	return n
}

// check waits until staging has all n requests, ends the replayers, and holds that nothing
// came twice but what they count as in doubt, and that the order of each connection was kept.
func (s *staging) check(t *testing.T, n int, replayers ...*replayer) {
	t.Helper()
	s.await(t, n)
	doubt := 0.0
	for _, r := range replayers {
		doubt += r.metric("kagami_nats_in_doubt_total")
		r.stop()
	}
	if twice := s.twice(); float64(twice) > doubt {
		t.Errorf("%d arrived twice, and %v were in doubt", twice, doubt)
	}
	s.inOrder(t)
	t.Logf("%d requests, %v in doubt, %d twice", n, doubt, s.twice())
}

// A replayer that is killed is replaced: another takes its shards over, nothing
// is lost, nothing comes twice but what is counted as in doubt, and the order of
// each connection holds at staging.
func TestNATSReplayerKilled(t *testing.T) {
	b := brokertest.Start(t, 1, "")
	b.JetStream()
	s := startStaging(t)
	out := publisher(t, b, nil)
	first, second := startTwo(t, b, s)
	l := startLoad(t, out, 2000)
	s.await(t, 3000)
	first.kill()
	second.awaitShards(2 * half)
	n := l.end()
	if over := second.metric("kagami_nats_taken_over_total"); over != half {
		t.Errorf("%v shards taken over, want %v", over, half)
	}
	s.check(t, n, second)
}

// The same, but what is in doubt is not sent again: then nothing comes twice,
// and what is missing at staging is among what was dropped as in doubt.
func TestNATSReplayerKilledInDoubtDropped(t *testing.T) {
	b := brokertest.Start(t, 1, "")
	b.JetStream()
	s := startStaging(t)
	s.answered = func() { time.Sleep(time.Millisecond) } // a slow server, so that many are in flight
	out := publisher(t, b, nil)
	first := startReplayer(t, b, s, "--in-doubt", "drop")
	l := startLoad(t, out, 2000)
	s.await(t, 3000)
	first.kill()
	second := startReplayer(t, b, s, "--in-doubt", "drop")
	second.awaitShards(2 * half)
	n := l.end()
	second.await("an empty stream", func() bool { return second.metric("kagami_nats_backlog_batches") == 0 })
	st := second.stop()
	in, _ := st.Stage("broker", "", kagami.Messages)
	doubt := int(in.Dropped[kagami.InDoubt])
	s.mu.Lock()
	arrived := len(s.count)
	s.mu.Unlock()
	if s.twice() > 0 {
		t.Errorf("%d arrived twice", s.twice())
	}
	if arrived+doubt < n {
		t.Errorf("%d of %d arrived, and only %d were dropped as in doubt", arrived, n, doubt)
	}
	s.inOrder(t)
	t.Logf("%d requests, %d arrived, %d dropped as in doubt", n, arrived, doubt)
}

// One of three servers of a cluster is killed under load, the leader of the
// stream at that, and comes back: nothing is lost, nothing comes twice, and the
// order of each connection holds at staging.
func TestNATSClusterNodeKilled(t *testing.T) {
	b := brokertest.Start(t, 3, "")
	js := b.JetStream()
	s := startStaging(t)
	out := publisher(t, b, func(c *output.NATSConfig) { c.Stream.Replicas = 3 })
	first, second := startTwo(t, b, s)
	l := startLoad(t, output.NewQueue(out, output.QueueConfig{Messages: 200_000, Bytes: 256 << 20}), 1000)
	s.await(t, 3000)
	leader := b.Leader(js, "traffic")
	b.Kill(leader)
	s.mu.Lock()
	before := len(s.count)
	s.mu.Unlock()
	s.await(t, before+2000) // it goes on with two
	b.Restart(leader)
	s.await(t, before+4000)
	n := l.end()
	s.check(t, n, first, second)
	t.Logf("%d batches published again", out.Stats().Retries)
}

// A replayer that stood still for so long that another took its shards over, and
// then goes on, gets nothing more of them: what it had in hand is counted as in
// doubt by the other, and it takes its part again as a newcomer would.
func TestNATSReplayerPaused(t *testing.T) {
	b := brokertest.Start(t, 1, "")
	b.JetStream()
	s := startStaging(t)
	out := publisher(t, b, nil)
	first, second := startTwo(t, b, s)
	l := startLoad(t, out, 1000)
	s.await(t, 2000)
	first.cmd.Process.Signal(syscall.SIGSTOP)
	second.awaitShards(2 * half)
	first.cmd.Process.Signal(syscall.SIGCONT)
	second.awaitShards(half) // which it has when the first asks for its part again
	first.awaitShards(half)
	s.check(t, l.end(), first, second)
}
