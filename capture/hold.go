package capture

import (
	"time"
	"unsafe"
)

const (
	// maxHeld bounds the pieces that are kept for one direction until what is
	// missing before them comes; maxHeldBytes bounds their bytes.
	maxHeld      = 1024
	maxHeldBytes = 2 << 20
	// While no boundary is known, a few small segments are kept: the beginning
	// of the message they belong to may come late.
	maxRecent      = 8
	maxRecentBytes = 16 << 10
	// keepSmall is the largest buffer of a held piece that is kept for another.
	keepSmall = 4 << 10
)

// An arrival is what is remembered of the segment that some bytes came in.
type arrival struct {
	time time.Time
	ack  seqNum
}

// A held is a piece of a segment that cannot be consumed yet.
type held struct {
	next *held
	seq  seqNum
	data []byte
	cut  int // bytes behind data that the capture did not keep
	at   arrival
}

// heldSize is what a held counts for in the memory budget, beside its data.
const heldSize = int64(unsafe.Sizeof(held{}))

// end is the first byte behind s.
func (s *held) end() seqNum { return s.seq.add(len(s.data) + s.cut) }

// hold keeps p, and behind it cut bytes that the capture did not keep, until
// what is missing before them comes. Of bytes seen twice the first copy stays.
// It returns false if all were there already.
func (a *assembler) hold(c *conn, h *half, seq seqNum, p []byte, cut int, at arrival) (fresh bool) {
	w := a.attach(c, h)
	if w.held == nil {
		a.progress(w)
	}
	link := &w.held
	if l := w.lastHeld; l != nil && seq.minus(l.end()) >= 0 {
		link = &l.next
	}
	for len(p)+cut > 0 {
		for *link != nil && (*link).end().minus(seq) <= 0 {
			link = &(*link).next
		}
		piece, missing := p, cut
		if next := *link; next != nil {
			room := next.seq.minus(seq)
			if room <= 0 { // next has the front of it
				n := next.end().minus(seq)
				p, cut = skipBytes(p, cut, n)
				seq = seq.add(n)
				continue
			}
			if room < len(p)+cut {
				piece, missing = p[:min(room, len(p))], max(room-len(p), 0)
			}
		}
		link = a.insert(w, link, seq, piece, missing, at)
		n := len(piece) + missing
		p, cut = skipBytes(p, cut, n)
		seq = seq.add(n)
		fresh = true
	}
	a.recharge(w)
	return fresh
}

// insert puts a new piece where link points, and returns the link behind it.
func (a *assembler) insert(w *work, link **held, seq seqNum, p []byte, cut int, at arrival) **held {
	s := a.helds
	if s == nil || w.conn.of != nil {
		s = &held{}
	} else {
		a.helds = s.next
		a.heldsFree--
	}
	s.seq, s.cut, s.at = seq, cut, at
	s.data = append(s.data[:0], p...)
	s.next, *link = *link, s
	if s.next == nil {
		w.lastHeld = s
	}
	w.heldCount++
	w.heldBytes += cap(s.data)
	return &s.next
}

// pop takes the first piece from the list.
func (w *work) pop() *held {
	s := w.held
	w.held = s.next
	if w.held == nil {
		w.lastHeld = nil
	}
	w.heldCount--
	w.heldBytes -= cap(s.data)
	s.next = nil
	return s
}

// free keeps a piece of a connection's for another use, or leaves it to the collector.
func (a *assembler) free(c *conn, s *held) {
	if c.of == nil && cap(s.data) <= keepSmall && a.heldsFree < maxFree {
		s.next, a.helds = a.helds, s
		a.heldsFree++
	}
}

// freeAll forgets all that is held.
func (a *assembler) freeAll(w *work) {
	for w.held != nil {
		a.free(w.conn, w.pop())
	}
	a.recharge(w)
}

// forgetRecent keeps what is held of h, of which nothing else is known, within its bounds;
// all says to keep nothing. What is forgotten may be of the middle of a connection of HTTP/2. That
// is guessed so late because a message of HTTP/1.x that it belongs to may begin in a
// segment that comes late.
func (a *assembler) forgetRecent(c *conn, h *half, all bool) {
	w := h.work
	for w.held != nil && (all || w.heldCount > maxRecent || w.heldBytes > maxRecentBytes) {
		a.guessMidway(c, h, w.held.seq, w.held.data, w.held.at)
		a.free(c, w.pop())
	}
	a.recharge(w)
}

// full reports whether w holds as much as one direction may.
func (w *work) full() bool { return w.heldCount > maxHeld || w.heldBytes > maxHeldBytes }
