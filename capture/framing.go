package capture

import (
	"bytes"

	"kagami"
	"kagami/internal/http1"
)

// lostReason is why a message is dropped of which bytes were not seen.
const lostReason = kagami.SequenceGap

// begin consumes bytes that stand where a message may begin, and returns how
// many. Where they are an answer that has to wait for its request it sets
// halfBlocked instead.
func (a *assembler) begin(c *conn, h *half, p []byte, at arrival) (n int) {
	if n = between(c, p); n > 0 {
		return n
	}
	a.doubt(c, h, p)
	answer := a.isServer(c, h)
	if c.state == stateParted || answer && !a.cfg.Responses {
		return len(p)
	}
	var to *await
	if answer {
		var wait bool
		if to, wait = a.match(c, h.next); wait {
			a.attach(c, h)
			h.flags |= halfBlocked
			return 0
		}
	}
	w := h.work
	if w == nil {
		w = a.spare
	}
	w.framer.Response = answer
	if answer {
		w.framer.Expect(to.method())
	}
	n, done, err := w.framer.Feed(p)
	if err == http1.ErrNotHTTP {
		w.framer.Reset()
		if a.turns(c, h, h.next, p, at) {
			return len(p)
		}
		h.flags &^= halfSynced
		a.stray(c, h, p)
		return len(p)
	}
	w.phase, w.start, w.ack, w.seq, w.answer, w.to = phaseHead, at.time, at.ack, h.next, answer, to // of a message that is zero
	if !done {
		w = a.attach(c, h)
	}
	if err != nil {
		return a.broken(c, h, w, p, err)
	}
	a.took(c, h, w, p[:n], at, done)
	return n
}

// between is how many bytes that belong to no message stand where one may begin:
// empty lines (RFC 9112 §2.2), or at first a load balancer's header.
func between(c *conn, p []byte) (n int) {
	if !c.has(connSpoke) {
		n = proxyHeader(p)
	}
	if n == 0 {
		for n < len(p) && (p[n] == '\r' || p[n] == '\n') {
			n++
		}
	}
	return n
}

// goOn consumes bytes that follow on those of a message that has begun.
func (a *assembler) goOn(c *conn, h *half, w *work, p []byte, at arrival) (n int) {
	switch {
	case w.phase == phaseHead && h.has(halfGuess) && !w.counted && looksLike(p, w.answer) == http1.Yes && (w.answer || !registered(w.raw, p)):
		a.forget(w) // what came before was no start line
		return 0
	case w.expects && w.framer.BodyLen() == 0 && http1.LooksLikeRequest(p) == http1.Yes:
		// The server refused the body (RFC 9110 §10.1.1), and this is the next request.
		a.unfinished(c, w)
		return 0
	}
	n, done, err := w.framer.Feed(p)
	if err != nil {
		return a.broken(c, h, w, p, err)
	}
	a.progress(w)
	a.took(c, h, w, p[:n], at, done)
	return n
}

// broken ends a message whose framing broke at p, and with it all that is known
// about where the next begins. It returns how many bytes it disposed of: all.
func (a *assembler) broken(c *conn, h *half, w *work, p []byte, err error) int {
	h.flags &^= halfSynced
	switch {
	case err == http1.ErrHeadTooLarge:
		a.count(c, w)
		a.drop(w, kagami.TooLarge)
	case err == http1.ErrChunk || w.counted:
		a.count(c, w)
		a.drop(w, kagami.NotHTTP)
	default: // not even its start line was one
		seq, start, at := w.seq, append(w.raw[:len(w.raw):len(w.raw)], p...), arrival{w.start, w.ack}
		before := c.flags
		a.forget(w)
		after := c.flags
		c.flags = before // it is no lost request if it is the first part of something else
		if !a.turns(c, h, seq, start, at) {
			c.flags |= after
			a.stray(c, h, p)
		}
	}
	return len(p)
}

// took notes bytes that belong to the message in w, and that they end it if done.
func (a *assembler) took(c *conn, h *half, w *work, p []byte, at arrival, done bool) {
	w.wire += len(p)
	w.end = at.time
	if !w.lost && !w.cut {
		a.store(w, p, done)
	}
	if w.phase == phaseHead {
		if w.framer.HeadDone() {
			w.phase = phaseBody
			a.head(c, w)
		} else if !w.counted && !w.answer && bytes.IndexByte(p, '\n') >= 0 {
			a.count(c, w) // a whole request line
		}
		if w.counted {
			h.flags &^= halfGuess
		}
	}
	if done {
		a.finish(c, w)
	}
	if c.half[c.client^1].has(halfBlocked) && c.awaits.n > 0 && c.state == stateOpen {
		a.unblock(c)
	}
}

// exactly is how large a body is allocated for at once, on its sender's word.
const exactly = leastKept

// store appends bytes to what is kept of the message.
func (a *assembler) store(w *work, p []byte, done bool) {
	need := len(w.raw) + len(p)
	if need > a.cfg.MaxMessage {
		a.lose(w, kagami.TooLarge)
		return
	}
	if need > cap(w.raw) {
		before := w.raw
		w.raw = append(a.buffers.get(a.roomFor(w, need, done)), before...)
		a.buffers.put(before)
	}
	w.raw = append(w.raw, p...)
	if w.half != nil {
		a.recharge(w)
	}
}

// roomFor is for how many bytes of the message there should be room, if need are there: for
// all of them where it is known how many there are, and for some more otherwise.
func (a *assembler) roomFor(w *work, need int, done bool) int {
	if done {
		return need
	}
	room := 2 * need
	if left := w.framer.Remaining(); left >= 0 && !w.framer.Head().Chunked {
		if known := need + int(min(left, int64(a.cfg.MaxMessage))); known <= exactly {
			return known
		} else if room = leastKept << gradeOf(need); known < room {
			return known
		}
	} else if room > leastKept {
		room = leastKept << gradeOf(need)
	}
	return room
}

// count counts the message as begun, once it is known to be one.
func (a *assembler) count(c *conn, w *work) {
	if w.counted {
		return
	}
	w.counted = true
	a.messages.In(1)
	if w.lost {
		a.messages.Drop(w.why, 1)
	}
	a.spoke(c)
	if w.answer {
		return
	}
	// Segments in order may have acknowledgements that are not: one was sent again. An older
	// one counts as the latest, so that no two requests have the same ID.
	if old := c.idAck.minus(w.ack); c.has(connHasID) && old >= 0 && old < oldWindow {
		w.ack = c.idAck
		c.idNum++
	} else {
		c.idAck, c.idNum = w.ack, 0
		c.flags |= connHasID
	}
	w.ordinal = c.idNum
	c.flags &^= connMute
}

// spoke notes that the connection is one that is followed.
func (a *assembler) spoke(c *conn) {
	if c.flags&(connSpoke|connWaiting) != connSpoke {
		c.flags |= connSpoke
		c.flags &^= connGuess
		a.notWaiting(c)
		a.endGuess(c)
	}
}

// head notes what the head of the message says.
func (a *assembler) head(c *conn, w *work) {
	head := w.framer.Head()
	if w.answer {
		a.answerHead(c, w, head)
	} else {
		a.requestHead(c, w, head)
	}
	if !c.has(connSYN) {
		w.flags |= kagami.MidStream
	}
	total := int64(head.Len) + max(head.ContentLength, 0)
	if !w.lost && !head.Chunked && total > int64(a.cfg.MaxMessage) && w.framer.Remaining() > 0 {
		a.lose(w, kagami.TooLarge)
	}
}

func (a *assembler) requestHead(c *conn, w *work, head *http1.Head) {
	a.count(c, w)
	w.method = http1.MethodName(head.Method)
	w.expects = head.Expect100
	if head.Upgrade || w.method == "CONNECT" {
		c.flags |= connUpgrade
	} else {
		c.flags &^= connUpgrade
	}
	if a.cfg.Responses {
		a.expect(c, w)
	}
	if a.cfg.ReplayHeader != "" && !w.lost {
		if _, own := http1.Header(w.raw[:min(head.Len, len(w.raw))], a.cfg.ReplayHeader); own {
			a.lose(w, kagami.OwnTraffic)
		}
	}
	if head.Upgrade || c.asked != nil {
		a.asks(c, w, head)
	}
}
