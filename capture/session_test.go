package capture

import (
	"strings"
	"testing"

	"kagami"
)

// getLiteral is a request on a stream that needs no table; post begins one that does not end.
func getLiteral(stream uint32) string {
	return h2frame(h2Headers, h2EndStream|h2EndHeaders, stream, "\x82\x86\x04\x02/1\x01\x01a")
}

func beginPut(h *h2wire, stream uint32) string {
	return h.headers(0, 0, stream, ":method", "PUT", ":scheme", "http", ":path", "/put", ":authority", "a")
}

// A connection that ended gives back its memory at once, and what was unfinished is over.
func TestSessionsEnd(t *testing.T) {
	for _, c := range []struct {
		name     string
		trace    func(h *h2wire, w *wire)
		inFlight int64 // messages, not handed on
		used     bool  // memory is in use behind the last packet
	}{
		{"open", func(h *h2wire, w *wire) {}, 0, true},
		{"both have closed", func(h *h2wire, w *wire) { w.close(); w.hangUp() }, 0, false},
		{"one has closed", func(h *h2wire, w *wire) { w.close() }, 0, true},
		{"reset", func(h *h2wire, w *wire) { w.reset() }, 0, false},
		{"closed within a message", func(h *h2wire, w *wire) { w.send(beginPut(h, 3)); w.close(); w.hangUp() }, 0, false},
		{"one has, within a message", func(h *h2wire, w *wire) { w.send(beginPut(h, 3)); w.close() }, 0, true},
		{"reset within a message", func(h *h2wire, w *wire) { w.send(beginPut(h, 3)); w.refuse() }, 1, true},
		{"reset, and the end of the message came late", func(h *h2wire, w *wire) {
			w.send(beginPut(h, 3)).answer(h2frame(h2Reset, 0, 5, "1234"))
			w.refuse()
			w.send(h2body(3, "x"))
		}, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newH2()
			w := newTrace(t).dial(aClient, aServer)
			w.send(h2Start + h.get(1, "/1")).answer(h2Answer + h.ok(1, "1"))
			c.trace(h, w)
			l, put := feed(t, withAnswers)
			put(w.tr.packets)
			sound(t, &l.asm)
			if n := l.asm.begun(); n != c.inFlight {
				t.Errorf("%d messages in flight, want %d", n, c.inFlight)
			}
			if _, pending := l.asm.oldest(); pending != (c.inFlight > 0) {
				t.Errorf("something is pending: %v", pending)
			}
			if (l.asm.used > 0) != c.used {
				t.Errorf("%d bytes in use", l.asm.used)
			}
			over(t, l)
		})
	}
}

// What the server said before the client is taken in as soon as it is known what it is.
func TestServerSpeaksFirst(t *testing.T) {
	h := newH2()
	w := newTrace(t).dial(aClient, aServer)
	w.answer(h2Answer).send(h2Start + h.get(1, "/1")).answer(h.ok(1, "1"))
	l, put := feed(t, withAnswers)
	put(w.tr.packets)
	if n := l.out.held.Load(); n != 2 {
		t.Errorf("%d messages, want 2 at once", n)
	}
	over(t, l)
}

// The preface was lost, and all that is known of a connection is its SYN.
func TestHTTP2WithoutPreface(t *testing.T) {
	w := newTrace(t).dial(aClient, aServer)
	w.send(h2Start)
	w.tr.lose()
	w.send(getLiteral(1), getLiteral(3))
	tr := w.tr.run(port80)
	tr.wants(getH2("/1"), getH2("/1"))
	tr.dropped("")
}

// HTTP/1.1 that lost its place does not become HTTP/2 because a body looks like it.
func TestNoFramesBehindHTTP1(t *testing.T) {
	w := newTrace(t).conn(aClient, aServer)
	w.send(get("/1"))
	w.cseq += 1000 // lost
	w.send(h2frame(h2Ping, 0, 0, "12345678")+h2frame(h2Ping, 0, 0, "12345678"), get("/2"))
	tr := w.tr.run(port80)
	tr.wants(get("/1"), get("/2"))
}

// The server agrees before the request is whole: its body goes on, and then frames.
func TestUpgradedEarly(t *testing.T) {
	ask := "POST /ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 10\r\n\r\n"
	w := newTrace(t).dial(aClient, aServer)
	w.send(ask+"01234").answer(acceptWS+fromServer("1")).send("56789"+fromClient("2"), fromClient("3"))
	tr := w.tr.run(withAnswers)
	tr.wants(ask+"0123456789", fromClient("2"), fromClient("3"))
	tr.answers(acceptWS, fromServer("1"))
	tr.dropped("")
}

// What the server agrees to is not always what the last request asked for.
func TestNotWhatWasAsked(t *testing.T) {
	for _, c := range []struct{ name, asked, answer string }{
		{"a tunnel", "CONNECT a:1 HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n"},
		{"one of two protocols", "GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c, websocket\r\n\r\n", "HTTP/1.1 101 Go\r\nUpgrade: ?\r\n\r\n"},
	} {
		w := newTrace(t).dial(aClient, aServer)
		w.send(c.asked).answer(c.answer + fromServer("1")).send(fromClient("2"))
		tr := w.tr.run(withAnswers)
		tr.wants(c.asked)
		tr.answers(c.answer)
		tr.droppedAt(1, "upgraded 1")
	}
}

// Frames follow the request for their WebSocket where that was dropped.
func TestWebSocketOfADroppedRequest(t *testing.T) {
	large := strings.Replace(askWS, "Host: a", "X: "+text(6000), 1)
	w := newTrace(t).dial(aClient, aServer)
	w.send(get("/1"), large).answer(ok("1"), acceptWS, fromServer("2")).send(fromClient("3"))
	l, put := feed(t, Config{Ports: []uint16{80}, Responses: true, Queue: 5000})
	l.out.wait = false
	put(w.tr.packets)
	s := l.messages.Statement()
	if s.Dropped[kagami.QueueFull] != 1 || s.Dropped[kagami.RequestDropped] != 3 || l.out.held.Load() != 2 {
		t.Errorf("%d messages, dropped %v", l.out.held.Load(), s.Dropped)
	}
	over(t, l)
}

// Early segments are given up for want of memory: nobody knows how much is missing, but
// frames are found again behind it.
func TestHTTP2ResumesBehindWhatWasGivenUp(t *testing.T) {
	h := newH2()
	w := newTrace(t).dial(aClient, aServer)
	w.send(h2Start + h.get(1, "/1") + beginPut(h, 3) + "\x00\x40\x00\x00\x00\x00\x00\x00\x03half")
	w.cseq += 1000
	w.send(cut(text(60_000), 1400)...)
	w.cseq += 1000
	w.send(getLiteral(5), getLiteral(7)+getLiteral(9))
	tr := w.tr.run(Config{Ports: []uint16{80}, Memory: 40_000})
	tr.wants(getH2("/1"), getH2("/1"), getH2("/1"), getH2("/1"))
	tr.dropped("memory-limit 1")
}

func TestTableFullOfSessions(t *testing.T) {
	l, put := feed(t, Config{Ports: []uint16{80}, MaxConnections: 100, Queue: 1 << 30})
	tr := newTrace(t)
	h := newH2()
	busy := tr.dial(aClient, aServer)
	busy.send(h2Start + beginPut(h, 1))
	for i := range 150 { // idle ones leave for each other
		tr.dial(clientAt(i), aServer).send(h2Start + newH2().get(1, "/"))
	}
	busy.send(h2body(1, "end"))
	put(tr.packets)
	sound(t, &l.asm)
	if n := l.out.held.Load(); n != 151 {
		t.Errorf("%d messages, want 151", n)
	}
	tr.packets = nil
	for i := range 300 {
		tr.dial(clientAt(1000+i), aServer).send(h2Start + beginPut(newH2(), 1))
	}
	put(tr.packets)
	sound(t, &l.asm)
	if n := l.messages.Dropped(kagami.MemoryLimit); n != 200 {
		t.Errorf("%d messages dropped for the memory limit, want 200: %+v", n, l.messages.Statement())
	}
	over(t, l)
}
