package capture

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"kagami"
)

// feed runs packets through a Listener without its goroutines, so that a test
// can look at the assembler in between.
func feed(t testing.TB, cfg Config) (l *Listener, put func(packets []Packet)) {
	cfg.Wait = true
	l, err := New(cfg, &list{})
	if err != nil {
		t.Fatal(err)
	}
	return l, func(packets []Packet) {
		for i := range packets {
			l.asm.packet(&l.sources[0].decoder, &packets[i])
		}
		l.packets.In(len(packets))
		l.asm.blockEnds()
	}
}

// over ends what feed began.
func over(t testing.TB, l *Listener) {
	l.end()
	l.out.flush()
	l.out.discard()
	balanced(t, l)
}

func clientAt(i int) string {
	a := netip.AddrFrom4([4]byte{10, byte(1 + i>>24), byte(i >> 16), byte(i >> 8)})
	return fmt.Sprintf("%v:%d", a, 1024+i&255)
}

func TestMemoryBudget(t *testing.T) {
	const memory = 1 << 20
	for _, c := range []struct {
		name string
		send func(w *wire)
	}{
		{"unfinished bodies", func(w *wire) { w.send(post("/", text(60_000))[:30_000]) }},
		{"declared, never sent", func(w *wire) { w.send("POST / HTTP/1.1\r\nContent-Length: 10000000\r\n\r\n") }},
		{"unfinished heads", func(w *wire) { w.send("GET / HTTP/1.1\r\nX: ", text(20_000), text(20_000)) }},
		{"early segments", func(w *wire) { w.resend(10, text(60_000)) }},
		{"early bytes, one by one", func(w *wire) {
			for i := range 500 {
				w.resend(2*i+1, "x")
			}
		}},
		{"answers without requests", func(w *wire) { w.answer(ok(text(50_000))) }},
		{"answers before the end of their requests", func(w *wire) { w.send(post("/", "12345")[:50]).answer(ok(text(50_000))) }},
		{"pieces of a body joined late", func(w *wire) { w.cseq += 1 << 30; w.send(text(5000), text(5000)) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, put := feed(t, Config{Ports: []uint16{80}, Responses: true, Memory: memory})
			var most int64
			for i := range 300 {
				tr := newTrace(t)
				c.send(tr.dial(clientAt(i), aServer))
				for _, p := range tr.packets {
					put([]Packet{p})
					most = max(most, l.asm.used)
				}
			}
			if most > memory || most < memory/2 {
				t.Errorf("%d bytes used, the budget is %d", most, memory)
			}
			if n := l.asm.pending.n; n == 0 || n > 300 {
				t.Errorf("%d works pending", n)
			}
			over(t, l)
		})
	}
}

// The one without progress goes first, and its connection goes on.
func TestMemoryLimitTakesTheOldest(t *testing.T) {
	w := newTrace(t).dial(aClient, aServer)
	large := post("/large", text(90_000))
	w.send(large[:50_000])
	v := w.tr.dial("10.0.0.1:40001", aServer)
	v.send(cut(post("/2", text(70_000)), 10_000)...)
	w.send(large[50_000:], get("/3"))
	cfg := port80
	cfg.Memory = 130_000
	tr := w.tr.run(cfg)
	tr.wants(post("/2", text(70_000)), get("/3"))
	tr.dropped("memory-limit 1")
}

func TestSYNFlood(t *testing.T) {
	l, put := feed(t, Config{Ports: []uint16{80}, MaxConnections: 1000})
	tr := newTrace(t)
	w := tr.dial(aClient, aServer)
	w.send(get("/1"), post("/2", "12345")[:50])
	put(tr.packets)
	for i := range 10_000 {
		tr.packets = nil
		v := tr.conn(clientAt(i), aServer)
		v.put(true, v.cseq, flagSYN, "")
		put(tr.packets)
	}
	if n := len(l.asm.table.conns); n > 252 {
		t.Errorf("%d connections in the table", n)
	}
	tr.packets = nil
	w.send(post("/2", "12345")[50:])
	put(tr.packets)
	if got := l.out.held.Load(); got != 2 {
		t.Errorf("%d messages, want both of the connection that was there before", got)
	}
	over(t, l)
}

// An idle connection is forgotten for free, and joined again.
func TestTableIsBounded(t *testing.T) {
	l, put := feed(t, Config{Ports: []uint16{80}, MaxConnections: 100, Queue: 1 << 30})
	tr := newTrace(t)
	const many = 500
	wires := make([]*wire, many)
	for round := range 5 {
		for i := range wires {
			if round == 0 {
				wires[i] = tr.dial(clientAt(i), aServer)
			}
			wires[i].send(get(fmt.Sprint("/", round, "/", i)))
		}
	}
	put(tr.packets)
	if n := len(l.asm.table.conns); n > 100 {
		t.Errorf("%d connections in the table", n)
	}
	if got := l.out.held.Load(); got != 5*many {
		t.Errorf("%d requests, want %d", got, 5*many)
	}
	if s := l.messages.Statement(); s.DroppedTotal() != 0 {
		t.Errorf("dropped: %v", s.Dropped)
	}
	if s := l.connections.Statement(); s.DroppedTotal() != 0 {
		t.Errorf("connections dropped: %v", s.Dropped)
	}
	over(t, l)
}

// The one that was heard of last stays.
func TestTableForgetsTheOldest(t *testing.T) {
	l, put := feed(t, Config{Ports: []uint16{80}, MaxConnections: 100})
	tr := newTrace(t)
	w := tr.dial(aClient, aServer)
	for i := range 300 {
		tr.dial(clientAt(i), aServer).send(get("/"))
		tr.wait(time.Second)
		w.send(get("/1"))
	}
	put(tr.packets)
	l.out.flush()
	for _, b := range l.out.queue {
		for _, m := range b.Messages {
			if m.Flags&kagami.MidStream != 0 {
				t.Fatalf("%v was forgotten", m.Client)
			}
		}
	}
	over(t, l)
}

// While no boundary is known, little is kept.
func TestMidStreamHoldsLittle(t *testing.T) {
	l, put := feed(t, port80)
	tr := newTrace(t)
	w := tr.conn(aClient, aServer)
	for range 100 {
		w.send(text(1000))
	}
	put(tr.packets)
	if l.asm.used > 20_000 {
		t.Errorf("%d bytes used", l.asm.used)
	}
	tr.packets = nil
	tr.wait(DefaultExpireRecorded)
	w.put(true, w.cseq, flagACK, "")
	put(tr.packets)
	if l.asm.used != 0 {
		t.Errorf("%d bytes used after they expired", l.asm.used)
	}
	over(t, l)
}

// The oldest stays while something in it is unfinished and there are idle ones.
func TestTableKeepsTheUnfinished(t *testing.T) {
	l, put := feed(t, Config{Ports: []uint16{80}, MaxConnections: 100})
	tr := newTrace(t)
	w := tr.dial(aClient, aServer)
	w.send(post("/1", "12345")[:50])
	for i := range 150 {
		tr.dial(clientAt(i), aServer).send(get("/"))
	}
	w.send(post("/1", "12345")[50:])
	put(tr.packets)
	if n := l.out.held.Load(); n != 151 {
		t.Errorf("%d messages, want 151", n)
	}
	over(t, l)
}

func TestTableFullOfUnfinished(t *testing.T) {
	l, put := feed(t, Config{Ports: []uint16{80}, MaxConnections: 100})
	tr := newTrace(t)
	for i := range 300 {
		tr.dial(clientAt(i), aServer).send(post("/", "12345")[:50])
	}
	put(tr.packets)
	if n := l.messages.Dropped(kagami.MemoryLimit); n != 200 {
		t.Errorf("%d messages dropped for the memory limit, want 200", n)
	}
	if n := l.connections.Dropped(kagami.MemoryLimit); n != 200 {
		t.Errorf("%d connections dropped for the memory limit, want 200", n)
	}
	over(t, l)
}

func TestClosedConnectionsLeave(t *testing.T) {
	l, put := feed(t, Config{Ports: []uint16{80}, Queue: 1 << 30})
	for i := range 2 * maxClosing {
		tr := newTrace(t)
		w := tr.dial(clientAt(i), aServer)
		w.send(get("/1"))
		w.close()
		put(tr.packets)
	}
	if n := len(l.asm.table.conns); n > maxClosing {
		t.Errorf("%d connections in the table", n)
	}
	over(t, l)
}

// The clock never goes back, and one packet from the future does no harm for good.
func TestClock(t *testing.T) {
	tr := newTrace(t)
	w := tr.dial(aClient, aServer)
	now := tr.now
	w.send(post("/1", "12345")[:50])
	tr.wait(-time.Hour)
	w.send(post("/1", "12345")[50:])
	tr.now = now.Add(24 * time.Hour)
	w.send(get("/2"))
	tr.now = now
	w.send(post("/3", "12345")[:50])
	w.send(post("/3", "12345")[50:])
	tr.run(port80).wants(post("/1", "12345"), get("/2"), post("/3", "12345"))
}

// sound checks that the assembler's structures agree with each other.
func sound(t testing.TB, a *assembler) {
	t.Helper()
	var used int64
	n := 0
	inTable := func(c *conn) bool {
		own := a.table.conns[c.key]
		return own == c || own != nil && own.guess == c
	}
	for w := a.pending.first; w != nil; w = w.next {
		if n++; n > a.pending.n {
			t.Fatal("more works in the list than it counts")
		}
		used += w.charged
		switch {
		case w.half == nil || w.half.work != w:
			t.Fatal("a work in the list that is no half's")
		case !inTable(w.conn):
			t.Fatal("a work of a connection that is not in the table")
		case w.phase == phaseNone && w.held == nil && !w.half.has(halfBlocked):
			t.Fatal("a work with nothing to do")
		case w.next != nil && w.next.since < w.since:
			t.Fatal("works out of order")
		}
		pieces, bytes := 0, 0
		for s := w.held; s != nil; s = s.next {
			pieces, bytes = pieces+1, bytes+cap(s.data)
			if s.next != nil && s.next.seq.minus(s.end()) < 0 {
				t.Fatal("held pieces overlap")
			}
			if s.next == nil && s != w.lastHeld {
				t.Fatal("the last held piece is another")
			}
		}
		if pieces != w.heldCount || bytes != w.heldBytes {
			t.Fatalf("%d pieces of %d bytes held, counted %d and %d", pieces, bytes, w.heldCount, w.heldBytes)
		}
	}
	for _, l := range []*sessionList{&a.sessions.busy, &a.sessions.idle, &a.guesses.busy, &a.guesses.idle} {
		var charged int64
		for s := l.first; s != nil; s = s.next {
			charged += s.charged
			switch {
			case s.conn.session != s || !inTable(s.conn):
				t.Fatal("a session that is no connection's")
			case (l == &a.guesses.busy || l == &a.guesses.idle) != (s.conn.of != nil) || s.conn.of != nil && s.conn.of.guess != s.conn:
				t.Fatal("a guess that is no connection's")
			case s.charged != s.memory():
				t.Fatalf("%d bytes charged for a session, it has %d", s.charged, s.memory())
			case s.busy() != (l == &a.sessions.busy || l == &a.guesses.busy):
				t.Fatalf("a session in the wrong list: busy is %v", s.busy())
			case s.inFlight() > 0 && !s.busy():
				t.Fatal("a session with messages in flight that is not busy")
			case s.next != nil && s.next.since < s.since:
				t.Fatal("sessions out of order")
			}
		}
		if charged != l.charged {
			t.Fatalf("sessions of %d bytes, counted %d", charged, l.charged)
		}
		used += charged
	}
	if n != a.pending.n || used != a.used {
		t.Fatalf("%d works of %d bytes, counted %d and %d", n, used, a.pending.n, a.used)
	}
	soundKin(t, &a.table)
	awaits, lists := 0, 0
	for _, c := range a.table.conns {
		awaits += c.awaits.n
		switch g := c.guess; {
		case c.list == nil:
			t.Fatal("a connection in no list")
		case g != nil && (g.of != c || g.state != stateOpen || c.session != nil || c.has(connSpoke)):
			t.Fatal("a guess where there can be none")
		}
	}
	for _, l := range []*connList{&a.table.live, &a.table.nascent, &a.table.closing} {
		lists += l.n
	}
	if awaits != a.awaits || lists != len(a.table.conns) {
		t.Fatalf("%d awaits, counted %d; %d connections in lists, %d in the table", awaits, a.awaits, lists, len(a.table.conns))
	}
}
