package capture

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"kagami"
	"kagami/internal/http1"
)

var withAnswers = Config{Ports: []uint16{80}, Responses: true}

// pairs says which answer was given to which request: "/1=one /2=two", in order
// of the requests; a request without an answer is "/3".
func (tr *trace) pairs() string {
	answer := map[*kagami.Exchange]string{}
	for _, m := range tr.responses {
		body, _ := http1.Body(m.Raw)
		if old, twice := answer[m.Exchange]; twice {
			tr.t.Errorf("%s and %s answer the same request", old, body)
		}
		answer[m.Exchange] = string(body)
	}
	var p []string
	for _, m := range tr.requests {
		s := string(http1.Target(m.Raw))
		if b, ok := answer[m.Exchange]; ok {
			s += "=" + b
			delete(answer, m.Exchange)
		}
		if m.Exchange.Method != string(http1.Method(m.Raw)) {
			tr.t.Errorf("exchange of %s has method %q", s, m.Exchange.Method)
		}
		p = append(p, s)
	}
	for _, b := range answer {
		tr.t.Errorf("%s answers a request that was not captured", b)
	}
	return strings.Join(p, " ")
}

func TestPairs(t *testing.T) {
	head := func(path string) string { return "HEAD " + path + " HTTP/1.1\r\n\r\n" }
	for _, c := range []struct {
		name    string
		trace   func(w *wire)
		want    string
		dropped string
	}{
		{"one by one", func(w *wire) { w.send(get("/1")).answer(ok("1")).send(get("/2")).answer(ok("2")) }, "/1=1 /2=2", ""},
		{"pipelined", func(w *wire) {
			w.send(get("/1")+get("/2"), get("/3")).answer(ok("1")+ok("2")[:9], ok("2")[9:], ok("3"))
		},
			"/1=1 /2=2 /3=3", ""},
		{"in many segments", func(w *wire) { w.send(cut(post("/1", text(3000)), 1000)...).answer(cut(ok("1"), 5)...) }, "/1=1", ""},
		{"answer to HEAD", func(w *wire) {
			w.send(head("/1"), get("/2")).answer("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", ok("2"))
		}, "/1= /2=2", ""},
		{"until close", func(w *wire) { w.send(get("/1")).answer("HTTP/1.0 200 OK\r\n\r\nab", "cd"); w.hangUp() }, "/1=abcd", ""},
		{"until close, but reset", func(w *wire) { w.send(get("/1")).answer("HTTP/1.0 200 OK\r\n\r\nab", "cd"); w.refuse() }, "/1", "incomplete 1"},
		{"status out of the ordinary", func(w *wire) { w.send(get("/1")).answer("HTTP/1.1 499 \r\nContent-Length: 1\r\n\r\nx") }, "/1=x", ""},
		{"chunked", func(w *wire) {
			w.send(get("/1")).answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n", "x\r\n0\r\n", "\r\n").send(get("/2")).answer(ok("2"))
		}, "/1=x /2=2", ""},
		{"interim answers are no messages", func(w *wire) {
			w.send(post("/1", "x")).answer("HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n"+ok("1")).send(get("/2")).answer(ok("2"))
		}, "/1=1 /2=2", ""},
		{"the answer before the end of the request", func(w *wire) {
			p := post("/1", text(100))
			w.send(p[:70]).answer("HTTP/1.1 413 Too Large\r\nContent-Length: 1\r\n\r\n1")
			w.send(p[70:])
		}, "/1=1", ""},
		{"the answer to a request without end", func(w *wire) {
			w.send(post("/1", text(100))[:70]).answer("HTTP/1.1 413 Too Large\r\nContent-Length: 1\r\n\r\n1")
			w.close()
		}, "", "incomplete 1, request-dropped 1"},
		{"body refused", func(w *wire) {
			w.send("POST /1 HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 300\r\n\r\n").answer("HTTP/1.1 417 No\r\nContent-Length: 1\r\n\r\n1")
			w.send(get("/2")).answer(ok("2"))
		}, "/2=2", "incomplete 1, request-dropped 1"},
		{"answers seen before their requests", func(w *wire) {
			w.send(get("/1")).answer(ok("1"))
			w.tr.swap()
			w.send(get("/2")).answer(ok("2"))
			w.tr.swap()
		}, "/1=1 /2=2", ""},
		{"all answers seen first", func(w *wire) {
			for i := range 5 {
				w.send(get(fmt.Sprint("/", i))).answer(ok(fmt.Sprint(i)))
			}
			l := w.tr.last(10)
			l[0], l[1], l[2], l[3], l[4], l[5], l[6], l[7], l[8], l[9] = l[1], l[3], l[5], l[7], l[9], l[0], l[2], l[4], l[6], l[8]
		}, "/0=0 /1=1 /2=2 /3=3 /4=4", ""},
		{"a request lost", func(w *wire) {
			w.send(get("/1")).answer(ok("1"))
			w.send(get("/lost"))
			w.tr.lose()
			w.answer(ok("lost"))
			w.tr.wait(time.Millisecond)
			w.send(get("/3")).answer(ok("3"))
			w.tr.wait(3 * time.Second)
			w.send(get("/4")).answer(ok("4"))
		}, "/1=1 /3=3 /4=4", "orphan-response 1"},
		{"an answer lost", func(w *wire) {
			w.send(get("/1")).answer(ok("1"))
			w.send(get("/2")).answer(ok("lost"))
			w.tr.lose()
			w.send(get("/3")).answer(ok("3"))
			w.tr.wait(3 * time.Second)
			w.send(get("/4")).answer(ok("4"))
		}, "/1=1 /2 /3=3 /4=4", ""},
		{"the end of an answer lost", func(w *wire) {
			w.send(get("/1")).answer(ok(text(300))[:100], ok(text(300))[100:])
			w.tr.lose()
			w.send(get("/2")).answer(ok("2"))
		}, "/1 /2=2", "sequence-gap 1"},
		{"too large a request", func(w *wire) { w.send(post("/1", text(2_000_000))).answer(ok("1")).send(get("/2")).answer(ok("2")) },
			"/2=2", "too-large 1, request-dropped 1"},
		{"CONNECT", func(w *wire) {
			w.send("CONNECT /1 HTTP/1.1\r\n\r\n").answer("HTTP/1.1 200 OK\r\n\r\n" + ok("inside")).send(get("/inside"))
		}, "/1=", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := withAnswers
			cfg.MaxMessage = 1_000_000
			w := newTrace(t).dial(aClient, aServer)
			c.trace(w)
			tr := w.tr.run(cfg)
			if p := tr.pairs(); p != c.want {
				t.Errorf("got %q, want %q", p, c.want)
			}
			tr.dropped(c.dropped)
			if strings.Contains(c.name, "CONNECT") {
				tr.droppedAt(1, "upgraded 1")
			}
		})
	}
}

func TestPairsMidStream(t *testing.T) {
	w := newTrace(t).conn(aClient, aServer)
	w.answer(text(500), ok("of a request before")).send(get("/1")).answer(ok("1")).send(get("/2")).answer(ok("2"))
	tr := w.tr.run(withAnswers)
	if p := tr.pairs(); p != "/1=1 /2=2" {
		t.Errorf("got %q", p)
	}
	tr.dropped("orphan-response 1")

	w = newTrace(t).conn(aClient, aServer)
	w.send(get("/1")).answer("HTTP/1.1 100 Continue\r\n\r\n", ok("1")).send(get("/2")).answer(ok("2"))
	if p := w.tr.run(Config{Responses: true}).pairs(); p != "/1=1 /2=2" {
		t.Errorf("after an interim answer: got %q", p)
	}
}

// An answer that was under way before a request was sent is not waited with.
func TestAnswerOfBefore(t *testing.T) {
	w := newTrace(t).conn(aClient, aServer)
	w.answer(ok("of a request before")).send(get("/1"))
	w.tr.swap()
	l, put := feed(t, withAnswers)
	put(w.tr.packets)
	if n := l.messages.Dropped(kagami.OrphanResponse); n != 1 {
		t.Errorf("%d orphans, want 1 at once", n)
	}
	over(t, l)
}

// Who opens the connection is not always who asks.
func TestReverseTunnel(t *testing.T) {
	for _, cfg := range []Config{{Responses: true}, {}} {
		w := newTrace(t).dial(aClient, aServer)
		w.answer(get("/1")).send(ok("1")).answer(get("/2")).send(ok("2"))
		tr := w.tr.run(cfg)
		if p := paths(tr.requests); p != "/1 /2" {
			t.Errorf("captured %q", p)
		}
		if cfg.Responses {
			tr.answers(ok("1"), ok("2"))
		}
		if m := tr.requests[0]; m.Client != w.server || m.Server != w.client {
			t.Errorf("from %v to %v", m.Client, m.Server)
		}
	}
}

// And it takes a while to know.
func TestReverseTunnelLate(t *testing.T) {
	w := newTrace(t).dial(aClient, aServer)
	w.answer("GET /1 HT").send(ok("1")[:30])
	w.answer("TP/1.1\r\n\r\n").send(ok("1")[30:])
	tr := w.tr.run(Config{Responses: true})
	tr.wants("GET /1 HTTP/1.1\r\n\r\n")
	tr.dropped("")
}

func TestPairsFastOpen(t *testing.T) {
	w := newTrace(t).conn(aClient, aServer)
	w.put(true, w.cseq, flagSYN, get("/1"))
	w.cseq += 1 + uint32(len(get("/1")))
	w.put(false, w.sseq, flagSYN|flagACK, "")
	w.sseq++
	w.answer(ok("1")).send(get("/2")).answer(ok("2"))
	tr := w.tr.run(withAnswers)
	if p := tr.pairs(); p != "/1=1 /2=2" {
		t.Errorf("got %q", p)
	}
	tr.dropped("")
	if in, _ := tr.Stages()[1].Count(); in != 1 {
		t.Errorf("%d connections", in)
	}
}

func TestServerOnly(t *testing.T) {
	w := newTrace(t).conn(aClient, aServer)
	for range 5 {
		w.answer(ok("1"))
		w.tr.wait(time.Second)
	}
	w.tr.run(withAnswers).dropped("orphan-response 5")
}

func TestOtherDirection(t *testing.T) {
	w := newTrace(t).dial(aClient, aServer)
	w.send(get("/1")).answer(ok("1"), ok("2"))
	tr := w.tr.run(port80)
	tr.droppedAt(0, "other-direction 2")
	if d := tr.Diagnosis(); d.BytesToClient != uint64(2*len(ok("1"))) {
		t.Errorf("%d bytes to the client", d.BytesToClient)
	}
}

// Requests without answers must not fill the memory.
func TestAwaitsAreBounded(t *testing.T) {
	w := newTrace(t).dial(aClient, aServer)
	for range 10 * maxAwaits {
		w.send(get("/1"))
	}
	w.answer(ok("1"))
	tr := w.tr.run(withAnswers)
	if len(tr.requests) != 10*maxAwaits {
		t.Errorf("%d requests", len(tr.requests))
	}
}

// A request that was sent again acknowledges more than the one behind it, which was not.
func TestIDsWhereAcknowledgementsGoBack(t *testing.T) {
	w := newTrace(t).dial(aClient, aServer)
	ask := func(path string, answered string) { // when so much was acknowledged
		w.sseq += uint32(len(answered))
		w.send(get(path))
		w.sseq -= uint32(len(answered))
	}
	w.send(get("/1"))
	ask("/2", ok("1"))
	ask("/3", ok("1")+ok("2"))
	ask("/4", ok("1"))
	ask("/5", "")
	ask("/6", ok("1")+ok("2"))
	for i := range 6 {
		w.answer(ok(fmt.Sprint(i + 1)))
	}
	tr := w.tr.run(withAnswers)
	if len(tr.requests) != 6 || len(tr.responses) != 6 {
		t.Errorf("%d requests, %d answers", len(tr.requests), len(tr.responses))
	}
	tr.answersTheirs() // no two of them have one ID
}
