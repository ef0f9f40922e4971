package capture

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"kagami"
)

// frames returns what is HTTP/2 from its first byte to its last: what a client sends, or a
// server; with its beginning or without.
func (d *dice) frames(client bool) (s string) {
	h := newH2()
	if d.roll(2) == 0 {
		if s = h2Answer; client {
			s = h2Start
		}
	}
	for i := range 1 + d.roll(4) {
		stream := uint32(2*i + 1)
		switch {
		case d.roll(4) == 0:
			s += h2frame(h2Ping, 0, 0, "12345678")
		case client && d.roll(2) == 0:
			s += getLiteral(stream)
		case client:
			s += h.post(stream, fmt.Sprint("/in-a-body/", i), text(d.roll(3000)))
		default:
			s += h.ok(stream, text(d.roll(3000)))
		}
	}
	return s
}

// body returns one that may look like something else.
func (d *dice) body(client bool) string {
	switch d.roll(4) {
	case 0:
		return d.frames(!client)
	case 1:
		return text(d.roll(3000))
	}
	s := d.frames(client)
	return s[:len(s)-d.roll(len(s))]
}

// binary is a talk in HTTP/1.1 with such bodies.
func (d *dice) binary() (k talk) {
	for i := range 1 + d.roll(5) {
		path := fmt.Sprint("/", i)
		switch b := d.body(true); d.roll(4) {
		case 0:
			k.requests = append(k.requests, get(path))
		case 1:
			k.requests = append(k.requests, fmt.Sprintf("POST %s HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", path, len(b)+1, "\x00"+b))
		default:
			k.requests = append(k.requests, post(path, b))
		}
		k.answers = append(k.answers, ok(d.body(false)))
		k.turns = append(k.turns, 1)
	}
	return k
}

// segments says it in order: cut anywhere, or where a message or its body begins as well.
func (d *dice) segments(k talk) *trace {
	w := newTrace(nil).conn(aClient, aServer)
	w.open()
	cuts := d.roll(4)
	say := func(client bool, s string) {
		for len(s) > 0 {
			n := 1 + d.roll(1460)
			if i := strings.Index(s, "\r\n\r\n"); i >= 0 && cuts&1 != 0 {
				n = min(n, i+4)
			}
			if i := strings.Index(s, " HTTP/1.1"); i > 0 && cuts&2 != 0 && d.roll(4) == 0 {
				n = min(n, i)
			}
			n = min(n, len(s))
			if client {
				w.send(s[:n])
			} else {
				w.answer(s[:n])
			}
			s = s[n:]
		}
	}
	for i := range k.requests {
		say(true, k.requests[i])
		say(false, k.answers[i])
	}
	return w.tr
}

// spoken is what of HTTP/1.x was captured, in order, with all that is known of it.
func spoken(t *testing.T, packets []Packet, cfg Config, http1Only bool) (said []string) {
	t.Helper()
	tr := &trace{t: t, packets: packets}
	l, put := feed(t, cfg)
	l.asm.http1Only = http1Only
	put(packets)
	sound(t, &l.asm)
	l.end()
	l.out.flush()
	for _, b := range l.out.queue {
		for _, m := range b.Messages {
			if m.Proto == kagami.HTTP1 {
				said = append(said, fmt.Sprintf("%v %v %b %v>%v %v-%v %d %s", m.Kind, m.Exchange.ID, m.Flags, m.Client, m.Server,
					m.Start.UnixMicro(), m.End.UnixMicro(), m.WireLen, m.Raw))
			}
		}
		if err := tr.emit(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	l.out.discard()
	balanced(t, l)
	return said
}

// disguise captures HTTP/1.1 with bodies that hold HTTP/2, from anywhere in its middle on, with
// segments lost and in another order. That HTTP/2 is looked for must not change anything of HTTP/1.1.
func disguise(t *testing.T, d *dice) {
	k := d.binary()
	packets := d.segments(k).packets
	if d.roll(4) > 0 {
		packets = packets[d.roll(len(packets)):]
	}
	switch one := d.roll(6); one {
	case 0, 1: // one direction alone
		var only []Packet
		for _, p := range packets {
			if (p.Data[20]<<1 != 0) == (one == 0) || d.roll(8) == 1 {
				only = append(only, p)
			}
		}
		packets = only
	case 2:
		var kept []Packet
		for _, p := range packets {
			if d.roll(8) != 1 {
				kept = append(kept, p)
			}
		}
		packets = kept
	}
	cfg := Config{Responses: d.roll(4) > 0, Queue: 1 << 30, AllowIncomplete: d.roll(4) == 1}
	if d.roll(2) == 0 {
		cfg.Ports = []uint16{80}
	}
	if d.roll(3) == 1 {
		packets = d.nearby(slices.Clone(packets))
	}
	if d.roll(4) == 1 {
		packets = d.disturb(slices.Clone(packets))
	}
	sameHTTP1(t, packets, cfg)
}

// sameHTTP1 fails the test where looking for HTTP/2 makes a difference to what is captured of HTTP/1.x.
func sameHTTP1(t *testing.T, packets []Packet, cfg Config) {
	t.Helper()
	with, without := spoken(t, packets, cfg, false), spoken(t, packets, cfg, true)
	for i := range max(len(with), len(without)) {
		switch {
		case i >= len(with):
			t.Fatalf("missed: %.200q", without[i])
		case i >= len(without):
			t.Fatalf("captured, and not without: %.200q", with[i])
		case with[i] != without[i]:
			t.Fatalf("captured: %.200q\n    and not %.200q", with[i], without[i])
		}
	}
}

// nearby changes the order of packets, by no more places than segments are kept of a half of
// which nothing is known. Their times stay in order.
func (d *dice) nearby(packets []Packet) []Packet {
	for i := 0; i < len(packets); i++ {
		if j := min(i+d.roll(maxRecent), len(packets)-1); j != i {
			packets[i].Data, packets[j].Data = packets[j].Data, packets[i].Data
			packets[i].WireLen, packets[j].WireLen = packets[j].WireLen, packets[i].WireLen
			i = j
		}
	}
	return packets
}

func FuzzDisguise(f *testing.F) {
	f.Add([]byte{})
	long := make([]byte, 600)
	for i := range long {
		long[i] = byte(i * i * 7)
	}
	f.Add(long)
	f.Fuzz(func(t *testing.T, choices []byte) { disguise(t, &dice{choices}) })
}

// The same with numbers that no fuzzer chose.
func TestDisguised(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for n := range 3000 {
		choices := make([]byte, r.IntN(4000))
		for i := range choices {
			choices[i] = byte(r.Uint32())
		}
		if disguise(t, &dice{choices}); t.Failed() {
			t.Fatalf("round %d", n)
		}
	}
}

// pings are segments that look like the middle of a connection of HTTP/2, and so many that
// it is taken for one.
func pings() (segments []string) {
	for range maxRecent + 2 {
		segments = append(segments, strings.Repeat(h2frame(h2Ping, 0, 0, "12345678"), 2))
	}
	return segments
}

// What looks like HTTP/2 was a body: what is HTTP/1.x behind it is captured.
func TestHTTP1BehindFrames(t *testing.T) {
	for _, c := range []struct {
		name              string
		say               func(w *wire)
		requests, answers []string
	}{
		{"a request", func(w *wire) { w.send(get("/1")).answer(ok("1")) }, []string{get("/1")}, []string{ok("1")}},
		{"a request in parts", func(w *wire) {
			w.send("GE", "T /1 HT", "TP/1.1\r\n", "Host: a\r\n\r\n").answer("HTTP", "/1.1 2", ok("1")[10:])
		},
			[]string{get("/1")}, []string{ok("1")}},
		{"parts of something else first", func(w *wire) { w.send("GE", "T no\r\n", "GET ", get("/1")).answer("HTTP/1.1 ", "no\r\n", ok("1")) },
			[]string{get("/1")}, []string{ok("1")}},
		{"an answer first", func(w *wire) { w.answer(ok("0")).send(get("/1")).answer(ok("1")) }, []string{get("/1")}, []string{ok("1")}},
		{"a segment lost before it", func(w *wire) {
			w.send("lost")
			w.tr.lose()
			w.send(get("/1")).answer(ok("1"))
		}, []string{get("/1")}, []string{ok("1")}},
		{"a part of a line that is lost", func(w *wire) {
			w.send("GET /1 ")
			w.cseq += 7
			w.send("HTTP/1.1\r\n", get("/2"))
		}, []string{get("/2")}, nil},
		{"sent again in other segments", func(w *wire) {
			w.send(text(50) + get("/1")[:20])
			w.resend(-20, get("/1"))
			w.cseq += uint32(len(get("/1")) - 20)
			w.answer(ok("1"))
		}, []string{get("/1")}, []string{ok("1")}},
		{"the preface, and then none of it", func(w *wire) { w.send(h2Start[:24]+"no settings", get("/1")).answer(ok("1")) },
			[]string{get("/1")}, []string{ok("1")}},
		{"a line of many segments", func(w *wire) { w.send(cut(get("/"+text(128<<10)), 1460)...) }, []string{get("/" + text(128<<10))}, nil},
		{"a WebSocket", func(w *wire) { w.send(askWS).answer(acceptWS, fromServer("1")).send(fromClient("2")) },
			[]string{askWS, fromClient("2")}, []string{acceptWS, fromServer("1")}},
		{"and frames again", func(w *wire) {
			w.send(post("/1", "\x00"+strings.Join(pings(), "")), h2Start+getLiteral(1), get("/2"))
		}, []string{post("/1", "\x00"+strings.Join(pings(), "")), get("/2")}, nil},
	} {
		for _, ports := range [][]uint16{{80}, nil} {
			t.Run(fmt.Sprint(c.name, ports), func(t *testing.T) {
				w := newTrace(t).conn(aClient, aServer)
				w.send(pings()...)
				c.say(w)
				tr := w.tr.run(Config{Ports: ports, Responses: true})
				if tr.Diagnosis().HTTP2 != 1 {
					t.Error("not taken for HTTP/2, so that nothing was tested")
				}
				tr.wants(c.requests...)
				tr.answers(c.answers...)
			})
		}
	}
}

// The request that a body belongs to comes late, and the body was taken for HTTP/2.
func TestHTTP1BeforeFrames(t *testing.T) {
	for _, parts := range [][]string{{get("/late")}, {get("/late")[:9], get("/late")[9:]}} {
		w := newTrace(t).conn(aClient, aServer)
		w.send(parts...)
		n := len(w.tr.packets)
		w.send(pings()...)
		w.tr.packets = append(w.tr.packets[n:], w.tr.packets[:n]...)
		tr := w.tr.run(port80)
		tr.wants(get("/late"))
	}
}

// An upload of HTTP/2, joined at each of its bytes.
func TestJoinedInADisguise(t *testing.T) {
	d := &dice{[]byte(strings.Repeat("\x01\x02\x03\x00\x07\x05\x09", 60))}
	upload := post("/1", h2Start+newH2().post(1, "/a", text(300))+d.frames(true)+d.frames(true))
	answer := ok(h2Answer + newH2().ok(1, text(100)) + d.frames(false))
	for at := strings.Index(upload, h2Start); at < len(upload); at++ {
		for _, size := range []int{11, 200, 1460} {
			w := newTrace(t).conn(aClient, aServer)
			w.send(cut(upload[at:], size)...).answer(cut(answer[min(at, len(answer)-1):], size)...)
			w.send(get("/2"), post("/3", "3")[:30], post("/3", "3")[30:]).answer(ok("2"), ok("3"))
			tr := w.tr.run(Config{Ports: []uint16{80}, Responses: true})
			n := 0
			for _, m := range tr.requests {
				if m.Proto == kagami.HTTP1 {
					tr.requests[n] = m
					n++
				}
			}
			if tr.requests = tr.requests[:n]; !sameRequests(tr, get("/2"), post("/3", "3")) {
				t.Fatalf("joined at %d in segments of %d", at, size)
			}
		}
	}
}

func sameRequests(tr *trace, want ...string) bool {
	tr.t.Helper()
	tr.wants(want...)
	return !tr.t.Failed()
}
