package capture

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"kagami"
)

const (
	theHost      = "10.0.0.2:8080" // what the client connects to
	theContainer = "172.17.0.9:80" // what that is translated to
)

// translated puts behind every packet (or before it, if the server sent it) the
// copies of it that a bridge and a container's cable show, with the container's
// address.
func translated(packets []Packet) (out []Packet) {
	host, container := netip.MustParseAddrPort(theHost), netip.MustParseAddrPort(theContainer)
	for _, p := range packets {
		inside := p
		fromClient := swapEnd(&inside, 16, 22, host, container)
		if !fromClient {
			swapEnd(&inside, 12, 20, host, container)
		}
		bridge, cable := inside, inside
		p.Ifindex, bridge.Ifindex, cable.Ifindex = 2, 5, 6
		if fromClient {
			bridge.Type, cable.Type = Outgoing, Outgoing
			out = append(out, p, bridge, cable)
		} else {
			p.Type = Outgoing
			out = append(out, cable, bridge, p)
		}
	}
	return out
}

// swapEnd gives a packet another source or destination, if it has the one given.
func swapEnd(p *Packet, addr, port int, old, new netip.AddrPort) bool {
	if [4]byte(p.Data[addr:]) != old.Addr().As4() || binary.BigEndian.Uint16(p.Data[port:]) != old.Port() {
		return false
	}
	p.Data = append([]byte{}, p.Data...)
	copy(p.Data[addr:], new.Addr().AsSlice())
	binary.BigEndian.PutUint16(p.Data[port:], new.Port())
	return true
}

// connections fails the test unless so many were opened.
func (tr *trace) connections(want int64) {
	tr.t.Helper()
	if s := tr.Stages()[1].Statement(); s.In != want {
		tr.t.Errorf("%d connections, want %d: %+v", s.In, want, s)
	}
}

// What a connection that is translated on its way says is captured once.
func TestTranslated(t *testing.T) {
	big := post("/big", text(40_000))
	for _, c := range []struct {
		name        string
		trace       func(tr *trace)
		requests    []string
		answers     []string
		connections int64
		onAnyPort   int64 // connections, if others
	}{
		{"one request", func(tr *trace) {
			w := tr.dial(aClient, theHost)
			w.send(get("/1")).answer(ok("1"))
			w.close()
			w.hangUp()
		}, []string{get("/1")}, []string{ok("1")}, 1, 1},
		{"keep-alive and a large body", func(tr *trace) {
			w := tr.dial(aClient, theHost)
			w.send(get("/1")).answer(ok("1")).send(cut(big, 1448)...).answer(cut(ok(text(9000)), 1448)...)
		}, []string{get("/1"), big}, []string{ok("1"), ok(text(9000))}, 1, 1},
		{"joined at a request", func(tr *trace) {
			tr.conn(aClient, theHost).send(get("/1")).answer(ok("1")).send(get("/2")).answer(ok("2"))
		}, []string{get("/1"), get("/2")}, []string{ok("1"), ok("2")}, 1, 2},
		{"joined at an answer", func(tr *trace) {
			tr.conn(aClient, theHost).answer(ok("0")).send(get("/1")).answer(ok("1"))
		}, []string{get("/1")}, []string{ok("1")}, 1, 2},
		{"joined in a body", func(tr *trace) {
			tr.conn(aClient, theHost).send(cut(text(3000), 1000)...).answer(ok("0")).send(get("/1")).answer(ok("1"))
		}, []string{get("/1")}, []string{ok("1")}, 1, 2},
		{"joined in a large body", func(tr *trace) {
			tr.conn(aClient, theHost).send(cut(text(200_000), 65_000)...).send(get("/1")).answer(ok("1"))
		}, []string{get("/1")}, []string{ok("1")}, 1, 2},
		{"a port used again", func(tr *trace) {
			for i := range 3 {
				w := tr.conn(aClient, theHost)
				w.cseq += uint32(i) * 1_000_000
				w.sseq += uint32(i) * 3_000_000
				w.open()
				w.send(get(fmt.Sprint("/", i))).answer(ok(""))
				if i == 0 {
					w.close()
					w.hangUp()
				} else {
					w.reset()
				}
			}
		}, []string{get("/0"), get("/1"), get("/2")}, []string{ok(""), ok(""), ok("")}, 3, 3},
		{"refused, then again", func(tr *trace) {
			w := tr.conn(aClient, theHost)
			w.put(true, w.cseq, flagSYN, "")
			w.cseq++
			w.put(false, 0, flagRST|flagACK, "")
			w = tr.conn(aClient, theHost)
			w.cseq = 77
			w.open()
			w.send(get("/"))
		}, []string{get("/")}, nil, 2, 2},
	} {
		for name, ports := range map[string][]uint16{"on two ports": {80, 8080}, "on any port": nil} {
			t.Run(c.name+" "+name, func(t *testing.T) {
				tr := newTrace(t)
				c.trace(tr)
				tr.packets = translated(tr.packets)
				tr.run(Config{Ports: ports, Responses: true})
				tr.wants(c.requests...)
				tr.answers(c.answers...)
				if ports == nil {
					tr.connections(c.onAnyPort)
				} else {
					tr.connections(c.connections)
				}
				if n := tr.Stages()[0].Statement().Dropped[kagami.DuplicateCopy]; n == 0 {
					t.Errorf("%d of %d packets are copies", n, len(tr.packets))
				}
			})
		}
	}
}

// The first seen owns the connection: its server is the message's.
func TestTranslatedFirstSeen(t *testing.T) {
	for _, responses := range []bool{true, false} {
		tr := newTrace(t)
		tr.dial(aClient, theHost).send(get("/")).answer(ok(""))
		tr.packets = translated(tr.packets)
		tr.run(Config{Ports: []uint16{80, 8080}, Responses: responses}).wants(get("/"))
		if to := tr.requests[0].Server.String(); to != theHost {
			t.Errorf("server is %s", to)
		}
	}
}

// Where one interface's copy is missing, the other's serves, whichever it is.
func TestTranslatedWithHoles(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for round := range 50 {
		tr := newTrace(t)
		w := tr.dial(aClient, theHost)
		var requests, answers []string
		for i := range 10 {
			requests, answers = append(requests, post(fmt.Sprint("/", i), text(3000))), append(answers, ok(text(2000)))
			w.send(cut(requests[i], 1448)...).answer(cut(answers[i], 1448)...)
		}
		said := translated(tr.packets[3:])
		tr.packets = translated(tr.packets[:3])
		for i := 0; i < len(said); i += 3 {
			keep := r.IntN(3)
			for j := range 3 {
				if j == keep || r.IntN(2) == 0 {
					tr.packets = append(tr.packets, said[i+j])
				}
			}
		}
		tr.run(Config{Ports: []uint16{80, 8080}, Responses: true})
		tr.wants(requests...)
		tr.answers(answers...)
		tr.dropped("")
		tr.connections(1)
		if t.Failed() {
			t.Fatalf("round %d", round)
		}
	}
}

// The interfaces' copies come in any order, for each is read by itself.
func TestTranslatedLate(t *testing.T) {
	for _, late := range []func(p Packet) bool{
		func(p Packet) bool { return p.Ifindex == 2 },
		func(p Packet) bool { return p.Ifindex != 2 },
	} {
		var first, then []Packet
		tr := newTrace(t)
		for i := range 3 { // the later ones find the earlier ones' connection in the table
			w := tr.conn(aClient, theHost)
			w.cseq, w.sseq = uint32(i)*9_000_000, uint32(i)*7_000_000
			w.open()
			w.send(get(fmt.Sprint("/", i))).answer(ok(""))
			first, then = nil, nil
			for _, p := range translated(tr.last(5)) {
				if late(p) {
					then = append(then, p)
				} else {
					first = append(first, p)
				}
			}
			tr.packets = append(append(tr.packets[:len(tr.packets)-5], first...), then...)
		}
		tr.run(Config{Ports: []uint16{80, 8080}, Responses: true})
		tr.wants(get("/0"), get("/1"), get("/2"))
		tr.answers(ok(""), ok(""), ok(""))
	}
}

// When only the other interface shows a connection any more, it is captured from there.
func TestTwinGoesOn(t *testing.T) {
	for _, c := range []struct {
		name  string
		trace func(w, twin *wire)
	}{
		{"the owner falls silent", func(w, twin *wire) {}},
		{"the owner was reset", func(w, twin *wire) { w.reset() }},
		{"the owner was closed", func(w, twin *wire) { w.close(); w.hangUp(); twin.cseq++; twin.sseq++ }},
		{"a new connection", func(w, twin *wire) { twin.cseq, twin.sseq = 5_000_000, 7_000_000; twin.open() }},
		{"a new connection after the end", func(w, twin *wire) {
			w.close()
			w.hangUp()
			twin.cseq, twin.sseq = 5_000_000, 7_000_000
			twin.open()
		}},
		{"a new connection whose SYN was not seen", func(w, twin *wire) { twin.cseq, twin.sseq = 0x90000000, 0x80000000 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr := newTrace(t)
			w := tr.dial(aClient, theHost)
			w.send(get("/1")).answer(ok("1"))
			tr.packets = translated(tr.packets)
			twin := *w
			twin.server = netip.MustParseAddrPort(theContainer)
			tr.ifindex = 2
			c.trace(w, &twin)
			tr.ifindex, tr.kind = 6, Outgoing
			twin.send(get("/2")).answer(ok("2")).send(get("/3")).answer(ok("3"))
			tr.run(Config{Ports: []uint16{80, 8080}, Responses: true})
			tr.wants(get("/1"), get("/2"), get("/3"))
			tr.answers(ok("1"), ok("2"), ok("3"))
		})
	}
}

// A client that talks to two servers from one port has two connections.
func TestNoTwins(t *testing.T) {
	for _, c := range []struct {
		name          string
		syn           bool
		cseq, sseq    uint32 // of the second
		ifindex, kind int
	}{
		{"another interface", true, 900_000, 800_000, 3, 0},
		{"the same interface and numbers", true, 1000, 5000, 2, 0},
		{"the same first number, another answer", true, 1000, 77_000, 3, 0},
		{"joined", false, 900_000, 800_000, 3, 0},
		{"joined behind", false, 1000 + 100_000, 5000, 3, 0},
		{"joined at the same place of the same interface", false, 1000, 5000, 2, 0},
		{"joined at the same place, with another answer's", false, 1000, 900_000, 3, 0},
	} {
		for name, ports := range map[string][]uint16{"on two ports": {80, 8080}, "on any port": nil} {
			t.Run(c.name+" "+name, func(t *testing.T) {
				tr := newTrace(t)
				a, b := tr.conn(aClient, theHost), tr.conn(aClient, theContainer)
				b.cseq, b.sseq = c.cseq, c.sseq
				on := func(ifindex int) { tr.ifindex = ifindex }
				if c.syn {
					on(2)
					a.open()
					on(c.ifindex)
					b.open()
				}
				var requests, answers []string
				for i := range 5 {
					x, y := get(fmt.Sprint("/a", i)), get(fmt.Sprint("/b", i))
					on(2)
					a.send(x).answer(ok("a"))
					on(c.ifindex)
					b.send(y).answer(ok("b"))
					requests, answers = append(requests, x, y), append(answers, ok("a"), ok("b"))
				}
				tr.run(Config{Ports: ports, Responses: true})
				tr.wants(requests...)
				tr.answers(answers...)
				tr.connections(2)
			})
		}
	}
}

// However many ends a client's port is seen with, the table is bounded.
func TestTwinsAreBounded(t *testing.T) {
	l, put := feed(t, Config{Ports: []uint16{80}, MaxConnections: 100})
	tr := newTrace(t)
	for i := range 2000 {
		tr.packets, tr.ifindex = nil, 2+i%7
		w := tr.conn(aClient, fmt.Sprintf("10.1.%d.%d:80", i>>8, i&255))
		w.cseq = uint32(i / 50)
		w.put(true, w.cseq, flagSYN, "")
		put(tr.packets)
		sound(t, &l.asm)
	}
	if n := len(l.asm.table.kin.twins); n == 0 || n > 100*maxTwins {
		t.Errorf("%d twins", n)
	}
	over(t, l)
}

// What is said is captured once, however it is cut, shuffled and repeated.
func TestTranslatedScattered(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for n := range 200 {
		choices := make([]byte, r.IntN(2000))
		for i := range choices {
			choices[i] = byte(r.Uint32())
		}
		d := &dice{choices}
		k := d.talk()
		w := newTrace(t).dial(aClient, theHost)
		said, i := w.tr.packets, 0
		for _, n := range k.turns {
			w.tr.packets = nil
			d.scatter(w, true, strings.Join(k.requests[i:i+n], ""))
			d.scatter(w, false, strings.Join(k.answers[i:i+n], ""))
			said = append(said, w.tr.packets...)
			i += n
		}
		w.tr.packets = append(translated(said[:3]), d.disturb(translated(said[3:]))...)
		tr := w.tr.run(Config{Ports: []uint16{80, 8080}, Responses: true})
		tr.wants(k.requests...)
		tr.answers(k.answers...)
		tr.dropped("")
		tr.connections(1)
		if t.Failed() {
			t.Fatalf("round %d", n)
		}
	}
}

// soundKin fails the test where what the table knows about twins contradicts itself.
func soundKin(t testing.TB, table *table) {
	t.Helper()
	k, listed, twins := &table.kin, 0, 0
	for _, c := range table.conns {
		n := 0
		for tw := c.twins; tw != nil; tw = tw.next {
			if n++; tw.of != c || k.twins[tw.key] != tw || table.conns[tw.key] != nil {
				t.Fatal("a twin that is not its owner's, or has a connection of its own")
			}
		}
		if twins += n; n != int(c.ntwins) || n > maxTwins {
			t.Fatalf("%d twins, counted %d", n, c.ntwins)
		}
		for _, c := range []*conn{c, c.guess} {
			if c != nil && c.has(connListed) {
				listed++
			}
		}
	}
	for client, c := range k.clients {
		if c.younger != nil {
			t.Fatal("the youngest is not")
		}
		for ; c != nil; c = c.older {
			if listed--; !c.has(connListed) || table.conns[c.key] != c && table.conns[c.key].guess != c || c.key.end(c.client) != client || c.older != nil && c.older.younger != c {
				t.Fatal("a client's connections are not those in the table")
			}
		}
	}
	if listed != 0 || twins != len(k.twins) {
		t.Fatalf("%d connections not listed, %d twins of %d", listed, len(k.twins)-twins, len(k.twins))
	}
}
