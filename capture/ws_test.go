package capture

import (
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"kagami"
	"kagami/internal/websocket"
)

const (
	askWS    = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
	acceptWS = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
)

// wsframe makes a frame: its first byte, and its payload with or without a mask.
func wsframe(first byte, payload string, masked bool) string {
	b := []byte{first, byte(len(payload))}
	if len(payload) > 125 {
		b[1] = 126
		b = binary.BigEndian.AppendUint16(b, uint16(len(payload)))
	}
	p := []byte(payload)
	if masked {
		key := [4]byte{0, 0xaa, 0x55, 1}
		b[1] |= 0x80
		b = append(b, key[:]...)
		websocket.Mask(key, 0, p)
	}
	return string(append(b, p...))
}

func fromClient(s string) string { return wsframe(0x81, s, true) }
func fromServer(s string) string { return wsframe(0x81, s, false) }

func TestWebSocket(t *testing.T) {
	big := text(3000)
	for _, c := range []struct {
		name              string
		trace             func(w *wire)
		requests, answers []string
		dropped           string
		connections       string
	}{
		{"frames", func(w *wire) {
			w.send(askWS).answer(acceptWS+fromServer("hello")).send(fromClient("1"), fromClient("2")+fromClient("3")).answer(fromServer("4") + fromServer("5"))
		}, []string{askWS, fromClient("1"), fromClient("2"), fromClient("3")}, []string{acceptWS, fromServer("hello"), fromServer("4"), fromServer("5")}, "", ""},
		{"byte by byte", func(w *wire) {
			w.send(askWS).answer(acceptWS)
			w.send(cut(fromClient("\x00\x00\x00\x00")+fromClient(""), 1)...).answer(cut(fromServer("\x00\x00\x00")+fromServer(""), 1)...)
		}, []string{askWS, fromClient("\x00\x00\x00\x00"), fromClient("")}, []string{acceptWS, fromServer("\x00\x00\x00"), fromServer("")}, "", ""},
		{"fragments and control frames", func(w *wire) {
			w.send(askWS).answer(acceptWS)
			w.send(wsframe(0x41, "a", true), wsframe(0x89, "", true), wsframe(0x80, "b", true), wsframe(0x88, "\x03\xe8", true)).answer(wsframe(0x8a, "", false), wsframe(0x88, "", false))
			w.close()
			w.hangUp()
		}, []string{askWS, wsframe(0x41, "a", true), wsframe(0x89, "", true), wsframe(0x80, "b", true), wsframe(0x88, "\x03\xe8", true)},
			[]string{acceptWS, wsframe(0x8a, "", false), wsframe(0x88, "", false)}, "", ""},
		{"out of order", func(w *wire) {
			w.send(askWS).answer(acceptWS)
			w.send(cut(fromClient(big), 1400)...)
			w.tr.swap()
			w.send(fromClient("2"))
		}, []string{askWS, fromClient(big), fromClient("2")}, []string{acceptWS}, "", ""},
		{"the client is seen before the answer", func(w *wire) {
			w.send(askWS).answer(acceptWS).send(fromClient("1"))
			w.tr.swap()
			w.answer(fromServer("2")).send(fromClient("3"))
		}, []string{askWS, fromClient("1"), fromClient("3")}, []string{acceptWS, fromServer("2")}, "", ""},
		{"refused", func(w *wire) { w.send(askWS).answer(ok("no")).send(get("/2")).answer(ok("2")) },
			[]string{askWS, get("/2")}, []string{ok("no"), ok("2")}, "", ""},
		{"what is no frame", func(w *wire) {
			w.send(askWS).answer(acceptWS).send(fromClient("1"), get("/2"), fromClient("3")).answer(fromServer("4"))
		}, []string{askWS, fromClient("1")}, []string{acceptWS}, "", "upgraded 1"},
		{"a frame that breaks off", func(w *wire) {
			w.send(askWS).answer(acceptWS).send(fromClient("1"), fromClient(big)[:1000])
			w.close()
		}, []string{askWS, fromClient("1")}, []string{acceptWS}, "incomplete 1", ""},
		{"no end in time", func(w *wire) {
			w.send(askWS).answer(acceptWS).send(fromClient("1"), fromClient(big)[:1000])
			w.tr.wait(3 * time.Second)
			w.send(fromClient(big)[1000:], fromClient("2"))
		}, []string{askWS, fromClient("1"), fromClient("2")}, []string{acceptWS}, "incomplete 1", ""},
		{"too large", func(w *wire) {
			w.send(askWS).answer(acceptWS).send(cut(fromClient(text(20_000)), 1400)...).send(fromClient("2"))
		}, []string{askWS, fromClient("2")}, []string{acceptWS}, "too-large 1", ""},
		{"a segment lost in a frame", func(w *wire) {
			w.send(askWS).answer(acceptWS)
			pieces := cut(fromClient(big), 700)
			w.send(pieces[0], pieces[1])
			w.tr.lose()
			w.send(pieces[2:]...).send(fromClient("2"))
		}, []string{askWS, fromClient("2")}, []string{acceptWS}, "sequence-gap 1", ""},
		{"a segment lost with the end of a frame", func(w *wire) {
			w.send(askWS).answer(acceptWS)
			w.send(fromClient(big)[:1000], fromClient(big)[1000:]+fromClient("2"))
			w.tr.lose()
			w.send(fromClient("3"), fromClient("4"))
		}, []string{askWS}, []string{acceptWS}, "sequence-gap 1", "upgraded 1"},
		{"our own", func(w *wire) {
			own := strings.Replace(askWS, "Host: a", "Kagami-Replay: 1", 1)
			w.send(own).answer(acceptWS+fromServer("hello")).send(fromClient("1"), fromClient("2"))
		}, nil, nil, "own-traffic 1, request-dropped 1", "upgraded 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := Config{Ports: []uint16{80}, MaxMessage: 10_000, ReplayHeader: "Kagami-Replay", Responses: true}
			w := newTrace(t).dial(aClient, aServer)
			c.trace(w)
			tr := w.tr.run(cfg)
			tr.wants(c.requests...)
			tr.answers(c.answers...)
			tr.dropped(c.dropped)
			tr.droppedAt(1, c.connections)

			cfg.Responses = false
			again := *w.tr
			again.requests, again.responses = nil, nil
			again.run(cfg)
			again.wants(c.requests...)
			again.answers()
		})
	}
}

func TestWebSocketMessage(t *testing.T) {
	for _, responses := range []bool{true, false} {
		w := newTrace(t).dial(aClient, aServer)
		w.send(askWS).answer(acceptWS)
		start := w.tr.now
		w.send(fromClient("hello")[:7])
		w.tr.wait(time.Second)
		end := w.tr.now
		w.send(fromClient("hello")[7:]).answer(fromServer("x"))
		tr := w.tr.run(Config{Ports: []uint16{80}, Responses: responses})
		asked, m := tr.requests[0], tr.requests[1]
		if m.Proto != kagami.WebSocket || m.Kind != kagami.Request || m.Flags != 0 || !m.Start.Equal(start) || !m.End.Equal(end) ||
			m.Client != w.client || m.Server != w.server || m.Exchange.Method != "GET" {
			t.Errorf("%+v", m)
		}
		if m.Exchange != asked.Exchange {
			t.Errorf("a frame has the exchange %v, the request for the WebSocket %v", m.Exchange.ID, asked.Exchange.ID)
		}
		if responses && (len(tr.responses) != 2 || tr.responses[1].Exchange != asked.Exchange || tr.responses[1].Proto != kagami.WebSocket) {
			t.Errorf("answers: %+v", tr.responses)
		}
		if h, p, err := websocket.Payload(m.Raw); err != nil || string(p) != "hello" || h.Opcode != websocket.Text {
			t.Errorf("%+v %q %v", h, p, err)
		}
	}
}

func TestWebSocketIncomplete(t *testing.T) {
	w := newTrace(t).dial(aClient, aServer)
	w.tr.snaplen = 300
	w.send(askWS).answer(acceptWS+fromServer("1")).answer(fromServer(text(1000)), fromServer("2")).send(fromClient(text(500)), fromClient(text(200))[:100])
	tr := w.tr.run(Config{Ports: []uint16{80}, Responses: true, AllowIncomplete: true})
	var got []kagami.Flags
	for _, m := range append(tr.requests[1:], tr.responses[1:]...) {
		got = append(got, m.Flags)
	}
	want := []kagami.Flags{kagami.Truncated, kagami.Incomplete, 0, kagami.Truncated, 0}
	if len(got) != len(want) {
		t.Fatalf("%d messages, want %d", len(got), len(want))
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("message %d has the flags %b, want %b", i, got[i], want[i])
		}
	}
	tr.dropped("")
}

// A frame that finds the queue full is dropped, and those behind it are not.
func TestWebSocketQueueFull(t *testing.T) {
	w := newTrace(t).dial(aClient, aServer)
	w.send(askWS).answer(acceptWS)
	w.send(fromClient("1"), fromClient(text(9000)), fromClient("2")).answer(fromServer(text(9000)), fromServer("3"))
	l, put := feed(t, Config{Ports: []uint16{80}, Responses: true, Queue: 5000})
	l.out.wait = false
	put(w.tr.packets)
	if n, full := l.out.held.Load(), l.messages.Dropped(kagami.QueueFull); n != 5 || full != 2 {
		t.Errorf("%d messages, %d found the queue full", n, full)
	}
	over(t, l)
}

func TestWebSocketMemoryBudget(t *testing.T) {
	const memory = 1 << 20
	l, put := feed(t, Config{Ports: []uint16{80}, Responses: true, Memory: memory, Queue: 1 << 30})
	var most int64
	for i := range 300 {
		tr := newTrace(t)
		w := tr.dial(clientAt(i), aServer)
		w.send(askWS).answer(acceptWS).answer(fromServer(text(20_000))[:10_000]).send(fromClient(text(20_000))[:10_000])
		for _, p := range tr.packets {
			put([]Packet{p})
			most = max(most, l.asm.used)
		}
		sound(t, &l.asm)
	}
	if most > memory || most < memory/2 {
		t.Errorf("%d bytes used, the budget is %d", most, memory)
	}
	if n := l.messages.Dropped(kagami.MemoryLimit); n < 400 {
		t.Errorf("%d frames dropped for the memory limit", n)
	}
	over(t, l)
}

// Idle WebSockets that are too many are left alone for good.
func TestWebSocketsForgotten(t *testing.T) {
	l, put := feed(t, Config{Ports: []uint16{80}, Responses: true, Memory: 80_000, Queue: 1 << 30})
	tr := newTrace(t)
	for i := range 300 {
		tr.dial(clientAt(i), aServer).send(askWS).answer(acceptWS).send(fromClient("1"))
	}
	put(tr.packets)
	sound(t, &l.asm)
	if l.asm.used > 40_000 {
		t.Errorf("%d bytes in use", l.asm.used)
	}
	if n := l.out.held.Load(); n != 900 {
		t.Errorf("%d messages, want 900", n)
	}
	over(t, l)
	if n := l.connections.Dropped(kagami.MemoryLimit); n == 0 || n == 300 {
		t.Errorf("%d connections left alone", n)
	}
}
