package output

import (
	"io"
	"time"

	"kagami"
)

// discardFrom is how much must be missing of an answer that nobody wants for
// the kernel to be told to throw it away, in bytes.
const discardFrom = 4 << 10

// recv reads into l.in. Where the bytes are of a body that nobody wants they
// are not even copied. full says that there may be more to read.
func (l *httpLoop) recv(c *httpConn) (n int, full bool, err error) {
	if l.in == nil {
		l.in = make([]byte, loopRead)
	}
	l.extra, l.skipped = false, false
	left := c.framer.Remaining()
	if left < discardFrom || !c.framer.HeadDone() || c.answerRoom() > 0 {
		n, err = rawRead(c.loop.fd, l.in)
		return n, n == len(l.in), err
	}
	in := l.in
	if c.framer.Head().Chunked && left < int64(len(in)) {
		in = in[:left] // what follows is framing
	}
	n, err = rawDiscard(c.loop.fd, in)
	if n > 0 {
		l.skipped = true
		l.extra = int64(n) > left
		n := min(int64(n), left)
		c.framer.Skip(n)
		c.size += n
	}
	return n, n == len(in), err
}

// feed takes the n bytes that recv read.
func (l *httpLoop) feed(c *httpConn, n int) (done bool, err error) {
	if !l.skipped {
		return c.feed(l.in[:n])
	}
	if _, done, err = c.framer.Feed(nil); done {
		h := c.framer.Head()
		c.status = h.Status
		h.Close = h.Close || l.extra // nobody asked for what follows
	}
	return done, err
}

// eof is the end of what the server says.
func (l *httpLoop) eof(c *httpConn) loopStep {
	if !c.framer.EOF() {
		return l.failed(c, io.ErrUnexpectedEOF)
	}
	c.framer.Head().Close = true
	c.status = c.framer.Head().Status
	return l.answered(c)
}

// failed ends an exchange that got no whole answer, or begins it again.
func (l *httpLoop) failed(c *httpConn, err error) loopStep {
	s := &c.loop
	if s.got || !s.retry {
		c.job.failure = failureOf(err, s.got)
		return l.finish(c, c.failure(err), false)
	}
	l.hangUp(c)
	c.h.counters.retries.Add(1)
	s.again = true
	l.dial(c)
	return loopPending
}

// answered goes on behind a whole answer.
func (l *httpLoop) answered(c *httpConn) loopStep {
	s := &c.loop
	c.h.counters.answered(c.status, time.Since(c.job.at))
	keep := c.mayKeep(&s.q)
	if s.left > 0 && c.redirect(&s.q) {
		s.left--
		if !keep {
			l.hangUp(c)
		}
		return l.send(c)
	}
	return l.finish(c, kagami.Delivered, keep)
}

// finish settles the request.
func (l *httpLoop) finish(c *httpConn, r kagami.Reason, keep bool) loopStep {
	s := &c.loop
	if r == kagami.Delivered && c.h.cfg.Answers != nil {
		c.handOn(s.start)
	}
	c.h.settle(&c.job, r)
	l.under--
	if s.paced {
		s.paced = false
		l.paced--
	}
	s.q, s.rest, s.pending = httpRequest{}, [2][]byte{}, false
	if keep {
		return loopKeep
	}
	return loopEnd
}
