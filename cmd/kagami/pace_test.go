package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"kagami"
	"kagami/internal/gor"
	"kagami/output"
	"kagami/replay"
)

// recordingOf writes a recording of n requests, a millisecond apart.
func recordingOf(t testing.TB, n int) string {
	t.Helper()
	var b []byte
	start := time.Unix(1_700_000_000, 0)
	for i := range n {
		id, err := kagami.IDFromBytes(fmt.Appendf(nil, "%08d", i))
		if err != nil {
			t.Fatal(err)
		}
		at := start.Add(time.Duration(i) * time.Millisecond)
		b = gor.Append(b, &kagami.Message{Kind: kagami.Request, Proto: kagami.HTTP1, Start: at, End: at,
			Raw:      fmt.Appendf(nil, "GET /%d HTTP/1.1\r\nHost: a\r\n\r\n", i),
			Exchange: &kagami.Exchange{ID: id, Method: "GET"}})
	}
	path := filepath.Join(t.TempDir(), "r.gor")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// timedOutput notes how far from its time each message is written.
type timedOutput struct {
	first  time.Time // the first message's time
	last   time.Time // the last one's
	errors []time.Duration
}

func (o *timedOutput) Write(_ context.Context, b kagami.Batch) error {
	now := time.Now()
	for _, m := range b.Messages {
		if o.first.IsZero() {
			o.first = m.Due
		}
		o.last = m.Due
		o.errors = append(o.errors, now.Sub(m.Due))
	}
	b.DoneAll(kagami.Delivered)
	return nil
}

func (o *timedOutput) Close() error { return nil }

func mean(errors []time.Duration) (m time.Duration) {
	for _, e := range errors {
		m += e
	}
	return m / time.Duration(len(errors))
}

// For a minute 5000 requests a second are sent, each within half a millisecond
// of its time, the last like the first: nothing adds up.
func TestPaceDoesNotDrift(t *testing.T) {
	const rate, seconds = 5000, 60
	path := recordingOf(t, 1000)
	synctest.Test(t, func(t *testing.T) {
		files, err := replay.NewFiles(replay.FilesConfig{Patterns: []string{path}, Pacer: replay.Rate(rate), Duration: seconds * time.Second, Loop: true})
		if err != nil {
			t.Fatal(err)
		}
		var out timedOutput
		queue := output.NewQueue(&out, output.QueueConfig{OnFull: output.WaitWhenFull})
		begin := time.Now()
		if err := files.Run(t.Context(), queue.Write); err != nil {
			t.Fatal(err)
		}
		if err := queue.Close(); err != nil {
			t.Fatal(err)
		}
		if n := len(out.errors); n != rate*seconds {
			t.Fatalf("%d requests, want %d", n, rate*seconds)
		}
		if d, want := out.last.Sub(begin), seconds*time.Second-time.Second/rate; out.first != begin || d != want {
			t.Errorf("due from %v to %v after the start, want 0 to %v", out.first.Sub(begin), d, want)
		}
		// What is due within half a millisecond is sent at once.
		early, late := slices.Min(out.errors), slices.Max(out.errors)
		if early < -500*time.Microsecond || late > 0 {
			t.Errorf("sent from %v to %v off, want at most 500µs early", early, late)
		}
		first, last := mean(out.errors[rate:2*rate]), mean(out.errors[len(out.errors)-rate:])
		if first != last {
			t.Errorf("%v off in the mean in the first seconds, %v in the last: it drifts", first, last)
		}
	})
}

// stallingTarget answers at once, but from one time to another not at all.
type stallingTarget struct {
	from, to time.Time
	wg       sync.WaitGroup
}

func (s *stallingTarget) DialContext(context.Context, string, string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	s.wg.Go(func() {
		defer ours.Close()
		r := bufio.NewReader(ours)
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			req.Body.Close()
			if now := time.Now(); !now.Before(s.from) && now.Before(s.to) {
				time.Sleep(s.to.Sub(now)) // of the bubble's clock
			}
			if _, err := io.WriteString(ours, "HTTP/1.1 204 No Content\r\n\r\n"); err != nil {
				return
			}
		}
	})
	return theirs, nil
}

// A target that stalls for a second shows in the latencies of all requests that
// were due then, also of those that could not even be sent: they are counted
// from the time that was scheduled.
func TestStallShowsInLatencies(t *testing.T) {
	path := recordingOf(t, 3000)
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		target := &stallingTarget{from: begin.Add(time.Second), to: begin.Add(2 * time.Second)}
		var mu sync.Mutex
		var fromDue, fromSent []time.Duration
		answers := outputFunc(func(b kagami.Batch) {
			mu.Lock()
			defer mu.Unlock()
			for _, m := range b.Messages {
				fromDue = append(fromDue, m.Latency())
				fromSent = append(fromSent, m.End.Sub(m.Start))
			}
		})
		h, err := output.NewHTTP(output.HTTPConfig{URL: "http://192.0.2.1", Connections: 4, DialContext: target.DialContext, Answers: answers})
		if err != nil {
			t.Fatal(err)
		}
		files, err := replay.NewFiles(replay.FilesConfig{Patterns: []string{path}, Pacer: replay.Rate(1000)})
		if err != nil {
			t.Fatal(err)
		}
		queue := output.NewQueue(h, output.QueueConfig{OnFull: output.WaitWhenFull})
		if err := files.Run(t.Context(), queue.Write); err != nil {
			t.Fatal(err)
		}
		if err := queue.Close(); err != nil {
			t.Fatal(err)
		}
		target.wg.Wait()

		over := func(all []time.Duration, d time.Duration) (n int) {
			for _, l := range all {
				if l > d {
					n++
				}
			}
			return n
		}
		// Of the thousand that were due in the stall, those of its first half
		// waited for more than half a second.
		if n := over(fromDue, 500*time.Millisecond); n < 495 || n > 505 {
			t.Errorf("%d latencies of more than 500ms, want 500", n)
		}
		if n := over(fromDue, 0); n < 990 || n > 1010 {
			t.Errorf("%d latencies of more than 0, want 1000", n)
		}
		if worst := slices.Max(fromDue); worst < 999*time.Millisecond || worst > 1001*time.Millisecond {
			t.Errorf("the longest is %v, want a second", worst)
		}
		// Counted from when they were sent, four would show.
		if n := over(fromSent, 500*time.Millisecond); n > 4 {
			t.Errorf("%d were on their way for more than 500ms, and there are 4 connections", n)
		}
		if s := h.Stats(); s.LatencySum < 499*time.Second || s.LatencySum > 502*time.Second {
			t.Errorf("the metrics have latencies of %v together, want 500s", s.LatencySum)
		} else if s.LagSum < 490*time.Second || s.LagSum > s.LatencySum {
			t.Errorf("the metrics have a lag of %v in all, want nearly all of the latencies' 500s", s.LagSum)
		}
	})
}

type outputFunc func(b kagami.Batch)

func (f outputFunc) Write(_ context.Context, b kagami.Batch) error { f(b); return nil }
func (f outputFunc) Close() error                                  { return nil }

// With the order of connections to keep, --split-output divides connections
// and not exchanges.
func TestSplitKeepsConnectionsTogether(t *testing.T) {
	s := &splitter{byConnection: true}
	places := map[int]bool{}
	for client := range 50 {
		var at []int
		for n := range 20 {
			id, _ := kagami.IDFromBytes(fmt.Appendf(nil, "%d-%d", client, n))
			m := &kagami.Message{Kind: kagami.Request + kagami.Kind(n%2), Exchange: &kagami.Exchange{ID: id}}
			m.Client = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, 1}), uint16(1000+client))
			at = append(at, s.place(m, 3, nil))
		}
		if slices.Min(at) != slices.Max(at) {
			t.Errorf("client %d: its exchanges go to outputs %v", client, at)
		}
		places[at[0]] = true
	}
	if len(places) != 3 {
		t.Errorf("50 connections go to %d of 3 outputs", len(places))
	}
}
