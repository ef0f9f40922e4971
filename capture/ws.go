package capture

import (
	"unsafe"

	"kagami"
	"kagami/internal/websocket"
)

// A webSocketTalk is a connection that has become a WebSocket. Each frame is a
// message of its own, Raw the frame as it was sent: header, mask and all. All of
// them have the ID of the request that asked for it, so that a sample takes
// the whole conversation or nothing of it.
type webSocketTalk struct {
	a        *assembler
	conn     *conn
	exchange *kagami.Exchange // of the request
	sides    [2]webSocketSide // the client's, the server's
}

var _ dialect = (*webSocketTalk)(nil)

// A webSocketSide is one direction, and the frame that has begun in it.
type webSocketSide struct {
	framer  websocket.Framer
	raw     []byte
	wire    int
	start   arrival
	end     arrival
	clock   int64 // at its last byte
	counted bool
	dropped bool // it was counted as dropped; its end is looked for
	cut     bool // bytes of it are missing: raw ends where they would be
}

// speakWebSocket begins to follow a WebSocket on a connection.
func (a *assembler) speakWebSocket(c *conn, x *kagami.Exchange) {
	t := &webSocketTalk{a: a, conn: c, exchange: x}
	t.sides[1].framer.Server = true
	a.seen.WebSocket++
	a.speak(c, t)
}

// beginsFrame reports whether p can be the beginning of a client's first frame.
func beginsFrame(p []byte) bool {
	_, _, err := new(websocket.Framer).Feed(p)
	return err == nil
}

func (t *webSocketTalk) side(client bool) *webSocketSide {
	if client {
		return &t.sides[0]
	}
	return &t.sides[1]
}

func (t *webSocketTalk) feed(client bool, p []byte, at arrival) kagami.Reason {
	if !client && !t.a.cfg.Responses {
		return kagami.Delivered
	}
	s := t.side(client)
	for len(p) > 0 {
		n, done, err := s.framer.Feed(p)
		if err != nil {
			t.drop(s, kagami.Unfinished)
			return kagami.Upgraded
		}
		if s.wire == 0 {
			s.start = at
		}
		s.wire += n
		s.end, s.clock = at, t.a.clock
		t.count(s)
		t.store(s, p[:n])
		if done {
			t.finish(client, s)
		}
		p = p[n:]
	}
	return kagami.Delivered
}

// count counts the frame as begun, once its header is whole.
func (t *webSocketTalk) count(s *webSocketSide) {
	h := s.framer.Header()
	if s.counted || h == nil {
		return
	}
	s.counted = true
	t.a.messages.In(1)
	switch {
	case t.exchange.Fate(kagami.Shared) == kagami.Dropped:
		t.lose(s, kagami.RequestDropped)
	case h.Length > int64(t.a.cfg.MaxMessage-h.Len):
		t.lose(s, kagami.TooLarge)
	}
}

// store appends bytes to what is kept of the frame.
func (t *webSocketTalk) store(s *webSocketSide, p []byte) {
	if s.dropped || s.cut {
		return
	}
	if need := len(s.raw) + len(p); need > cap(s.raw) {
		room := need
		if left := s.framer.Remaining(); left > 0 {
			room = need + int(min(left, int64(max(need, exactly))))
		}
		s.raw = append(make([]byte, 0, room), s.raw...)
	}
	s.raw = append(s.raw, p...)
}

// finish hands on the frame that is whole.
func (t *webSocketTalk) finish(client bool, s *webSocketSide) {
	if !s.dropped {
		t.deliver(client, s, 0)
	}
	t.reset(s)
}

// deliver hands on a frame. What a client sends is a request of its own with the
// ID of the one that asked for the WebSocket, so that to drop one at an output is
// not to drop the others.
func (t *webSocketTalk) deliver(client bool, s *webSocketSide, flags kagami.Flags) {
	var m *kagami.Message
	if client {
		m = newMessage(t.exchange.ID, t.exchange.Method)
		m.Kind = kagami.Request
	} else {
		m = &kagami.Message{Kind: kagami.Response, Exchange: t.exchange}
	}
	m.Proto, m.Flags = kagami.WebSocket, flags
	if s.cut {
		m.Flags |= kagami.Truncated
	}
	if !t.conn.has(connSYN) {
		m.Flags |= kagami.MidStream
	}
	m.Client, m.Server = t.conn.ends()
	m.Start, m.End, m.WireLen, m.Raw = s.start.time, s.end.time, s.wire, s.raw
	t.a.deliverFrame(m)
}

// lose counts the frame as dropped and forgets its bytes; its end is looked for.
func (t *webSocketTalk) lose(s *webSocketSide, r kagami.Reason) {
	s.raw, s.dropped = nil, true
	t.a.messages.Drop(r, 1)
}

// drop ends a frame whose end will not be found.
func (t *webSocketTalk) drop(s *webSocketSide, r kagami.Reason) {
	if s.counted && !s.dropped {
		t.lose(s, r)
	}
	t.reset(s)
}

// reset makes a side ready for its next frame.
func (t *webSocketTalk) reset(s *webSocketSide) { *s = webSocketSide{framer: s.framer} }

func (t *webSocketTalk) lost(client bool, n int, cut bool) kagami.Reason {
	if !client && !t.a.cfg.Responses {
		return kagami.Delivered
	}
	s := t.side(client)
	if !s.framer.Skip(int64(n)) {
		t.drop(s, lostReason)
		return kagami.Upgraded
	}
	s.wire += n
	switch {
	case s.dropped:
	case cut && (!client || t.a.cfg.AllowIncomplete):
		s.cut = true
	default:
		t.lose(s, lostReason)
	}
	if _, done, _ := s.framer.Feed(nil); done {
		t.finish(client, s)
	}
	return kagami.Delivered
}

func (t *webSocketTalk) resume(bool, []byte) kagami.Reason { return kagami.Upgraded }

func (t *webSocketTalk) eof(client bool) { t.unfinished(client) }

// unfinished ends a frame whose end will not come.
func (t *webSocketTalk) unfinished(client bool) {
	s := t.side(client)
	if s.counted && !s.dropped && t.a.cfg.AllowIncomplete {
		t.deliver(client, s, kagami.Incomplete)
		s.dropped = true
	}
	t.drop(s, kagami.Unfinished)
}

// expire gives up frames without progress. Their ends are still looked for.
func (t *webSocketTalk) expire(before int64) {
	for i := range t.sides {
		s := &t.sides[i]
		if !s.open() || s.clock >= before {
			continue
		}
		if t.a.cfg.AllowIncomplete {
			t.deliver(i == 0, s, kagami.Incomplete)
			s.raw, s.dropped = nil, true
		} else {
			t.lose(s, kagami.Unfinished)
		}
	}
}

// open reports whether a frame has begun and not ended.
func (s *webSocketSide) open() bool { return s.counted && !s.dropped }

func (t *webSocketTalk) shed() bool {
	oldest := &t.sides[0]
	if s := &t.sides[1]; !oldest.open() || s.open() && s.clock < oldest.clock {
		oldest = s
	}
	if !oldest.open() {
		return false
	}
	t.lose(oldest, t.a.want)
	return true
}

func (t *webSocketTalk) close() {
	t.unfinished(true)
	t.unfinished(false)
}

func (t *webSocketTalk) busy() bool { return t.sides[0].open() || t.sides[1].open() }

func (t *webSocketTalk) inFlight() (n int64) {
	for i := range t.sides {
		if t.sides[i].open() {
			n++
		}
	}
	return n
}

func (t *webSocketTalk) size() int64 {
	return int64(unsafe.Sizeof(*t)) + int64(cap(t.sides[0].raw)+cap(t.sides[1].raw))
}

func (t *webSocketTalk) rejoins() bool { return false }
