package capture

import (
	"bytes"
	"net/netip"

	"kagami"
	"kagami/internal/http1"
)

// A seqNum is a TCP sequence or acknowledgement number. They are compared by
// their distance, modulo 2^32 (RFC 9293 §3.4).
type seqNum uint32

// add returns the number n bytes further on.
func (s seqNum) add(n int) seqNum { return s + seqNum(uint32(n)) }

// minus is how many bytes s lies behind t: less than zero if it lies before it.
func (s seqNum) minus(t seqNum) int { return int(int32(s - t)) }

// A connKey names a connection: the end with the lower port (or address) first,
// so that both directions have the same key. It has no pointers.
type connKey struct{ low, high endpoint }

// keyOf returns the key of a segment's connection and which of its two halves
// the segment belongs to: 0 from low to high, 1 from high to low.
func keyOf(s *segment) (k connKey, dir uint8) {
	if s.src.port < s.dst.port || s.src.port == s.dst.port && bytes.Compare(s.src.addr[:], s.dst.addr[:]) <= 0 {
		return connKey{s.src, s.dst}, 0
	}
	return connKey{s.dst, s.src}, 1
}

// A connState says what is done with a connection's segments.
type connState uint8

const (
	stateNew    connState = iota // its two ends are not told apart yet
	stateOpen                    // messages are looked for
	stateParted                  // left alone: conn.fate says why
)

// A conn is a connection in the table. It is small, for there can be many that
// are idle; what an unfinished message needs is in a work.
type conn struct {
	key        connKey
	list       *connList
	prev, next *conn
	touched    int64 // clock when it was last moved to the end of its list

	half   [2]half
	client uint8     // which half the client sends; valid unless state is stateNew
	state  connState //
	fate   kagami.Reason
	ntwins uint8
	flags  connFlags

	idAck seqNum // of the last request, and how many before it had the same
	idNum uint32

	twins          *twin    // other ends that it is seen by
	older, younger *conn    // others with the same client, if connListed
	session        *session // if it speaks something else than HTTP/1.x
	guess          *conn    // follows HTTP/2 in it, where that is a guess: see guess.go
	of             *conn    // if this is such a guess
	asked          *upgrade // what the last request asked to speak

	awaits     awaitList
	fruitless  uint32 // payload seen from a side that might be the client and is no HTTP, in segments
	fruitbytes uint32 // and in bytes
}

type connFlags uint16

const (
	connSYN       connFlags = 1 << iota // its beginning was seen
	connSpoke                           // a message was found in it
	connUpgrade                         // a request asked to leave HTTP
	connUncertain                       // requests may have been lost: pair answers by sequence number alone
	connReset                           // a RST was seen
	connMute                            // an answer came and no request in time: don't wait for one
	connWaiting                         // counted in Diagnosis.Waiting
	connHasID                           // idAck and idNum are known
	connGuess                           // which end is the client is a guess
	connListed                          // in the table's list of its client's connections
	connNoGuess                         // it is not guessed to be HTTP/2 any more
	connHTTP2                           // HTTP/2 was followed in it and forgotten: see rejoin
)

func (c *conn) has(f connFlags) bool { return c.flags&f != 0 }

// ends returns the addresses of client and server.
func (c *conn) ends() (client, server netip.AddrPort) {
	if c.client == 0 {
		return c.key.low.addrPort(), c.key.high.addrPort()
	}
	return c.key.high.addrPort(), c.key.low.addrPort()
}

// idle reports whether the connection can be forgotten without losing anything
// that was begun, but by a guess.
func (c *conn) idle() bool {
	return c.half[0].work == nil && c.half[1].work == nil && c.awaits.n == 0 && (c.session == nil || !c.session.busy())
}

// index is which of its halves h is.
func (c *conn) index(h *half) int {
	if h == &c.half[0] {
		return 0
	}
	return 1
}

// quiet reports whether no message is being read in either direction.
func (c *conn) quiet() bool {
	for i := range c.half {
		if w := c.half[i].work; w != nil && w.phase != phaseNone {
			return false
		}
	}
	return !c.half[0].has(halfBlocked) && !c.half[1].has(halfBlocked)
}

// A half is one direction of a connection.
type half struct {
	next  seqNum // the first byte that has not been consumed
	start seqNum // where it was joined
	fin   seqNum // where it ends, if halfFIN is set
	flags halfFlags
	kind  uint8 // of the packets that came first: Packet.Type
	iface int32 // and their interface
	work  *work // nil while there is nothing unfinished
}

type halfFlags uint16

const (
	halfSynced  halfFlags = 1 << iota // next is known and is where a message begins or goes on
	halfKnown                         // bytes before next were consumed once: they are old
	halfFIN                           // fin is known
	halfEnded                         // the end was reached
	halfSeen                          // kind and iface are known
	halfBlocked                       // an answer waits for its request
	halfGuess                         // joined at what may be the first half of a start line
	halfStray                         // not joined: next is behind the last segment
	halfSession                       // its bytes are those of conn.session
)

func (h *half) has(f halfFlags) bool { return h.flags&f != 0 }

// guess notes how sure it is that a message begins at next.
func (h *half) guess(v http1.Verdict) {
	h.flags &^= halfGuess
	if v != http1.Yes {
		h.flags |= halfGuess
	}
}

// sync sets where the next byte is expected.
func (h *half) sync(at seqNum) {
	if !h.has(halfKnown) {
		h.start = at
	}
	h.next = at
	h.flags |= halfSynced | halfKnown
}

// connList is a list of connections, the one that was not heard of for longest
// first. A connection is in one list at a time.
type connList struct {
	first, last *conn
	n           int
}

func (l *connList) push(c *conn) {
	c.list, c.prev, c.next = l, l.last, nil
	if l.last != nil {
		l.last.next = c
	} else {
		l.first = c
	}
	l.last = c
	l.n++
}

func (l *connList) remove(c *conn) {
	if c.prev != nil {
		c.prev.next = c.next
	} else {
		l.first = c.next
	}
	if c.next != nil {
		c.next.prev = c.prev
	} else {
		l.last = c.prev
	}
	c.list, c.prev, c.next = nil, nil, nil
	l.n--
}

// move puts c at the end of l, from whatever list it is in.
func (l *connList) move(c *conn) {
	c.list.remove(c)
	l.push(c)
}
