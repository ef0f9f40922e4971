package capture

import (
	"slices"
	"strings"
	"testing"

	"kagami"
)

// many is enough of a connection of HTTP/2 for HTTP/1.x to give it up: requests that need no table.
func (w *wire) many(n int) (requests []string) {
	for i := range n {
		stream := uint32(2*i + 101)
		w.send(getLiteral(stream) + h2frame(h2Data, 0, 99, text(8000)))
		requests = append(requests, getH2("/1"))
	}
	return requests
}

// HTTP/1.x gives a connection up in which there is none, and a guess of HTTP/2 goes on.
func TestGuessGoesOnAlone(t *testing.T) {
	for _, c := range []struct {
		name  string
		begin func(w *wire)
		ports []uint16
	}{
		{"the beginning not seen", func(w *wire) {}, nil},
		{"the preface lost", func(w *wire) { w.open(); w.send(h2Start); w.tr.lose() }, nil},
		{"the preface lost, at a known port", func(w *wire) { w.open(); w.send(h2Start); w.tr.lose() }, []uint16{80}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newTrace(t).conn(aClient, aServer)
			c.begin(w)
			requests := w.many(strayJoined + 20)
			l, put := feed(t, Config{Ports: c.ports, Queue: 1 << 30})
			put(w.tr.packets)
			sound(t, &l.asm)
			conn := l.asm.table.live.first
			if conn.state != stateParted || conn.guess == nil {
				t.Fatal("HTTP/1.x did not give it up, so that nothing is tested")
			}
			if n := l.out.held.Load(); n != int64(len(requests)) {
				t.Errorf("%d requests, want %d", n, len(requests))
			}
			if d := l.Diagnosis(); d.HTTP2 != 1 || d.NotHTTP != 0 || d.Waiting != 0 {
				t.Errorf("diagnosis: %+v", d)
			}
			// It is forgotten for want of memory, and joined again; nothing is captured twice.
			l.asm.forgetSession(conn.guess.session)
			w.tr.packets = append(slices.Clone(w.tr.last(5)), packetsOf(w, func() { requests = append(requests, w.many(3)...) })...)
			put(w.tr.packets)
			sound(t, &l.asm)
			if n := l.out.held.Load(); n != int64(len(requests)) {
				t.Errorf("joined again: %d requests, want %d", n, len(requests))
			}
			over(t, l)
			if s := l.connections.Statement(); s.DroppedTotal() != 0 {
				t.Errorf("connections dropped: %v", s.Dropped)
			}
		})
	}
}

// packetsOf returns the packets that say adds.
func packetsOf(w *wire, say func()) []Packet {
	n := len(w.tr.packets)
	say()
	return w.tr.packets[n:]
}

// What is a guess's is given up before anything of HTTP/1.x is, however old that is.
func TestGuessesAreShedFirst(t *testing.T) {
	const memory = 120_000
	l, put := feed(t, Config{Ports: []uint16{80}, Memory: memory, Queue: 1 << 30})
	tr := newTrace(t)
	old := tr.dial(aClient, aServer)
	old.send(post("/old", text(50_000))[:40_000])
	put(tr.packets)
	for i := range 20 {
		tr.packets = nil
		w := tr.conn(clientAt(i), aServer)
		w.send(pings()...)
		w.send(beginPut(newH2(), 1) + h2frame(h2Data, 0, 1, text(10_000)) + h2frame(h2Data, 0, 1, text(10_000)))
		w.resend(3000, text(500))
		put(tr.packets)
		sound(t, &l.asm)
		if l.asm.used > memory {
			t.Errorf("%d bytes used", l.asm.used)
		}
	}
	if n := l.Diagnosis().HTTP2; n != 20 {
		t.Errorf("%d guesses, want 20", n)
	}
	tr.packets = nil
	old.send(post("/old", text(50_000))[40_000:])
	put(tr.packets)
	if n := l.out.held.Load(); n != 1 {
		t.Errorf("%d messages, want the old one", n)
	}
	if n := l.messages.Dropped(kagami.MemoryLimit); n < 10 {
		t.Errorf("%d messages of guesses given up", n)
	}
	over(t, l)
}

// A connection that is seen twice, on its way to an address and to that behind it, is guessed
// to be HTTP/2 once.
func TestGuessOfATwin(t *testing.T) {
	for _, segments := range []int{3, 30} { // looked at when they expire, and before
		tr := newTrace(t)
		outside, inside := tr.conn(aClient, aServer), tr.conn(aClient, "172.17.0.2:80")
		var want []string
		for i := range segments {
			frame := getLiteral(uint32(2*i + 1))
			tr.ifindex = 1
			outside.send(frame)
			tr.ifindex = 2
			inside.send(frame)
			want = append(want, getH2("/1"))
		}
		tr.run(Config{}).wants(want...)
	}
}

// A guess ends with its connection, and what comes late is not taken for another one's.
func TestGuessEnds(t *testing.T) {
	for _, c := range []struct {
		name    string
		end     func(w *wire)
		dropped string
	}{
		{"both close", func(w *wire) { w.close(); w.hangUp() }, "incomplete 1"},
		{"reset", func(w *wire) { w.reset() }, "incomplete 1"},
		{"HTTP/1.x", func(w *wire) { w.send(get("/x")) }, "incomplete 1"},
		{"another connection", func(w *wire) { w.cseq += 1 << 28; w.open() }, "incomplete 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newTrace(t).conn(aClient, aServer)
			w.send(pings()...)
			requests := w.many(3)
			w.send(beginPut(newH2(), 201))
			last := w.tr.last(4)
			c.end(w)
			w.tr.packets = append(w.tr.packets, last...) // sent again
			tr := w.tr.run(withAnswers)
			if strings.HasPrefix(c.name, "HTTP/1") {
				requests = append(requests, get("/x"))
			}
			tr.wants(requests...)
			tr.dropped(c.dropped)
			if n := tr.Diagnosis().HTTP2; n != 1 {
				t.Errorf("%d guesses", n)
			}
		})
	}
}
