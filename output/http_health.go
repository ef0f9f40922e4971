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

// dialed says how c's attempt at a connection went. It returns whether that
// changed what is known about the target.
func (p *httpPool) dialed(c *httpConn, ok bool) (changed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dialing--
	changed = p.noteReached(ok)
	if !ok {
		delete(p.conns, c)
		p.dispatch()
	}
	return changed
}

// reached says whether the target could be reached, when a connection that has
// a request was made anew.
func (p *httpPool) reached(ok bool) (changed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	changed = p.noteReached(ok)
	p.dispatch()
	return changed
}

func (p *httpPool) noteReached(ok bool) (changed bool) {
	if p.closing || ok && !p.down {
		return false
	}
	if ok {
		p.down = false
		if p.back != nil {
			close(p.back)
			p.back = nil
		}
		return true
	}
	p.kickTend()
	now := time.Now()
	switch {
	case !p.down:
		p.down, p.since, p.backoff = true, now, nextBackoff(0)
		changed = true
	case now.Before(p.probe):
		return false // it was begun before the target was known to be down
	default:
		p.backoff = nextBackoff(p.backoff)
	}
	p.probe = now.Add(jitter(p.backoff))
	return changed
}

// inUse reports whether there are connections, and the target can be reached.
func (p *httpPool) inUse() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.conns) > 0 && !p.down
}

// awaitUp returns nil while the target can be reached, as far as is known; else what is
// closed when it can again, and how long to wait for that.
func (p *httpPool) awaitUp(now time.Time) (back <-chan struct{}, left time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.down {
		return nil, 0
	}
	if p.back == nil {
		p.back = make(chan struct{})
	}
	return p.back, p.since.Add(p.grace).Sub(now)
}

func (p *httpPool) isDown() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.down
}
