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
		a.speakHTTP2(c, false, u, nil)
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

// turns looks whether bytes of the client, where a request might begin and none
// does, begin something else that is followed. If so, it takes them in.
func (a *assembler) turns(c *conn, h *half, p []byte, at arrival) bool {
	var g *guess
	switch ends := c.state == stateNew || c.flags&(connGuess|connSYN) == connGuess; {
	case !isPreface(p) || c.has(connHTTP1):
	case ends:
		if c.state == stateNew && a.tellApart(c, h) {
			c.flags |= connGuess
		}
		fallthrough
	case !c.has(connSYN) || c.has(connUncertain) || c.fruitless > 0: // it may be in a body
		g = &guess{ends: ends}
	}
	if a.isServer(c, h) || c.state != stateOpen || g != nil && c.holdsHTTP1() {
		return false
	}
	asked := c.has(connUpgrade) && c.asked != nil
	switch {
	case c.session != nil: // it is what the server has agreed to
	case isPreface(p) && asked && c.asked.h2c:
		a.speakHTTP2(c, false, c.asked, nil)
	case isPreface(p) && !c.has(connSpoke|connHTTP1) && !a.http1Only:
		a.speakHTTP2(c, false, nil, g)
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

// tellApart notes that a half is the client's. It returns false if the connection
// is left alone for that.
func (a *assembler) tellApart(c *conn, client *half) bool {
	i := uint8(0)
	if client == &c.half[1] {
		i = 1
	}
	if !a.ours(c.key, i, int(client.iface)) {
		a.part(c, kagami.OtherPort)
		return false
	}
	a.decide(c, i)
	return c.state != stateParted
}

// midway looks whether p, at a place where nothing is known, is in the middle of a
// connection of HTTP/2, and if so begins to follow it. Where its ends are not told
// apart, the lower port is taken for the server's. Where the beginning was seen and nothing
// is lost, it is not in the middle: what comes first is only late.
func (a *assembler) midway(c *conn, h *half, p []byte) bool {
	if a.http1Only || len(p) == 0 || p[0] != 0 && p[0] != http2.Preface[0] || c.session != nil || c.has(connSpoke|connHTTP1) || !c.quiet() {
		return false
	}
	client := &c.half[c.client]
	if c.state == stateNew {
		client = &c.half[1] // who has the high port
	}
	switch {
	case isPreface(p) && (h == client || c.state == stateNew):
		client = h
	case p[0] != 0 || !http2.LooksLikeFrames(p, h == client):
		return false
	}
	if c.flags&(connSYN|connUncertain) == connSYN || c.holdsHTTP1() {
		return false
	}
	ends := c.state == stateNew
	if ends && !a.tellApart(c, client) {
		return false
	}
	if ends {
		c.flags |= connGuess
	}
	if a.isServer(c, h) && !a.cfg.Responses {
		return false
	}
	var g *guess
	if !c.has(connHTTP2) {
		g = &guess{ends: ends}
	}
	a.speakHTTP2(c, p[0] == 0, nil, g)
	a.handOver(c, h)
	a.handOver(c, &c.half[c.client])
	a.handOver(c, &c.half[c.client^1])
	return c.session != nil && (p[0] != 0 || a.resume(c, h, p))
}
