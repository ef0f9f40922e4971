package capture

import "kagami"

const (
	// maxClosing is how many connections are remembered after their end, so that
	// segments that come late or twice are known to be old.
	maxClosing = 4096
	// touchEvery is how exact the order of connections by age is, in nanoseconds:
	// moving one at every packet would cost more than it is worth.
	touchEvery = 100e6
)

// A table holds the connections. Each is in one of three lists: those of which
// only a SYN was seen, those that ended, and the others.
type table struct {
	conns   map[connKey]*conn
	nascent connList
	live    connList
	closing connList
	kin     kin
	free    *conn
	nfree   int
}

// lists returns the three.
func (t *table) lists() [3]*connList { return [...]*connList{&t.nascent, &t.closing, &t.live} }

// open makes a connection and puts it into the table. Where the table is full,
// another one has to leave it.
func (a *assembler) open(key connKey) *conn {
	t := &a.table
	if len(t.conns) >= a.cfg.MaxConnections {
		a.evict()
	}
	c := t.free
	if c == nil {
		c = new(conn)
	} else {
		t.free = c.next
		t.nfree--
		*c = conn{}
	}
	c.key = key
	c.touched = a.clock
	t.conns[key] = c
	t.live.push(c)
	a.connections.In(1)
	return c
}

// remove takes a connection out of the table, after what was unfinished in it ended.
func (a *assembler) remove(c *conn) {
	a.flush(c)
	a.close(c)
	a.table.kin.leave(c)
	delete(a.table.conns, c.key)
	c.list.remove(c)
	if a.last == c {
		a.last = nil
	}
	if t := &a.table; t.nfree < maxFree {
		c.next, t.free = t.free, c
		t.nfree++
	}
}

// close counts the end of a connection.
func (a *assembler) close(c *conn) {
	if c.guess != nil {
		a.flush(c.guess)
		a.endGuess(c)
	}
	a.notWaiting(c)
	a.connections.Settle(c.fate)
}

// renew makes a connection in the table a new one between the same ends.
func (a *assembler) renew(c *conn) {
	a.flush(c)
	a.close(c)
	a.table.kin.leave(c)
	l := &a.table.live
	l.move(c)
	key, prev, next := c.key, c.prev, c.next
	*c = conn{key: key, list: l, prev: prev, next: next, touched: a.clock}
	a.connections.In(1)
}

// touch notes that a connection was heard of.
func (a *assembler) touch(c *conn) {
	if a.clock-c.touched > touchEvery && c.list == &a.table.live {
		c.touched = a.clock
		a.table.live.move(c)
	}
}

// evict makes room for one connection: the oldest of which nothing is known but
// a SYN, where they are many; or one that ended; or the oldest idle one, which is
// joined again at its next request and costs nothing; or else the oldest.
func (a *assembler) evict() {
	t := &a.table
	switch {
	case t.nascent.n > a.cfg.MaxConnections/4:
		a.remove(t.nascent.first)
		return
	case t.closing.n > 0:
		a.remove(t.closing.first)
		return
	}
	oldest := t.live.first
	for c, n := oldest, 0; c != nil && n < 16; c, n = c.next, n+1 {
		if c.idle() {
			a.giveUp(c) // what a guess has begun
			a.remove(c)
			return
		}
	}
	if oldest == nil {
		a.remove(t.nascent.first)
		return
	}
	if oldest.half[0].work != nil || oldest.half[1].work != nil || oldest.session != nil && oldest.session.busy() {
		oldest.fate = kagami.MemoryLimit
		a.giveUp(oldest)
	}
	a.remove(oldest)
}

// giveUp drops what is unfinished in a connection for want of memory, or of CPU time.
func (a *assembler) giveUp(c *conn) {
	if c.guess != nil {
		a.giveUp(c.guess)
	}
	a.shedAll(c)
	for i := range c.half {
		h := &c.half[i]
		if w := h.work; w != nil {
			a.freeAll(w)
			a.drop(w, a.want)
			h.flags &^= halfSynced | halfBlocked
			a.settle(h)
		}
	}
}

// part leaves a connection alone from now on, for the given reason. If that is that it is no
// HTTP/1.x, a guess of HTTP/2 goes on; and where that was wrong, it is only the guess that ends.
func (a *assembler) part(c *conn, why kagami.Reason) {
	if c.state == stateParted {
		return
	}
	c.state = stateParted
	a.flush(c)
	switch {
	case c.of != nil:
		if c = c.of; c.state != stateParted {
			c.flags |= connNoGuess
			a.endGuess(c)
			return
		}
	case c.guess != nil && (why == kagami.NotHTTP || why == kagami.TLS):
		return
	}
	c.fate = why
	a.endGuess(c)
	a.notWaiting(c)
	a.seen.parted(why)
}

// closed moves a connection to the list of those that ended, when it did.
func (a *assembler) closed(c *conn) {
	client, server := &c.half[c.client], &c.half[c.client^1]
	switch {
	case c.has(connReset), server.has(halfFIN) && client.has(halfFIN), client.has(halfFIN) && !a.cfg.Responses:
	default:
		return
	}
	t := &a.table
	if c.list == &t.closing {
		return
	}
	t.closing.move(c)
	a.endIdle(c)
	if t.closing.n > maxClosing {
		a.remove(t.closing.first)
	}
}

// waiting and notWaiting keep count of the connections that were joined after
// their beginning, and in which no message has been found yet.
func (a *assembler) waiting(c *conn) {
	c.flags |= connWaiting
	a.seen.Waiting++
}

func (a *assembler) notWaiting(c *conn) {
	if c.has(connWaiting) {
		c.flags &^= connWaiting
		a.seen.Waiting--
	}
}
