package capture

import (
	"net/netip"

	"kagami"
	"kagami/internal/lose"
)

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
		a.leave(c)
	}
}

// requestID is the ID of the request in w, of a connection with the given ends.
func requestID(client, server netip.AddrPort, w *work) kagami.ID {
	return kagami.MakeID(client, server, uint32(w.ack), w.ordinal, w.start.Unix())
}

// newMessage returns a message with an exchange of its own, in one allocation.
func newMessage(id kagami.ID, method string) *kagami.Message {
	both := &struct {
		kagami.Message
		kagami.Exchange
	}{}
	both.Message.Exchange = &both.Exchange
	both.Exchange.ID, both.Exchange.Method = id, method
	return &both.Message
}

// build makes the message that is handed on.
func (a *assembler) build(c *conn, w *work) *kagami.Message {
	client, server := c.ends()
	var m *kagami.Message
	if w.to != nil {
		m = &kagami.Message{Exchange: &w.to.Exchange}
	} else if id := requestID(client, server, w); c.asked != nil && c.asked.exchange.ID == id {
		m = &kagami.Message{Exchange: c.asked.exchange} // which frames will share
	} else {
		m = newMessage(id, w.method)
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
	if !a.deliverFrame(m) {
		m.Exchange.Decide(kagami.Shared, kagami.Dropped)
	}
}

// deliverFrame is deliver for a message whose exchange has others, which do not
// share its fate here. It returns false if there was no room.
func (a *assembler) deliverFrame(m *kagami.Message) bool {
	if lose.One("capture") {
		return true
	}
	if !a.out.add(m) {
		a.messages.Drop(kagami.QueueFull, 1)
		return false
	}
	return true
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
	w.lost, w.why = true, r
	a.buffers.put(w.raw)
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
