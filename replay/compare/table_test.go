package compare_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"kagami"
	"kagami/replay/compare"
)

// A bench is a Compare with a clock, and what became of the messages written.
type bench struct {
	*compare.Compare
	now      time.Time
	verdicts []string
	mu       sync.Mutex
	settled  map[string][]kagami.Reason
}

func newBench(t testing.TB, cfg compare.Config) *bench {
	b := &bench{now: time.Unix(1e9, 0), settled: map[string][]kagami.Reason{}}
	cfg.Now = func() time.Time { return b.now }
	cfg.Each = func(v compare.Verdict) {
		what := brief(v)
		if what == "" {
			what = "same"
		}
		b.verdicts = append(b.verdicts, what)
	}
	c, err := compare.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	b.Compare = c
	return b
}

// batch is messages whose settling is noted by name.
func (b *bench) batch(names string, ms ...*kagami.Message) kagami.Batch {
	of := strings.Fields(names)
	return kagami.Batch{Messages: ms, Settle: func(i int, r kagami.Reason) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.settled[of[i]] = append(b.settled[of[i]], r)
	}}
}

func (b *bench) check(t *testing.T, verdicts, settled string) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if got := strings.Join(b.verdicts, ", "); got != verdicts {
		t.Errorf("verdicts %q, want %q", got, verdicts)
	}
	got := map[string]string{}
	for name, rs := range b.settled {
		got[name] = strings.Trim(fmt.Sprint(rs), "[]")
	}
	text, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	if s := strings.NewReplacer(`"`, "", "{", "", "}", "", ",", " ").Replace(string(text)); s != settled {
		t.Errorf("settled %q, want %q", s, settled)
	}
}

func request(ex *kagami.Exchange) *kagami.Message {
	return message(kagami.Request, ex, "GET /a HTTP/1.1\r\n\r\n")
}
func response(ex *kagami.Exchange) *kagami.Message {
	return message(kagami.Response, ex, ok+"\r\nproduction")
}
func replayed(ex *kagami.Exchange) *kagami.Message {
	return message(kagami.Replayed, ex, ok+"\r\nproduction")
}

func TestAnswersAreJoinedInAnyOrder(t *testing.T) {
	b := newBench(t, compare.Config{})
	ctx := context.Background()
	one, two := exchange(1, "GET"), exchange(2, "GET")
	_ = b.Write(ctx, b.batch("r1 s2 p1", request(one), replayed(two), response(one)))
	b.check(t, "", "r1:delivered")
	if n := b.InFlight(); n != 2 {
		t.Errorf("%d in flight", n)
	}
	_ = b.Write(ctx, b.batch("s1 p2 r2", replayed(one), response(two), request(two)))
	b.check(t, "same, same", "p1:delivered p2:delivered r1:delivered r2:delivered s1:delivered s2:delivered")
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if n := b.InFlight(); n != 0 {
		t.Errorf("%d in flight", n)
	}
	if err := b.Write(ctx, b.batch("x", request(one))); err == nil {
		t.Error("a Write after Close")
	}
}

func TestPairsThatStayIncomplete(t *testing.T) {
	b := newBench(t, compare.Config{Timeout: 10 * time.Second})
	ctx := context.Background()
	one, two, three := exchange(1, "GET"), exchange(2, "GET"), exchange(3, "GET")
	_ = b.Write(ctx, b.batch("p1 s2 r3", response(one), replayed(two), request(three)))
	b.now = b.now.Add(9 * time.Second)
	_ = b.Write(ctx, b.batch(""))
	b.check(t, "", "r3:delivered")
	b.now = b.now.Add(time.Second)
	_ = b.Write(ctx, b.batch(""))
	b.check(t, "no-staging-response, no-production-response", "p1:no-staging-response r3:delivered s2:no-production-response")

	// What comes later is too late; a new pair with the same id is not.
	_ = b.Write(ctx, b.batch("late p1' s1'", replayed(one), response(one), replayed(one)))
	b.check(t, "no-staging-response, no-production-response, same",
		"late:timeout p1:no-staging-response p1':delivered r3:delivered s1':delivered s2:no-production-response")
	_ = b.Write(ctx, b.batch("p4", response(exchange(4, "GET"))))
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	r := b.Report()
	if r.Exchanges != 4 || r.Compared != 1 || r.NotCompared["no-staging-response"] != 2 || r.NotCompared["no-production-response"] != 1 || r.Late != 1 {
		t.Errorf("%+v", r)
	}
}

func TestWithoutWritesTheClockTicks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := compare.New(compare.Config{Timeout: 10 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		var got kagami.Reason
		_ = c.Write(context.Background(), kagami.Batch{Messages: []*kagami.Message{response(exchange(1, "GET"))}, Settle: func(_ int, r kagami.Reason) { got = r }})
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if got != kagami.NoStagingResponse {
			t.Errorf("settled as %v", got)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestContextEndsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := compare.New(compare.Config{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		settled := make([]kagami.Reason, 2)
		one, two := exchange(1, "GET"), exchange(2, "GET")
		_ = c.Write(ctx, kagami.Batch{Messages: []*kagami.Message{response(one), response(two)}, Settle: func(i int, r kagami.Reason) { settled[i] = r }})
		write(t, c, replayed(one))
		cancel()
		synctest.Wait()
		if settled[0] != kagami.Delivered || settled[1] != kagami.DrainTimeout || c.InFlight() != 0 {
			t.Errorf("%v, %d in flight", settled, c.InFlight())
		}
		_ = c.Close()
	})
}

func TestTheTableIsBounded(t *testing.T) {
	b := newBench(t, compare.Config{MaxBytes: 10 << 10})
	for i := range 100 {
		_ = b.Write(context.Background(), b.batch("p", response(exchange(i, "GET"))))
	}
	if n := b.InFlight(); n < 5 || n > 14 {
		t.Errorf("%d in flight", n)
	}
	_ = b.Write(context.Background(), b.batch("s0 s99", replayed(exchange(0, "GET")), replayed(exchange(99, "GET"))))
	if got := b.settled["s0"]; len(got) != 1 || got[0] != kagami.MemoryLimit {
		t.Errorf("a late answer is settled as %v", got)
	}
	if got := b.settled["s99"]; len(got) != 1 || got[0] != kagami.Delivered {
		t.Errorf("an answer in time is settled as %v", got)
	}
	_ = b.Close()
	if n := len(b.settled["p"]); n != 100 {
		t.Errorf("%d of 100 settled", n)
	}
	if r := b.Report(); r.Exchanges != 100 || r.NotCompared["memory-limit"] < 80 {
		t.Errorf("%+v", r)
	}
}

// A recording played in a loop has each id again before the last round's answer.
func TestOneIDManyTimes(t *testing.T) {
	b := newBench(t, compare.Config{})
	ctx := context.Background()
	for range 20 {
		_ = b.Write(ctx, b.batch("p", response(exchange(1, "GET"))))
	}
	b.check(t, "memory-limit, memory-limit, memory-limit, memory-limit", "p:memory-limit memory-limit memory-limit memory-limit")
	for range 16 {
		_ = b.Write(ctx, b.batch("s", replayed(exchange(1, "GET"))))
	}
	if n := b.InFlight(); n != 0 {
		t.Errorf("%d in flight", n)
	}
	if r := b.Report(); r.Compared != 16 {
		t.Errorf("%d compared", r.Compared)
	}
	_ = b.Close()
}

func TestWhatIsNotHTTPIsNotTaken(t *testing.T) {
	b := newBench(t, compare.Config{})
	m := response(exchange(1, "GET"))
	m.Proto = kagami.WebSocket
	_ = b.Write(context.Background(), b.batch("frame", m))
	b.check(t, "", "frame:not-http")
	_ = b.Close()
	if err := b.Baseline().Write(context.Background(), b.batch("x")); err == nil || !strings.Contains(err.Error(), "Config.Baseline") {
		t.Errorf("a baseline that is not expected: %v", err)
	}
}

func TestBaseline(t *testing.T) {
	b := newBench(t, compare.Config{Baseline: true, Timeout: time.Minute})
	ctx := context.Background()
	answers := func(n int, p, s, base string) {
		ex := exchange(n, "GET")
		_ = b.Write(ctx, b.batch("r p s", request(ex), message(kagami.Response, ex, p), message(kagami.Replayed, ex, s)))
		if base != "" {
			_ = b.Baseline().Write(ctx, b.batch("b", message(kagami.Replayed, ex, base)))
		}
	}
	head := ok + "X-N: "
	// In the first exchange the baseline happens to agree.
	answers(1, head+"1\r\n\r\n"+`{"t":1,"l":[1,2,3]}`, head+"1\r\n\r\n"+`{"t":2,"l":[1,2,3]}`, head+"1\r\n\r\n"+`{"t":1,"l":[1,2,3]}`)
	answers(2, head+"1\r\n\r\n"+`{"t":1,"l":[1,2,3]}`, head+"2\r\n\r\n"+`{"t":2,"l":[3,2,1]}`, head+"3\r\n\r\n"+`{"t":3,"l":[2,1,3]}`)
	// By now it is known that the order of l means nothing.
	answers(3, head+"1\r\n\r\n"+`{"t":1,"l":[1,2,3]}`, head+"1\r\n\r\n"+`{"t":"x","l":[3,1,2,4]}`, head+"1\r\n\r\n"+`{"t":1,"l":[1,2,3]}`)
	// A status is noise where the baseline's is the same, and only there.
	answers(4, head+"1\r\n\r\n{}", "HTTP/1.1 503 No\r\n\r\n", "HTTP/1.1 503 No\r\n\r\n")
	answers(5, head+"1\r\n\r\n{}", "HTTP/1.1 503 No\r\n\r\n", head+"1\r\n\r\n{}")
	// Without an answer of the baseline what is known serves.
	answers(6, head+"1\r\n\r\n"+`{"t":1}`, head+"1\r\n\r\n"+`{"t":2}`, "")
	b.check(t, "value $.t, same, added $.l[3]; type $.t, same, status 200 → 503", b.settledSoFar())
	b.now = b.now.Add(time.Hour)
	_ = b.Write(ctx, b.batch(""))
	answers(7, head+"1\r\n\r\n"+`{"t":1}`, head+"1\r\n\r\n"+`{"t":2}`, "")
	if err := b.Baseline().Close(); err != nil {
		t.Error(err)
	}
	answers(8, head+"1\r\n\r\n"+`{"t":1}`, head+"1\r\n\r\n"+`{"t":2}`, "")
	b.check(t, "value $.t, same, added $.l[3]; type $.t, same, status 200 → 503, same, same, same", b.settledSoFar())
	_ = b.Close()

	// What was found out late is noise in the report.
	r := b.Report()
	if r.Compared != 8 || r.Different != 2 || r.Noise != 6 || r.Unbased != 3 {
		t.Errorf("%d compared, %d different, %d noise, %d without the baseline", r.Compared, r.Different, r.Noise, r.Unbased)
	}
	var groups []string
	for _, g := range r.Groups {
		groups = append(groups, fmt.Sprint(g.Kind, " ", g.Path))
	}
	if got := strings.Join(groups, ", "); got != "added $.l[*], status 200 → 503, type $.t" {
		t.Errorf("groups %s", got)
	}
	var noises []string
	for _, n := range r.Noises {
		noises = append(noises, fmt.Sprint(n.Kind, " ", n.Path))
	}
	if got := strings.Join(noises, ", "); got != "header x-n, order $.l, value $.t" {
		t.Errorf("noise %s", got)
	}
}

// settledSoFar makes check look at the verdicts alone.
func (b *bench) settledSoFar() string {
	got := map[string]string{}
	for name, rs := range b.settled {
		got[name] = strings.Trim(fmt.Sprint(rs), "[]")
	}
	text, _ := json.Marshal(got)
	return strings.NewReplacer(`"`, "", "{", "", "}", "", ",", " ").Replace(string(text))
}

func TestMeasures(t *testing.T) {
	var got compare.Verdict
	c, err := compare.New(compare.Config{Each: func(v compare.Verdict) { got = v }})
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Unix(1e9, 0)
	ex := exchange(1, "GET")
	r, p, s := request(ex), response(ex), replayed(ex)
	r.Start, p.Start, p.End = begin, begin.Add(time.Millisecond), begin.Add(3*time.Millisecond)
	s.Start, s.End = begin.Add(time.Second), begin.Add(time.Second+5*time.Millisecond)
	s.WireLen = 1000
	write(t, c, r, p, s)
	_ = c.Close()
	if got.Production != (compare.Answer{Status: 200, Bytes: len(p.Raw), Body: 10, Start: p.Start, Latency: 3 * time.Millisecond}) {
		t.Errorf("%+v", got.Production)
	}
	if got.Staging != (compare.Answer{Status: 200, Bytes: 1000, Body: 10, Start: s.Start, Latency: 5 * time.Millisecond}) {
		t.Errorf("%+v", got.Staging)
	}
	if e := c.Report().Endpoints[0]; e.Endpoint != "GET /a" || e.ProductionLatency != 3*time.Millisecond || e.StagingLatency != 5*time.Millisecond || e.StagingBytes != 10 {
		t.Errorf("%+v", e)
	}
}

// Endpoints without end are one more.
func TestEndpointsAreBounded(t *testing.T) {
	b := newBench(t, compare.Config{})
	for i := range 1200 {
		ex := exchange(i, "GET")
		path := fmt.Sprintf("/%c%c%c", 'a'+i/676, 'a'+i/26%26, 'a'+i%26)
		write(t, b, message(kagami.Request, ex, "GET "+path+" HTTP/1.1\r\n\r\n"), response(ex), replayed(ex))
	}
	_ = b.Close()
	r := b.Report()
	if n := len(r.Endpoints); n != 1001 || r.Endpoints[0].Endpoint != "(other)" || r.Endpoints[0].Compared != 200 {
		t.Errorf("%d endpoints, first %+v", n, r.Endpoints[0])
	}
}

func TestReportForms(t *testing.T) {
	b := newBench(t, compare.Config{Examples: 1})
	for i := range 3 {
		ex := exchange(i, "GET")
		write(t, b, request(ex), response(ex), message(kagami.Replayed, ex, ok+"\r\nstaging\n"))
	}
	write(t, b, response(exchange(9, "GET")))
	_ = b.Close()
	got, err := json.Marshal(b.Report())
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"version":1,"exchanges":4,"compared":3,"different":3,"noise":0,"not_compared":{"no-staging-response":1},"without_baseline":0,"late":0,"ungrouped":0,` +
		`"endpoints":[{"endpoint":"GET /a","compared":3,"different":3,"noise":0,"not_compared":0,"production_bytes":30,"staging_bytes":24,"production_latency_ns":0,"staging_latency_ns":0},` +
		`{"endpoint":"GET ?","compared":0,"different":0,"noise":0,"not_compared":1,"production_bytes":0,"staging_bytes":0,"production_latency_ns":0,"staging_latency_ns":0}],` +
		`"groups":[{"endpoint":"GET /a","kind":"body","path":"","exchanges":3,"count":3,"examples":[{"id":"0000000000000001","at":"byte 0","production":"production","staging":"staging\n"}]}],"noises":[]}`
	if string(got) != want {
		t.Errorf("%s", got)
	}
	var text bytes.Buffer
	n, err := b.Report().WriteTo(&text)
	if err != nil || n != int64(text.Len()) {
		t.Errorf("%d, %v", n, err)
	}
	const wantText = "compared 3 of 4 exchanges: 3 different, 0 in noise alone\n" +
		"  not compared: no-staging-response 1\n" +
		"      3  GET /a  body\n" +
		"         byte 0: production production, staging \"staging\\n\"  (0000000000000001)\n"
	if text.String() != wantText {
		t.Errorf("%s", text.String())
	}
	for kind, want := range map[compare.Kind]string{
		compare.Missing: `production "", staging nothing`, compare.HeaderAdded: `production nothing, staging ""`, compare.Body: `production "", staging ""`,
	} {
		r := compare.Report{Groups: []compare.Group{{Kind: kind, Examples: []compare.Example{{}}}}}
		var text strings.Builder
		if _, err := r.WriteTo(&text); err != nil || !strings.Contains(text.String(), want) {
			t.Errorf("%v: %s: %s", err, kind, text.String())
		}
	}
	if _, err := b.Report().WriteTo(broken{}); err == nil {
		t.Error("an error of the writer is not handed on")
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("no") }

// From many goroutines at once: for the race detector.
func TestConcurrentWrites(t *testing.T) {
	c, err := compare.New(compare.Config{Baseline: true, Each: func(compare.Verdict) {}})
	if err != nil {
		t.Fatal(err)
	}
	const n = 400
	var wg sync.WaitGroup
	var mu sync.Mutex
	settled := 0
	batch := func(m *kagami.Message) kagami.Batch {
		return kagami.Batch{Messages: []*kagami.Message{m}, Settle: func(int, kagami.Reason) {
			mu.Lock()
			settled++
			mu.Unlock()
		}}
	}
	for side := range 4 {
		wg.Go(func() {
			for i := range n {
				ex := exchange(i, "GET")
				switch side {
				case 0:
					_ = c.Write(context.Background(), batch(request(ex)))
				case 1:
					_ = c.Write(context.Background(), batch(response(ex)))
				case 2:
					_ = c.Write(context.Background(), batch(message(kagami.Replayed, ex, ok+"\r\n"+fmt.Sprint(i%7))))
				default:
					_ = c.Baseline().Write(context.Background(), batch(replayed(ex)))
				}
				if i%50 == 0 {
					c.Report()
				}
			}
		})
	}
	wg.Wait()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if r := c.Report(); r.Compared != n || settled != 4*n {
		t.Errorf("%d compared, %d settled", r.Compared, settled)
	}
}
