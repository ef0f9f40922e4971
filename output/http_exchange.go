package output

import (
	"errors"
	"io"
	"net"
	"os"
	"time"

	"kagami"
	"kagami/internal/lose"
)

// A body of up to joinBody bytes is copied behind its head, to be one write.
const joinBody = 16 << 10

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
	c.deadline, c.begun, c.sent = start.Add(c.h.cfg.Timeout), false, false
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
			c.job.failure = failureOf(err, !stale)
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
	if err := c.mayBegin(); err != nil {
		return false, err // and if the job's context ends later, abort is called later
	}
	c.h.counters.requests.Add(1)
	sent := c.startWrite(q)
	// A server may answer without having read all, and close: read that too.
	got, err := c.read(q)
	if sendErr := sent(); err == nil && sendErr != nil {
		c.framer.Head().Close = true
	}
	return !got && !errors.Is(err, os.ErrDeadlineExceeded), err
}

// startWrite writes the request, a large one beside the reading of its answer: a server that has
// answered may read no more of it. What it returns ends the writing, and says how that went.
func (c *httpConn) startWrite(q *httpRequest) (end func() error) {
	if len(q.body) <= joinBody {
		err := c.write(q)
		return func() error { return err }
	}
	done := make(chan error, 1)
	go func() { done <- c.write(q) }()
	return func() error {
		select {
		case err := <-done:
			return err
		default:
			_ = c.nc.SetWriteDeadline(time.Unix(1, 0)) // an error means that it is closed
			return <-done
		}
	}
}

// mayBegin waits until the request may be sent. Its error is that of the job's context.
func (c *httpConn) mayBegin() error {
	if c.h.cfg.Before != nil && !c.begun {
		waited, err := c.h.before(c.job.ctx, c.job.m)
		if err != nil {
			return err
		}
		if c.begun = true; waited {
			c.deadline = time.Now().Add(c.h.cfg.Timeout)
			if err := c.nc.SetDeadline(c.deadline); err != nil {
				return err
			}
		}
	}
	return c.job.ctx.Err()
}

// write writes the request: with one system call, where that can be. It may be called beside read.
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
	c.wrote(n)
	return err
}

var errGarbage = errors.New("the answer is not HTTP")

// read reads the answer to its end. got says that there was a byte of it.
func (c *httpConn) read(q *httpRequest) (got bool, err error) {
	f := &c.framer
	c.awaitAnswer(q)
	for {
		n, err := c.nc.Read(c.in)
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

// awaitAnswer makes c ready to read an answer.
func (c *httpConn) awaitAnswer(q *httpRequest) {
	c.framer.Response = true
	c.framer.Reset()
	c.method = ""
	if string(q.head.Method) == "HEAD" {
		c.method = "HEAD"
	}
	c.framer.Expect(c.method)
	c.answer, c.size = c.answer[:0], 0
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
		h := c.framer.Head()
		if h != nil && h.BadLength && !h.Chunked && !h.NoBody(c.method) {
			return false, errGarbage // nobody knows where it ends (RFC 9112 §6.3)
		}
		if !done {
			continue
		}
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
