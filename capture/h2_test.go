package capture

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2/hpack"

	"kagami"
	"kagami/internal/http1"
	"kagami/internal/http2"
)

// An h2wire makes what the two ends of a connection of HTTP/2 send.
type h2wire struct {
	block [2]bytes.Buffer
	enc   [2]*hpack.Encoder
}

func newH2() *h2wire {
	h := &h2wire{}
	for i := range h.enc {
		h.enc[i] = hpack.NewEncoder(&h.block[i])
	}
	return h
}

// The types of frames that tests use, and their flags (RFC 9113 §6).
const (
	h2Data, h2Headers, h2Reset, h2Settings, h2Push, h2Ping = 0, 1, 3, 4, 5, 6
	h2EndStream, h2EndHeaders                              = 1, 4
)

func h2frame(typ, flags uint8, stream uint32, payload string) string {
	n := len(payload)
	return string([]byte{byte(n >> 16), byte(n >> 8), byte(n), typ, flags,
		byte(stream >> 24), byte(stream >> 16), byte(stream >> 8), byte(stream)}) + payload
}

const (
	h2Start  = http2.Preface + "\x00\x00\x00\x04\x00\x00\x00\x00\x00"
	h2Answer = "\x00\x00\x00\x04\x00\x00\x00\x00\x00"
)

const acceptH2 = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"

// headers is a header block that the client (0) or the server (1) sends.
func (h *h2wire) headers(from int, flags uint8, stream uint32, fields ...string) string {
	h.block[from].Reset()
	for i := 0; i+1 < len(fields); i += 2 {
		h.enc[from].WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	return h2frame(h2Headers, flags|h2EndHeaders, stream, h.block[from].String())
}

func (h *h2wire) get(stream uint32, path string, fields ...string) string {
	return h.headers(0, h2EndStream, stream, append([]string{":method", "GET", ":scheme", "http", ":path", path, ":authority", "a"}, fields...)...)
}

func (h *h2wire) post(stream uint32, path, body string) string {
	return h.headers(0, 0, stream, ":method", "POST", ":scheme", "http", ":path", path, ":authority", "a") + h2body(stream, body)
}

func (h *h2wire) ok(stream uint32, body string) string {
	return h.headers(1, 0, stream, ":status", "200") + h2body(stream, body)
}

// h2body is a body in frames of 1000 bytes.
func h2body(stream uint32, body string) (s string) {
	for _, p := range cut(body, 1000) {
		s += h2frame(h2Data, 0, stream, p)
	}
	return s + h2frame(h2Data, h2EndStream, stream, "")
}

// getH2, postH2 and okH2 are get, post and ok as they are rendered.
func getH2(path string) string { return "GET " + path + " HTTP/1.1\r\nHost: a\r\n\r\n" }

func postH2(path, body string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: a\r\ncontent-length: %d\r\n\r\n%s", path, len(body), body)
}

func okH2(body string) string {
	return fmt.Sprintf("HTTP/1.1 200 \r\ncontent-length: %d\r\n\r\n%s", len(body), body)
}

func TestHTTP2(t *testing.T) {
	for _, c := range []struct {
		name              string
		trace             func(h *h2wire, w *wire)
		requests, answers []string
		dropped           string
		connections       string
	}{
		{"requests and answers", func(h *h2wire, w *wire) {
			w.send(h2Start+h.get(1, "/1")).answer(h2Answer+h.ok(1, "1")).send(h.post(3, "/3", "body"), h.get(5, "/5")).answer(h.ok(5, "5"), h.ok(3, "3"))
		}, []string{getH2("/1"), postH2("/3", "body"), getH2("/5")}, []string{okH2("1"), okH2("3"), okH2("5")}, "", ""},
		{"the preface in parts", func(h *h2wire, w *wire) {
			w.send("P", "RI * HT", "TP/2.0\r\n\r", "\nSM\r\n\r\n\x00\x00\x00\x04", "\x00\x00\x00\x00\x00"+h.get(1, "/1"))
		}, []string{getH2("/1")}, nil, "", ""},
		{"the preface's first word alone", func(h *h2wire, w *wire) { w.send("PRI ", h2Start[4:]+h.get(1, "/1")) }, []string{getH2("/1")}, nil, "", ""},
		{"the server is the first to speak", func(h *h2wire, w *wire) {
			w.answer(h2Answer).send(h2Start + h.get(1, "/1")).answer(h.ok(1, "1"))
		}, []string{getH2("/1")}, []string{okH2("1")}, "", ""},
		{"byte by byte", func(h *h2wire, w *wire) {
			w.send(cut(h2Start+h.get(1, "/1"), 1)...).answer(cut(h2Answer+h.ok(1, "\x00\x00\x00"), 1)...)
			w.send(cut(h.post(3, "/3", "\x00\x00\x00\x00"), 1)...).answer(cut(h.ok(3, ""), 1)...)
		}, []string{getH2("/1"), postH2("/3", "\x00\x00\x00\x00")}, []string{okH2("\x00\x00\x00"), okH2("")}, "", ""},
		{"segments out of order", func(h *h2wire, w *wire) {
			w.send(h2Start, h.get(1, "/1"))
			w.tr.swap()
			w.answer(h2Answer, h.ok(1, "1"))
			w.tr.swap()
		}, []string{getH2("/1")}, []string{okH2("1")}, "", ""},
		{"an answer seen before its request", func(h *h2wire, w *wire) {
			w.send(h2Start).answer(h2Answer).send(h.get(1, "/1")).answer(h.ok(1, "1"))
			w.tr.swap()
		}, []string{getH2("/1")}, []string{okH2("1")}, "", ""},
		{"a server that does not know it", func(h *h2wire, w *wire) {
			w.send(h2Start + h.get(1, "/1")).answer("HTTP/1.1 505 No\r\nContent-Length: 0\r\n\r\n")
		}, []string{getH2("/1")}, nil, "", "not-http 1"},
		{"a segment lost in a body", func(h *h2wire, w *wire) {
			w.send(h2Start + h.get(1, "/1"))
			pieces := cut(h.post(3, "/3", text(3000)), 700)
			w.send(pieces[0], pieces[1])
			w.tr.lose()
			w.send(pieces[2:]...).send(h.get(5, "/1"), h.get(7, "/1"), h.get(9, "/1")).answer(h2Answer + h.ok(1, "1") + h.ok(3, "3"))
		}, []string{getH2("/1")}, []string{okH2("1")}, "sequence-gap 1, undecodable 3, request-dropped 1", ""},
		{"a segment lost within a frame", func(h *h2wire, w *wire) {
			w.send(h2Start + h.get(1, "/1"))
			pieces := cut(h.post(3, "/3", text(3000)), 300)
			w.send(pieces[0], pieces[1])
			w.tr.lose()
			w.send(pieces[2:]...).send(h.get(5, "/5")).answer(h2Answer + h.ok(1, "1") + h.ok(3, "3") + h.ok(5, "5"))
		}, []string{getH2("/1"), getH2("/5")}, []string{okH2("1"), okH2("5")}, "sequence-gap 1, request-dropped 1", ""},
		{"a reset", func(h *h2wire, w *wire) {
			w.send(h2Start + h.headers(0, 0, 1, ":method", "PUT", ":scheme", "http", ":path", "/", ":authority", "a")).answer(h2Answer + h2frame(h2Reset, 0, 1, "1234"))
			w.send(h.get(3, "/3"))
		}, []string{getH2("/3")}, nil, "incomplete 1", ""},
		{"no end in time, on a busy connection", func(h *h2wire, w *wire) {
			w.send(h2Start + h.headers(0, 0, 1, ":method", "PUT", ":scheme", "http", ":path", "/", ":authority", "a")).answer(h2Answer)
			for i := range 5 {
				w.tr.wait(time.Second)
				w.send(h.get(uint32(3+2*i), "/"))
			}
			w.send(h2body(1, "late"))
		}, []string{getH2("/"), getH2("/"), getH2("/"), getH2("/"), getH2("/")}, nil, "incomplete 1", ""},
		{"no end in time, and then nothing", func(h *h2wire, w *wire) {
			w.send(h2Start + h.headers(0, 0, 1, ":method", "PUT", ":scheme", "http", ":path", "/", ":authority", "a")).answer(h2Answer)
			w.tr.wait(3 * time.Second)
			w.send(h2body(1, "late"), h.get(3, "/3"))
		}, []string{getH2("/3")}, nil, "incomplete 1", ""},
		{"FIN in a body", func(h *h2wire, w *wire) {
			w.send(h2Start + h.get(1, "/1")).answer(h2Answer + h.headers(1, 0, 1, ":status", "200") + h2frame(h2Data, 0, 1, "half"))
			w.hangUp()
			w.close()
		}, []string{getH2("/1")}, nil, "incomplete 1", ""},
		{"a malformed request, and its answer", func(h *h2wire, w *wire) {
			w.send(h2Start + h.get(1, "/ HTTP/1.1\r\nx: y")).answer(h2Answer + h.ok(1, "400")).send(h.get(3, "/3"))
		}, []string{getH2("/3")}, nil, "not-http 1, request-dropped 1", ""},
		{"a promise", func(h *h2wire, w *wire) {
			w.send(h2Start + h.get(1, "/1"))
			h.block[1].Reset()
			promised := h.headers(1, 0, 1, ":method", "GET", ":scheme", "http", ":path", "/pushed", ":authority", "a")[9:]
			w.answer(h2Answer + h2frame(h2Push, h2EndHeaders, 1, "\x00\x00\x00\x02"+promised) + h.ok(1, "1") + h.ok(2, "pushed"))
		}, []string{getH2("/1")}, []string{okH2("1")}, "request-dropped 1, not-replayable 1", ""},
		{"our own", func(h *h2wire, w *wire) {
			w.send(h2Start + h.get(1, "/1", "kagami-replay", "0123") + h.get(3, "/3")).answer(h2Answer + h.ok(1, "1") + h.ok(3, "3"))
		}, []string{getH2("/3")}, []string{okH2("3")}, "own-traffic 1, request-dropped 1", ""},
		{"too large", func(h *h2wire, w *wire) {
			w.send(cut(h2Start+h.post(1, "/1", text(60_000)), 1400)...)
			w.send(h.get(3, "/3")).answer(h2Answer + h.ok(1, "1") + h.ok(3, "3"))
		}, []string{getH2("/3")}, []string{okH2("3")}, "too-large 1, request-dropped 1", ""},
		{"an upgrade", func(h *h2wire, w *wire) {
			w.send("GET /1 HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n")
			w.answer(acceptH2+h2Answer, h.ok(1, "1"))
			w.send(h2Start+h.get(3, "/3"), h.post(5, "/5", "x")).answer(h.ok(5, "5") + h.ok(3, "3"))
		}, []string{"GET /1 HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n", getH2("/3"), postH2("/5", "x")},
			[]string{acceptH2, okH2("1"), okH2("3"), okH2("5")}, "", ""},
		{"an upgrade, and the client's preface is seen first", func(h *h2wire, w *wire) {
			w.send("GET /1 HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
			w.answer(acceptH2 + h2Answer)
			w.send(h2Start + h.get(3, "/3"))
			w.tr.swap()
			w.answer(h.ok(1, "1") + h.ok(3, "3"))
		}, []string{"GET /1 HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", getH2("/3")}, []string{acceptH2, okH2("1"), okH2("3")}, "", ""},
		{"an upgrade that is refused", func(h *h2wire, w *wire) {
			w.send("GET /1 HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n").answer(ok("1")).send(get("/2")).answer(ok("2"))
		}, []string{"GET /1 HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", get("/2")}, []string{ok("1"), ok("2")}, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, cfg := range []Config{{Ports: []uint16{80}}, {}} {
				cfg.MaxMessage, cfg.ReplayHeader = 50_000, "Kagami-Replay"
				cfg.Responses = true
				w := newTrace(t).dial(aClient, aServer)
				c.trace(newH2(), w)
				tr := w.tr.run(cfg)
				tr.wants(c.requests...)
				tr.answers(c.answers...)
				tr.dropped(c.dropped)
				tr.droppedAt(1, c.connections)
				tr.answersTheirs()

				cfg.Responses = false
				again := *w.tr
				again.requests, again.responses = nil, nil
				again.run(cfg)
				if !strings.Contains(c.dropped, "incomplete") { // a reset of the server's is not seen
					again.wants(c.requests...)
				}
				again.answers()
			}
		})
	}
}

// answersTheirs fails the test where an answer is not that to its request: of the
// same stream, whose number is its body.
func (tr *trace) answersTheirs() {
	tr.t.Helper()
	byExchange := map[*kagami.Exchange]*kagami.Message{}
	ids := map[kagami.ID]bool{}
	for _, m := range tr.requests {
		byExchange[m.Exchange] = m
		if ids[m.Exchange.ID] {
			tr.t.Errorf("two requests have the id %v", m.Exchange.ID)
		}
		ids[m.Exchange.ID] = true
	}
	for _, m := range tr.responses {
		q := byExchange[m.Exchange]
		if q == nil {
			tr.t.Errorf("%q answers no request", m.Raw)
			continue
		}
		_, body, _ := bytes.Cut(m.Raw, []byte("\r\n\r\n"))
		if p := strings.TrimPrefix(paths([]*kagami.Message{q}), "/"); len(body) > 0 && body[0] != 0 && p != string(body) {
			tr.t.Errorf("%q answers %q", body, p)
		}
		if q.Exchange.Method != string(http1.Method(q.Raw)) {
			tr.t.Errorf("%.50q has method %q", q.Raw, q.Exchange.Method)
		}
	}
}

func TestHTTP2Message(t *testing.T) {
	h := newH2()
	w := newTrace(t).dial(aClient, aServer)
	w.send(h2Start)
	start := w.tr.now
	request := h.post(1, "/1", "body")
	w.send(request[:20])
	w.tr.wait(time.Second)
	end := w.tr.now
	w.send(request[20:])
	m := w.tr.run(port80).requests[0]
	want := kagami.MakeID(w.client, w.server, 5001, 1, start.Unix())
	if m.Proto != kagami.HTTP2 || m.Kind != kagami.Request || m.Flags != 0 || m.Exchange.ID != want || m.Exchange.Method != "POST" ||
		!m.Start.Equal(start) || !m.End.Equal(end) || m.Client != w.client || m.Server != w.server || m.WireLen != len(request) {
		t.Errorf("%+v\nid %v, want %v", m, m.Exchange.ID, want)
	}
}

func TestHTTP2Flags(t *testing.T) {
	h := newH2()
	w := newTrace(t).conn(aClient, aServer) // no SYN
	w.send(h2Start + h.get(1, "/1", "content-length", "5") + h.headers(0, 0, 3, ":method", "PUT", ":scheme", "http", ":path", "/3", ":authority", "a") + h2frame(h2Data, 0, 3, "half"))
	tr := w.tr.run(Config{Ports: []uint16{80}, AllowIncomplete: true})
	if len(tr.requests) != 2 || tr.requests[0].Flags != kagami.MidStream|kagami.Ambiguous || tr.requests[1].Flags != kagami.MidStream|kagami.Incomplete {
		t.Errorf("%d requests: %+v", len(tr.requests), tr.requests)
	}
	w = newTrace(t).dial(aClient, aServer)
	w.tr.snaplen = 300
	h = newH2()
	w.send(h2Start + h.get(1, "/1")).answer(h2Answer + h.headers(1, 0, 1, ":status", "200") + h2frame(h2Data, h2EndStream, 1, text(1000)))
	tr = w.tr.run(withAnswers)
	if len(tr.responses) != 1 || tr.responses[0].Flags != kagami.Truncated || !strings.Contains(string(tr.responses[0].Raw), "content-length: 1000\r\n") {
		t.Errorf("%d answers: %+v", len(tr.responses), tr.responses)
	}
}

// A connection that began long ago, at a port that is known or not.
func TestHTTP2MidStream(t *testing.T) {
	const get = "\x82\x86\x04\x02/1\x01\x01a" // GET / in literals
	for _, ports := range [][]uint16{{80}, nil} {
		h := newH2()
		h.get(1, "/old", "x", "y")
		h.ok(1, "")
		w := newTrace(t).conn(aClient, aServer)
		w.send("the end of a frame", h2frame(h2Headers, h2EndStream|h2EndHeaders, 101, get)) // found at once, for it is all of its segment
		w.answer(h2frame(h2Headers, h2EndHeaders, 101, "\x88")+h2frame(h2Data, h2EndStream, 101, "1"), h2frame(h2Ping, 0, 0, "12345678"))
		w.send(h.get(103, "/old", "x", "y"), h2frame(h2Headers, h2EndStream|h2EndHeaders, 105, get))
		w.answer(h.ok(103, "3"), h.ok(105, "1"))
		tr := w.tr.run(Config{Ports: ports, Responses: true})
		tr.wants(getH2("/1"), getH2("/1"))
		tr.answers(okH2("1"), okH2("1"))
		tr.dropped("undecodable 1, request-dropped 1")
		tr.answersTheirs()
		for _, m := range tr.requests {
			if m.Flags != kagami.MidStream || m.Server != w.server {
				t.Errorf("flags %b, server %v", m.Flags, m.Server)
			}
		}
	}
}

// What is not HTTP/2 is not taken for it.
func TestNotHTTP2MidStream(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	w := newTrace(t).conn(aClient, aServer)
	for range 3000 {
		b := make([]byte, 1+r.IntN(100))
		for i := range b {
			x, y, z := r.Uint32(), r.Uint32(), r.Uint32()
			b[i] = byte(x & y & z) // many zeros
		}
		w.send(string(b)).answer(string(b))
	}
	w.send(get("/1"))
	tr := w.tr.run(withAnswers)
	tr.wants(get("/1"))
	if n := tr.Diagnosis().HTTP2; n != 0 {
		t.Errorf("%d connections taken for HTTP/2", n)
	}
}

// Sessions that nothing is unfinished in take half of the budget at most: those that
// were not heard of for longest are forgotten, and joined again.
func TestHTTP2Forgotten(t *testing.T) {
	const memory, many = 1 << 20, 1000
	l, put := feed(t, Config{Ports: []uint16{80}, Responses: true, Memory: memory, Queue: 1 << 30})
	tr := newTrace(t)
	wires, talks := make([]*wire, many), make([]*h2wire, many)
	for round := range 3 {
		for i := range wires {
			if round == 0 {
				wires[i], talks[i] = tr.dial(clientAt(i), aServer), newH2()
				wires[i].send(h2Start).answer(h2Answer)
			}
			id := uint32(2*round + 1)
			wires[i].send(talks[i].get(id, "/", "x", text(500))).answer(talks[i].ok(id, "/"))
			put(tr.packets)
			sound(t, &l.asm)
			tr.packets = nil
		}
	}
	if l.asm.used > memory/2 {
		t.Errorf("%d bytes in use, nothing is unfinished", l.asm.used)
	}
	s := l.messages.Statement()
	if got, lost := l.out.held.Load(), s.Dropped[kagami.Undecodable]; got < 2*many || lost == 0 || got+lost+s.Dropped[kagami.RequestDropped] != 6*many {
		t.Errorf("%d messages, dropped %v, of %d", got, s.Dropped, 6*many)
	}
	over(t, l)
}

func TestHTTP2MemoryBudget(t *testing.T) {
	const memory = 1 << 20
	for _, c := range []struct {
		name string
		send func(h *h2wire, w *wire)
	}{
		{"unfinished bodies", func(h *h2wire, w *wire) {
			for id := uint32(1); id < 9; id += 2 {
				w.send(h.headers(0, 0, id, ":method", "PUT", ":scheme", "http", ":path", "/", ":authority", "a") + h2frame(h2Data, 0, id, text(10_000)))
			}
		}},
		{"unfinished heads", func(h *h2wire, w *wire) { w.send(h2frame(h2Headers, 0, 1, text(10_000))) }},
		{"answers without requests", func(h *h2wire, w *wire) { w.answer(h2Answer + h.ok(1, text(10_000))) }},
		{"early segments", func(h *h2wire, w *wire) { w.resend(10, text(10_000)) }},
		{"streams that wait", func(h *h2wire, w *wire) {
			for id := uint32(1); id < 300; id += 2 {
				w.send(h.get(id, "/"))
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, put := feed(t, Config{Ports: []uint16{80}, Responses: true, Memory: memory, Queue: 1 << 30})
			var most int64
			for i := range 300 {
				tr := newTrace(t)
				w := tr.dial(clientAt(i), aServer)
				w.send(h2Start)
				c.send(newH2(), w)
				for _, p := range tr.packets {
					put([]Packet{p})
					most = max(most, l.asm.used)
				}
				sound(t, &l.asm)
			}
			if most > memory || most < memory/3 {
				t.Errorf("%d bytes used, the budget is %d", most, memory)
			}
			over(t, l)
		})
	}
}

// What is said is captured, however it is cut, shuffled, repeated and overlapping.
func TestHTTP2Scattered(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for round := range 200 {
		choices := make([]byte, r.IntN(2000))
		for i := range choices {
			choices[i] = byte(r.Uint32())
		}
		d, h := &dice{choices}, newH2()
		w := newTrace(t).dial(aClient, aServer)
		handshake := w.tr.packets
		var said []Packet
		var requests, answers []string
		client, server := h2Start, h2Answer
		for id := uint32(1); id < 12; id += 2 {
			path, body := fmt.Sprint("/", id), text(d.roll(5000))
			if d.roll(2) == 0 {
				client += h.get(id, path)
				requests = append(requests, getH2(path))
			} else {
				client += h.post(id, path, body)
				requests = append(requests, postH2(path, body))
			}
			w.tr.packets = nil
			d.scatter(w, true, client)
			client = ""
			if d.roll(2) == 0 { // else the answers of several come together
				d.scatter(w, false, server)
				server = ""
			}
			said = append(said, w.tr.packets...)
			server += h.ok(id, fmt.Sprint(id))
			answers = append(answers, okH2(fmt.Sprint(id)))
		}
		w.tr.packets = nil
		d.scatter(w, false, server)
		w.tr.packets = append(handshake, d.disturb(append(said, w.tr.packets...))...)
		tr := w.tr.run(Config{Responses: true})
		tr.wants(requests...)
		tr.answers(answers...)
		tr.dropped("")
		tr.answersTheirs()
		if t.Failed() {
			t.Fatalf("round %d", round)
		}
	}
}
