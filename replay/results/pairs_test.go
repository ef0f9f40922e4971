package results_test

import (
	"context"
	"fmt"
	"go/build"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kagami"
	"kagami/replay/results"
)

func TestImportsNothingElseOfTheModule(t *testing.T) {
	p, err := build.ImportDir(".", 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range p.Imports {
		if strings.HasPrefix(i, "kagami/") {
			t.Errorf("the package imports %s: it is to need the root package only", i)
		}
	}
}

// A bench is a Pairs on a clock that stands still until it is moved.
type bench struct {
	*results.Pairs
	t    *testing.T
	now  time.Time
	got  []results.Result
	exch map[string]*kagami.Exchange
}

func newBench(t *testing.T, cfg results.PairsConfig) *bench {
	b := &bench{t: t, now: begin, exch: map[string]*kagami.Exchange{}}
	cfg.Target = "s"
	cfg.Now = func() time.Time { return b.now }
	cfg.Add = func(r results.Result) { b.got = append(b.got, r) }
	b.Pairs = results.NewPairs(cfg)
	return b
}

func (b *bench) at(ms int) *bench { b.now = begin.Add(time.Duration(ms) * time.Millisecond); return b }

// message is a message of the exchange with that id, which begins now and takes so many ms.
func (b *bench) message(kind kagami.Kind, id, raw string, ms int) *kagami.Message {
	e := b.exch[id]
	if e == nil {
		parsed, err := kagami.ParseID(id)
		if err != nil {
			b.t.Fatal(err)
		}
		e = &kagami.Exchange{ID: parsed}
		b.exch[id] = e
	}
	return &kagami.Message{Kind: kind, Proto: kagami.HTTP1, Start: b.now, End: b.now.Add(time.Duration(ms) * time.Millisecond),
		Raw: []byte(raw), Exchange: e}
}

func (b *bench) request(id string) *kagami.Message {
	return b.message(kagami.Request, id, "GET /a/7?q HTTP/1.1\r\n\r\n", 0)
}

func (b *bench) response(id string, ms int) *kagami.Message {
	return b.message(kagami.Response, id, "HTTP/1.1 200 OK\r\n\r\n", ms)
}

func (b *bench) replayed(id string, ms int) *kagami.Message {
	return b.message(kagami.Replayed, id, "HTTP/1.1 503 Busy\r\n\r\n", ms)
}

// send watches a request, and returns what settles it.
func (b *bench) send(m *kagami.Message) func(kagami.Reason) {
	settled := 0
	w := b.Watch(kagami.Batch{Messages: []*kagami.Message{m}, Settle: func(i int, r kagami.Reason) { settled++ }})
	return func(r kagami.Reason) {
		w.Done(0, r)
		if settled != 1 {
			b.t.Errorf("a message was settled %d times", settled)
		}
	}
}

// line is a result in short.
func line(r results.Result) string {
	s := fmt.Sprintf("%s %s", r.ID, r.Outcome)
	if r.ProductionStatus != 0 {
		s += fmt.Sprintf(" p%d %v", r.ProductionStatus, r.ProductionLatency)
	}
	if r.StagingStatus != 0 {
		s += fmt.Sprintf(" s%d %v", r.StagingStatus, r.StagingLatency)
	}
	if r.Scheduled {
		s += fmt.Sprintf(" lag %v", r.ScheduleLag)
	}
	return s
}

func (b *bench) want(lines ...string) {
	b.t.Helper()
	var got []string
	for _, r := range b.got {
		got = append(got, line(r))
	}
	b.got = nil
	if diff := cmp.Diff(lines, got); diff != "" {
		b.t.Errorf("results: -want +got:\n%s", diff)
	}
}

func TestPairsInAnyOrder(t *testing.T) {
	for name, order := range map[string]string{
		"production first":               "PQS",
		"production while it is on":      "QPS",
		"production last":                "QSP",
		"production last of two answers": "PQPS",
	} {
		b := newBench(t, results.PairsConfig{})
		q, p, s := b.request("01"), b.at(2).response("01", 3), b.at(20).replayed("01", 8)
		b.at(10)
		for _, c := range order {
			switch c {
			case 'Q':
				b.send(q)
			case 'P':
				b.Note(p)
			case 'S':
				b.Note(s)
			}
		}
		t.Log(name)
		// Live traffic has no schedule: latency counts from when it was handed to the target.
		b.want("01 delivered p200 5ms s503 18ms")
		if n := b.InFlight(); n != 0 {
			t.Errorf("%d are left", n)
		}
	}
}

// Latency counts from the instant a request was due, so that a target that
// stalled shows in that of the requests that had to wait.
func TestLatencyIsFromTheScheduledInstant(t *testing.T) {
	b := newBench(t, results.PairsConfig{NoProduction: true})
	late, early := b.request("01"), b.request("02")
	late.Due, early.Due = begin.Add(100*time.Millisecond), begin.Add(1200500*time.Microsecond)
	b.at(1200)
	b.send(late)
	b.send(early)
	b.Note(b.replayed("01", 5))
	b.Note(b.replayed("02", 5))
	b.want("01 delivered s503 1.105s lag 1.1s", "02 delivered s503 5ms lag -500µs")
}

func TestNoAnswerFromStaging(t *testing.T) {
	b := newBench(t, results.PairsConfig{})
	timeout, refused, odd := b.send(b.request("01")), b.send(b.request("02")), b.send(b.request("03"))
	b.Note(b.response("02", 3))
	timeout(kagami.Timeout)
	b.want()
	b.Note(b.response("01", 4))
	b.want("01 timeout p200 4ms")
	refused(kagami.SendError)
	b.want("02 send-error p200 3ms")
	odd(kagami.AmbiguousFraming)
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	b.want("03 ambiguous")
}

// The answer is heard before the request is settled as delivered; that settling
// then says nothing new.
func TestDeliveredAfterItsAnswer(t *testing.T) {
	b := newBench(t, results.PairsConfig{})
	settle := b.send(b.request("01"))
	b.Note(b.replayed("01", 5))
	settle(kagami.Delivered)
	b.Note(b.response("01", 4))
	b.want("01 delivered p200 4ms s503 5ms")
}

func TestWaitingForProduction(t *testing.T) {
	b := newBench(t, results.PairsConfig{Wait: time.Second})
	b.send(b.request("01"))
	b.send(b.request("02"))
	b.Note(b.replayed("01", 5))
	b.at(1000).Tick()
	b.want()
	b.at(1001).Tick()
	b.want("01 delivered s503 5ms")

	// None has come in all that time, so nobody waits for one any more.
	b.Note(b.replayed("02", 5))
	b.want("02 delivered s503 1.006s")

	// One that comes after all changes that.
	b.send(b.request("03"))
	b.send(b.request("04"))
	b.Note(b.response("03", 1))
	b.Note(b.replayed("04", 1))
	b.want()
	b.Note(b.response("04", 1))
	b.want("04 delivered p200 1ms s503 1ms")
}

func TestARecordingOfAllThree(t *testing.T) {
	b := newBench(t, results.PairsConfig{Age: time.Second})
	settled := 0
	batch := kagami.Batch{Settle: func(int, kagami.Reason) { settled++ }, Messages: []*kagami.Message{
		b.request("01"), b.request("02"), b.request("01"), b.response("01", 4), b.replayed("01", 5), b.replayed("09", 1),
		{Kind: kagami.Response, Proto: kagami.WebSocket, Raw: []byte{0x81, 0}, Exchange: &kagami.Exchange{}},
	}}
	if err := b.Write(context.Background(), batch); err != nil || settled != len(batch.Messages) {
		t.Errorf("%d of %d settled, %v", settled, len(batch.Messages), err)
	}
	b.want("01 delivered p200 4ms s503 5ms")
	if b.Orphans() != 1 {
		t.Errorf("%d orphans: want 1", b.Orphans())
	}
	b.at(1001).Tick()
	b.want("02 no-staging-response")
}

// What is not whole is bounded: those that only wait for production go first, as
// they are; what has no answer from staging is given up.
func TestPairsAreBounded(t *testing.T) {
	const most = 64 << 10
	b := newBench(t, results.PairsConfig{Bytes: most})
	id := func(i int) string { return fmt.Sprintf("%08x", i) }
	for i := range 10_000 {
		b.send(b.request(id(i)))
		if i%2 == 0 {
			b.Note(b.replayed(id(i), 5))
		}
	}
	held := b.InFlight()
	if held < 10 || held > most/500 {
		t.Errorf("%d exchanges are held in %d bytes", held, most)
	}
	answered, given := 0, 0
	for _, r := range b.got {
		switch r.Outcome {
		case kagami.Delivered:
			answered++
		case kagami.MemoryLimit:
			given++
		}
	}
	if answered != 5000 || answered+given+int(held) != 10_000 {
		t.Errorf("%d answered, %d given up, %d held: want 5000, and 10000 in all", answered, given, held)
	}

	// Production's answers to requests that are never sent here.
	b = newBench(t, results.PairsConfig{Bytes: most})
	for i := range 10_000 {
		b.Note(b.response(id(i), 1))
	}
	if held := b.InFlight(); held > most/500 {
		t.Errorf("%d answers are held in %d bytes", held, most)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	b.want()
}

func TestWhatRequestsAreFor(t *testing.T) {
	for _, test := range []struct{ raw, method, path string }{
		{"GET / HTTP/1.1\r\n\r\n", "GET", "/"},
		{"POST /users/42/orders?x=/y HTTP/1.1\r\n", "POST", "/users/42/orders"},
		{"GET http://a:80/b/c#d HTTP/1.1\r\n", "GET", "/b/c"},
		{"GET http://a HTTP/1.1\r\n", "GET", "/"},
		{"GET /r?to=http://a/b HTTP/1.1\r\n", "GET", "/r"},
		{"GET /r/http://a/b HTTP/1.1\r\n", "GET", "/r/http://a/b"},
		{"OPTIONS * HTTP/1.1\r\n", "OPTIONS", "*"},
		{"", "", ""},
		{"GET", "GET", ""},
	} {
		b := newBench(t, results.PairsConfig{NoProduction: true, Endpoint: strings.ToUpper})
		settle := b.send(b.message(kagami.Request, "01", test.raw, 0))
		settle(kagami.Timeout)
		want := []string{test.method, test.path, strings.ToUpper(test.path)}
		if got := []string{b.got[0].Method, b.got[0].Path, b.got[0].Endpoint}; !slices.Equal(got, want) {
			t.Errorf("%.40q: %q: want %q", test.raw, got, want)
		}
	}
}

// Whatever bytes messages have, each request gives one result, and rows stay small.
func FuzzPairs(f *testing.F) {
	f.Add([]byte("GET /a HTTP/1.1\r\n\r\n"), []byte("HTTP/1.1 200 OK\r\n\r\n"), []byte("HTTP/1.1 503 Busy\r\n\r\n"))
	f.Add([]byte("GET http://a/b?c HTTP/1.1\r\n"), []byte("HTTP/2 20"), []byte("HTTP/"))
	f.Fuzz(func(t *testing.T, request, response, replayed []byte) {
		b := newBench(t, results.PairsConfig{})
		settle := b.send(b.message(kagami.Request, "01", string(request), 0))
		b.Note(b.message(kagami.Response, "01", string(response), 1))
		b.Note(b.message(kagami.Replayed, "01", string(replayed), 1))
		settle(kagami.Delivered)
		if err := b.Close(); err != nil || len(b.got) != 1 {
			t.Fatalf("%d results, %v: want one", len(b.got), err)
		}
		r := b.got[0]
		if r.Outcome != kagami.Delivered || r.StagingStatus > 999 || r.ProductionStatus > 999 {
			t.Errorf("%+v", r)
		}
		if row := rowsOf(t, r); len(row) > 64<<10 || strings.Count(row, "\n") != 1 {
			t.Errorf("a row of %d bytes with %d line ends", len(row), strings.Count(row, "\n"))
		}
	})
}

func BenchmarkPairs(b *testing.B) {
	p := results.NewPairs(results.PairsConfig{Target: "http://staging"})
	request := []byte("GET /users/12345/orders?page=1 HTTP/1.1\r\nHost: a\r\n\r\n")
	answer := []byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	b.ReportAllocs()
	for b.Loop() {
		e := &kagami.Exchange{Method: "GET"}
		w := p.Watch(kagami.Batch{Messages: []*kagami.Message{{Kind: kagami.Request, Proto: kagami.HTTP1, Raw: request, Exchange: e}}})
		p.Note(&kagami.Message{Kind: kagami.Response, Proto: kagami.HTTP1, Raw: answer, Exchange: e})
		p.Note(&kagami.Message{Kind: kagami.Replayed, Proto: kagami.HTTP1, Raw: answer, Exchange: e})
		w.Done(0, kagami.Delivered)
	}
}
