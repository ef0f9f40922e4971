package output

import (
	"sort"
	"sync/atomic"
	"time"

	"kagami"
)

// lagBounds are the upper bounds of the buckets of HTTPStats.Lag: finer than
// those of latencies, for a lag of a millisecond is much.
var lagBounds = [...]time.Duration{
	100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond, time.Millisecond,
	2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond,
	50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second,
}

// LagBounds returns the upper bounds of the buckets of HTTPStats.Lag; the last
// bucket has none.
func LagBounds() []time.Duration { return append([]time.Duration(nil), lagBounds[:]...) }

// httpLag counts requests by how late they were sent.
type httpLag struct {
	counts [len(lagBounds) + 1]atomic.Uint64
	sum    atomic.Int64
}

// sent counts m, of which the first byte has just been sent. A request without a
// time to be sent at is never late. One that is sent early, as a [Queue] does
// by up to half a millisecond, is not late.
func (l *httpLag) sent(m *kagami.Message) {
	if m.Due.IsZero() {
		return
	}
	lag := max(time.Since(m.Due), 0)
	l.counts[sort.Search(len(lagBounds), func(i int) bool { return lag <= lagBounds[i] })].Add(1)
	l.sum.Add(int64(lag))
}

// read is what was counted so far.
func (l *httpLag) read() (counts []uint64, sum time.Duration) {
	counts = make([]uint64, len(l.counts))
	for i := range l.counts {
		counts[i] = l.counts[i].Load()
	}
	return counts, time.Duration(l.sum.Load())
}

// wrote notes that n more bytes of the request were sent.
func (c *httpConn) wrote(n int64) {
	if n > 0 && !c.sent {
		c.sent = true
		c.h.counters.lag.sent(c.job.m)
	}
}
