package output

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"kagami/internal/http1"
)

const (
	readSize  = 32 << 10
	keepWrite = 64 << 10 // the largest write buffer that is kept
)

// An httpConn is a place for a connection to the target, and the goroutine
// that uses it, or what the HTTP's loop knows about it.
type httpConn struct {
	h    *HTTP
	wake chan struct{} // gets a token when it is taken off the idle list, if it has a goroutine

	// Guarded by the pool's lock; job is its goroutine's while busy.
	job       httpJob
	busy      bool
	idleSince time.Time

	// Its goroutine's alone.
	*httpBuffers
	render   httpRender
	raw      syscall.RawConn // of nc; nil if it has none
	addr     netip.AddrPort  // that nc goes to
	used     bool            // nc has carried a request, or was idle
	deadline time.Time       // of the job
	begun    bool            // Before was told of the job's request
	sent     bool            // bytes of it went out
	loop     loopConn        // unused where it has a goroutine

	mu   sync.Mutex // guards what follows against abort
	nc   net.Conn
	done <-chan struct{} // of the context that abort is bound to
	stop func() bool
	turn int // counts what abort was bound to
}

// httpBuffers is what a connection needs, and leaves to the next one.
type httpBuffers struct {
	framer http1.Framer
	method string // of the request as far as it matters to the answer: "HEAD" or ""
	in     []byte // of a connection with a goroutine
	out    []byte
	parts  [2][]byte
	answer []byte // of the current one, as much as is kept
	size   int64  // of the current answer on the wire
	status int
}

// startConn starts a new connection.
func (h *HTTP) startConn(c *httpConn) {
	c.h = h
	c.httpBuffers = h.bufs.Get().(*httpBuffers)
	c.render = h.render
	if h.loop != nil {
		h.wg.Add(1)
		h.pool.roused = append(h.pool.roused, c)
		return
	}
	c.wake = make(chan struct{}, 1)
	h.wg.Go(c.run)
}

// rouseConn tells a connection that it was taken off the idle list.
func (h *HTTP) rouseConn(c *httpConn) {
	if h.loop != nil {
		h.pool.roused = append(h.pool.roused, c)
		return
	}
	c.wake <- struct{}{}
}

// work lets the loop, if there is one, do what the pool wants done. It is
// called after whatever may make the pool want something.
func (h *HTTP) work() {
	if h.loop != nil {
		h.loop.work()
	}
}

// run makes the connection and serves requests until there is no more use for it.
func (c *httpConn) run() {
	if c.in == nil {
		c.in = make([]byte, readSize)
	}
	defer c.end()
	for c.connect() {
		for c.h.pool.next(c, time.Now()) {
			if !c.serve() {
				break
			}
		}
		c.hangUp()
		if !c.h.pool.again(c) {
			return
		}
	}
}

func (c *httpConn) end() {
	c.bind(context.Background())
	c.framer.Reset()
	if cap(c.out) > keepWrite {
		c.out = nil
	}
	c.answer = nil
	c.h.bufs.Put(c.httpBuffers)
}

// connect makes a connection that no request waits for in particular.
func (c *httpConn) connect() bool {
	err := c.dial(c.h.ctx)
	c.h.notify(err, func() bool { return c.h.pool.dialed(c, err == nil) })
	return err == nil
}

// reconnect makes a connection for the request that c has.
func (c *httpConn) reconnect() error {
	c.hangUp()
	ctx, cancel := context.WithDeadline(c.job.ctx, c.deadline)
	defer cancel()
	err := c.dial(ctx)
	if err == nil || c.job.ctx.Err() == nil {
		c.h.notify(err, func() bool { return c.h.pool.reached(err == nil) })
	}
	return err
}

func (c *httpConn) dial(ctx context.Context) error {
	nc, addr, err := c.h.dialer.connect(ctx)
	if err != nil {
		c.h.counters.unconnected.Add(1)
		return err
	}
	c.h.counters.connected.Add(1)
	c.mu.Lock()
	c.nc = nc
	c.mu.Unlock()
	c.raw, c.addr, c.used = rawConn(nc), addr, false
	return nil
}

// notify notes how an attempt at a connection went, and tells if that changed
// what is known about the target: one change after the other.
func (h *HTTP) notify(err error, note func() (changed bool)) {
	h.notifyMu.Lock()
	defer h.notifyMu.Unlock()
	if !note() || h.Up() != h.saidDown { // both versions' connections are of one target
		return
	}
	if h.saidDown = !h.saidDown; h.cfg.Notify != nil {
		h.cfg.Notify(err)
	}
}

func (c *httpConn) hangUp() {
	c.mu.Lock()
	nc := c.nc
	c.nc = nil
	c.mu.Unlock()
	if nc != nil {
		nc.Close()
	}
}

// bind makes the end of ctx interrupt what c does on its connection, and
// nothing else's any more. It is cheap if ctx is the one of before.
func (c *httpConn) bind(ctx context.Context) {
	done := ctx.Done()
	if done == c.done {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stop != nil {
		c.stop()
		c.stop = nil
	}
	c.done = done
	c.turn++
	if done != nil {
		turn := c.turn
		c.stop = context.AfterFunc(ctx, func() { c.abort(turn) })
	}
}

// abort interrupts a read or write under way.
func (c *httpConn) abort(turn int) {
	if c.h.loop != nil {
		c.h.loop.abort(c, turn)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.turn == turn && c.nc != nil {
		_ = c.nc.SetDeadline(time.Unix(1, 0)) // an error means that it is closed
	}
}
