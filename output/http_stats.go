package output

import (
	"sort"
	"sync/atomic"
	"time"
)

// latencyBounds are the upper bounds of the latency buckets.
var latencyBounds = [...]time.Duration{
	500 * time.Microsecond, time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond,
	10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond,
	250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2500 * time.Millisecond,
	5 * time.Second, 10 * time.Second,
}

// LatencyBounds returns the upper bounds of the buckets of HTTPStats.Latency;
// the last bucket has none.
func LatencyBounds() []time.Duration { return append([]time.Duration(nil), latencyBounds[:]...) }

// HTTPStats is what an HTTP output has done so far, and what it holds.
type HTTPStats struct {
	// Requests is how many were sent, those sent again after a connection
	// turned out to be closed and those a redirect led to included.
	Requests uint64
	// Answers counts answers by the first digit of their status, interim ones
	// left out; Answers[0] is those with another.
	Answers [6]uint64
	// Retries is how many requests were sent again.
	Retries uint64
	// Failures counts the requests that got no whole answer by why that was.
	Failures [NumHTTPFailures]uint64
	// Connected and ConnectFailed count attempts at a connection.
	Connected, ConnectFailed uint64

	// Latency counts answers by the time from when the request was due (for
	// live traffic, was written to the output) to the last byte of the answer.
	// Bucket i holds those up to LatencyBounds()[i], and not those of the
	// bucket before. LatencySum is the sum of all.
	Latency    []uint64
	LatencySum time.Duration

	// Lag counts the requests that had a time to be sent at by how much later
	// their first byte was sent, those sent again and those a redirect led to left
	// out. Bucket i holds those up to LagBounds()[i], and not those of the bucket
	// before. LagSum is the sum of all.
	Lag    []uint64
	LagSum time.Duration

	// Open is how many connections there are, Busy how many of them have a
	// request in flight, Waiting how many requests wait for one,
	// or for their turn.
	Open, Busy, Waiting int
	// WebSockets is what was done with them.
	WebSockets WebSocketStats
	// Down says that the target cannot be reached.
	Down bool
}

// httpCounters is what goes into HTTPStats.
type httpCounters struct {
	requests, retries, connected, unconnected atomic.Uint64
	answers                                   [6]atomic.Uint64
	failures                                  [NumHTTPFailures]atomic.Uint64
	latency                                   [len(latencyBounds) + 1]atomic.Uint64
	latencySum                                atomic.Int64
	lag                                       httpLag
}

func (c *httpCounters) answered(status int, latency time.Duration) {
	class := status / 100
	if class >= len(c.answers) {
		class = 0
	}
	c.answers[class].Add(1)
	i := sort.Search(len(latencyBounds), func(i int) bool { return latency <= latencyBounds[i] })
	c.latency[i].Add(1)
	c.latencySum.Add(int64(latency))
}

// Stats reads the counters.
func (h *HTTP) Stats() HTTPStats {
	c := &h.counters
	s := HTTPStats{
		Requests:      c.requests.Load(),
		Retries:       c.retries.Load(),
		Connected:     c.connected.Load(),
		ConnectFailed: c.unconnected.Load(),
		Latency:       make([]uint64, len(c.latency)),
		LatencySum:    time.Duration(c.latencySum.Load()),
	}
	for i := range c.answers {
		s.Answers[i] = c.answers[i].Load()
	}
	for i := range c.failures {
		s.Failures[i] = c.failures[i].Load()
	}
	for i := range c.latency {
		s.Latency[i] = c.latency[i].Load()
	}
	s.Lag, s.LagSum = c.lag.read()
	h.pool.stats(&s)
	s.WebSockets = h.sockets.stats()
	if h.two != nil {
		h.two.stats(&s)
	}
	return s
}
