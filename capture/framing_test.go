package capture

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"kagami"
)

func TestWhatIsNoRequest(t *testing.T) {
	hello := "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + text(500)
	for _, c := range []struct {
		name        string
		trace       func(w *wire)
		want        []string
		dropped     string
		connections string
	}{
		{"TLS", func(w *wire) { w.send(hello).answer("\x16\x03\x03\x00\x10" + text(16)).send(get("/in-tls")) }, nil, "", "tls 1"},
		{"HTTP/2", func(w *wire) { w.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00") }, nil, "", ""},
		{"HTTP/2 that nobody asked for", func(w *wire) { w.send(get("/1"), h2Start, get("/2")) }, []string{get("/1"), get("/2")}, "", ""},
		{"HTTP/2 without settings", func(w *wire) { w.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x01\x01\x05\x00\x00\x00\x01\x82") }, nil, "", "not-http 1"},
		{"another protocol", func(w *wire) {
			for range 20 {
				w.send("\x00\x01binary")
			}
			w.send(get("/1"))
		}, nil, "", "not-http 1"},
		{"a request after a few other bytes", func(w *wire) { w.send("\x05\x01\x00").answer("\x05\x00").send(get("/1")) },
			[]string{get("/1")}, "", ""},
		{"a line that is no request line, in parts", func(w *wire) { w.send("HELLO wor", "ld\r\n", get("/1")) }, []string{get("/1")}, "", ""},
		{"garbage between requests", func(w *wire) { w.send(get("/1"), "\x01\x02\x03", get("/2")) },
			[]string{get("/1"), get("/2")}, "", ""},
		{"a broken chunk", func(w *wire) {
			w.send("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n", get("/2"))
		}, []string{get("/2")}, "not-http 1", ""},
		{"a head without end", func(w *wire) {
			w.send("GET / HTTP/1.1\r\n")
			for range 300 {
				w.send("X: " + strings.Repeat("y", 5000) + "\r\n")
			}
			w.send(get("/2"))
		}, []string{get("/2")}, "too-large 1", ""},
		{"a PROXY line first", func(w *wire) { w.send("PROXY TCP4 192.0.2.1 192.0.2.2 4000 80\r\n" + get("/1")) }, []string{get("/1")}, "", ""},
		{"a PROXY header of version 2 first", func(w *wire) {
			w.send(proxySignature+"\x21\x11\x00\x0c"+"\xc0\x00\x02\x01\xc0\x00\x02\x02\x0f\xa0\x00P", get("/1"), get("/2"))
		}, []string{get("/1"), get("/2")}, "", ""},
		{"FIN in a head", func(w *wire) { w.send("GET / HTTP/1.1\r\nHo"); w.close() }, nil, "incomplete 1", ""},
		{"FIN in a request line", func(w *wire) { w.send("GET /pa"); w.close() }, nil, "incomplete 1", ""},
		{"FIN in a body", func(w *wire) { w.send(post("/", "12345")[:50]); w.close() }, nil, "incomplete 1", ""},
		{"RST in a body", func(w *wire) { w.send(post("/", "12345")[:50]); w.refuse() }, nil, "incomplete 1", ""},
		{"RST in a body, and it came early", func(w *wire) {
			w.send(post("/", "12345")[:50])
			w.refuse()
			w.send(post("/", "12345")[50:])
		}, []string{post("/", "12345")}, "", ""},
		{"no end in time", func(w *wire) {
			w.send(post("/", "12345")[:50])
			w.tr.wait(2 * time.Second)
			w.send(post("/", "12345")[50:])
			w.send(get("/2"))
		}, []string{get("/2")}, "incomplete 1", ""},
		{"slow but alive", func(w *wire) {
			for _, s := range cut(post("/", text(100)), 10) {
				w.send(s)
				w.tr.wait(1900 * time.Millisecond)
			}
		}, []string{post("/", text(100))}, "", ""},
		{"upgrade accepted, answers not captured", func(w *wire) {
			w.send("GET /ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", "\x82\x85....hello", get("/not-a-request"))
		}, []string{"GET /ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", "\x82\x85....hello"}, "", "upgraded 1"},
		{"upgrade to something else", func(w *wire) {
			w.send("GET /x HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: spdy\r\n\r\n", "\x82\x85....hello", get("/not-a-request"))
		}, []string{"GET /x HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: spdy\r\n\r\n"}, "", "upgraded 1"},
		{"upgrade refused", func(w *wire) {
			w.send("GET /ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", get("/2"), "\x01", get("/3"))
		}, []string{"GET /ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", get("/2"), get("/3")}, "", ""},
		{"CONNECT accepted", func(w *wire) {
			w.send("CONNECT a:443 HTTP/1.1\r\n\r\n", hello, get("/in-tunnel"))
		}, []string{"CONNECT a:443 HTTP/1.1\r\n\r\n"}, "", "upgraded 1"},
		{"CONNECT refused", func(w *wire) { w.send("CONNECT a:443 HTTP/1.1\r\n\r\n", get("/2")) },
			[]string{"CONNECT a:443 HTTP/1.1\r\n\r\n", get("/2")}, "", ""},
		{"100-continue: the body comes", func(w *wire) {
			w.send("POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n").answer("HTTP/1.1 100 \r\n\r\n").send("abc", get("/2"))
		}, []string{"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc", get("/2")}, "", ""},
		{"100-continue: refused", func(w *wire) {
			w.send("POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 300\r\n\r\n").answer("HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n").send(get("/2"))
		}, []string{get("/2")}, "incomplete 1", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newTrace(t).dial(aClient, aServer)
			c.trace(w)
			tr := w.tr.run(port80)
			tr.wants(c.want...)
			tr.dropped(c.dropped)
			tr.droppedAt(1, c.connections)
		})
	}
}

func TestTooLarge(t *testing.T) {
	cfg := port80
	cfg.MaxMessage = 10_000
	chunks := "POST /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("a\r\n0123456789\r\n", 1000) + "0\r\n\r\n"
	for _, large := range []string{post("/1", text(20_000)), chunks} {
		w := newTrace(t).dial(aClient, aServer)
		w.send(cut(large, 1448)...)
		w.send(get("/2"))
		tr := w.tr.run(cfg)
		tr.wants(get("/2"))
		tr.dropped("too-large 1")
	}
}

// A message that is too large may come in one segment, or before its first line ends.
func TestTooLargeAtOnce(t *testing.T) {
	cfg := port80
	cfg.MaxMessage = 1000
	for _, large := range []string{post("/1", text(2000)), "GET /" + strings.Repeat("x", 2000) + " HTTP/1.1\r\n\r\n"} {
		w := newTrace(t).dial(aClient, aServer)
		w.send(large, get("/2"), "GET /"+strings.Repeat("x", 2000))
		tr := w.tr.run(cfg)
		tr.wants(get("/2"))
		tr.dropped("too-large 2")
	}
}

func TestAllowIncomplete(t *testing.T) {
	w := newTrace(t).dial(aClient, aServer)
	w.send(post("/1", "12345")[:50])
	w.close()
	v := w.tr.dial("10.0.0.1:40001", aServer)
	v.send("GET / HTTP/1.1\r\nHo") // not even a head: there is nothing to be sent
	cfg := port80
	cfg.AllowIncomplete = true
	tr := w.tr.run(cfg)
	tr.wants(post("/1", "12345")[:50])
	tr.dropped("incomplete 1")
	if f := tr.requests[0].Flags; f != kagami.Incomplete {
		t.Errorf("flags %b, want Incomplete", f)
	}
}

func TestAmbiguous(t *testing.T) {
	w := newTrace(t).dial(aClient, aServer)
	raw := "POST / HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
	w.send(raw)
	tr := w.tr.run(port80)
	tr.wants(raw)
	if f := tr.requests[0].Flags; f != kagami.Ambiguous {
		t.Errorf("flags %b, want Ambiguous", f)
	}
}

func TestIDs(t *testing.T) {
	w := newTrace(t).dial(aClient, aServer)
	w.send(get("/1")+get("/2"), get("/3")) // 5001, ordinals 0 to 2
	w.answer(ok("x"))
	w.send(get("/4")[:9], get("/4")[9:]) // 5001 + len
	tr := w.tr.run(port80)
	if p := paths(tr.requests); p != "/1 /2 /3 /4" {
		t.Fatalf("requests %s", p)
	}
	for i, want := range []struct{ ack, ordinal uint32 }{{5001, 0}, {5001, 1}, {5001, 2}, {5001 + uint32(len(ok("x"))), 0}} {
		m := tr.requests[i]
		if id := kagami.MakeID(w.client, w.server, want.ack, want.ordinal, m.Start.Unix()); m.Exchange.ID != id {
			t.Errorf("request %d: id %v, want %v", i+1, m.Exchange.ID, id)
		}
	}
	again := *tr
	again.requests = nil
	again.run(port80)
	for i, m := range again.requests {
		if m.Exchange.ID != tr.requests[i].Exchange.ID {
			t.Errorf("read again, request %d has another id", i+1)
		}
	}
}

func TestTimes(t *testing.T) {
	w := newTrace(t).dial(aClient, aServer)
	w.tr.wait(time.Second)
	start := w.tr.now
	w.send(post("/1", "12345")[:50])
	w.tr.wait(time.Second)
	end := w.tr.now
	w.send(post("/1", "12345")[50:])
	m := w.tr.run(port80).requests[0]
	if !m.Start.Equal(start) || !m.End.Equal(end) {
		t.Errorf("from %v to %v, want %v to %v", m.Start, m.End, start, end)
	}
}

func TestWhichPackets(t *testing.T) {
	others := func(tr *trace) {
		tr.dial("10.0.0.1:40001", "10.0.0.2:81").send(get("/81"))
		tr.dial("10.0.0.2:40002", "10.0.0.3:80").send(get("/ours-to-another"))
		tr.dial("10.0.0.3:40003", "10.0.0.2:80").send(get("/from-another"))
	}
	ours := netip.MustParseAddr("10.0.0.2")
	for _, c := range []struct {
		name                         string
		cfg                          Config
		want, packets, conns, droppd string
	}{
		{"one port", Config{Ports: []uint16{81}}, "/81", "other-port 8", "", ""},
		{"any port", Config{}, "/81 /ours-to-another /from-another", "", "", ""},
		{"any port of ours", Config{Local: func(_ int, a netip.Addr) bool { return a == ours }}, "/81 /from-another", "other-port 3", "other-port 1", ""},
		{"a port of ours", Config{Ports: []uint16{80}, Local: func(_ int, a netip.Addr) bool { return a == ours }}, "/from-another", "other-port 7", "", ""},
		{"not our own connections", Config{Ports: []uint16{80}, Own: func(c, _ netip.AddrPort) bool { return c.Addr() == ours }},
			"/from-another", "other-port 4", "own-traffic 1", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr := newTrace(t)
			others(tr)
			tr.run(c.cfg)
			if p := paths(tr.requests); p != c.want {
				t.Errorf("captured %q, want %q", p, c.want)
			}
			tr.droppedAt(0, c.packets)
			tr.droppedAt(1, c.conns)
			tr.dropped(c.droppd)
		})
	}
}

func TestLocalMidStream(t *testing.T) {
	w := newTrace(t).conn(aClient, aServer)
	w.send(text(10), get("/1"), get("/2"))
	tr := w.tr.run(Config{Local: func(int, netip.Addr) bool { return false }})
	tr.wants()
	tr.droppedAt(0, "other-port 2")
	tr.droppedAt(1, "other-port 1")
}

func TestReplayHeader(t *testing.T) {
	w := newTrace(t).dial(aClient, aServer)
	w.send("GET /1 HTTP/1.1\r\nkagami-replay: 0123\r\n\r\n", get("/2")).answer(ok("1"), ok("2"))
	tr := w.tr.run(Config{Ports: []uint16{80}, ReplayHeader: "Kagami-Replay", Responses: true})
	tr.wants(get("/2"))
	tr.answers(ok("2"))
	tr.dropped("own-traffic 1, request-dropped 1")
}

func TestCopiesOnSeveralInterfaces(t *testing.T) {
	w := newTrace(t).dial(aClient, aServer)
	w.tr.ifindex = 2
	for i := range 10 {
		w.send(post(fmt.Sprint("/", i), text(100)))
		if i == 5 {
			w.tr.lose() // seen on the second interface alone
		}
		w.tr.ifindex, w.tr.kind = 3, Outgoing
		w.resend(-len(post("/0", text(100))), post(fmt.Sprint("/", i), text(100)))
		w.tr.ifindex, w.tr.kind = 2, Host
	}
	w.close()
	w.tr.again()
	w.tr.last(1)[0].Ifindex = 3
	tr := w.tr.run(port80)
	if p := paths(tr.requests); p != "/0 /1 /2 /3 /4 /5 /6 /7 /8 /9" {
		t.Errorf("captured %s", p)
	}
	tr.droppedAt(0, "duplicate-copy 10")
}

func TestOtherHosts(t *testing.T) {
	for promiscuous, want := range map[bool]string{false: "", true: "/1"} {
		w := newTrace(t).conn(aClient, aServer)
		w.tr.kind = OtherHost
		w.open()
		w.send(get("/1"))
		all := func(int, netip.Addr) bool { return true }
		tr := w.tr.run(Config{Promiscuous: promiscuous, Local: all})
		if p := paths(tr.requests); p != want {
			t.Errorf("promiscuous %v: captured %q, want %q", promiscuous, p, want)
		}
	}
}

func TestDiagnosis(t *testing.T) {
	tr := newTrace(t)
	tr.dial("10.0.0.1:50001", "10.0.0.2:80").send("\x16\x03\x01\x02\x00\x01\x00\x01")
	tr.dial("10.0.0.1:50002", "10.0.0.2:80").send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	tr.dial("10.0.0.1:50003", "10.0.0.2:443").send("hello")
	tr.conn("10.0.0.1:50004", "10.0.0.2:80").send("{half a body")
	tr.packets = append(tr.packets, Packet{Data: []byte("?"), Link: linkRaw, WireLen: 1, Time: tr.now})
	l, err := New(port80, &list{packets: tr.packets})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range tr.packets {
		l.asm.packet(&l.sources[0].decoder, &p)
	}
	d := l.Diagnosis()
	if d.Packets != 14 || d.Segments != 13 || d.SYNs != 2 || d.TLS != 1 || d.HTTP2 != 1 || d.Waiting != 1 ||
		d.BytesToServer != 44 || d.BytesToClient != 0 || len(d.Ports) != 1 || d.Ports[443] != 2 {
		t.Errorf("%+v", d)
	}
}
