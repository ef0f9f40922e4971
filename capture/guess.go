package capture

import (
	"unsafe"

	"kagami"
	"kagami/internal/http2"
)

// HTTP/2 in the middle of a connection is a guess: a body of HTTP/1.1 can hold frames, be it a
// recording of them, so that bytes never prove it. So a guess only looks on. The connection is
// read as HTTP/1.x as if there were none; conn.guess is another conn for the same segments, in no
// list of the table, with halves of its own and a session that has all their bytes. It ends with
// the first message of HTTP/1.x. Where HTTP/1.x gives the connection up, it goes on alone.

// guessSize is what a guess counts for in the memory budget, beside its session and what it holds.
const guessSize = int64(unsafe.Sizeof(conn{}))

// midway reports whether p, at a place where HTTP/1.x knows of no message, looks like the middle
// of a connection of HTTP/2, or its beginning, and which half is the client's then. Where the ends
// are not told apart, the lower port is taken for the server's.
func (a *assembler) midway(c *conn, h *half, p []byte) (client int, ok bool) {
	if a.http1Only || len(p) == 0 || p[0] != 0 && p[0] != http2.Preface[0] ||
		c.session != nil || c.guess != nil || c.has(connSpoke|connNoGuess) {
		return 0, false
	}
	i, client := c.index(h), int(c.client)
	if c.state == stateNew {
		client = 1 // who has the high port
	}
	if isPreface(p) && (i == client || c.state == stateNew) {
		return i, true
	}
	return client, p[0] == 0 && http2.LooksLikeFrames(p, i == client)
}

// guessMidway is guess for what was not seen to be a connection's beginning. Where that was
// seen and nothing is lost, it is not in the middle: what comes first is only late.
func (a *assembler) guessMidway(c *conn, h *half, seq seqNum, p []byte, at arrival) {
	if c.flags&(connSYN|connUncertain) != connSYN {
		a.guess(c, h, seq, p, at)
	}
}

// guess begins to follow HTTP/2 in c if p, at seq of h, looks like it: from there on, and with
// what is held of both directions.
func (a *assembler) guess(c *conn, h *half, seq seqNum, p []byte, at arrival) {
	if c.of != nil {
		return
	}
	client, ok := a.midway(c, h, p)
	if !ok || c.index(h) != client && !a.cfg.Responses {
		return
	}
	g := &conn{key: c.key, client: uint8(client), state: stateOpen, of: c, flags: c.flags&connSYN | connUncertain}
	for i := range c.half {
		h := &c.half[i]
		g.half[i] = half{fin: h.fin, flags: h.flags&(halfFIN|halfSeen) | halfSession, kind: h.kind, iface: h.iface}
	}
	if c.state == stateNew && !a.follows(c, g, g.segment(c.index(h), seq, p, at)) {
		return
	}
	c.guess = g
	a.notWaiting(c)
	a.speakHTTP2(g, p[0] == 0, nil)
	if p[0] != 0 {
		g.half[client].sync(seq)
	}
	a.observe(c, h, seq, p, 0, at)
	for i := range c.half {
		if w := c.half[i].work; w != nil {
			for s := w.held; s != nil; s = s.next {
				a.observe(c, &c.half[i], s.seq, s.data, s.cut, s.at)
			}
		}
	}
}

// segment is the one that some bytes of a half came in, as far as it is known.
func (c *conn) segment(half int, seq seqNum, p []byte, at arrival) *segment {
	h := &c.half[half]
	return &segment{src: c.key.end(uint8(half)), dst: c.key.end(uint8(half ^ 1)), seq: uint32(seq), ack: uint32(at.ack),
		length: len(p), ifindex: int(h.iface), kind: h.kind}
}

// follows reports whether a connection is one to follow if its ends are who g takes them for.
// Else it is left to HTTP/1.x, which may see them the other way round.
func (a *assembler) follows(c, g *conn, s *segment) bool {
	if from, to := g.ends(); !a.ours(g.key, g.client, int(g.half[g.client].iface)) || a.cfg.Own != nil && a.cfg.Own(from, to) {
		c.flags |= connNoGuess
		return false
	}
	if a.owner(&g.key, g.client, s, true) != nil {
		return false // a copy
	}
	a.table.kin.list(g)
	return true
}

// observe hands a segment's payload to the guess of a connection, if it has one: p, and then cut
// bytes that the capture did not keep. It returns false if that had seen all of it before.
func (a *assembler) observe(c *conn, h *half, seq seqNum, p []byte, cut int, at arrival) (fresh bool) {
	g := c.guess
	if g == nil {
		return true
	}
	h = &g.half[c.index(h)]
	if a.headsOnly(g, h) {
		n := min(len(p), a.cfg.ResponseHead)
		p, cut = p[:n], cut+len(p)-n
	}
	return a.isServer(g, h) && !a.cfg.Responses || a.payload(g, h, seq, p, cut, at)
}

// endGuess ends the guess of a connection, if it has one, and what is unfinished in it.
func (a *assembler) endGuess(c *conn) {
	g := c.guess
	if g == nil {
		return
	}
	c.guess = nil
	a.table.kin.unlist(g)
	g.state = stateParted
	a.endSession(g)
}

// shedGuess frees memory in a guess. HTTP/1.x must not lose a message for one, so that they go
// first. It returns false if there is none.
func (a *assembler) shedGuess() bool {
	if s := a.guesses.busy.first; s != nil {
		s.shed()
		a.heard(s.conn, s, kagami.Delivered)
		return true
	}
	if s := a.guesses.idle.first; s != nil {
		a.forgetSession(s)
		return true
	}
	return false
}
