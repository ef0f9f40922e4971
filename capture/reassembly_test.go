package capture

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"kagami"
)

const (
	aClient = "10.0.0.1:40000"
	aServer = "10.0.0.2:80"
)

var port80 = Config{Ports: []uint16{80}}

func TestSeqNum(t *testing.T) {
	for _, c := range []struct {
		a, b seqNum
		want int
	}{
		{5, 3, 2}, {3, 5, -2}, {0, 0xffffffff, 1}, {0xffffffff, 0, -1},
		{0x80000000, 1, 0x7fffffff}, {10, 0xfffffff0, 26},
	} {
		if got := c.a.minus(c.b); got != c.want {
			t.Errorf("%#x minus %#x = %d, want %d", c.a, c.b, got, c.want)
		}
	}
	if got := seqNum(0xfffffffe).add(5); got != 3 {
		t.Errorf("add over the wrap = %d, want 3", got)
	}
}

// Each row that a capture tool has been seen to lose, and what TCP may do to a request.
func TestRequestsFromSegments(t *testing.T) {
	big := post("/big", text(200_000))
	chunked := "POST /c HTTP/1.1\r\nHost: a\r\ntransfer-encoding: Chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
	for _, c := range []struct {
		name  string
		trace func(w *wire)
		want  []string
	}{
		{"one segment", func(w *wire) { w.send(get("/1")) }, []string{get("/1")}},
		{"keep-alive", func(w *wire) { w.send(get("/1")).answer(ok("x")).send(get("/2")) }, []string{get("/1"), get("/2")}},
		{"two pipelined in one segment", func(w *wire) { w.send(get("/1") + get("/2")) }, []string{get("/1"), get("/2")}},
		{"one and a half, then the rest", func(w *wire) { w.send(get("/1")+get("/2")[:9], get("/2")[9:]+get("/3")) },
			[]string{get("/1"), get("/2"), get("/3")}},
		{"request line split", func(w *wire) { w.send("GE", "T / HT", "TP/1.1\r", "\n\r\n") }, []string{"GET / HTTP/1.1\r\n\r\n"}},
		{"byte by byte", func(w *wire) { w.send(cut(post("/b", "body"), 1)...) }, []string{post("/b", "body")}},
		{"the server spoke in between", func(w *wire) {
			w.send(post("/p", "0123456789")[:40]).answer("HTTP/1.1 100 Continue\r\n\r\n").send(post("/p", "0123456789")[40:])
		}, []string{post("/p", "0123456789")}},
		{"200 kB", func(w *wire) { w.send(cut(big, 1448)...) }, []string{big}},
		{"200 kB in segments before segmentation", func(w *wire) { w.send(cut(big, 65000)...) }, []string{big}},
		{"chunked, last line break apart", func(w *wire) { w.send(chunked[:len(chunked)-2], chunked[len(chunked)-2:]) }, []string{chunked}},
		{"unknown method", func(w *wire) {
			w.send("PROPFIND / HTTP/1.1\r\n\r\n", "QUERY /q HTTP/1.1\r\nContent-Length: 1\r\n\r\nx")
		},
			[]string{"PROPFIND / HTTP/1.1\r\n\r\n", "QUERY /q HTTP/1.1\r\nContent-Length: 1\r\n\r\nx"}},
		{"line feeds only", func(w *wire) { w.send("GET / HTTP/1.1\nHost: a\n\n") }, []string{"GET / HTTP/1.1\nHost: a\n\n"}},
		{"space in the path", func(w *wire) { w.send("GET /a b HTTP/1.1\r\n\r\n") }, []string{"GET /a b HTTP/1.1\r\n\r\n"}},
		{"empty lines between requests", func(w *wire) { w.send(post("/", "x")+"\r\n", "\r\n"+get("/2")) }, []string{post("/", "x"), get("/2")}},
		{"out of order", func(w *wire) {
			w.send(cut(post("/p", text(3000)), 1000)...)
			l := w.tr.last(4)
			l[0], l[2], l[3] = l[3], l[0], l[2]
		}, []string{post("/p", text(3000))}},
		{"requests out of order", func(w *wire) { w.send(get("/1"), get("/2")); w.tr.swap() }, []string{get("/1"), get("/2")}},
		{"every segment twice", func(w *wire) {
			for _, s := range cut(post("/p", text(3000))+get("/2"), 700) {
				w.send(s)
				w.tr.again()
			}
		}, []string{post("/p", text(3000)), get("/2")}},
		{"sent again later", func(w *wire) { w.send(get("/1")).answer(ok("")); w.resend(-len(get("/1")), get("/1")) }, []string{get("/1")}},
		{"overlapping the bytes before", func(w *wire) {
			p := post("/p", text(300))
			w.send(p[:200])
			w.resend(-100, p[100:])
		}, []string{post("/p", text(300))}},
		{"overlap holds something else: the first copy stays", func(w *wire) {
			p := post("/p", text(300))
			w.send(p[:200])
			w.resend(-100, strings.Repeat("X", 100)+p[200:])
		}, []string{post("/p", text(300))}},
		{"overlapping the bytes behind", func(w *wire) {
			p := post("/p", text(300))
			w.resend(200, p[200:])
			w.send(p[:250])
		}, []string{post("/p", text(300))}},
		{"a large segment over two early ones", func(w *wire) {
			p := post("/p", text(900))
			w.resend(100, p[100:200])
			w.resend(300, p[300:400])
			w.resend(50, p[50:700])
			w.send(p[:60])
			w.resend(640, p[700:])
		}, []string{post("/p", text(900))}},
		{"keep-alive probes", func(w *wire) {
			w.send(get("/1"))
			w.resend(-1, "")
			w.resend(-1, "\n")
			w.resend(-1, "x")
			w.send(get("/2"))
		}, []string{get("/1"), get("/2")}},
		{"padding counted as payload", func(w *wire) {
			w.put(true, w.cseq, flagACK, "\x00\x00")
			w.send(get("/1"))
			w.put(true, w.cseq, flagACK, "\x00\x00\x00\x00\x00\x00")
			w.send(get("/2"))
		}, []string{get("/1"), get("/2")}},
		{"half-close", func(w *wire) { w.send(get("/1")); w.close(); w.answer(ok("x")); w.hangUp() }, []string{get("/1")}},
		{"data with the FIN", func(w *wire) { w.put(true, w.cseq, flagFIN|flagACK, get("/1")) }, []string{get("/1")}},
		{"FIN before the data", func(w *wire) { w.send(get("/1")); w.close(); w.tr.swap() }, []string{get("/1")}},
		{"sent again after the end", func(w *wire) {
			w.send(get("/1"))
			w.close()
			w.hangUp()
			w.resend(-1-len(get("/1")), get("/1"))
		}, []string{get("/1")}},
		{"reset after the request", func(w *wire) { w.send(get("/1")); w.refuse() }, []string{get("/1")}},
		{"reset by the client after the request", func(w *wire) { w.send(get("/1")); w.reset() }, []string{get("/1")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, start := range []uint32{1000, 0xffffffff - 3, 0xffffffff - 150} {
				for _, client := range []string{aClient, "[2001:db8::1]:40000"} {
					server := aServer
					if client[0] == '[' {
						server = "[2001:db8::2]:80"
					}
					w := newTrace(t).conn(client, server)
					w.cseq, w.sseq = start, start-7
					w.open()
					c.trace(w)
					tr := w.tr.run(port80)
					tr.wants(c.want...)
					tr.dropped("")
					for _, m := range tr.requests {
						if m.Client != w.client || m.Server != w.server {
							t.Errorf("between %v and %v, want %v and %v", m.Client, m.Server, w.client, w.server)
						}
					}
					if c.name == "requests out of order" {
						continue // joined at the second, the first is before the beginning
					}
					midStream := *w.tr
					midStream.requests, midStream.packets = nil, w.tr.packets[3:]
					midStream.run(Config{}).wants(c.want...)
				}
			}
		})
	}
}

func TestHandshakeComesLate(t *testing.T) {
	for n := range 3 {
		w := newTrace(t).dial(aClient, aServer)
		w.send(get("/1")[:10], get("/1")[10:])
		l := w.tr.packets
		l[n], l[3] = l[3], l[n]
		w.tr.run(port80).wants(get("/1"))
	}
}

func TestPortReuse(t *testing.T) {
	w := newTrace(t).dial(aClient, aServer)
	w.send(get("/1"), get("/never")[:10])
	w.cseq += 100_000
	w.sseq = 77
	w.open()
	w.send(get("/2"))
	w.cseq -= 50_000_000 // and one with numbers that lie before it
	w.open()
	w.send(get("/3"))
	tr := w.tr.run(port80)
	tr.wants(get("/1"), get("/2"), get("/3"))
	tr.dropped("incomplete 1")
	if in, _ := tr.Stages()[1].Count(); in != 3 {
		t.Errorf("%d connections, want 3", in)
	}
}

func TestPortReuseUnseen(t *testing.T) {
	w := newTrace(t).dial(aClient, aServer)
	w.send(get("/1"))
	w.cseq -= 100_000_000 // a new connection whose handshake was lost
	w.send(get("/2"))
	w.tr.run(port80).wants(get("/1"), get("/2"))
}

func TestPortReuseAfterTheEndUnseen(t *testing.T) {
	w := newTrace(t).dial(aClient, aServer)
	w.send(get("/1"))
	w.close()
	w.send("\x00\x01") // is none of the connection's
	w.cseq += 5000
	w.send(get("/2"))
	tr := w.tr.run(port80)
	tr.wants(get("/1"), get("/2"))
	if f := tr.requests[1].Flags; f != kagami.MidStream {
		t.Errorf("flags %b, want MidStream", f)
	}
}

// What looked like the first half of a request line was the rest of a body.
func TestMidStreamInText(t *testing.T) {
	w := newTrace(t).conn(aClient, aServer)
	w.send("SOME TEXT without a line end", get("/1"))
	tr := w.tr.run(port80)
	tr.wants(get("/1"))
	tr.dropped("")
}

// A guess that came true is none any more.
func TestMidStreamAtHalfALine(t *testing.T) {
	w := newTrace(t).conn(aClient, aServer)
	w.send("GET /1 HT", "TP/1.1\r\n\r\n", "GET /2 HT")
	w.close()
	tr := w.tr.run(port80)
	tr.wants("GET /1 HTTP/1.1\r\n\r\n")
	tr.dropped("incomplete 1")
}

func TestMidStream(t *testing.T) {
	w := newTrace(t).conn(aClient, aServer)
	w.send(cut(text(3000), 1000)...) // the rest of a body
	w.send(get("/1"), get("/2"))
	tr := w.tr.run(port80)
	tr.wants(get("/1"), get("/2"))
	tr.dropped("")
	for _, m := range tr.requests {
		if m.Flags != kagami.MidStream {
			t.Errorf("flags %b, want MidStream", m.Flags)
		}
	}
	w = newTrace(t).dial(aClient, aServer)
	if m := w.send(get("/1")).tr.run(port80).requests[0]; m.Flags != 0 {
		t.Errorf("connection seen from its start: flags %b", m.Flags)
	}
}

func TestGaps(t *testing.T) {
	body := text(5000)
	for _, c := range []struct {
		name    string
		trace   func(w *wire)
		want    []string
		dropped string
	}{
		{"in a body of known length", func(w *wire) {
			p := cut(post("/1", body), 1000)
			w.send(p[:2]...)
			w.send(p[2])
			w.tr.lose()
			w.send(p[3:]...)
			w.send(get("/2"))
			w.tr.wait(3 * time.Second)
			w.send(get("/3"))
		}, []string{get("/2"), get("/3")}, "sequence-gap 1"},
		{"at the end of a body", func(w *wire) {
			w.send(post("/1", body)[:4000])
			w.send(post("/1", body)[4000:])
			w.tr.lose()
			w.send(get("/2"))
		}, []string{get("/2")}, "sequence-gap 1"},
		{"in a chunk", func(w *wire) {
			w.send("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n64\r\n")
			w.send(text(50))
			w.tr.lose()
			w.send(text(50), "\r\n0\r\n\r\n"+get("/2"))
		}, []string{get("/2")}, "sequence-gap 1"},
		{"over the end of a body", func(w *wire) {
			w.send(post("/1", body)[:4000])
			w.send(post("/1", body)[4000:] + get("/lost")[:5])
			w.tr.lose()
			w.send(get("/lost")[5:])
			w.send(get("/2"))
		}, []string{get("/2")}, "sequence-gap 1"},
		{"in a head", func(w *wire) {
			w.send(get("/1")[:20], get("/1")[20:25])
			w.tr.lose()
			w.send(get("/1")[25:], get("/2"))
		}, []string{get("/2")}, "sequence-gap 1"},
		{"whole requests", func(w *wire) {
			w.send(get("/1"), get("/lost"))
			w.tr.lose()
			w.send(get("/2"))
			w.tr.wait(3 * time.Second)
			w.send(get("/3"))
		}, []string{get("/1"), get("/2"), get("/3")}, ""},
		{"filled in time", func(w *wire) {
			w.send(post("/1", body)[:4000])
			w.resend(500, post("/1", body)[4500:])
			w.tr.wait(1900 * time.Millisecond)
			w.send(post("/1", body)[4000:4500])
		}, []string{post("/1", body)}, ""},
		{"filled too late", func(w *wire) {
			w.send(post("/1", body)[:4000])
			w.resend(500, post("/1", body)[4500:])
			w.tr.wait(2 * time.Second)
			w.send(post("/1", body)[4000:4500])
		}, nil, "sequence-gap 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newTrace(t).dial(aClient, aServer)
			c.trace(w)
			tr := w.tr.run(port80)
			tr.wants(c.want...)
			tr.dropped(c.dropped)
			if tr.Diagnosis().Gaps == 0 && c.dropped != "" {
				t.Error("no gap in the diagnosis")
			}
		})
	}
}

func TestHoldIsBounded(t *testing.T) {
	w := newTrace(t).dial(aClient, aServer)
	w.send(post("/1", text(5_000_000))[:100])
	w.cseq += 1000 // lost for good
	for _, s := range cut(post("/1", text(5_000_000))[1100:], 50_000) {
		w.send(s)
	}
	w.send(get("/2"))
	packets := w.tr.packets
	tr := w.tr.run(port80)
	tr.wants(get("/2"))
	tr.dropped("sequence-gap 1")

	l, put := feed(t, port80)
	for i := range packets {
		if put(packets[i : i+1]); l.asm.used > maxHeldBytes+200_000 {
			t.Fatalf("%d bytes used", l.asm.used)
		}
	}
	over(t, l)
}

func TestSnaplen(t *testing.T) {
	trace := func(cfg Config) *trace {
		w := newTrace(t).dial(aClient, aServer)
		w.tr.snaplen = 500
		w.send(cut(post("/1", text(5000)), 1448)...)
		w.answer(cut(ok(text(3000)), 1448)...)
		w.send(get("/2"))
		cfg.Ports, cfg.Responses = []uint16{80}, true
		return w.tr.run(cfg)
	}
	tr := trace(Config{})
	tr.wants(get("/2"))
	tr.dropped("sequence-gap 1, request-dropped 1")

	tr = trace(Config{AllowIncomplete: true})
	tr.wants(post("/1", text(5000))[:500], get("/2"))
	if m := tr.requests[0]; m.Flags != kagami.Truncated || m.WireLen != len(post("/1", text(5000))) {
		t.Errorf("flags %b, %d bytes on the wire", m.Flags, m.WireLen)
	}
	tr.answers(ok(text(3000))[:500])
	tr.dropped("")
}

// Only the client's packets that carry payload are seen, as the kernel's filter lets
// them through.
func TestOneDirectionWithoutACKs(t *testing.T) {
	w := newTrace(t).dial(aClient, aServer)
	var want []string
	for range 50 {
		p := post("/p", text(rand.IntN(5000)))
		w.send(cut(p, 1448)...).answer(ok(text(1000)))
		want = append(want, p)
	}
	w.close()
	kept := w.tr.packets[:0]
	for _, p := range w.tr.packets {
		if p.Data[12+3] == 1 && (len(p.Data) > 40 || p.Data[33]&(flagSYN|flagFIN|flagRST) != 0) {
			kept = append(kept, p)
		}
	}
	w.tr.packets = kept
	tr := w.tr.run(Config{})
	tr.wants(want...)
	tr.dropped("")
}
