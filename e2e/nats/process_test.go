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

	"github.com/nats-io/nats.go/jetstream"

	"kagami"
	"kagami/internal/brokertest"
	"kagami/output"
)

var kagamiOnce = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "kagami-nats-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "kagami")
	out, err := exec.Command("go", "build", "-o", path, "kagami/cmd/kagami").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, err
})

func TestMain(m *testing.M) {
	code := m.Run()
	if path, err := kagamiOnce(); err == nil {
		os.RemoveAll(filepath.Dir(path))
	}
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

// drive writes requests at a rate until stop is closed, and returns how many.
func drive(t *testing.T, out output.Output, f *fates, from, perSecond int, stop <-chan struct{}) int {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	n := from
	for {
		select {
		case <-tick.C:
		case <-stop:
			return n
		}
		var b kagami.Batch
		for range perSecond / 100 {
			b.Messages = append(b.Messages, request(n))
			n++
		}
		b.Settle = f.settle
		if err := out.Write(t.Context(), b); err != nil {
			t.Error(err)
			return n
		}
	}
}

// A replayer that is killed is replaced: another takes its shards over, nothing
// is lost, nothing comes twice but what is counted as in doubt, and the order of
// each connection holds at staging.
func TestNATSReplayerKilled(t *testing.T) {
	b := brokertest.Start(t, 1, "")
	b.JetStream()
	s := startStaging(t)
	out := publisher(t, b, nil)
	first, second := startReplayer(t, b, s), startReplayer(t, b, s)
	stop := make(chan struct{})
	written := make(chan int)
	var f fates
	go func() { written <- drive(t, out, &f, 0, 2000, stop) }()
	first.await("two replayers with eight shards each", func() bool {
		return first.metric("kagami_nats_shards") == 8 && second.metric("kagami_nats_shards") == 8
	})
	s.await(t, 3000)
	first.kill()
	second.await("the second replayer with all shards", func() bool { return second.metric("kagami_nats_shards") == 16 })
	close(stop)
	n := <-written
	if err := out.Close(); err != nil {
		t.Error(err)
	}
	s.await(t, n)
	doubt := second.metric("kagami_nats_in_doubt_total")
	if over := second.metric("kagami_nats_taken_over_total"); over != 8 {
		t.Errorf("%v shards taken over, want 8", over)
	}
	second.stop()
	if d := f.by[kagami.Delivered].Load(); d != int64(n) {
		t.Errorf("%d of %d published", d, n)
	}
	if twice := s.twice(); float64(twice) > doubt {
		t.Errorf("%d arrived twice, and %v were in doubt", twice, doubt)
	}
	s.inOrder(t)
	t.Logf("%d requests, %v in doubt, %d twice", n, doubt, s.twice())
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
	stop := make(chan struct{})
	written := make(chan int)
	var f fates
	go func() { written <- drive(t, out, &f, 0, 2000, stop) }()
	s.await(t, 3000)
	first.kill()
	second := startReplayer(t, b, s, "--in-doubt", "drop")
	second.await("the second replayer with all shards", func() bool { return second.metric("kagami_nats_shards") == 16 })
	close(stop)
	n := <-written
	if err := out.Close(); err != nil {
		t.Error(err)
	}
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
	first, second := startReplayer(t, b, s), startReplayer(t, b, s)
	stop := make(chan struct{})
	written := make(chan int)
	var f fates
	q := output.NewQueue(out, output.QueueConfig{Messages: 200_000, Bytes: 256 << 20})
	go func() { written <- drive(t, q, &f, 0, 1000, stop) }()
	first.await("two replayers with eight shards each", func() bool {
		return first.metric("kagami_nats_shards") == 8 && second.metric("kagami_nats_shards") == 8
	})
	s.await(t, 3000)
	leader := leaderOf(t, js)
	b.Kill(leader)
	s.mu.Lock()
	before := len(s.count)
	s.mu.Unlock()
	s.await(t, before+2000) // it goes on with two
	b.Restart(leader)
	s.await(t, before+4000)
	close(stop)
	n := <-written
	if err := q.Close(); err != nil {
		t.Error(err)
	}
	s.await(t, n)
	doubt := first.metric("kagami_nats_in_doubt_total") + second.metric("kagami_nats_in_doubt_total")
	again := first.metric("kagami_nats_duplicates_total") + second.metric("kagami_nats_duplicates_total")
	first.stop()
	second.stop()
	if d := f.by[kagami.Delivered].Load(); d != int64(n) || f.all() != int64(n) {
		t.Errorf("%d of %d published, %d settled", d, n, f.all())
	}
	if twice := s.twice(); float64(twice) > doubt {
		t.Errorf("%d arrived twice, and %v were in doubt", twice, doubt)
	}
	s.inOrder(t)
	t.Logf("%d requests, %d batches published again, %v left out as published twice, %v in doubt, %d twice",
		n, out.Stats().Retries, again, doubt, s.twice())
}

// leaderOf is the number of the server that leads the stream.
func leaderOf(t *testing.T, js jetstream.JetStream) int {
	t.Helper()
	for begun := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		s, err := js.Stream(t.Context(), "traffic")
		if err == nil && s.CachedInfo().Cluster != nil && s.CachedInfo().Cluster.Leader != "" {
			n, err := strconv.Atoi(strings.TrimPrefix(s.CachedInfo().Cluster.Leader, "n"))
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		if time.Since(begun) > brokertest.Patience {
			t.Fatalf("no leader: %v", err)
		}
	}
}

// A replayer that stood still for so long that another took its shards over, and
// then goes on, gets nothing more of them: what it had in hand is counted as in
// doubt by the other, and it takes its part again as a newcomer would.
func TestNATSReplayerPaused(t *testing.T) {
	b := brokertest.Start(t, 1, "")
	b.JetStream()
	s := startStaging(t)
	out := publisher(t, b, nil)
	first, second := startReplayer(t, b, s), startReplayer(t, b, s)
	stop := make(chan struct{})
	written := make(chan int)
	var f fates
	go func() { written <- drive(t, out, &f, 0, 1000, stop) }()
	half := func() bool {
		return first.metric("kagami_nats_shards") == 8 && second.metric("kagami_nats_shards") == 8
	}
	first.await("two replayers with eight shards each", half)
	s.await(t, 2000)
	first.cmd.Process.Signal(syscall.SIGSTOP)
	second.await("the second replayer with all shards", func() bool { return second.metric("kagami_nats_shards") == 16 })
	first.cmd.Process.Signal(syscall.SIGCONT)
	first.await("eight shards each again", half)
	close(stop)
	n := <-written
	if err := out.Close(); err != nil {
		t.Error(err)
	}
	s.await(t, n)
	doubt := first.metric("kagami_nats_in_doubt_total") + second.metric("kagami_nats_in_doubt_total")
	first.stop()
	second.stop()
	if twice := s.twice(); float64(twice) > doubt {
		t.Errorf("%d arrived twice, and %v were in doubt", twice, doubt)
	}
	s.inOrder(t)
	t.Logf("%d requests, %v in doubt, %d twice", n, doubt, s.twice())
}
