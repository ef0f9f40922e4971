package results

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"kagami"
)

// Latencies are counted in microseconds, up to an hour.
const maxMicros = int64(time.Hour / time.Microsecond)

// A series is the distribution of some times. It is exact in count, sum and
// maximum, and to the digits of its histogram in between.
type series struct {
	h        *hdrhistogram.Histogram
	n        int64
	sum, max time.Duration
}

func newSeries(digits int) series { return series{h: hdrhistogram.New(1, maxMicros, digits)} }

func (s *series) add(d time.Duration) {
	d = max(d, 0)
	_ = s.h.RecordValue(min(d.Microseconds(), maxMicros)) // within its bounds it takes everything
	s.n++
	s.sum += d
	s.max = max(s.max, d)
}

// at is the value that p percent of the times do not exceed.
func (s *series) at(p float64) time.Duration {
	if s.n == 0 {
		return 0
	}
	return min(time.Duration(s.h.ValueAtPercentile(p))*time.Microsecond, s.max)
}

func (s *series) mean() time.Duration {
	if s.n == 0 {
		return 0
	}
	return s.sum / time.Duration(s.n)
}

// encode is the histogram as text, "" where there is nothing in it.
func (s *series) encode() string {
	if s.n == 0 {
		return ""
	}
	b, err := s.h.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	if err != nil {
		return "" // it cannot be: that would be an error of a buffer in memory
	}
	return string(b)
}

func (s *series) merge(o *series) {
	s.h.Merge(o.h)
	s.n += o.n
	s.sum += o.sum
	s.max = max(s.max, o.max)
}

func (s *series) reset() {
	s.h.Reset()
	s.n, s.sum, s.max = 0, 0, 0
}

// A tally is what thresholds look at: some exchanges, counted.
type tally struct {
	exchanges int64 // sent to staging, or not sent for a reason on its side
	answered  int64 // of them
	errors    int64 // of them: not answered, or with a status of 500 or more
	notSent   int64 // beside them
	compared  int64 // of them
	different int64 // of those compared
	classes   [6]int64
	outcomes  map[kagami.Reason]int64

	production, staging, lag series

	first, last time.Time     // when the first and the last were sent
	length      time.Duration // of the window; 0 for the whole run
}

func newTally(digits int) *tally {
	return &tally{
		outcomes:   map[kagami.Reason]int64{},
		production: newSeries(digits), staging: newSeries(digits), lag: newSeries(digits),
	}
}

func (t *tally) add(r *Result) {
	t.outcomes[r.Outcome]++
	if !sent(r.Outcome) {
		t.notSent++
		return
	}
	t.exchanges++
	if r.Outcome == kagami.Delivered {
		t.answered++
	}
	if r.Outcome != kagami.Delivered || r.StagingStatus >= 500 {
		t.errors++
	}
	if class := r.StagingStatus / 100; class > 0 && class < len(t.classes) {
		t.classes[class]++
	}
	if r.ProductionStatus != 0 {
		t.production.add(r.ProductionLatency)
	}
	if r.StagingStatus != 0 {
		t.staging.add(r.StagingLatency)
	}
	if r.Scheduled {
		t.lag.add(r.ScheduleLag)
	}
	if r.Compared {
		t.compared++
	}
	if r.Compared && r.Different {
		t.different++
	}
	t.span(r.Sent)
}

// span takes note of when a request was sent.
func (t *tally) span(at time.Time) {
	if at.IsZero() {
		return
	}
	if t.first.IsZero() || at.Before(t.first) {
		t.first = at
	}
	if at.After(t.last) {
		t.last = at
	}
}

func (t *tally) merge(o *tally) {
	t.exchanges += o.exchanges
	t.answered += o.answered
	t.errors += o.errors
	t.notSent += o.notSent
	t.compared += o.compared
	t.different += o.different
	for i := range t.classes {
		t.classes[i] += o.classes[i]
	}
	for r, n := range o.outcomes {
		t.outcomes[r] += n
	}
	t.production.merge(&o.production)
	t.staging.merge(&o.staging)
	t.lag.merge(&o.lag)
	t.span(o.first)
	t.span(o.last)
}

func (t *tally) reset() {
	clear(t.outcomes)
	t.production.reset()
	t.staging.reset()
	t.lag.reset()
	*t = tally{outcomes: t.outcomes, production: t.production, staging: t.staging, lag: t.lag, length: t.length}
}

// rate is exchanges a second: of a window over its length, else from the first
// to the last. It is 0 where that is not known.
func (t *tally) rate() float64 {
	switch span := t.last.Sub(t.first); {
	case t.length > 0:
		return float64(t.exchanges) / t.length.Seconds()
	case span > 0 && t.exchanges > 1:
		return float64(t.exchanges-1) / span.Seconds()
	}
	return 0
}

// A window is the tally of what came in the last while, kept in parts that are
// forgotten one by one: it covers between 11/12 and all of its length.
type window struct {
	part  time.Duration // how long each part is
	parts [windowParts]struct {
		at int64 // which part of time it is of
		*tally
	}
	sum *tally
}

const (
	windowParts  = 12
	windowDigits = 2 // of its histograms: 1 %
	totalDigits  = 3
)

func newWindow(length time.Duration) *window {
	w := &window{part: max(length/windowParts, 1), sum: newTally(windowDigits)}
	w.sum.length = length
	return w
}

func (w *window) add(r *Result, now time.Time) {
	at := now.UnixNano() / int64(w.part)
	p := &w.parts[at%windowParts]
	switch {
	case p.tally == nil:
		p.tally = newTally(windowDigits)
	case p.at > at:
		return // the clock was turned back
	case p.at != at:
		p.reset()
	}
	p.at = at
	p.add(r)
}

// tally is what came in the window that ends at now. It is good until the next call.
func (w *window) tally(now time.Time) *tally {
	at := now.UnixNano() / int64(w.part)
	w.sum.reset()
	for i := range w.parts {
		if p := &w.parts[i]; p.tally != nil && p.at > at-windowParts && p.at <= at {
			w.sum.merge(p.tally)
		}
	}
	return w.sum
}
