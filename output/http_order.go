package output

import (
	"context"
	"net/netip"

	"kagami"
)

// What waits behind other requests of the same client connections is bounded
// as a queue is, by default.
const (
	maxHeldMessages = DefaultQueueMessages
	maxHeldBytes    = DefaultQueueBytes
)

// A httpLine is a client connection that requests were seen on.
type httpLine struct{ client, server netip.AddrPort }

func lineOf(m *kagami.Message) httpLine { return httpLine{m.Client, m.Server} }

// httpOrder holds requests back until those before them on the same client
// connection are done with. It is guarded by the pool's lock. Nil holds
// nothing back.
type httpOrder struct {
	each int // how many wait behind one another on a connection, at most
	// lines are the client connections that have a request on its way, waiting
	// for a connection to the target or being sent: what waits behind that.
	lines map[httpLine][]httpJob
	held  int
	bytes int64
	room  chan struct{} // gets a token when one is held no longer
}

func newHTTPOrder(cfg *HTTPConfig) *httpOrder {
	if !cfg.KeepOrder {
		return nil
	}
	return &httpOrder{each: cfg.OrderWait, lines: map[httpLine][]httpJob{}, room: make(chan struct{}, 1)}
}

// A httpPlacing is what becomes of a request that comes.
type httpPlacing uint8

const (
	placeNow  httpPlacing = iota // it may be sent
	placeHeld                    // it waits behind another
	placeFull                    // it would, but too many do
)

// place holds a request back if it has to be.
func (o *httpOrder) place(j httpJob) httpPlacing {
	if o == nil || !j.m.Client.IsValid() {
		return placeNow
	}
	line := lineOf(j.m)
	behind, busy := o.lines[line]
	if !busy {
		o.lines[line] = nil
		return placeNow
	}
	size := j.m.Size()
	if len(behind) >= o.each || o.held >= maxHeldMessages || o.held > 0 && o.bytes+size > maxHeldBytes {
		return placeFull
	}
	o.lines[line] = append(behind, j)
	o.held++
	o.bytes += size
	return placeHeld
}

// done says that a request is done with. It returns the one that waited for it.
func (o *httpOrder) done(j httpJob) (next httpJob, ok bool) {
	if o == nil || j.m == nil || !j.m.Client.IsValid() {
		return httpJob{}, false
	}
	line := lineOf(j.m)
	behind := o.lines[line]
	if len(behind) == 0 {
		delete(o.lines, line)
		return httpJob{}, false
	}
	next, behind[0] = behind[0], httpJob{}
	o.lines[line] = behind[1:]
	o.let(1, next.m.Size())
	return next, true
}

// takeAll takes all that is held back.
func (o *httpOrder) takeAll() (jobs []httpJob) {
	if o == nil || o.held == 0 {
		return nil
	}
	for line, behind := range o.lines {
		jobs = append(jobs, behind...)
		o.lines[line] = nil
	}
	o.let(o.held, o.bytes)
	return jobs
}

// let notes that n are not held back any more.
func (o *httpOrder) let(n int, bytes int64) {
	o.held -= n
	o.bytes -= bytes
	select {
	case o.room <- struct{}{}:
	default:
	}
}

// waiting is how many are held back.
func (o *httpOrder) waiting() int {
	if o == nil {
		return 0
	}
	return o.held
}

// awaitRoom waits until fewer are held back. It reports false if ctx ended first.
func (o *httpOrder) awaitRoom(ctx context.Context) bool {
	select {
	case <-o.room:
		return true
	case <-ctx.Done():
		return false
	}
}
