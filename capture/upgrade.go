package capture

import (
	"bytes"

	"kagami"
	"kagami/internal/http1"
	"kagami/internal/http2"
)

// An upgrade is what a request asked to speak instead of HTTP/1.1 (RFC 9110 §7.8).
type upgrade struct {
	exchange  *kagami.Exchange
	h2c       bool // RFC 7540 §3.2
	webSocket bool // RFC 6455 §4.1
}

// asks notes what the request in w, whose head is whole, asks for.
func (a *assembler) asks(c *conn, w *work, head *http1.Head) {
	c.asked = nil
	if !head.Upgrade || len(w.raw) < head.Len {
		return
	}
	u := &upgrade{}
	http1.EachHeader(w.raw[:head.Len], func(name, value, _ []byte) bool {
		if http1.SameName(name, "Upgrade") {
			for p := range bytes.SplitSeq(value, []byte{','}) {
				p = bytes.TrimSpace(p)
				u.h2c = u.h2c || http1.SameName(p, "h2c")
				u.webSocket = u.webSocket || http1.SameName(p, "websocket")
			}
		}
		return true
	})
	if !u.h2c && !u.webSocket {
		return
	}
	if w.to != nil {
		u.exchange = &w.to.Exchange
	} else {
		client, server := c.ends()
		u.exchange = &kagami.Exchange{ID: requestID(client, server, w), Method: w.method}
	}
	c.asked = u
}

// upgraded goes on behind a 101 in what the request asked for. It returns false
// if that is nothing that is followed.
func (a *assembler) upgraded(c *conn) bool {
	u := c.asked
	switch {
	case u == nil || u.h2c == u.webSocket:
		return false
	case c.session != nil: // the client was quicker
	case u.h2c:
		a.speakHTTP2(c, false, u)
	default:
		a.speakWebSocket(c, u.exchange)
	}
	a.handOver(c, &c.half[c.client^1])
	a.handOver(c, &c.half[c.client])
	return true
}

// leave deals with a connection that has left HTTP/1.1.
func (a *assembler) leave(c *conn) {
	if !a.upgraded(c) {
		a.part(c, kagami.Upgraded)
	}
}

// turns looks whether bytes of the client from seq on, where a request might begin and none
// does, begin something else that is followed. If so, it takes them in.
func (a *assembler) turns(c *conn, h *half, seq seqNum, p []byte, at arrival) bool {
	if a.isServer(c, h) {
		return false
	}
	asked := c.has(connUpgrade) && c.asked != nil
	switch {
	case c.session != nil: // it is what the server has agreed to
	case isPreface(p) && asked && c.asked.h2c:
		a.speakHTTP2(c, false, c.asked)
	case isPreface(p) && (c.state != stateOpen || c.flags&(connSYN|connUncertain) != connSYN || c.fruitless > 0):
		a.guess(c, h, seq, p, at) // it may be in a body
		return false
	case isPreface(p) && !c.has(connSpoke) && !a.http1Only:
		a.speakHTTP2(c, false, nil)
	case asked && c.asked.webSocket && beginsFrame(p):
		a.speakWebSocket(c, c.asked.exchange)
	default:
		return false
	}
	h.flags |= halfSynced
	a.handOver(c, h)
	if !asked { // no answer of HTTP/1.1 is to come
		a.handOver(c, &c.half[c.client^1])
	}
	if c.session != nil {
		a.converse(c, h, p, at)
	}
	return true
}

// isPreface reports whether p begins as a connection of HTTP/2 does, as far as it goes.
func isPreface(p []byte) bool {
	const enough = len("PRI ")
	n := min(len(p), len(http2.Preface))
	return n >= enough && string(p[:n]) == http2.Preface[:n]
}

// rejoin goes on with HTTP/2, if p looks like it, where its session was forgotten for want of
// memory.
func (a *assembler) rejoin(c *conn, h *half, p []byte) bool {
	client, ok := a.midway(c, h, p)
	if !ok || client != int(c.client) || !c.quiet() || a.isServer(c, h) && !a.cfg.Responses {
		return false
	}
	a.speakHTTP2(c, p[0] == 0, nil)
	h.flags |= halfSession
	a.handOver(c, &c.half[c.client])
	a.handOver(c, &c.half[c.client^1])
	return c.session != nil && (p[0] != 0 || a.resume(c, h, p))
}
