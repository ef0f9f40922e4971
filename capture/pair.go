package capture

import (
	"kagami"
	"kagami/internal/http1"
)

// maxAwaits bounds the requests of one connection that wait for an answer.
const maxAwaits = 1024

// An await is a request that waits for its answer. It is in one allocation
// with the exchange, which lives on; so it must not keep others alive.
type await struct {
	kagami.Exchange
	next    *await
	ack     seqNum // of the segment that held the request's first byte
	request *work  // until the request is complete
}

// method is the method of the request, "" if t is nil.
func (t *await) method() string {
	if t == nil {
		return ""
	}
	return t.Method
}

// An awaitList is the requests of a connection that wait, oldest first.
type awaitList struct {
	first, last *await
	n           int
}

func (l *awaitList) push(t *await) {
	if l.last != nil {
		l.last.next = t
	} else {
		l.first = t
	}
	l.last = t
	l.n++
}

func (l *awaitList) pop() {
	t := l.first
	l.first, t.next = t.next, nil
	if l.first == nil {
		l.last = nil
	}
	l.n--
}

// expect notes that the request in w, whose head is known, will be answered.
func (a *assembler) expect(c *conn, w *work) {
	if c.awaits.n >= maxAwaits || a.awaits >= a.maxAwaits {
		c.flags |= connUncertain
		return
	}
	t := &await{ack: w.ack, request: w}
	client, server := c.ends()
	t.ID = requestID(client, server, w)
	t.Method = w.method
	if w.lost {
		t.Decide(kagami.Shared, kagami.Dropped)
	}
	w.to = t
	c.awaits.push(t)
	a.awaits++
}

func (a *assembler) popAwait(c *conn) {
	c.awaits.pop()
	a.awaits--
}

// match finds the request that the answer beginning at a sequence number
// belongs to; nil if it is not known. wait says that it may become known.
//
// Answers come in the order of their requests (RFC 9112 §9.3). Where that order
// may have been lost, because the beginning of the connection or bytes in it
// were not seen, sequence numbers decide: before a client sends a request it has
// usually acknowledged all earlier answers, so the answer begins at exactly the
// number that the request acknowledged. No answer is taken for that of another
// request, at the price of a few that are taken for nobody's.
func (a *assembler) match(c *conn, at seqNum) (t *await, wait bool) {
	if !c.has(connUncertain) {
		return c.awaits.first, c.awaits.first == nil && !c.has(connMute)
	}
	for t = c.awaits.first; t != nil; t = t.next {
		if at == t.ack {
			for c.awaits.first != t {
				a.popAwait(c)
			}
			c.flags &^= connUncertain
			return t, false
		}
		if at.minus(t.ack) < 0 {
			return nil, false // it was under way before any request that waits
		}
	}
	return nil, !c.has(connMute)
}

// answerHead notes what the head of an answer says.
func (a *assembler) answerHead(c *conn, w *work, head *http1.Head) {
	if head.Status < 200 && head.Status != 101 {
		w.interim = true
		return
	}
	a.count(c, w)
	t := w.to
	switch {
	case t == nil:
		a.lose(w, kagami.OrphanResponse)
	case t.Fate(kagami.Shared) == kagami.Dropped:
		a.lose(w, kagami.RequestDropped)
	}
	if t != nil {
		a.popAwait(c)
	}
	w.leaves = head.Status == 101 || head.Status < 300 && t != nil && t.Method == "CONNECT"
	switch {
	case !w.leaves:
		c.flags &^= connUpgrade
	case c.asked != nil && (head.Status != 101 || t == nil || c.asked.exchange != &t.Exchange):
		c.asked = nil // it is not what the server agrees to
	}
}

// finishAnswer hands on a complete answer, but not before its request.
func (a *assembler) finishAnswer(c *conn, w *work) {
	m := a.build(c, w)
	if r := w.to.request; r != nil && !r.lost {
		r.early = m
		a.recharge(r)
		return
	}
	a.deliverAnswer(m)
}

// deliverAnswer hands on an answer whose request was handed on or dropped.
func (a *assembler) deliverAnswer(m *kagami.Message) {
	if m.Exchange.Fate(kagami.Shared) == kagami.Dropped {
		a.messages.Drop(kagami.RequestDropped, 1)
		return
	}
	a.deliver(m)
}

// unblock lets the answers of a connection go on that waited for a request.
func (a *assembler) unblock(c *conn) {
	h := &c.half[c.client^1]
	h.flags &^= halfBlocked
	a.drain(c, h)
}

// mute lets them go on without one, and others after them until the client
// is heard of again.
func (a *assembler) mute(c *conn, h *half) {
	c.flags |= connMute
	h.flags &^= halfBlocked
}
