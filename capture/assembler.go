package capture

import "kagami"

// An assembler makes messages of packets. It is used by one goroutine at a
// time: under the Listener's lock.
type assembler struct {
	cfg     Config
	ports   portSet
	anyPort bool // HTTP is recognised by its first bytes
	// http1Only is set by tests, to compare: HTTP/2 is not looked for.
	http1Only bool

	packets, connections, messages *kagami.Stage

	out   *outbox
	seen  Diagnosis
	table table
	last  *conn // the one the last segment belonged to

	clock       int64 // the latest packet or tick, in Unix nanoseconds
	expireAfter int64
	pending     workList
	sessions    sessionLists
	guesses     sessionLists // sessions that are none but guesses
	awaits      int          // requests that wait for answers, in all connections
	maxAwaits   int
	used        int64 // bytes of the memory budget
	shedding    shedding
	want        kagami.Reason // what giveUp counts: MemoryLimit, or CPULimit

	spare     *work // for messages that come whole, and the next that does not
	works     *work // free ones
	worksFree int
	helds     *held
	heldsFree int
	buffers   keptBuffers

	seg     segment
	settled [256]int // packets by what became of them, since the last block
}

// packet takes in one packet.
func (a *assembler) packet(d *decoder, p *Packet) {
	a.seen.Packets++
	a.advance(p.Time.UnixNano())
	r := d.decode(p, &a.seg)
	if r == kagami.Delivered {
		r = a.segment(&a.seg)
	}
	a.settled[r]++
	if a.used > a.cfg.Memory {
		a.makeRoom()
	}
}

// blockEnds passes on what was counted since the last block.
func (a *assembler) blockEnds() {
	for r, n := range &a.settled {
		if n != 0 {
			if r == int(kagami.Delivered) {
				a.packets.Out(n)
			} else {
				a.packets.Drop(kagami.Reason(r), n)
			}
			a.settled[r] = 0
		}
	}
}

// segment takes in one TCP segment and says what became of it.
func (a *assembler) segment(s *segment) kagami.Reason {
	a.seen.Segments++
	if s.kind == OtherHost && a.cfg.Local != nil && !a.cfg.Promiscuous {
		return kagami.OtherPort
	}
	toServer, fromServer := a.ports.has(s.dst.port), a.ports.has(s.src.port)
	if !a.anyPort && !toServer && !fromServer {
		a.seen.otherPort(s)
		return kagami.OtherPort
	}
	if fromServer && !toServer && !a.cfg.Responses && s.length > 0 && s.flags&(flagSYN|flagFIN|flagRST) == 0 {
		a.seen.BytesToClient += uint64(s.length)
		return kagami.OtherDirection
	}
	key, dir := keyOf(s)
	c := a.last
	if c == nil || c.key != key {
		if c = a.table.conns[key]; c == nil {
			var r kagami.Reason
			if c, dir, r = a.join(key, dir, s); c == nil {
				return r
			}
		}
		a.last = c
	}
	return a.within(c, dir, s)
}

// within takes in a segment of a connection that is in the table.
func (a *assembler) within(c *conn, dir uint8, s *segment) kagami.Reason {
	h := &c.half[dir]
	seq, fresh, another := seqNum(s.seq), false, false
	if s.flags&flagSYN != 0 {
		fresh = a.syn(c, dir, s)
		seq = seq.add(1)
	}
	if h.has(halfSeen) {
		another = h.kind != s.kind || h.iface != int32(s.ifindex)
	} else {
		h.kind, h.iface = s.kind, int32(s.ifindex)
		h.flags |= halfSeen
	}
	if s.length > 0 && c.state != stateParted {
		fresh = a.data(c, h, seq, s) || fresh
	}
	if s.length > 0 && c.guess != nil {
		fresh = a.observe(c, h, seq, s.payload, s.length-len(s.payload), arrival{s.time, seqNum(s.ack)})
	}
	if s.flags&(flagFIN|flagRST) != 0 {
		fresh = a.ending(c, h, seq.add(s.length), s.flags) || fresh
	}
	switch {
	case c.state == stateParted && c.fate == kagami.OtherPort:
		return kagami.OtherPort
	case c.state == stateParted && c.fate == kagami.DuplicateCopy:
		return a.duplicate(c, dir, s)
	case another && !fresh && (c.state != stateParted || c.guess != nil):
		return kagami.DuplicateCopy
	}
	return kagami.Delivered
}

// data takes in the payload of a segment. It returns false if all of it had
// been seen before: then it is a copy from another interface, or was sent again.
func (a *assembler) data(c *conn, h *half, seq seqNum, s *segment) bool {
	switch {
	case len(s.payload) <= maxPadding && s.flags&(flagFIN|flagSYN|flagPSH) == 0 && padding(h, s.payload):
		return true
	case !a.isServer(c, h):
		a.seen.BytesToServer += uint64(s.length)
	case a.cfg.Responses:
		a.seen.BytesToClient += uint64(s.length)
	default:
		a.seen.BytesToClient += uint64(s.length)
		if c.flags&(connGuess|connSpoke) != connGuess {
			return true
		}
	}
	if c.list == &a.table.nascent {
		a.table.live.move(c)
	} else {
		a.touch(c)
	}
	at, p := arrival{time: s.time, ack: seqNum(s.ack)}, s.payload
	if a.headsOnly(c, h) {
		p = p[:min(len(p), a.cfg.ResponseHead)]
	}
	return a.payload(c, h, seq, p, s.length-len(p), at)
}

// headsOnly reports whether of what h sends heads alone are wanted.
func (a *assembler) headsOnly(c *conn, h *half) bool {
	return a.cfg.ResponseHead > 0 && a.isServer(c, h)
}

// maxPadding is how much an Ethernet frame that carries a bare ACK is padded
// by, in bytes.
const maxPadding = 6

// padding reports whether a bare acknowledgement's payload is the padding of its
// frame: there are drivers that count it in the length of the IP packet. In a
// message such bytes count.
func padding(h *half, p []byte) bool {
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return (h.work == nil || h.work.phase == phaseNone) && !h.has(halfSession)
}

// ending takes in a FIN or a RST that stands at the given place.
func (a *assembler) ending(c *conn, h *half, at seqNum, flags uint8) (fresh bool) {
	if flags&flagFIN != 0 && !h.has(halfFIN) {
		a.fin(c, h, at)
		if g := c.guess; g != nil {
			a.fin(g, &g.half[c.index(h)], at)
		}
		fresh = true
	}
	if flags&flagRST != 0 && !c.has(connReset) {
		// Segments that were sent before it may still come, from another queue of
		// the interface: what is unfinished is given up when it expires.
		c.flags |= connReset
		fresh = true
	}
	a.closed(c)
	return fresh
}

func (a *assembler) fin(c *conn, h *half, at seqNum) {
	h.fin = at
	h.flags |= halfFIN
	if c.state != stateParted {
		a.checkEnd(c, h)
	}
}

// init makes the assembler of a Listener.
func (a *assembler) init(cfg Config, l *Listener) {
	a.cfg = cfg
	a.anyPort = len(cfg.Ports) == 0
	for _, p := range cfg.Ports {
		a.ports.add(p)
	}
	a.packets, a.connections, a.messages = &l.packets, &l.connections, &l.messages
	a.out = l.out
	a.table.conns = make(map[connKey]*conn)
	a.expireAfter = int64(cfg.Expire)
	a.maxAwaits = 2 * cfg.MaxConnections
	a.want = kagami.MemoryLimit
	a.buffers.most = cfg.Memory / 16
	a.spare = a.newWork()
}

// begun counts the messages that have begun and not ended.
func (a *assembler) begun() (n int64) {
	for w := a.pending.first; w != nil; w = w.next {
		if w.counted && !w.lost {
			n++
		}
		if w.early != nil {
			n++
		}
	}
	return n + a.sessionsBegun()
}

// end ends all connections and what is unfinished in them.
func (a *assembler) end() {
	for a.pending.first != nil {
		a.stale(a.pending.first)
	}
	for _, l := range a.table.lists() {
		for l.first != nil {
			a.remove(l.first)
		}
	}
}
