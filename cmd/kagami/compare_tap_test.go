package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"kagami"
	"kagami/output"
	"kagami/replay/compare"
	"kagami/replay/results"
)

// A fakeTarget answers requests at its own time, as output.HTTP does; every fifth one
// it never answers, and every seventh it refuses at once.
type fakeTarget struct {
	index   int
	answers output.Output
	wg      sync.WaitGroup
	mu      sync.Mutex // of answers
}

func (f *fakeTarget) Write(_ context.Context, b kagami.Batch) error {
	for i, m := range b.Messages {
		n := number(m)
		if n%7 == 0 {
			f.refuse(b, i)
			continue
		}
		f.wg.Go(func() {
			if n%5 == 0 {
				f.refuse(b, i)
				return
			}
			f.mu.Lock()
			_ = f.answers.Write(context.Background(), kagami.Batch{Messages: []*kagami.Message{answerTo(m, kagami.Replayed, n%2 == 0)}})
			f.mu.Unlock()
			b.Done(i, kagami.Delivered)
		})
	}
	return nil
}

func (f *fakeTarget) refuse(b kagami.Batch, i int) {
	b.Messages[i].Exchange.Decide(f.index, kagami.Dropped)
	b.Done(i, kagami.SendError)
}

func (f *fakeTarget) Close() error { f.wg.Wait(); return nil }

func number(m *kagami.Message) int {
	var n int
	if _, err := fmt.Sscanf(string(m.Raw), "GET /n%d ", &n); err != nil {
		panic(err)
	}
	return n
}

func requestNumber(t *testing.T, n int) *kagami.Message {
	t.Helper()
	id, err := kagami.IDFromBytes(binary.BigEndian.AppendUint64(nil, uint64(n)+1))
	if err != nil {
		t.Fatal(err)
	}
	ex := &kagami.Exchange{ID: id, Method: "GET"}
	ex.Decide(0, kagami.Kept)
	return &kagami.Message{Kind: kagami.Request, Proto: kagami.HTTP1, Raw: fmt.Appendf(nil, "GET /n%d HTTP/1.1\r\n\r\n", n), Exchange: ex}
}

func answerTo(m *kagami.Message, k kagami.Kind, same bool) *kagami.Message {
	body := "a"
	if !same {
		body = k.String()
	}
	return &kagami.Message{Kind: k, Proto: kagami.HTTP1, Exchange: m.Exchange,
		Raw: fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)}
}

// testTap is a compareTap before a fake target.
func testTap(t *testing.T, full OnFull) *compareTap {
	t.Helper()
	cfg := &Config{Compare: defaultCompare(RoleReplay), Outputs: []OutputConfig{{Kind: OutputHTTP, OnFull: full, HTTP: HTTPConfig{Compare: true}}}}
	c := newComparison(cfg, slog.New(slog.DiscardHandler))
	var hc output.HTTPConfig
	tap := c.tap(&hc, cfg.Outputs[0], nil)
	if _, err := tap.before(t.Context(), &fakeTarget{answers: hc.Answers}, "http://staging"); err != nil {
		t.Fatal(err)
	}
	return tap
}

// Each exchange that reached the target is in the report: compared, or counted as one
// without an answer; also where production's answer comes after the target has failed.
func TestEveryExchangeIsComparedOrCounted(t *testing.T) {
	const n = 3000
	tap := testTap(t, OnFullWait)
	rng := rand.New(rand.NewPCG(1, 2))
	var mu sync.Mutex
	settled := map[*kagami.Message][]kagami.Reason{}
	var late []*kagami.Message
	write := func(ms ...*kagami.Message) {
		err := tap.Write(t.Context(), kagami.Batch{Messages: ms, Settle: func(i int, r kagami.Reason) {
			mu.Lock()
			defer mu.Unlock()
			settled[ms[i]] = append(settled[ms[i]], r)
		}})
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := 0; i < n; {
		var batch []*kagami.Message
		for range 1 + rng.IntN(50) {
			if i == n {
				break
			}
			m := requestNumber(t, i)
			p := answerTo(m, kagami.Response, true)
			if rng.IntN(2) == 0 {
				batch = append(batch, m, p)
			} else {
				batch = append(batch, m)
				late = append(late, p)
			}
			i++
		}
		for len(late) > 0 && rng.IntN(3) > 0 {
			batch = append(batch, late[0])
			late = late[1:]
		}
		write(batch...)
	}
	write(late...)
	if err := tap.Close(); err != nil {
		t.Fatal(err)
	}
	if len(settled) != 2*n {
		t.Errorf("%d messages of %d were settled", len(settled), 2*n)
	}
	for m, rs := range settled {
		if len(rs) != 1 {
			t.Fatalf("a %s was settled as %v", m.Kind, rs)
		}
	}
	failed, different := int64(0), int64(0)
	for i := range n {
		switch {
		case i%5 == 0 || i%7 == 0:
			failed++
		case i%2 == 1:
			different++
		}
	}
	r := tap.compare.Report()
	if r.Exchanges != n || r.Compared != n-failed || r.Different != different || r.NotCompared["no-staging-response"] != failed || len(r.NotCompared) != 1 || r.Late != 0 {
		t.Errorf("%d exchanges, %d compared, %d different, not %v, %d late: want %d, %d, %d, %d", r.Exchanges, r.Compared, r.Different, r.NotCompared, r.Late, n, n-failed, different, failed)
	}
	l := kagami.Ledger{}
	l.Add(tap.stage)
	if st := l.Statement(); !st.Balanced {
		t.Errorf("the ledger does not balance: %v", st.Faults)
	}
}

// What is no HTTP is not for comparing.
func TestFramesAreNotCompared(t *testing.T) {
	tap := testTap(t, OnFullWait)
	m := answerTo(requestNumber(t, 1), kagami.Response, true)
	m.Proto = kagami.WebSocket
	var got kagami.Reason
	if err := tap.Write(t.Context(), kagami.Batch{Messages: []*kagami.Message{m}, Settle: func(_ int, r kagami.Reason) { got = r }}); err != nil {
		t.Fatal(err)
	}
	staging := answerTo(requestNumber(t, 1), kagami.Replayed, true)
	staging.Proto = kagami.WebSocket
	if err := (comparedAnswers{tap}).Write(t.Context(), kagami.Batch{Messages: []*kagami.Message{staging}}); err != nil {
		t.Fatal(err)
	}
	err := tap.Close()
	r := tap.compare.Report()
	if err != nil || got != kagami.NotReplayable || r.Exchanges != 0 || len(r.NotCompared) != 0 {
		t.Errorf("%v, settled as %v, %d exchanges, not compared %v", err, got, r.Exchanges, r.NotCompared)
	}
}

func id(t *testing.T, n int) kagami.ID { return requestNumber(t, n).Exchange.ID }

// A row is written when both the result and the verdict are there, once for each result.
func TestRowsWaitForTheirVerdict(t *testing.T) {
	var rows []results.Result
	c := newComparedRows(func(r results.Result) { rows = append(rows, r) })
	whole := func(n int) results.Result {
		return results.Result{ID: id(t, n), Outcome: kagami.Delivered, StagingStatus: 200, ProductionStatus: 200}
	}
	verdict := func(n int, o compare.Outcome) compare.Verdict {
		v := compare.Verdict{ID: id(t, n), Outcome: o}
		if o == compare.Different {
			v.Differences = []compare.Difference{
				{Kind: compare.Status, Path: "200 → 500", Production: "200", Staging: "500", Count: 1},
				{Kind: compare.HeaderMissing, Path: "Vary", Production: "a", Count: 1}, {Kind: compare.Value, Path: "$.a[*]", Count: 3}}
		}
		return v
	}
	c.result(whole(1))
	c.verdict(verdict(1, compare.Different))
	c.verdict(verdict(2, compare.Same))
	c.result(whole(2))
	// One without an answer waits for nothing; nor does one that is never compared.
	c.result(results.Result{ID: id(t, 3), Outcome: kagami.SendError, ProductionStatus: 200})
	c.result(whole(4))
	if len(rows) != 3 {
		t.Fatalf("%d rows", len(rows))
	}
	if r := rows[0]; !r.Compared || !r.Different || r.DifferenceCount != 5 || r.Differences[0].Part != "status" || r.Differences[0].Path != "" ||
		r.Differences[1].Part != "header" || r.Differences[2].Part != "body" || r.Differences[2].Path != "$.a[*]" {
		t.Errorf("%+v", r)
	}
	if r := rows[1]; !r.Compared || r.Different || rows[2].Compared {
		t.Errorf("%+v", rows)
	}
	c.flush()
	if len(rows) != 4 || rows[3].ID != id(t, 4) || rows[3].Compared {
		t.Errorf("%+v", rows[3:])
	}
	// A recording in a loop has the same id again.
	c.result(whole(5))
	c.result(whole(5))
	c.verdict(verdict(5, compare.Same))
	c.verdict(verdict(5, compare.Different))
	if len(rows) != 6 || rows[4].Different || !rows[5].Different {
		t.Errorf("%+v", rows[4:])
	}
	for n := range maxResultsWait + 10 {
		c.result(whole(100 + n))
		c.verdict(verdict(1_000_000+n, compare.Same))
	}
	if len(rows) != 16 || c.verdicts.order.Len() != maxVerdictsWait || len(c.verdicts.byID) != maxVerdictsWait || len(c.results.byID) != maxResultsWait {
		t.Errorf("%d rows, %d and %d wait", len(rows), c.results.order.Len(), c.verdicts.order.Len())
	}
}

// The labels of metrics are bounded.
func TestEndpointsInMetricsAreBounded(t *testing.T) {
	c := newCompareCounts()
	for n := range 150 {
		c.add(&compare.Verdict{Endpoint: fmt.Sprintf("GET /%c%c", 'a'+n/26, 'a'+n%26), Outcome: compare.Different})
	}
	c.add(&compare.Verdict{Endpoint: "GET /aa", Outcome: compare.Same})
	c.add(&compare.Verdict{Endpoint: "GET /aa", Outcome: compare.NotCompared, Reason: "staging-truncated"})
	r := prometheus.NewRegistry()
	r.MustRegister(c)
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range families {
		sum := 0.0
		for _, m := range f.GetMetric() {
			sum += m.GetCounter().GetValue()
		}
		got = append(got, fmt.Sprintf("%s %d %g", f.GetName(), len(f.GetMetric()), sum))
	}
	if want := "kagami_compared_total 1 151, kagami_differences_total 101 150, kagami_not_compared_total 1 1"; strings.Join(got, ", ") != want {
		t.Errorf("%s, want %s", strings.Join(got, ", "), want)
	}
}

func TestEndpointOf(t *testing.T) {
	for path, want := range map[string]string{"": "", "/": "/", "/users/17/a": "/users/{id}/a", "*": "*"} {
		if got := endpointOf(path); got != want {
			t.Errorf("%q is %q, want %q", path, got, want)
		}
	}
}
