package output_test

import (
	"context"
	"testing"
	"time"

	"kagami"
	"kagami/output"
)

// A clock that tests set.
type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func newLimit(rate float64) (*output.Limit, *recordingOutput, *clock) {
	c := &clock{time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC)}
	out := &recordingOutput{}
	return output.NewLimit(out, output.LimitConfig{Index: 2, Rate: rate, Now: c.now}), out, c
}

func TestLimitRates(t *testing.T) {
	for _, c := range []struct {
		name     string
		rate     float64
		interval time.Duration // between requests
		requests int
		want     int
	}{
		{"a burst takes the bucket", 100, 0, 500, 100},
		{"a steady stream at the rate passes whole", 100, 10 * time.Millisecond, 1000, 1000},
		{"the bucket, then the rate", 100, time.Millisecond, 10_000, 100 + 1000 - 1},
		{"less than one a second", 0.5, time.Second, 11, 6},
		{"nothing", 0, time.Second, 10, 0},
		{"less than nothing", -1, time.Second, 10, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			limit, out, clock := newLimit(c.rate)
			seen := watch(t)
			for i, m := range requests(c.requests) {
				b := kagami.Batch{Messages: []*kagami.Message{m}, Settle: func(_ int, r kagami.Reason) { seen.settle(i, r) }}
				if err := limit.Write(t.Context(), b); err != nil {
					t.Fatal(err)
				}
				clock.t = clock.t.Add(c.interval)
			}
			if got := len(out.all()); got != c.want {
				t.Errorf("%d of %d passed, want %d", got, c.requests, c.want)
			}
			if over := seen.count(kagami.RateLimited); over != c.requests-c.want {
				t.Errorf("%d settled as rate-limited, want %d", over, c.requests-c.want)
			}
		})
	}
}

// Any second lets at most twice the rate through.
func TestLimitOfAnySecond(t *testing.T) {
	limit, out, clock := newLimit(100)
	start := clock.t
	var passed []time.Duration
	for i := range 5000 {
		was := len(out.all())
		write(t, limit, watch(t), request(i))
		if len(out.all()) > was {
			passed = append(passed, clock.t.Sub(start))
		}
		// Quiet until 2 s, then as fast as it goes.
		if clock.t = clock.t.Add(time.Millisecond); i == 10 {
			clock.t = start.Add(2 * time.Second)
		}
	}
	worst := 0
	for i, from := range passed {
		n := 0
		for _, at := range passed[i:] {
			if at-from < time.Second {
				n++
			}
		}
		worst = max(worst, n)
	}
	if worst > 200 || worst < 190 {
		t.Errorf("the busiest second let %d through, want close to 200 and no more", worst)
	}
}

func TestLimitAnswersFollow(t *testing.T) {
	limit, out, _ := newLimit(2)
	ms := requests(3)
	seen := watch(t)
	write(t, limit, seen,
		ms[0], responseTo(ms[0]), responseTo(ms[0]), ms[1], ms[2], responseTo(ms[1]), responseTo(ms[2]))
	if n := len(out.all()); n != 5 {
		t.Errorf("%d passed, want 5: answers take no tokens", n)
	}
	ok := kagami.Delivered
	seen.want(ok, ok, ok, ok, kagami.RateLimited, ok, kagami.RequestDropped)
	if ms[2].Exchange.Fate(2) != kagami.Dropped {
		t.Error("the request over the limit is not marked as dropped")
	}
}

func TestLimitClockRunsBackwards(t *testing.T) {
	limit, out, clock := newLimit(10)
	write(t, limit, watch(t), requests(10)...)
	for range 50 { // an hour back and forth again must not fill the bucket
		clock.t = clock.t.Add(-time.Hour)
		write(t, limit, watch(t), request(1))
		clock.t = clock.t.Add(time.Hour)
		write(t, limit, watch(t), request(1))
	}
	if n := len(out.all()); n != 10 {
		t.Errorf("%d passed, want 10", n)
	}
	clock.t = clock.t.Add(100 * time.Millisecond)
	write(t, limit, watch(t), requests(2)...)
	if n := len(out.all()); n != 11 {
		t.Errorf("%d passed, want one more", n)
	}
}

func TestLimitIsTransparent(t *testing.T) {
	limit, out, _ := newLimit(1)
	out.on = func(context.Context, kagami.Batch) error { return context.Canceled }
	if err := limit.Write(t.Context(), kagami.Batch{Messages: requests(1)}); err != context.Canceled {
		t.Errorf("Write: %v, want the output's error", err)
	}
	if err := limit.Write(t.Context(), kagami.Batch{Messages: requests(1)}); err != nil {
		t.Errorf("Write of what is over the limit: %v, want nothing passed on", err)
	}
	if err := limit.Close(); err != nil || out.closed != 1 {
		t.Errorf("Close: %v, output closed %d times", err, out.closed)
	}
}

func BenchmarkLimit(b *testing.B) {
	limit := output.NewLimit(discard{}, output.LimitConfig{Rate: 1e9})
	batch := kagami.Batch{Messages: requests(64), Settle: func(int, kagami.Reason) {}}
	b.ReportAllocs()
	for i := 0; i < b.N; i += len(batch.Messages) { // per message
		_ = limit.Write(b.Context(), batch)
	}
}
