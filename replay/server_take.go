package replay

import (
	"kagami"
	"kagami/internal/lose"
	"kagami/internal/stream"
)

// take takes in a batch that came over c, and emits it. What it holds of the
// budgets is the session's from here on, unless there is an error.
func (x *session) take(c *serverConn, h *stream.Head, messages []*kagami.Message, records []int, cost int64) error {
	x.emitting.Lock()
	defer x.emitting.Unlock()
	b := &pendingBatch{session: x, last: h.Last(), cost: cost}
	b.left.Store(1)
	if err := x.admit(c, h, b); err != nil {
		return err
	}
	s, unknown := x.server, h.Records-len(messages)
	if x.kept != nil {
		b.account = s.cfg.State.take(x.kept, b, h, messages, records)
	}
	s.emitting.Add(int64(len(messages)))
	s.stage.In(len(messages) + unknown)
	if unknown > 0 {
		s.stage.Drop(kagami.UnknownKind, unknown)
	}
	messages = x.join(messages)
	b.left.Add(int32(len(messages)))
	if len(messages) > 0 {
		s.emitting.Add(-int64(len(messages)))
		s.stage.Out(len(messages))
		if err := s.emit(s.emitCtx, kagami.Batch{Messages: messages, Settle: b.settle}); err != nil {
			s.fail(err)
			return errDraining
		}
	}
	b.settled()
	return nil
}

// admit enters a batch as taken in.
func (x *session) admit(c *serverConn, h *stream.Head, b *pendingBatch) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.owner != c {
		return errReplaced
	}
	if c.isStopped() {
		return errDraining
	}
	x.received = h.Last()
	x.pending = append(x.pending, b)
	return nil
}

// join makes answers part of the exchange of their request, and drops those
// whose request is not known, and what is in doubt and not to be sent again.
func (x *session) join(messages []*kagami.Message) []*kagami.Message {
	kept := messages[:0]
	for _, m := range messages {
		switch r := x.judge(m); {
		case r != kagami.Delivered:
			x.drop(m, r)
		case lose.One("stream"):
			x.server.emitting.Add(-1)
		default:
			kept = append(kept, m)
		}
	}
	return kept
}

func (x *session) judge(m *kagami.Message) kagami.Reason {
	known := m.Kind == kagami.Request
	if x.exchanges != nil {
		known = x.exchanges.Join(m)
	}
	switch {
	case !known:
		return kagami.OrphanResponse
	case m.Kind == kagami.Request && m.Flags&kagami.Doubtful != 0 && !x.server.cfg.Resend:
		m.Exchange.Decide(kagami.Shared, kagami.Dropped)
		return kagami.InDoubt
	}
	return kagami.Delivered
}

// drop drops a message before it is emitted.
func (x *session) drop(m *kagami.Message, r kagami.Reason) {
	x.server.stage.Drop(r, 1)
	x.server.emitting.Add(-1)
	if x.kept != nil {
		x.server.cfg.State.dropped(m, r)
	}
}
