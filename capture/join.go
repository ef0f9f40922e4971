package capture

import (
	"kagami"
	"kagami/internal/http1"
)

const (
	// lateSYN is how far behind a SYN a connection may have been joined, in
	// bytes, for the SYN to be its own, come late.
	lateSYN = 1 << 20
	// maxEarly is how much payload a SYN can have, in bytes.
	maxEarly = 64 << 10
	// A connection whose beginning was seen is not HTTP when so many segments of
	// the client's went by without a request; one that was joined later and on any
	// port, when so many did, and so many bytes.
	strayFromStart = 16
	strayJoined    = 256
	strayBytes     = 1 << 20
)

// portSet is a set of TCP ports.
type portSet [1 << 16 / 64]uint64

func (p *portSet) add(port uint16)      { p[port>>6] |= 1 << (port & 63) }
func (p *portSet) has(port uint16) bool { return p[port>>6]&(1<<(port&63)) != 0 }

// clientOf says which half of its connection the client sends, as far as a
// segment in the half dir shows it.
func (a *assembler) clientOf(dir uint8, s *segment) (client uint8, known bool) {
	toServer, fromServer := a.ports.has(s.dst.port), a.ports.has(s.src.port)
	switch {
	case toServer && !fromServer:
		return dir, true
	case fromServer && !toServer:
		return dir ^ 1, true
	case s.flags&flagSYN == 0:
		return 0, false
	case s.flags&flagACK == 0:
		return dir, true
	}
	return dir ^ 1, true
}

// join puts the connection of a segment into the table, if there is a reason
// to: a SYN, or payload that a message may begin in or follow on. Otherwise it
// says what becomes of the segment. It also returns which half of that
// connection the segment belongs to: it may be one seen by other ends.
func (a *assembler) join(key connKey, dir uint8, s *segment) (*conn, uint8, kagami.Reason) {
	if a.sheds(&key) {
		return nil, dir, kagami.CPULimit
	}
	if len(a.table.kin.twins) > 0 {
		if c, half := a.twinOf(key, dir, s); c != nil {
			return c, half, kagami.Delivered
		}
	}
	syn := s.flags&flagSYN != 0
	if s.length == 0 && !syn {
		return nil, dir, kagami.Delivered
	}
	client, known := a.clientOf(dir, s)
	if known && dir != client && !syn {
		if !a.cfg.Responses {
			return nil, dir, kagami.OtherDirection
		}
		if http1.LooksLikeResponse(s.payload) == http1.No {
			return nil, dir, kagami.Delivered
		}
	}
	if known && !a.ours(key, client, s.ifindex) {
		return nil, dir, kagami.OtherPort
	}
	a.interfaces(s)
	if known {
		if c := a.owner(&key, client, s, false); c != nil {
			a.table.kin.bind(key, client, c)
			return c, dir ^ client ^ c.client, kagami.Delivered
		}
	}
	c := a.open(key)
	if known {
		a.decide(c, client)
		if a.anyPort {
			c.flags |= connGuess // who connects is the client, but for reverse tunnels
		}
	}
	if syn {
		a.seen.SYNs++
		a.begins(c, dir, s)
	} else {
		c.flags |= connUncertain
		a.waiting(c)
	}
	return c, dir, kagami.Delivered
}

// ours reports whether the server of a connection is one we capture for.
func (a *assembler) ours(key connKey, client uint8, ifindex int) bool {
	server := key.high
	if client == 1 {
		server = key.low
	}
	if a.cfg.Local == nil || a.cfg.Local(ifindex, server.addrPort().Addr()) {
		return true
	}
	a.seen.Foreign++
	return false
}

// decide notes which half of a connection is the client's.
func (a *assembler) decide(c *conn, client uint8) {
	k := &a.table.kin
	k.unlist(c)
	c.client, c.state = client, stateOpen
	if a.owner(&c.key, client, &a.seg, false) != nil {
		a.part(c, kagami.DuplicateCopy)
		return
	}
	k.list(c)
	if a.cfg.Own == nil {
		return
	}
	if from, to := c.ends(); a.cfg.Own(from, to) {
		a.part(c, kagami.OwnTraffic)
	}
}

// isServer reports whether h is known to be what the server sends.
func (a *assembler) isServer(c *conn, h *half) bool {
	return c.state == stateOpen && h == &c.half[c.client^1]
}

// begins notes where a connection begins, from its SYN or the answer to it.
func (a *assembler) begins(c *conn, dir uint8, s *segment) {
	if c.guess != nil { // of one before, and what is held was looked at
		a.endGuess(c)
		c.flags |= connNoGuess
	}
	c.flags |= connSYN
	c.flags &^= connUncertain
	a.notWaiting(c)
	t := &a.table
	t.nascent.move(c)
	if t.nascent.n > a.cfg.MaxConnections/4 && t.nascent.first != c {
		a.remove(t.nascent.first)
	}
	h, peer := &c.half[dir], &c.half[dir^1]
	h.sync(seqNum(s.seq).add(1))
	if s.flags&flagACK != 0 {
		peer.sync(seqNum(s.ack))
	}
}

// syn takes in a SYN, or the answer to one, for a connection that is in the
// table. It may be that connection's, seen again or late, or begin a new one
// between the same ends. It returns false if it was seen before.
func (a *assembler) syn(c *conn, dir uint8, s *segment) (fresh bool) {
	h, peer := &c.half[dir], &c.half[dir^1]
	begin := seqNum(s.seq).add(1)
	if h.has(halfKnown) && h.start == begin {
		fresh = !c.has(connSYN)
		c.flags |= connSYN
		return fresh
	}
	if s.flags&flagACK != 0 && peer.has(halfKnown) {
		// It acknowledges the SYN, and what came with that (RFC 7413).
		early := seqNum(s.ack).minus(peer.start)
		if !h.has(halfKnown) && early >= 0 && early <= maxEarly {
			h.sync(begin)
			a.drain(c, h)
			return true
		}
		if early == 0 {
			return false
		}
	}
	if !c.has(connSYN) && h.has(halfKnown) {
		if late := h.start.minus(begin); late > 0 && late < lateSYN {
			return true // bytes between them were not seen
		}
	}
	if c.has(connSYN) || h.has(halfKnown) || peer.has(halfKnown) || c.state == stateParted {
		a.renew(c)
		client, _ := a.clientOf(dir, s)
		a.decide(c, client)
		if a.anyPort {
			c.flags |= connGuess
		}
	}
	a.seen.SYNs++
	a.begins(c, dir, s)
	return true
}

// restart makes a connection in the table a new one that was joined after its
// beginning: its segments have nothing to do with those seen so far.
func (a *assembler) restart(c *conn) {
	state, client := c.state, c.client
	a.renew(c)
	c.state, c.client = state, client
	if state != stateNew {
		a.table.kin.list(c)
	}
	c.flags |= connUncertain
	a.waiting(c)
}
