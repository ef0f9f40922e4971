package capture

import "kagami"

// requeue puts w at the end of the list of pending works.
func (a *assembler) requeue(w *work) {
	w.since = a.clock
	a.pending.remove(w)
	a.pending.push(w)
}

// advance moves the clock on to a time in Unix nanoseconds. It never goes back.
func (a *assembler) advance(now int64) {
	if now > a.clock {
		a.clock = now
		a.expire()
	}
}

// expire gives up what has made no progress for too long.
func (a *assembler) expire() {
	for w := a.pending.first; w != nil && a.clock-w.since >= a.expireAfter; w = a.pending.first {
		a.stale(w)
	}
	a.expireSessions()
}

// stale gives up what w waits for: the request of an answer, bytes that are
// missing, or the end of a message. It does one of them, so that calling it
// again and again comes to an end.
func (a *assembler) stale(w *work) {
	c, h := w.conn, w.half
	a.requeue(w) // whatever happens, it is not the oldest any more
	switch {
	case c.state != stateParted && h.has(halfBlocked):
		client := &c.half[c.client]
		if client != h && client.has(halfSynced) && client.work != nil && client.work.held != nil {
			a.stale(client.work) // the request may be behind what is missing there
		}
		if h.has(halfBlocked) {
			a.mute(c, h)
			a.drain(c, h)
		}
	case c.state != stateParted && h.has(halfSynced) && w.held != nil:
		a.hole(c, h, max(w.held.seq.minus(h.next), 0), false)
		a.drain(c, h)
	default:
		if c.state != stateParted && !h.has(halfSynced) {
			a.forgetRecent(c, h, true)
		}
		a.freeAll(w)
		if w.phase != phaseNone {
			if w.phase == phaseHead && !w.counted {
				h.next = w.seq // what probed a closed window may yet come, from its first byte on
			}
			a.unfinished(c, w)
			h.flags &^= halfSynced
		}
		a.settle(h)
	}
}

// flush ends everything that is unfinished in a connection.
func (a *assembler) flush(c *conn) {
	// The client's half first: its end may be what an answer waits for.
	first, second := &c.half[c.client], &c.half[c.client^1]
	for first.work != nil || second.work != nil {
		for first.work != nil {
			a.stale(first.work)
		}
		if second.work != nil {
			a.stale(second.work)
		}
	}
	for c.awaits.n > 0 {
		a.popAwait(c)
	}
	a.endSession(c)
}

// makeRoom keeps the memory budget: what made no progress for longest goes.
func (a *assembler) makeRoom() {
	for a.used > a.cfg.Memory {
		w := a.pending.first
		if a.shedGuess() || a.shedOne(w) {
			continue
		}
		if w == nil {
			return
		}
		c, h := w.conn, w.half
		if w.phase == phaseBody && !w.lost && w.held == nil {
			a.lose(w, kagami.MemoryLimit) // its end can still be found
			a.requeue(w)
			continue
		}
		a.freeAll(w)
		h.flags &^= halfBlocked
		if w.phase != phaseNone {
			a.drop(w, kagami.MemoryLimit)
		}
		h.flags &^= halfSynced
		c.flags |= connUncertain
		a.settle(h)
	}
}
