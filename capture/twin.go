package capture

import "kagami"

// A host that translates addresses (a container's published port is the usual
// case) shows a connection twice on its way: as client and host, and on another
// interface as client and container. The client's address and port and all TCP
// numbers are the same, the server is another. The connection is one: what was
// seen first owns it, and the other pair of ends is its twin. A twin's segments
// are taken in as copies of the owner's, so that none is lost where the owner's
// is missing.

const (
	// maxTwins is how many other pairs of ends a connection may have.
	maxTwins = 4
	// maxSiblings is how many connections with one client address and port are
	// looked at to find a twin's owner, the youngest first.
	maxSiblings = 8
	// twinWindow is how far behind the last byte of its owner a segment may end,
	// in bytes, to make a twin of a connection whose SYN was not seen: a network
	// card hands over several segments at once.
	twinWindow = 256 << 10
)

// A twin is a pair of ends by which a connection in the table is seen too.
type twin struct {
	key  connKey
	of   *conn
	flip uint8 // 1: half 0 of the twin is half 1 of its owner
	next *twin // of the same owner
}

// kin is what a table knows about twins. While all connections are seen on one
// interface there can be none, and it is empty. It is bounded with the table.
type kin struct {
	several bool // interfaces were seen
	iface   int  // the first one's number
	kind    uint8
	clients map[endpoint]*conn // the youngest with that client; the others are its siblings
	twins   map[connKey]*twin
}

// interfaces notes on which interface a connection is joined. From the second
// interface on the connections are listed by client.
func (a *assembler) interfaces(s *segment) {
	k := &a.table.kin
	switch {
	case k.several:
	case k.clients == nil:
		k.clients, k.twins = make(map[endpoint]*conn), make(map[connKey]*twin)
		k.iface, k.kind = s.ifindex, s.kind
	case k.iface != s.ifindex || k.kind != s.kind:
		k.several = true
		for _, l := range a.table.lists() { // in an order that is the same each time
			for c := l.first; c != nil; c = c.next {
				if c.state != stateNew {
					k.list(c)
				} else if c.guess != nil {
					k.list(c.guess)
				}
			}
		}
	}
}

// end is the end of a connection that sends the given half.
func (k *connKey) end(half uint8) endpoint {
	if half == 0 {
		return k.low
	}
	return k.high
}

// list puts a connection whose client is known where its twins find it.
func (k *kin) list(c *conn) {
	if !k.several || c.has(connListed) {
		return
	}
	c.flags |= connListed
	client := c.key.end(c.client)
	c.older = k.clients[client]
	if c.older != nil {
		c.older.younger = c
	}
	k.clients[client] = c
}

// unlist takes it away from there.
func (k *kin) unlist(c *conn) {
	if !c.has(connListed) {
		return
	}
	c.flags &^= connListed
	if c.older != nil {
		c.older.younger = c.younger
	}
	switch client := c.key.end(c.client); {
	case c.younger != nil:
		c.younger.older = c.older
	case c.older != nil:
		k.clients[client] = c.older
	default:
		delete(k.clients, client)
	}
	c.older, c.younger = nil, nil
}

// leave takes a connection and its twins away: their next segments are looked at
// anew.
func (k *kin) leave(c *conn) {
	k.unlist(c)
	for t := c.twins; t != nil; t = t.next {
		delete(k.twins, t.key)
	}
	c.twins, c.ntwins = nil, 0
}

// twinOf returns the connection of which key is a twin, and which of its halves
// the segment belongs to. A SYN that is not that connection's ends the relation.
func (a *assembler) twinOf(key connKey, dir uint8, s *segment) (*conn, uint8) {
	k := &a.table.kin
	t := k.twins[key]
	if t == nil {
		return nil, dir
	}
	c := t.of
	half := dir ^ t.flip
	if s.flags&flagSYN == 0 || c.half[half].opens(&c.half[half^1], s) {
		return c, half
	}
	delete(k.twins, key)
	for at := &c.twins; *at != nil; at = &(*at).next {
		if *at == t {
			*at = t.next
			c.ntwins--
			break
		}
	}
	return nil, dir
}

// owner looks for the connection that a segment shows by other ends than its
// own: one with the same client, that was seen on another interface, and is at the
// same place in its sequence numbers. For a guess, another guess counts as well.
func (a *assembler) owner(key *connKey, client uint8, s *segment, guess bool) *conn {
	k := &a.table.kin
	end := key.end(client)
	if !k.several || s.src != end && s.dst != end {
		return nil
	}
	for c, n := k.clients[end], 0; c != nil && n < maxSiblings; c = c.older {
		if c.of != nil && !guess {
			continue
		}
		n++
		h, peer := &c.half[c.client], &c.half[c.client^1]
		if s.src != end {
			h, peer = peer, h
		}
		if c.key == *key || c.ntwins == maxTwins || h.has(halfSeen) && h.iface == int32(s.ifindex) && h.kind == s.kind {
			continue
		}
		if s.flags&flagSYN != 0 && h.opens(peer, s) || s.flags&flagSYN == 0 && a.recent(c, h, peer, s) {
			return c
		}
	}
	return nil
}

// opens reports whether a SYN, or the answer to one, is where the half begins.
func (h *half) opens(peer *half, s *segment) bool {
	if h.has(halfKnown) {
		return h.start == seqNum(s.seq).add(1)
	}
	early := seqNum(s.ack).minus(peer.start) // as in syn
	return s.flags&flagACK != 0 && peer.has(halfKnown) && early >= 0 && early <= maxEarly
}

// recent reports whether a segment was seen in h not long ago.
func (a *assembler) recent(c *conn, h, peer *half, s *segment) bool {
	switch {
	case s.length == 0:
		return false
	case h.flags&(halfKnown|halfStray) == 0:
		return peer.has(halfKnown) && seqNum(s.ack) == peer.next
	}
	end := h.next
	if h.work != nil && h.work.lastHeld != nil {
		end = h.work.lastHeld.end()
	}
	if behind := end.minus(seqNum(s.seq).add(s.length)); behind < 0 || behind > twinWindow {
		return false
	}
	// Its own answers may not be captured; what its last request acknowledged is known.
	at, known := peer.next, peer.has(halfKnown)
	if h == &c.half[c.client] {
		at, known = c.idAck, c.has(connHasID)
	}
	off := seqNum(s.ack).minus(at)
	return !known || off >= -twinWindow && off <= twinWindow
}

// bind makes key a twin of c.
func (k *kin) bind(key connKey, client uint8, c *conn) {
	c.twins = &twin{key: key, of: c, flip: client ^ c.client, next: c.twins}
	c.ntwins++
	k.twins[key] = c.twins
}

// duplicate ends a connection that turned out to be another one's twin. If that
// has gone by now, the segment is taken in as one of a new connection.
func (a *assembler) duplicate(c *conn, dir uint8, s *segment) kagami.Reason {
	key, client := c.key, c.client
	owner := a.owner(&key, client, s, false)
	a.remove(c)
	if owner != nil {
		a.table.kin.bind(key, client, owner)
		return kagami.DuplicateCopy
	}
	c, dir, r := a.join(key, dir, s)
	if c == nil {
		return r
	}
	return a.within(c, dir, s)
}
