package output

import (
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"kagami"
	"kagami/internal/lose"
)

// A loopState is what a connection of a loop is doing.
type loopState uint8

const (
	loopNew      loopState = iota
	loopDialing            // waits for the kernel to connect it
	loopDialer             // a goroutine makes the connection
	loopIdle               // has no request
	loopReady              // has a request that may not be sent yet
	loopExchange           // has sent a request, or is sending it
	loopEnded
)

// loopConn is what a loop knows about a connection; guarded by its lock.
type loopConn struct {
	state    loopState
	fd       int // -1 if there is none
	slot     int32
	turn     int32          // counts the slot's sockets, so that no event of one before is taken for this one's
	local    netip.AddrPort // our end; not valid until somebody asked
	deadline time.Time
	start    time.Time // of the exchange
	q        httpRequest
	left     int       // redirects that may be followed
	again    bool      // q is being sent a second time
	retry    bool      // q may be sent a second time: it went out on a connection used before
	got      bool      // a byte of the answer was seen
	paced    bool      // counts in httpLoop.paced
	others   bool      // there are other addresses than the one being tried
	pending  bool      // an event was not acted upon yet
	hungry   bool      // it is in httpLoop.hungry
	ready    bool      // it is in httpLoop.ready
	rest     [2][]byte // of the request: what the socket did not take yet
	sendErr  error     // why the rest was not sent
}

// timed reports whether there is a deadline.
func (c *loopConn) timed() bool { return c.state == loopDialing || c.state == loopExchange }

// localAddr is our end of the connection. The kernel is asked once for each socket.
func (c *loopConn) localAddr() netip.AddrPort {
	if c.local.IsValid() {
		return c.local
	}
	sa, err := unix.Getsockname(c.fd)
	if err != nil {
		return netip.AddrPort{}
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		c.local = netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		c.local = netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port))
	}
	return c.local
}

// event acts upon what epoll says of a connection. Both directions are watched
// from the start, for edges.
func (l *httpLoop) event(c *httpConn, ev uint32) {
	const (
		failed   = unix.EPOLLERR | unix.EPOLLHUP
		readable = unix.EPOLLIN | unix.EPOLLRDHUP | failed
	)
	s := &c.loop
	switch s.state {
	case loopDialing:
		if ev&failed != 0 {
			l.dialSlowly(c) // it says what is wrong, or finds another address
		} else if ev&unix.EPOLLOUT != 0 {
			s.pending = ev&unix.EPOLLIN != 0
			l.dialed(c, nil)
		}
	case loopExchange:
		s.pending = s.pending || ev&(unix.EPOLLRDHUP|failed) != 0
		if len(s.rest[0])+len(s.rest[1]) > 0 && ev&(unix.EPOLLOUT|failed) != 0 {
			l.flush(c)
		}
		if ev&readable != 0 {
			l.advance(c, l.read(c))
		}
	default:
		s.pending = s.pending || ev&readable != 0
	}
}

// serve begins with the request that c has.
func (l *httpLoop) serve(c *httpConn) loopStep {
	s := &c.loop
	if lose.One("http") {
		return loopKeep
	}
	if r := c.render.parse(&s.q, c.job.m, c.job.m.Raw); r != kagami.Delivered {
		c.h.settle(&c.job, r)
		return loopKeep
	}
	s.start = time.Now()
	c.deadline, c.begun, c.sent = s.start.Add(c.h.cfg.Timeout), false, false
	s.left = c.h.cfg.Redirects
	l.under++
	if s.paced = !c.job.m.Due.IsZero(); s.paced {
		l.paced++
	}
	c.bind(c.job.ctx)
	return l.send(c)
}

// send sends q, on a new connection if this one can't be used.
func (l *httpLoop) send(c *httpConn) loopStep {
	s := &c.loop
	s.again = false
	if s.fd >= 0 && c.used && (s.q.alone || !l.usable(c)) {
		l.hangUp(c)
	}
	if s.fd < 0 {
		l.dial(c)
		return loopPending
	}
	return l.exchange(c)
}

// usable is httpConn.usable for a connection of the loop.
func (l *httpLoop) usable(c *httpConn) bool {
	if !c.h.resolver.listed(c.addr) {
		return false
	}
	if idempotent(c.loop.q.head.Method) {
		return true
	}
	var b [1]byte
	_, _, err := unix.Recvfrom(c.loop.fd, b[:], unix.MSG_PEEK)
	return err == unix.EAGAIN || err == unix.EINTR
}

// exchange sends q on the connection that there is.
func (l *httpLoop) exchange(c *httpConn) loopStep {
	s := &c.loop
	if c.job.ctx.Err() != nil {
		return l.finish(c, c.givenUp(kagami.SendError), false)
	}
	if c.h.cfg.Before != nil && !c.begun {
		l.hold(c)
		return loopPending
	}
	s.state, s.deadline = loopExchange, c.deadline
	s.retry = c.used && !s.again && idempotent(s.q.head.Method)
	c.used, s.got, s.sendErr = true, false, nil
	c.h.counters.requests.Add(1)
	c.awaitAnswer(&s.q)
	l.watchDeadline(c)
	l.out = c.render.appendHead(l.out[:0], &s.q)
	s.rest = [2][]byte{l.out, s.q.body}
	if len(s.q.body) <= joinBody {
		l.out = append(l.out, s.q.body...)
		s.rest = [2][]byte{l.out, nil}
	}
	l.flush(c)
	s.rest[0] = append([]byte(nil), s.rest[0]...) // out is the next one's
	if cap(l.out) > keepWrite {
		l.out = nil
	}
	if s.pending || s.sendErr != nil {
		s.pending = true
		return l.read(c)
	}
	return loopPending
}

// flush writes what is left of a request, as far as the socket takes it.
func (l *httpLoop) flush(c *httpConn) {
	s := &c.loop
	for i := range s.rest {
		for len(s.rest[i]) > 0 && s.sendErr == nil {
			n, err := rawWrite(s.fd, s.rest[i])
			switch err {
			case nil:
				c.wrote(int64(n))
				s.rest[i] = s.rest[i][n:]
			case unix.EINTR:
			case unix.EAGAIN:
				return
			default:
				s.sendErr = os.NewSyscallError("write", err)
				s.rest = [2][]byte{}
			}
		}
	}
}

// read reads as much of the answer as there is. A server may answer
// without having read all, and close: that is an answer too.
func (l *httpLoop) read(c *httpConn) loopStep {
	s := &c.loop
	for range loopFair {
		n, full, err := l.recv(c)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN && s.sendErr != nil:
			return l.failed(c, s.sendErr)
		case err == unix.EAGAIN:
			s.pending = false
			return loopPending
		case err != nil:
			return l.failed(c, os.NewSyscallError("read", err))
		case n == 0:
			return l.eof(c)
		}
		s.got = true
		done, err := l.feed(c, n)
		if err != nil {
			return l.failed(c, errGarbage)
		}
		if done {
			if s.sendErr != nil || len(s.rest[0])+len(s.rest[1]) > 0 {
				c.framer.Head().Close = true
			}
			return l.answered(c)
		}
		if !full && !s.pending {
			return loopPending // what comes later is an event of its own
		}
	}
	s.hungry = true
	l.hungry = append(l.hungry, c)
	return loopPending
}
