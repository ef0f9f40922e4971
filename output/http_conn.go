package output

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"kagami"
	"kagami/internal/http1"
	"kagami/internal/lose"
)

const (
	readSize  = 32 << 10
	joinBody  = 16 << 10 // a body up to this is copied behind its head, to be one write
	keepWrite = 64 << 10 // the largest write buffer that is kept
)

// An httpConn is a place for a connection to the target, and the goroutine
// that uses it.
type httpConn struct {
	h    *HTTP
	wake chan struct{} // gets a token when it is taken off the idle list

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
	sent     bool            // bytes of the job's request went out

	mu   sync.Mutex // guards nc, bound and stop against abort
	nc   net.Conn
	done <-chan struct{} // of the context that abort is bound to
	stop func() bool
	turn int // counts what abort was bound to
}

// httpBuffers is what a connection needs, and leaves to the next one.
type httpBuffers struct {
	framer http1.Framer
	in     [readSize]byte
	out    []byte
	parts  [2][]byte
	answer []byte // of the current one, as much as is kept
	size   int64  // of the current answer on the wire
	status int
}

// startConn starts the goroutine of a new connection.
func (h *HTTP) startConn(c *httpConn) {
	c.h = h
	h.wg.Go(c.run)
}

// run makes the connection and serves requests until there is no more use for it.
func (c *httpConn) run() {
	c.httpBuffers = c.h.bufs.Get().(*httpBuffers)
	c.render = c.h.render
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
	c.h.notify(c.h.pool.dialed(c, err == nil), err)
	return err == nil
}

// reconnect makes a connection for the request that c has.
func (c *httpConn) reconnect() error {
	c.hangUp()
	ctx, cancel := context.WithDeadline(c.job.ctx, c.deadline)
	defer cancel()
	err := c.dial(ctx)
	if err == nil || c.job.ctx.Err() == nil {
		c.h.notify(c.h.pool.reached(err == nil), err)
	}
	return err
}

func (c *httpConn) dial(ctx context.Context) error {
	nc, addr, err := c.h.dialer.connect(ctx)
	if err != nil {
		c.h.counters.failed.Add(1)
		return err
	}
	c.h.counters.connected.Add(1)
	c.mu.Lock()
	c.nc = nc
	c.mu.Unlock()
	c.raw, c.addr, c.used = rawConn(nc), addr, false
	return nil
}

// notify tells what changed about the target.
func (h *HTTP) notify(changed bool, err error) {
	if changed && h.cfg.Notify != nil {
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
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.turn == turn && c.nc != nil {
		_ = c.nc.SetDeadline(time.Unix(1, 0)) // an error means that it is closed
	}
}

// serve sends the request that c has and settles it. It reports whether the
// connection can be used for another.
func (c *httpConn) serve() (keep bool) {
	if lose.One("http") {
		return true
	}
	j := &c.job
	var q httpRequest
	if r := c.render.parse(&q, j.m, j.m.Raw); r != kagami.Delivered {
		c.h.settle(j, r)
		return true
	}
	start := time.Now()
	c.deadline, c.sent = start.Add(c.h.cfg.Timeout), false
	c.bind(j.ctx)
	reason, keep := c.send(&q)
	for n := c.h.cfg.Redirects; n > 0 && reason == kagami.Delivered && c.redirect(&q); n-- {
		if !keep {
			c.hangUp()
		}
		reason, keep = c.send(&q)
	}
	if reason == kagami.Delivered && c.h.cfg.Answers != nil {
		c.handOn(start)
	}
	c.h.settle(j, reason)
	return keep
}

// send sends a request and reads the answer, on a new connection if this one
// can't be used, or turns out to have been closed.
func (c *httpConn) send(q *httpRequest) (reason kagami.Reason, keep bool) {
	safe := idempotent(q.head.Method)
	if c.nc != nil && c.used && (q.alone || !c.usable(safe)) {
		c.hangUp()
	}
	for again := false; ; again = true {
		if c.nc == nil {
			if err := c.reconnect(); err != nil {
				return c.givenUp(kagami.SendError), false
			}
		}
		used := c.used
		c.used = true
		stale, err := c.exchange(q)
		if err == nil {
			c.h.counters.answered(c.status, time.Since(c.job.at))
			return kagami.Delivered, c.mayKeep(q)
		}
		if !stale || !used || again || !safe {
			return c.failure(err), false
		}
		c.hangUp()
		c.h.counters.retries.Add(1)
	}
}

// usable reports whether a connection that was used before is good for
// another request: its address is still the target's, and it is open, as far
// as that matters: a request that is safe to send twice may find out by itself.
func (c *httpConn) usable(safe bool) bool {
	if !c.h.resolver.listed(c.addr) {
		return false
	}
	if safe || c.raw == nil {
		return true
	}
	return c.nc.SetDeadline(c.deadline) == nil && peek(c.raw)
}

// failure is the reason that an error on the connection gives.
func (c *httpConn) failure(err error) kagami.Reason {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return c.givenUp(kagami.Timeout)
	}
	return c.givenUp(kagami.SendError)
}

// givenUp is r, or the reason that the end of the job's context gives.
func (c *httpConn) givenUp(r kagami.Reason) kagami.Reason {
	switch {
	case c.job.ctx.Err() == nil:
		return r
	case c.sent:
		return kagami.InDoubt
	}
	return kagami.DrainTimeout
}

// exchange sends a request on the connection and reads the answer. stale says
// that the connection ended before any byte of it.
func (c *httpConn) exchange(q *httpRequest) (stale bool, err error) {
	if err := c.nc.SetDeadline(c.deadline); err != nil {
		return true, err
	}
	if err := c.job.ctx.Err(); err != nil {
		return false, err // and if it ends later, abort is called later
	}
	c.h.counters.requests.Add(1)
	sendErr := c.write(q)
	if errors.Is(sendErr, os.ErrDeadlineExceeded) {
		return false, sendErr
	}
	// A server may answer without having read all, and close: read that too.
	got, err := c.read(q)
	if err == nil && sendErr != nil {
		c.framer.Head().Close = true
	}
	return !got && !errors.Is(err, os.ErrDeadlineExceeded), err
}

// write writes the request: with one system call, where that can be.
func (c *httpConn) write(q *httpRequest) error {
	if cap(c.out) > keepWrite {
		c.out = nil
	}
	c.out = c.render.appendHead(c.out[:0], q)
	var n int64
	var err error
	if len(q.body) <= joinBody {
		c.out = append(c.out, q.body...)
		var m int
		m, err = c.nc.Write(c.out)
		n = int64(m)
	} else {
		c.parts = [2][]byte{c.out, q.body}
		parts := net.Buffers(c.parts[:])
		n, err = parts.WriteTo(c.nc)
		c.parts = [2][]byte{}
	}
	c.sent = c.sent || n > 0
	return err
}

var errGarbage = errors.New("the answer is not HTTP")

// read reads the answer to its end. got says that there was a byte of it.
func (c *httpConn) read(q *httpRequest) (got bool, err error) {
	f := &c.framer
	f.Response = true
	f.Reset()
	if string(q.head.Method) == "HEAD" {
		f.Expect("HEAD")
	}
	c.answer, c.size = c.answer[:0], 0
	for {
		n, err := c.nc.Read(c.in[:])
		got = got || n > 0
		done, ferr := c.feed(c.in[:n])
		switch {
		case ferr != nil:
			return got, errGarbage
		case done:
			return got, nil
		case err == io.EOF && f.EOF():
			f.Head().Close = true
			c.status = f.Head().Status
			return got, nil
		case err == io.EOF:
			return got, io.ErrUnexpectedEOF
		case err != nil:
			return got, err
		}
	}
}

// feed takes bytes that were read. Interim answers are passed over (RFC 9110 §15.2).
func (c *httpConn) feed(p []byte) (done bool, err error) {
	for len(p) > 0 {
		n, done, err := c.framer.Feed(p)
		if err != nil {
			return false, err
		}
		c.keepAnswer(p[:n])
		p = p[n:]
		if !done {
			continue
		}
		h := c.framer.Head()
		if h.Status < 200 && h.Status != 101 {
			c.answer, c.size = c.answer[:0], 0
			continue
		}
		c.status = h.Status
		if len(p) > 0 {
			h.Close = true // nobody asked for what follows
		}
		return true, nil
	}
	return false, nil
}

// mayKeep reports whether the connection outlives its last answer (RFC 9112 §9.3).
func (c *httpConn) mayKeep(q *httpRequest) bool {
	h := c.framer.Head()
	switch {
	case q.alone, h.Close, h.Ambiguous, h.Status == 101:
		return false
	case h.Minor == 0, q.head.Minor == 0:
		return h.KeepAlive
	}
	return true
}

// idempotent reports whether a request may be sent twice (RFC 9110 §9.2.2).
func idempotent(method []byte) bool {
	switch string(method) {
	case "GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE":
		return true
	}
	return false
}
