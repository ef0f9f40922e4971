package capture

import "kagami/internal/http1"

// oldWindow is how far behind the next expected byte a segment counts as sent
// again. What lies further back belongs to another connection.
const oldWindow = 16 << 20

// maxWindow is how far ahead of what is acknowledged a sender may be: RFC 7323 section 2.3. What lies
// further ahead belongs to another connection as well; so all pieces held are within half of the numbers there are.
const maxWindow = 1 << 30

// payload takes in a segment's payload: p and then cut bytes that the capture
// did not keep, from seq on. It returns false if all of it had been seen before.
func (a *assembler) payload(c *conn, h *half, seq seqNum, p []byte, cut int, at arrival) (fresh bool) {
	if h.has(halfKnown) {
		if old := h.next.minus(seq); old > oldWindow || old < -maxWindow || old <= 0 && h.has(halfEnded) {
			// Of a connection between the same ends whose SYN was not seen, or nothing.
			if c.of != nil || http1.LooksLikeRequest(p) != http1.Yes {
				return false
			}
			a.restart(c)
		} else if old > 0 {
			if p, cut = skipBytes(p, cut, old); len(p)+cut == 0 {
				return false
			}
			seq = h.next
		}
	}
	switch {
	case !h.has(halfSynced):
		fresh = true
		if !a.search(c, h, seq, p, cut, at) {
			return true
		}
	case seq == h.next && (h.work == nil || h.work.held == nil):
		fresh = true
		a.inOrder(c, h, p, cut, at)
	default:
		fresh = a.hold(c, h, seq, p, cut, at)
	}
	if h.work != nil {
		a.drain(c, h)
	}
	return fresh
}

// skipBytes takes n bytes off the front of p and then of cut.
func skipBytes(p []byte, cut, n int) ([]byte, int) {
	if n <= len(p) {
		return p[n:], cut
	}
	return nil, max(cut-(n-len(p)), 0)
}

// inOrder consumes bytes that begin at h.next.
func (a *assembler) inOrder(c *conn, h *half, p []byte, cut int, at arrival) {
	seq := h.next
	n := a.consume(c, h, p, at)
	switch {
	case n < len(p): // an answer that has to wait
		a.hold(c, h, seq.add(n), p[n:], cut, at)
	case cut > 0:
		a.hole(c, h, cut, true)
	}
}

// search looks whether a message begins in a segment, while no boundary is
// known. If so, it is consumed.
func (a *assembler) search(c *conn, h *half, seq seqNum, p []byte, cut int, at arrival) bool {
	v := a.verdict(c, h, p)
	if v == http1.No {
		a.stray(c, h, p)
		if !h.has(halfKnown) {
			h.next = seq.add(len(p) + cut)
			h.flags |= halfStray
		}
		switch {
		case c.state == stateParted || c.of != nil:
		case len(p) > maxRecentBytes:
			a.guessMidway(c, h, seq, p, at)
		case len(p)+cut <= maxRecentBytes && !a.headsOnly(c, h):
			a.hold(c, h, seq, p, cut, at)
			a.forgetRecent(c, h, false)
			a.settle(h)
		}
		return false
	}
	h.sync(seq)
	h.guess(v)
	a.inOrder(c, h, p, cut, at)
	return true
}

// searchHeld does the same with what is held.
func (a *assembler) searchHeld(c *conn, h *half) bool {
	w := h.work
	for n, s := 0, w.held; s != nil; n, s = n+1, s.next {
		v := a.verdict(c, h, s.data)
		if c.state == stateParted {
			return false // and nothing is held any more
		}
		if v == http1.No {
			continue
		}
		for ; n > 0; n-- {
			a.free(c, w.pop())
		}
		h.sync(s.seq)
		h.guess(v)
		return true
	}
	a.forgetRecent(c, h, false)
	return false
}

// drain consumes what is held, as far as nothing is missing before it.
func (a *assembler) drain(c *conn, h *half) {
	for h.work != nil && h.work.held != nil && c.state != stateParted {
		w := h.work
		if !h.has(halfSynced) {
			if !a.searchHeld(c, h) {
				break
			}
			continue
		}
		if h.has(halfBlocked) {
			if !w.full() {
				break
			}
			a.mute(c, h)
		}
		if gap := w.held.seq.minus(h.next); gap > 0 {
			if !w.full() {
				break
			}
			a.hole(c, h, gap, false)
			continue
		}
		a.drainOne(c, h, w.pop())
	}
	a.settle(h)
	a.checkEnd(c, h)
}

// drainOne consumes a piece that begins at h.next or before it.
func (a *assembler) drainOne(c *conn, h *half, s *held) {
	p, cut := skipBytes(s.data, s.cut, h.next.minus(s.seq))
	if len(p)+cut > 0 {
		a.inOrder(c, h, p, cut, s.at)
	}
	a.free(c, s)
	if h.work != nil {
		a.recharge(h.work)
	}
}

// consume hands bytes that begin at h.next to the messages they belong to. It
// returns less than len(p) where an answer begins that has to wait for its request.
func (a *assembler) consume(c *conn, h *half, p []byte, at arrival) (n int) {
	for n < len(p) {
		if !h.has(halfSynced) || c.state == stateParted {
			h.next = h.next.add(len(p) - n)
			return len(p)
		}
		if h.has(halfSession) {
			a.converse(c, h, p[n:], at)
			h.next = h.next.add(len(p) - n)
			return len(p)
		}
		m := 0
		if w := h.work; w == nil || w.phase == phaseNone {
			m = a.begin(c, h, p[n:], at)
		} else {
			m = a.goOn(c, h, w, p[n:], at)
		}
		if h.has(halfBlocked) {
			return n
		}
		h.next = h.next.add(m)
		n += m
	}
	return n
}

// hole says that the n bytes from h.next on will not come; cut, that it was
// the capture that cut them off. Framing goes on behind them where they lie in a
// body of known length.
func (a *assembler) hole(c *conn, h *half, n int, cut bool) {
	a.seen.Gaps++
	if h.has(halfSession) && h.has(halfSynced) {
		h.next = h.next.add(n)
		a.sessionLost(c, h, n, cut)
		return
	}
	w := h.work
	goesOn := h.has(halfSynced) && w != nil && w.phase == phaseBody && w.framer.Skip(int64(n))
	h.next = h.next.add(n)
	if !goesOn {
		if cut && a.cfg.ResponseHead > 0 && w != nil && w.phase == phaseBody && w.answer && !w.lost {
			w.cut = true
			a.finish(c, w) // there is all of it that was asked for
			w.framer.Reset()
		}
		a.lostPlace(c, h)
		return
	}
	w.wire += n
	a.missing(w, cut)
	if _, done, _ := w.framer.Feed(nil); done {
		a.finish(c, w)
	}
}

// lostPlace drops what was begun in h: the next boundary has to be found. The
// bytes that were lost may have held whole messages, which nobody can count.
func (a *assembler) lostPlace(c *conn, h *half) {
	if w := h.work; w != nil {
		a.drop(w, lostReason)
		a.settle(h)
	}
	h.flags &^= halfSynced | halfBlocked
	c.flags |= connUncertain
}

// checkEnd ends h where all bytes up to its FIN were consumed.
func (a *assembler) checkEnd(c *conn, h *half) {
	if h.flags&(halfFIN|halfEnded|halfSynced) != halfFIN|halfSynced || h.next.minus(h.fin) < 0 || h.has(halfBlocked) {
		return
	}
	h.flags |= halfEnded
	if h.has(halfSession) {
		a.sessionEnds(c, h)
	}
	w := h.work
	if w == nil {
		return
	}
	a.freeAll(w) // bytes behind the end are none of the connection's
	if w.phase == phaseBody && w.framer.EOF() {
		a.finish(c, w)
	} else if w.phase != phaseNone {
		a.unfinished(c, w)
	}
	a.settle(h)
}
