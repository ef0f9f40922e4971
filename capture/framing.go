package capture

import (
	"bytes"

	"kagami"
	"kagami/internal/http1"
	"kagami/internal/lose"
)

// lostReason is why a message is dropped of which bytes were not seen.
const lostReason = kagami.SequenceGap

// begin consumes bytes that stand where a message may begin, and returns how
// many. Where they are an answer that has to wait for its request it sets
// halfBlocked instead.
func (a *assembler) begin(c *conn, h *half, p []byte, at arrival) (n int) {
	if !c.has(connSpoke) {
		if n = proxyHeader(p); n > 0 {
			return n
		}
	}
	if p[0] == '\r' || p[0] == '\n' { // empty lines between messages (RFC 9112 §2.2)
		for n < len(p) && (p[n] == '\r' || p[n] == '\n') {
			n++
		}
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
		method := ""
		if to != nil {
			method = to.Method
		}
		w.framer.Expect(method)
	}
	n, done, err := w.framer.Feed(p)
	if err == http1.ErrNotHTTP {
		w.framer.Reset()
		h.flags &^= halfSynced
		a.stray(c, h, p)
		return len(p)
	}
	w.message = message{phase: phaseHead, start: at.time, ack: at.ack, seq: h.next, answer: answer, to: to}
	if !done {
		w = a.attach(c, h)
	}
	if err != nil {
		return a.broken(c, h, w, p, err)
	}
	a.took(c, h, w, p[:n], at, done)
	return n
}

// goOn consumes bytes that follow on those of a message that has begun.
func (a *assembler) goOn(c *conn, h *half, w *work, p []byte, at arrival) (n int) {
	switch {
	case w.phase == phaseHead && h.has(halfGuess) && !w.counted && looksLike(p, w.answer) == http1.Yes:
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
		a.forget(w)
		a.stray(c, h, p)
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
const exactly = 64 << 10

// store appends bytes to what is kept of the message.
func (a *assembler) store(w *work, p []byte, done bool) {
	need := len(w.raw) + len(p)
	if need > a.cfg.MaxMessage {
		a.lose(w, kagami.TooLarge)
		return
	}
	if need > cap(w.raw) {
		room := need
		if !done {
			known := 2 * need
			if left := w.framer.Remaining(); left >= 0 && !w.framer.Head().Chunked {
				known = need + int(min(left, int64(a.cfg.MaxMessage)))
			}
			room = max(min(known, max(2*need, exactly)), need)
		}
		raw := make([]byte, len(w.raw), room)
		copy(raw, w.raw)
		w.raw = raw
	}
	w.raw = append(w.raw, p...)
	if w.half != nil {
		a.recharge(w)
	}
}

// count counts the message as begun, once it is known to be one.
func (a *assembler) count(c *conn, w *work) {
	if w.counted {
		return
	}
	w.counted = true
	a.messages.In(1)
	if c.flags&(connSpoke|connWaiting) != connSpoke {
		c.flags |= connSpoke
		c.flags &^= connGuess
		a.notWaiting(c)
	}
	if w.answer {
		return
	}
	if w.ack == c.idAck && c.has(connHasID) {
		c.idNum++
	} else {
		c.idAck, c.idNum = w.ack, 0
		c.flags |= connHasID
	}
	w.ordinal = c.idNum
	c.flags &^= connMute
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
	w.method = methodName(head.Method)
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
}

// finish ends the message in w and hands it on.
func (a *assembler) finish(c *conn, w *work) {
	if head := w.framer.Head(); head != nil && head.Ambiguous {
		w.flags |= kagami.Ambiguous
	}
	if w.interim {
		w.message = message{}
		return
	}
	switch {
	case w.lost:
	case w.answer:
		a.finishAnswer(c, w)
	default:
		a.deliver(a.build(c, w))
	}
	if t := w.to; t != nil && !w.answer {
		t.request = nil
		if w.early != nil {
			a.deliverAnswer(w.early)
		}
	}
	leaves := w.leaves
	w.message = message{}
	if leaves {
		a.part(c, kagami.Upgraded)
	}
}

// build makes the message that is handed on.
func (a *assembler) build(c *conn, w *work) *kagami.Message {
	client, server := c.ends()
	var m *kagami.Message
	if w.to != nil {
		m = &kagami.Message{Exchange: &w.to.Exchange}
	} else {
		both := &struct {
			kagami.Message
			kagami.Exchange
		}{}
		m = &both.Message
		m.Exchange = &both.Exchange
		m.Exchange.Method = w.method
		m.Exchange.ID = kagami.MakeID(client, server, uint32(w.ack), w.ordinal, w.start.Unix())
	}
	m.Kind, m.Proto, m.Flags = kagami.Request, kagami.HTTP1, w.flags
	if w.answer {
		m.Kind = kagami.Response
	}
	if w.cut {
		m.Flags |= kagami.Truncated
	}
	m.WireLen, m.Start, m.End = w.wire, w.start, w.end
	m.Client, m.Server = client, server
	m.Raw = w.raw
	return m
}

// deliver puts a finished message into the batch.
func (a *assembler) deliver(m *kagami.Message) {
	if lose.One("capture") {
		return
	}
	if !a.out.add(m) {
		m.Exchange.Decide(kagami.Shared, kagami.Dropped)
		a.messages.Drop(kagami.QueueFull, 1)
	}
}

// missing notes that bytes of the body in w were not captured.
func (a *assembler) missing(w *work, cut bool) {
	if cut && (w.answer || a.cfg.AllowIncomplete) {
		w.cut = true
		return
	}
	a.lose(w, lostReason)
}

// unfinished ends a message whose end was not seen, and never will be.
func (a *assembler) unfinished(c *conn, w *work) {
	if w.phase == phaseBody && !w.lost && !w.interim && a.cfg.AllowIncomplete {
		w.flags |= kagami.Incomplete
		a.finish(c, w)
		w.framer.Reset()
		return
	}
	a.drop(w, kagami.Unfinished)
}

// lose counts the message in w as dropped and forgets its bytes, but goes on
// to look for its end.
func (a *assembler) lose(w *work, r kagami.Reason) {
	if w.lost || w.phase == phaseNone {
		return
	}
	w.lost = true
	w.raw = nil
	if w.half != nil {
		a.recharge(w)
	}
	if w.counted {
		a.messages.Drop(r, 1)
	}
	if w.to != nil && !w.answer {
		w.to.Decide(kagami.Shared, kagami.Dropped)
		if w.early != nil {
			a.messages.Drop(kagami.RequestDropped, 1)
			w.early = nil
		}
	}
}

// drop ends the message in w without handing it on.
func (a *assembler) drop(w *work, r kagami.Reason) {
	if w.phase == phaseNone {
		return
	}
	if !w.interim && !w.half.has(halfGuess) {
		a.count(w.conn, w)
	}
	a.lose(w, r)
	a.forget(w)
}

// forget ends what began in w without counting it.
func (a *assembler) forget(w *work) {
	if !w.answer {
		if w.to != nil {
			w.to.request = nil
		} else {
			w.conn.flags |= connUncertain
		}
	}
	w.message = message{}
	w.framer.Reset()
	a.recharge(w)
}

// methodName returns a method as a string, without allocating for common ones.
func methodName(b []byte) string {
	switch string(b) {
	case "GET":
		return "GET"
	case "POST":
		return "POST"
	case "HEAD":
		return "HEAD"
	case "PUT":
		return "PUT"
	case "DELETE":
		return "DELETE"
	case "OPTIONS":
		return "OPTIONS"
	case "PATCH":
		return "PATCH"
	case "CONNECT":
		return "CONNECT"
	}
	return string(b)
}
