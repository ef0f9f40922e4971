package capture

import "kagami"

// A shedding is the share of the connections that are followed, while not all are.
type shedding struct {
	on    bool
	salt  kagami.Salt
	share kagami.Share
}

// Shed has the Listener follow only connections that the share includes, from now on: those
// where share.Includes(salt.Connection(client)). kagami.Whole is all of them again. It may be
// called from any goroutine, also before Run, and as often as need be.
//
// A connection that is not included any more is given up at once: what is unfinished in it is
// dropped as cpu-limit, and so is the connection. Packets of it that still come are
// dropped as cpu-limit too, before they are looked into. One that is included again is joined in its middle,
// at its next message.
//
// To take less from the host, the kernel has to leave out the same connections (see
// Filterable): before Shed where the share becomes smaller, and after it where it becomes
// larger. Where it does not know which end is the client, because both ends' ports are captured
// or any port is, it cannot; here the end with the higher port counts as the client then.
func (l *Listener) Shed(salt kagami.Salt, share kagami.Share) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := &l.asm
	a.shedding = shedding{on: share != kagami.Whole, salt: salt, share: share}
	if !a.shedding.on {
		return
	}
	a.want = kagami.CPULimit
	for _, list := range a.table.lists() {
		for c, next := list.first, (*conn)(nil); c != nil; c = next {
			next = c.next
			if a.sheds(&c.key) {
				a.shed(c)
			}
		}
	}
	a.want = kagami.MemoryLimit
	l.out.flush()
}

// sheds reports whether a connection is left alone to save CPU time. Both directions
// have the same answer, whatever is known of the connection.
func (a *assembler) sheds(key *connKey) bool {
	if !a.shedding.on {
		return false
	}
	client := key.high
	if a.ports.has(key.high.port) && !a.ports.has(key.low.port) {
		client = key.low
	}
	return !a.shedding.share.Includes(a.shedding.salt.Connection(client.addrPort()))
}

// shed gives up a connection to save CPU time.
func (a *assembler) shed(c *conn) {
	if (c.state != stateParted || c.guess != nil) && (c.list != &a.table.closing || !c.idle()) {
		c.fate = kagami.CPULimit
	}
	a.giveUp(c)
	a.remove(c)
}
