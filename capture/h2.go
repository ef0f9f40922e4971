package capture

import (
	"errors"

	"kagami"
	"kagami/internal/http1"
	"kagami/internal/http2"
)

// An http2Talk is a connection that speaks HTTP/2 in clear: with prior
// knowledge, or after an upgrade.
type http2Talk struct {
	a    *assembler
	conn *conn
	*http2.Conn
}

var (
	_ dialect       = (*http2Talk)(nil)
	_ http2.Handler = (*http2Talk)(nil)
)

// speakHTTP2 begins to follow HTTP/2 on a connection: from its middle, or from the
// preface on. u is the request that was upgraded, nil if there was none.
func (a *assembler) speakHTTP2(c *conn, middle bool, u *upgrade) {
	t := &http2Talk{a: a, conn: c}
	t.Conn = http2.New(http2.Config{
		Responses:       a.cfg.Responses,
		MidStream:       middle,
		AllowIncomplete: a.cfg.AllowIncomplete,
		MaxMessage:      a.cfg.MaxMessage,
	}, t)
	if u != nil {
		t.Upgraded(u.exchange.Method, u.exchange)
	}
	a.seen.HTTP2++
	a.speak(c, t)
}

func (t *http2Talk) feed(client bool, p []byte, at arrival) kagami.Reason {
	if t.Feed(client, p, http2.Mark{Time: at.time, Clock: t.a.clock, Tag: uint32(at.ack)}) != nil {
		return kagami.NotHTTP
	}
	return kagami.Delivered
}

func (t *http2Talk) lost(client bool, n int, cut bool) kagami.Reason {
	t.Lost(client, int64(n), cut)
	return kagami.Delivered
}

func (t *http2Talk) resume(client bool, p []byte) kagami.Reason {
	t.Lost(client, -1, false)
	if http2.LooksLikeFrames(p, client) {
		t.Aligned(client)
	}
	return kagami.Delivered
}

func (t *http2Talk) eof(client bool)     { t.EOF(client) }
func (t *http2Talk) expire(before int64) { t.Expire(before) }
func (t *http2Talk) shed() bool          { return t.Shed() }
func (t *http2Talk) close()              { t.Close() }
func (t *http2Talk) busy() bool          { return t.Busy() }
func (t *http2Talk) inFlight() int64     { return t.InFlight() }
func (t *http2Talk) size() int64         { return t.Size() }
func (t *http2Talk) rejoins() bool       { return true }

// Begin counts a message. A request gets the exchange that its answer will share:
// its ordinal among those with the same acknowledgement is its stream.
func (t *http2Talk) Begin(m *http2.Message) {
	t.a.messages.In(1)
	if m.Response || !t.a.cfg.Responses {
		return
	}
	x := &kagami.Exchange{Method: m.Method}
	x.ID = t.id(m)
	m.User = x
}

func (t *http2Talk) id(m *http2.Message) kagami.ID {
	client, server := t.conn.ends()
	return kagami.MakeID(client, server, m.Start.Tag, m.Stream, m.Start.Time.Unix())
}

// End hands on a message, or counts why not.
func (t *http2Talk) End(m *http2.Message) {
	x, _ := m.User.(*kagami.Exchange)
	r := whyNot(m)
	switch {
	case r == kagami.MemoryLimit:
		r = t.a.want
	case m.Response && x == nil:
		r = kagami.OrphanResponse
	case m.Response && x.Fate(kagami.Shared) == kagami.Dropped:
		r = kagami.RequestDropped
	case r == kagami.Delivered && !m.Response && t.a.cfg.ReplayHeader != "":
		if _, own := http1.Header(m.Raw, t.a.cfg.ReplayHeader); own {
			r = kagami.OwnTraffic
		}
	}
	if r == kagami.Delivered {
		t.a.deliver(t.build(m, x))
		return
	}
	t.a.messages.Drop(r, 1)
	if !m.Response && x != nil {
		x.Decide(kagami.Shared, kagami.Dropped)
	}
}

// whyNot is the reason that a message is not handed on for.
func whyNot(m *http2.Message) kagami.Reason {
	switch {
	case m.Err == nil && m.Pushed && !m.Response:
		return kagami.NotReplayable // no client sent it
	case m.Err == nil:
		return kagami.Delivered
	case errors.Is(m.Err, http2.ErrUndecodable):
		return kagami.Undecodable
	case errors.Is(m.Err, http2.ErrTooLarge):
		return kagami.TooLarge
	case errors.Is(m.Err, http2.ErrLost):
		return lostReason
	case errors.Is(m.Err, http2.ErrUnfinished):
		return kagami.Unfinished
	case errors.Is(m.Err, http2.ErrNoRequest):
		return kagami.OrphanResponse
	case errors.Is(m.Err, http2.ErrNoRoom):
		return kagami.MemoryLimit
	}
	return kagami.NotHTTP // malformed
}

// build makes the message that is handed on.
func (t *http2Talk) build(m *http2.Message, x *kagami.Exchange) *kagami.Message {
	var out *kagami.Message
	if x != nil {
		out = &kagami.Message{Exchange: x}
	} else {
		out = newMessage(t.id(m), m.Method)
	}
	out.Kind, out.Proto = kagami.Request, kagami.HTTP2
	if m.Response {
		out.Kind = kagami.Response
	}
	for flag, on := range [...]bool{!t.conn.has(connSYN), m.Ambiguous, m.Truncated, m.Incomplete} {
		if on {
			out.Flags |= kagami.MidStream << flag
		}
	}
	out.Client, out.Server = t.conn.ends()
	out.Start, out.End, out.WireLen, out.Raw = m.Start.Time, m.End.Time, m.WireLen, m.Raw
	return out
}
