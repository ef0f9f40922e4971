package output

import (
	"context"
	"sync"
	"time"

	"kagami"
)

// An httpJob is a request to be sent.
type httpJob struct {
	m      *kagami.Message
	settle func(int, kagami.Reason)
	i      int
	ctx    context.Context
	at     time.Time // when it was due
	owed   bool      // the Write that brought it waits until it is taken
	opens  bool      // it asks for a WebSocket, and needs no connection of the pool's
	two    bool      // it is to be sent as HTTP/2, in its order

	failure HTTPFailure // what a SendError means
}

// httpPool hands requests to connections. A connection takes the next request
// that waits when it is done with one, and else lies down with the idle ones. New connections are made while requests wait and
// none is idle.
type httpPool struct {
	max         int // connections
	maxDials    int // of them, being made at the same time
	idleTimeout time.Duration
	grace       time.Duration   // how long requests wait for a target that was lost
	start       func(*httpConn) // starts a new connection, or what is to be one
	rouse       func(*httpConn) // tells one that it was taken off the idle list
	taken       chan struct{}   // gets a token when the last waiting request was taken
	kick        chan struct{}   // gets a token when tend should look again

	order   *httpOrder
	sockets *wsTable
	two     *http2Sender  // of what is sent as HTTP/2 in its order; nil: none is
	wait    bool          // Write waits where order has no room, instead of giving up requests
	empty   chan struct{} // gets a token when nothing waits any more, if closing waits for that

	mu      sync.Mutex
	waiting []httpJob // from head on
	head    int
	owed    int                    // of them, those that a Write waits for
	twos    int                    // those that are to be sent as HTTP/2, and have no connection yet
	leaving bool                   // closing waits until nothing waits
	conns   map[*httpConn]struct{} // all, those being made too
	dialing int                    // those being made
	idle    []*httpConn            // the one that was busy last is at the end
	roused  []*httpConn            // for the loop: started, or taken off the idle list
	closing bool

	down    bool // the last attempt at a connection failed
	since   time.Time
	probe   time.Time // when the next attempt is made
	backoff time.Duration
	back    chan struct{} // closed when it is not down any more; nil while nobody waits for that
}

// add queues the requests of a batch that can be sent, from the from-th on. to is
// the first that it did not take over, for want of room, or behind the last.
// full are those that have to be given up. owed says that a token will come when
// all that were queued are taken.
func (p *httpPool) add(ctx context.Context, b kagami.Batch, from int, now time.Time) (to int, owed bool, full []int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closing {
		return from, false, nil, errHTTPClosed
	}
	select {
	case <-p.taken: // of an earlier batch that was given up
	default:
	}
	for to = from; to < len(b.Messages); to++ {
		m := b.Messages[to]
		if refuse(m) != kagami.Delivered {
			continue
		}
		j := httpJob{m: m, settle: b.Settle, i: to, ctx: ctx, at: now, owed: true}
		if !m.Due.IsZero() && m.Due.Before(now) {
			j.at = m.Due
		}
		if j.opens = p.sockets.wants(m); j.opens && !p.sockets.register(m.Exchange) {
			full = append(full, to)
			continue
		}
		j.two = p.two != nil && p.two.wants(m)
		placing := p.order.place(j)
		if placing == placeFull && p.wait {
			break
		}
		switch {
		case placing == placeNow && j.opens:
			p.sockets.start(j)
		case placing == placeNow:
			p.enter(j)
			p.owed++
		case placing == placeFull:
			full = append(full, to)
		}
	}
	p.dispatch()
	if p.down {
		p.kickTend()
	}
	return to, p.owed > 0, full, nil
}

// done says that a connection is done with a request: that of the same client
// connection which waited for it is the next. p.mu is held.
func (p *httpPool) done(j httpJob) {
	next, ok := p.order.done(j)
	switch {
	case ok && next.opens:
		p.sockets.start(next)
		p.tellEmpty()
	case ok:
		next.owed = false
		p.enter(next)
		if p.down {
			p.kickTend()
		}
	}
}

// enter has a request wait for a connection. p.mu is held.
func (p *httpPool) enter(j httpJob) {
	if j.two {
		p.twos++
		p.two.start(j)
		return
	}
	p.waiting = append(p.waiting, j)
}

// begun says that a request that was entered to be sent as HTTP/2 has a connection, or is
// settled; or, that it is to be sent as HTTP/1.1.
func (p *httpPool) begun(j httpJob, asOne bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.twos--
	switch {
	case asOne:
		j.two = false
		p.waiting = append(p.waiting, j)
		p.dispatch()
		if p.down {
			p.kickTend()
		}
	case j.owed && p.owed > 0:
		if p.owed--; p.owed == 0 {
			p.signalTaken()
		}
	}
	p.tellEmpty()
}

// doneWith says that a request that took no connection of the pool's was answered, or given up.
func (p *httpPool) doneWith(j httpJob) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done(j)
	p.dispatch()
}

// emptied reports whether something waits. Then a token comes when nothing does
// any more.
func (p *httpPool) emptied() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leaving = p.head < len(p.waiting) || p.twos > 0 || p.order.waiting() > 0
	return p.leaving
}

// tellEmpty tells whoever waits for it that nothing waits. p.mu is held.
func (p *httpPool) tellEmpty() {
	if p.leaving && p.head == len(p.waiting) && p.twos == 0 && p.order.waiting() == 0 {
		p.leaving = false
		p.empty <- struct{}{}
	}
}

// dispatch gives waiting requests to idle connections, and begins new ones.
// p.mu is held.
func (p *httpPool) dispatch() {
	p.dispatchIdle()
	for !p.down && p.mayDial() && len(p.conns) < p.max {
		p.begin()
	}
}

// dispatchIdle gives waiting requests to idle connections. p.mu is held.
func (p *httpPool) dispatchIdle() {
	for len(p.idle) > 0 && p.head < len(p.waiting) {
		c := p.idle[len(p.idle)-1]
		p.idle = p.idle[:len(p.idle)-1]
		p.pop(c)
		p.rouse(c)
	}
}

// mayDial reports whether more connections would be of use.
func (p *httpPool) mayDial() bool {
	return !p.closing && len(p.waiting)-p.head > p.dialing && p.dialing < p.maxDials
}

// begin begins a new connection. p.mu is held.
func (p *httpPool) begin() {
	c := &httpConn{}
	if p.conns[c] = struct{}{}; len(p.conns) == 1 {
		p.kickTend()
	}
	p.dialing++
	p.start(c)
}

// pop gives c the next waiting request. p.mu is held.
func (p *httpPool) pop(c *httpConn) {
	c.job, c.busy = p.waiting[p.head], true
	p.waiting[p.head] = httpJob{}
	if p.head++; p.head == len(p.waiting) {
		p.waiting, p.head = p.waiting[:0], 0
		p.tellEmpty()
	}
	if c.job.owed {
		if p.owed--; p.owed == 0 {
			p.signalTaken()
		}
	}
}

func (p *httpPool) signalTaken() {
	select {
	case p.taken <- struct{}{}:
	default:
	}
}

func (p *httpPool) kickTend() {
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

// takeAll takes all that waits.
func (p *httpPool) takeAll() []httpJob {
	p.mu.Lock()
	defer p.mu.Unlock()
	held := p.order.takeAll()
	jobs := p.waiting[p.head:]
	p.waiting, p.head = nil, 0
	for _, j := range jobs {
		p.order.done(j) // nothing waits for it any more
	}
	if p.owed > 0 {
		p.owed = 0
		p.signalTaken()
	}
	p.tellEmpty()
	return append(jobs, held...)
}

// next waits for c's next request. False means that there is none, and c is to end.
func (p *httpPool) next(c *httpConn, now time.Time) bool {
	busy, idle := p.take(c, now)
	if !idle {
		return busy
	}
	<-c.wake
	c.used = true // it may have been closed meanwhile
	return c.busy
}

// take gives c the next request that waits. If there is none, c is idle now
// and roused later; or, if not that either, it is to end.
func (p *httpPool) take(c *httpConn, now time.Time) (busy, idle bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done(c.job)
	c.job, c.busy = httpJob{}, false
	if p.head < len(p.waiting) {
		p.pop(c)
		p.dispatch()
		return true, false
	}
	if p.closing {
		return false, false
	}
	c.idleSince = now
	p.idle = append(p.idle, c)
	return false, true
}

// relaxed reports whether no request waits for a connection, or its turn.
func (p *httpPool) relaxed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.head == len(p.waiting) && p.order.waiting() == 0
}

// takeRoused appends to list what was roused, for the loop.
func (p *httpPool) takeRoused(list []*httpConn) []*httpConn {
	p.mu.Lock()
	defer p.mu.Unlock()
	list = append(list, p.roused...)
	clear(p.roused)
	p.roused = p.roused[:0]
	return list
}

// again says what is to be done after c's connection has ended: true to make a
// new one, false to end.
func (p *httpPool) again(c *httpConn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done(c.job)
	c.job, c.busy = httpJob{}, false
	p.dispatchIdle()
	if !p.down && p.mayDial() {
		p.dialing++
		return true
	}
	delete(p.conns, c)
	p.dispatch()
	return false
}

// tend ends connections that were idle for too long, and tries to reach a
// target that was lost. It returns how long until it is to be called again (0:
// when it is kicked), and whether what waits is to be given up.
func (p *httpPool) tend(now time.Time) (wait time.Duration, lost bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closing {
		return 0, false
	}
	n := 0
	for n < len(p.idle) && now.Sub(p.idle[n].idleSince) >= p.idleTimeout {
		p.rouse(p.idle[n]) // without a request: it ends
		n++
	}
	p.idle = append(p.idle[:0], p.idle[n:]...)
	if len(p.conns) > n {
		wait = p.idleTimeout
		if len(p.idle) > 0 {
			wait = p.idle[0].idleSince.Add(p.idleTimeout).Sub(now)
		}
	}
	if !p.down {
		return wait, false
	}
	if p.dialing == 0 {
		if !now.Before(p.probe) {
			p.begin()
		} else {
			wait = sooner(wait, p.probe.Sub(now))
		}
	}
	if p.head < len(p.waiting) && len(p.conns) == p.dialing {
		left := p.since.Add(p.grace).Sub(now)
		if left <= 0 {
			return wait, true
		}
		wait = sooner(wait, left)
	}
	return wait, false
}

// sooner is the shorter of two times to wait, where a is 0 for never.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 {
		return b
	}
	return min(a, b)
}

// close ends the idle connections, and the others as soon as they are idle.
func (p *httpPool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closing = true
	for _, c := range p.idle {
		p.rouse(c)
	}
	p.idle = nil
}

// stats says what the pool holds, by looking.
func (p *httpPool) stats(s *HTTPStats) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.Waiting = len(p.waiting) - p.head + p.order.waiting()
	s.Open = len(p.conns) - p.dialing
	s.Down = p.down
	for c := range p.conns {
		if c.busy {
			s.Busy++
		}
	}
}
