package capture

import (
	"math"
	"unsafe"

	"kagami"
)

// A dialect is what a connection speaks that is not HTTP/1.x. It is fed the bytes
// of both directions in order. A reason other than Delivered means that it can't
// be followed any more, and why.
type dialect interface {
	feed(client bool, p []byte, at arrival) kagami.Reason
	// lost says that the next n bytes will not come; cut, that it was the capture
	// that cut them off.
	lost(client bool, n int, cut bool) kagami.Reason
	// resume says that some bytes were lost, nobody knows how many, and that p is next.
	resume(client bool, p []byte) kagami.Reason
	eof(client bool)

	expire(before int64) // ends what made no progress since the clock was there
	shed() bool          // gives up the message that made no progress for longest
	close()              // ends all that is unfinished
	busy() bool          // anything is
	inFlight() int64     // messages that have begun and not ended
	size() int64         // bytes of memory
	rejoins() bool       // it can be followed again after it was forgotten
}

// A session is a connection's dialect and its place in the lists.
type session struct {
	dialect
	conn       *conn
	list       *sessionList
	prev, next *session
	since      int64 // clock when it was last fed
	charged    int64 // bytes of the memory budget
}

const sessionSize = int64(unsafe.Sizeof(session{}))

// memory is what s counts for in the memory budget.
func (s *session) memory() int64 {
	n := sessionSize + s.size()
	if s.conn.of != nil {
		n += guessSize
	}
	return n
}

// A sessionList is a list of sessions, the one that was not fed for longest first.
type sessionList struct {
	first, last *session
	charged     int64 // of all of them
}

// sessionLists are the sessions with something unfinished, and those without.
type sessionLists struct{ busy, idle sessionList }

// listsOf returns those that s belongs in.
func (a *assembler) listsOf(s *session) *sessionLists {
	if s.conn.of != nil {
		return &a.guesses
	}
	return &a.sessions
}

func (l *sessionList) push(s *session) {
	s.list, s.prev, s.next = l, l.last, nil
	if l.last != nil {
		l.last.next = s
	} else {
		l.first = s
	}
	l.last = s
	l.charged += s.charged
}

func (l *sessionList) remove(s *session) {
	if s.prev != nil {
		s.prev.next = s.next
	} else {
		l.first = s.next
	}
	if s.next != nil {
		s.next.prev = s.prev
	} else {
		l.last = s.prev
	}
	s.list, s.prev, s.next = nil, nil, nil
	l.charged -= s.charged
}

// speak begins a session on a connection; its halves have yet to be handed over.
func (a *assembler) speak(c *conn, d dialect) {
	s := &session{dialect: d, conn: c}
	c.session = s
	a.listsOf(s).idle.push(s)
	if c.of == nil {
		a.spoke(c)
	}
	a.fed(s)
}

// handOver makes the bytes of a half those of its connection's session, from h.next on.
func (a *assembler) handOver(c *conn, h *half) {
	if c.session == nil || h.has(halfSession) || h.work != nil && h.work.phase != phaseNone {
		return
	}
	h.flags |= halfSession
	if h.has(halfBlocked) || !h.has(halfSynced) { // it is not the one that is being read
		h.flags &^= halfBlocked
		a.drain(c, h)
	}
}

// fed puts a session where it belongs after something was done with it, and
// keeps the memory that is not in use within half of the budget.
func (a *assembler) fed(s *session) {
	s.list.remove(s)
	a.rechargeSession(s)
	s.since = a.clock
	if s.busy() {
		a.listsOf(s).busy.push(s)
		return
	}
	a.listsOf(s).idle.push(s)
	for a.guesses.idle.charged+a.sessions.idle.charged > a.cfg.Memory/2 {
		l := &a.guesses.idle
		if l.first == nil {
			l = &a.sessions.idle
		}
		a.forgetSession(l.first)
	}
}

// rechargeSession corrects what a session counts for in the memory budget.
func (a *assembler) rechargeSession(s *session) {
	more := s.memory() - s.charged
	a.used += more
	s.charged += more
	if s.list != nil {
		s.list.charged += more
	}
}

// converse hands bytes to the session of their connection.
func (a *assembler) converse(c *conn, h *half, p []byte, at arrival) {
	s := c.session
	r := s.feed(!a.isServer(c, h), p, at)
	if s.busy() {
		s.expire(a.clock - a.expireAfter)
	}
	a.heard(c, s, r)
}

// heard goes on after something was done with a session that may have ended it.
func (a *assembler) heard(c *conn, s *session, r kagami.Reason) {
	if r != kagami.Delivered {
		a.part(c, r)
	}
	if c.session != s {
		return
	}
	a.fed(s)
	if c.of != nil {
		c = c.of
	}
	if c.list == &a.table.closing {
		a.endIdle(c)
	}
}

// endIdle ends what follows a connection that has ended, unless something in it is unfinished.
func (a *assembler) endIdle(c *conn) {
	for _, c := range [...]*conn{c, c.guess} {
		if c != nil && c.session != nil && !c.session.busy() {
			a.endSession(c)
		}
	}
}

// sessionLost tells the session that n bytes of a half will not come.
func (a *assembler) sessionLost(c *conn, h *half, n int, cut bool) {
	s := c.session
	a.heard(c, s, s.lost(!a.isServer(c, h), n, cut))
}

// sessionEnds tells the session that a half has ended.
func (a *assembler) sessionEnds(c *conn, h *half) {
	s := c.session
	s.eof(!a.isServer(c, h))
	a.heard(c, s, kagami.Delivered)
}

// endSession ends the session of a connection, if it has one. Bytes that still
// come are nobody's.
func (a *assembler) endSession(c *conn) {
	s := c.session
	if s == nil {
		return
	}
	s.close()
	s.list.remove(s)
	a.used -= s.charged
	c.session = nil
	for i := range c.half {
		if h := &c.half[i]; h.has(halfSession) {
			h.flags &^= halfSession | halfSynced
		}
	}
	if c.of != nil {
		a.flush(c) // nobody else waits for what is held
	}
}

// forgetSession ends a session in which nothing is unfinished, for want of memory.
func (a *assembler) forgetSession(s *session) {
	c := s.conn
	if !s.rejoins() {
		a.part(c, kagami.MemoryLimit)
		return
	}
	a.endSession(c)
	c.flags = c.flags&^(connSYN|connSpoke|connUpgrade) | connUncertain | connHTTP2 // as one joined in the middle
}

// expireSessions gives up what made no progress in sessions that nothing is
// heard of.
func (a *assembler) expireSessions() {
	for _, l := range [...]*sessionList{&a.sessions.busy, &a.guesses.busy} {
		for s := l.first; s != nil && a.clock-s.since >= a.expireAfter; s = l.first {
			s.expire(a.clock - a.expireAfter + 1)
			a.heard(s.conn, s, kagami.Delivered)
		}
	}
}

// shedOne frees memory in a session, if that is older than w or there is no w. It
// returns false if there is nothing unfinished in any; of what else they hold, fed
// sees to it that it is not too much.
func (a *assembler) shedOne(w *work) bool {
	if s := a.sessions.busy.first; s != nil && (w == nil || s.since < w.since) {
		s.shed()
		a.heard(s.conn, s, kagami.Delivered)
		return true
	}
	return false
}

// shedAll gives up what is unfinished in the session of a connection.
func (a *assembler) shedAll(c *conn) {
	for s := c.session; s != nil && s.shed(); {
		a.fed(s)
	}
}

// oldest is when the clock was at the last progress of what made none for
// longest; ok is false if nothing is unfinished.
func (a *assembler) oldest() (since int64, ok bool) {
	since = math.MaxInt64
	if w := a.pending.first; w != nil {
		since, ok = w.since, true
	}
	for _, l := range [...]*sessionList{&a.sessions.busy, &a.guesses.busy} {
		if s := l.first; s != nil {
			since, ok = min(since, s.since), true
		}
	}
	return since, ok
}

// sessionsBegun counts the messages that have begun and not ended in sessions.
func (a *assembler) sessionsBegun() (n int64) {
	for _, l := range [...]*sessionList{&a.sessions.busy, &a.guesses.busy} {
		for s := l.first; s != nil; s = s.next {
			n += s.inFlight()
		}
	}
	return n
}

// resume goes on in a half of a session where some bytes were lost, with p. It
// returns false if that can't be.
func (a *assembler) resume(c *conn, h *half, p []byte) bool {
	s := c.session
	a.heard(c, s, s.resume(!a.isServer(c, h), p))
	return c.session == s
}
