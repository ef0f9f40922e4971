package output

import (
	"math/rand/v2"
	"time"
)

// While a target cannot be reached it is tried again after so long.
const (
	minBackoff = 100 * time.Millisecond
	maxBackoff = 2 * time.Second
)

// nextBackoff is how long to wait after an attempt that failed, if the wait
// before it was last (0: it was the first).
func nextBackoff(last time.Duration) time.Duration {
	return min(max(2*last, minBackoff), maxBackoff)
}

// jitter makes a wait up to a quarter shorter, so that many replayers whose
// target went down at the same moment do not come back to it at the same moment.
func jitter(d time.Duration) time.Duration { return d - rand.N(d/4+1) }

// Up reports whether the target can be reached, as far as is known: the last
// attempt at a connection did not fail. Before the first one it is taken to be up.
func (h *HTTP) Up() bool { return !h.pool.isDown() && (h.two == nil || !h.two.isDown()) }
