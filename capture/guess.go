package capture

import (
	"bytes"

	"kagami/internal/http1"
)

// maxLead is the longest part of a start line, in bytes, that is kept while more
// of it is to come.
const maxLead = 64 << 10

// A guess is what is known of a session that was not seen to begin: a body of
// HTTP/1.1 can hold frames of HTTP/2, be it a recording of them, so that bytes never
// prove it. The first message of HTTP/1.x that begins in a segment disproves it.
type guess struct {
	ends  bool      // which end is the client is a guess as well
	next  [2]seqNum // of each half, before it was handed over
	leads [2]lead   // of each half
	// recent are the segments that came last, of each half: a message of HTTP/1.x to which they
	// belong may begin in one that comes late.
	recent [2][]remembered
}

// A remembered is a segment's payload, and behind it cut bytes that the capture did not keep.
type remembered struct {
	seq  seqNum
	data []byte
	cut  int
	at   arrival
}

// A lead is what may be the first part of a start line, and ends where the bytes that
// were consumed do.
type lead struct {
	p  []byte
	at arrival
}

func (g *guess) held() int64 {
	if g == nil {
		return 0
	}
	n := cap(g.leads[0].p) + cap(g.leads[1].p)
	for i := range g.recent {
		for _, p := range g.recent[i] {
			n += cap(p.data)
		}
	}
	return int64(n)
}

// remember keeps a copy of a segment of a half, as many of the last as are kept of a half of
// which nothing is known.
func (g *guess) remember(half int, seq seqNum, p []byte, cut int, at arrival) {
	if len(p)+cut > maxRecentBytes {
		return
	}
	all, bytes := g.recent[half], len(p)
	for _, old := range all {
		bytes += len(old.data)
	}
	var buf []byte
	for len(all) > 0 && (len(all) >= maxRecent || bytes > maxRecentBytes) {
		buf = all[0].data
		bytes -= len(buf)
		copy(all, all[1:])
		all = all[:len(all)-1]
	}
	g.recent[half] = append(all, remembered{seq, append(buf[:0], p...), cut, at})
}

// holdAgain holds what the session of a guess took in last, so that it is there if what comes
// before it comes. What may begin a message was looked at when it came.
func (a *assembler) holdAgain(c *conn, g *guess) {
	for i := range c.half {
		for _, p := range g.recent[i] {
			if c.state != stateParted && looksLike(p.data, false) == http1.No && looksLike(p.data, true) == http1.No {
				a.hold(c, &c.half[i], p.seq, p.data, p.cut, p.at)
			}
		}
	}
}

// lead returns what may be the first part of a start line in h.
func (g *guess) lead(c *conn, h *half) *lead { return &g.leads[c.index(h)] }

// breaks says that bytes are missing before the next of h.
func (g *guess) breaks(c *conn, h *half) {
	if g != nil {
		*g.lead(c, h) = lead{}
	}
}

// disproves looks whether a message of HTTP/1.x begins in bytes of a session that is a
// guess. If so the session is over, and the message is read from h.next on.
func (a *assembler) disproves(c *conn, h *half, p []byte, at arrival) bool {
	l := c.session.guess.lead(c, h)
	alone := a.startLine(c, h, nil, p)
	if len(l.p) > 0 && (alone != http1.Yes || registered(l.p, p)) {
		switch v := a.startLine(c, h, l.p, p); {
		case v == http1.Yes:
			a.goBack(c, h, *l, p)
			return true
		case v == http1.Maybe && len(l.p)+len(p) <= maxLead:
			l.p = append(l.p, p...)
			return false
		}
		*l = lead{}
	}
	switch {
	case alone == http1.Yes:
		a.goBack(c, h, lead{}, p)
		return true
	case alone == http1.Maybe && len(p) <= maxLead && len(bytes.TrimLeft(p, "\r\n")) > 0: // empty lines are of no message
		*l = lead{bytes.Clone(p), at}
	}
	return false
}

// misfits ends a session that is a guess and can't go on behind p. It returns false if p may
// be a part of a start line: then it is to be read as that.
func (a *assembler) misfits(c *conn, h *half, p []byte) (consumed bool) {
	l := *c.session.guess.lead(c, h)
	if len(l.p) < len(p) {
		a.retreat(c, h, 0, nil)
		return true
	}
	l.p = l.p[:len(l.p)-len(p)]
	a.goBack(c, h, l, p)
	return false
}

// goBack ends a session that was a guess, and reads what came before p as HTTP/1.x.
func (a *assembler) goBack(c *conn, h *half, first lead, p []byte) {
	a.retreat(c, h, h.next.add(-len(first.p)), append(first.p[:len(first.p):len(first.p)], p...))
	if len(first.p) > 0 {
		a.inOrder(c, h, first.p, 0, first.at)
	}
}

// retreat ends a session that was a guess, and a wrong one: no other is tried in its
// connection, and what was not looked at for its sake is not old. If there is a p, it
// begins a message at seq of h.
func (a *assembler) retreat(c *conn, h *half, seq seqNum, p []byte) {
	g := c.session.guess
	for i := range c.half {
		switch h := &c.half[i]; {
		case !h.has(halfSession):
		case c.has(connSYN):
			h.next = g.next[i]
		default:
			h.flags = h.flags&^halfKnown | halfStray
		}
	}
	a.endSession(c)
	a.holdAgain(c, g)
	c.flags |= connHTTP1 | connSearch
	if g.ends {
		c.state = stateNew
		c.flags &^= connGuess
	}
	if len(p) == 0 {
		return
	}
	if v := a.verdict(c, h, p); v != http1.No {
		h.sync(seq)
		h.guess(v)
	}
}

// holdsHTTP1 reports whether a message of HTTP/1.x begins in what is held of a connection. Then
// it is not guessed to be of HTTP/2: a session would take in what belongs to messages
// of which the beginning comes late.
func (c *conn) holdsHTTP1() bool {
	for i := range c.half {
		if w := c.half[i].work; w != nil {
			for s := w.held; s != nil; s = s.next {
				if looksLike(s.data, false) == http1.Yes || looksLike(s.data, true) == http1.Yes {
					c.flags |= connHTTP1
					return true
				}
			}
		}
	}
	return false
}

// older looks whether a segment whose first bytes were taken in by a session that is a
// guess, or come before it, begins a message of HTTP/1.x. If so the session is over.
func (a *assembler) older(c *conn, h *half, seq seqNum, p []byte) {
	v := a.startLine(c, h, nil, p)
	if v == http1.Yes || v == http1.Maybe && seq.minus(h.start) < 0 && bytes.IndexByte(p, ' ') > 0 {
		a.retreat(c, h, seq, nil)
	}
}

// forgetRecent keeps what is held of h, of which nothing else is known, within its bounds;
// all says to keep nothing. What would be forgotten is looked at first: it may be of the
// middle of a connection of HTTP/2, which is followed from there on. That comes so late
// because a message of HTTP/1.x that it belongs to may begin in a segment that comes late.
// It returns true if h is followed now.
func (a *assembler) forgetRecent(c *conn, h *half, all bool) bool {
	w := h.work
	for w.held != nil && (all || w.heldCount > maxRecent || w.heldBytes > maxRecentBytes) {
		if w.phase == phaseNone && a.midway(c, h, w.held.data) {
			h.sync(w.held.seq)
			return true
		}
		if c.state == stateParted {
			return false // and nothing is held any more
		}
		a.free(w.pop())
	}
	a.recharge(w)
	return false
}

// searchAgain looks for messages in what is held of a connection that turned out to be
// HTTP/1.x.
func (a *assembler) searchAgain(c *conn) {
	c.flags &^= connSearch
	for i := range c.half {
		if h := &c.half[i]; h.work != nil && c.state != stateParted {
			a.drain(c, h)
		}
	}
}

// startLine says whether first and then p can begin a message. Of first, which can, no more
// is looked at again than must be.
func (a *assembler) startLine(c *conn, h *half, first, p []byte) (v http1.Verdict) {
	const enough = 128 // what has a fixed form is shorter
	begun := len(first) > 0
	if begun {
		if bytes.IndexByte(p, '\n') < 0 {
			first = first[:min(len(first), enough)]
		}
		p = append(first[:len(first):len(first)], p...)
	}
	answer, ends := a.isServer(c, h), c.session.guess.ends
	if answer || ends {
		v = http1.LooksLikeResponse(p)
	}
	if v != http1.Yes && (!answer || ends) {
		if r := http1.LooksLikeRequest(p); r == http1.Yes || r == http1.Maybe && (begun || maybeMethod(p)) {
			v = r
		}
	}
	return v
}
