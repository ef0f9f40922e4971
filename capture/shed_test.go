package capture

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"kagami"
)

const shedSalt = kagami.Salt(7)

func halfShare(t *testing.T) kagami.Share {
	t.Helper()
	s, err := kagami.ShareOf(50)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Whatever a connection is in the middle of, it is given up when the share leaves it out:
// what it had begun is cpu-limit, what still comes of it is too, the other connections
// go on, and when all are followed again it is joined at its next message.
func TestShed(t *testing.T) {
	const n = 100
	for _, c := range []struct {
		name   string
		begin  func(w *wire)
		end    func(w *wire)
		before int   // messages of each connection that are whole before it is shed
		shed   int64 // messages of each that are given up
		after  int   // messages of each of the others that become whole after that
	}{
		{"idle", func(w *wire) { w.send(get("/1")).answer(ok("1")) }, func(w *wire) { w.send(get("/2")).answer(ok("2")) }, 2, 0, 2},
		{"nothing but a SYN", func(w *wire) {}, func(w *wire) { w.send(get("/2")).answer(ok("2")) }, 0, 0, 2},
		{"a head", func(w *wire) { w.send("GET /1 HTTP/1.1\r\nHo") }, func(w *wire) { w.send("st: a\r\n\r\n").answer(ok("1")) }, 0, 1, 2},
		{"a body", func(w *wire) { w.send(post("/1", text(3000))[:2000]) }, func(w *wire) { w.send(post("/1", text(3000))[2000:]).answer(ok("1")) }, 0, 1, 2},
		{"an answer that has not come", func(w *wire) { w.send(get("/1")) }, func(w *wire) { w.answer(ok("1")) }, 1, 0, 1},
		{"half an answer", func(w *wire) { w.send(get("/1")).answer(ok("hello")[:20]) }, func(w *wire) { w.answer(ok("hello")[20:]) }, 1, 1, 1},
		{"an answer before its request's end", func(w *wire) { w.send(post("/1", "12345")[:50]).answer(ok("1")) },
			func(w *wire) { w.send(post("/1", "12345")[50:]) }, 0, 2, 2},
		{"bytes that came early", func(w *wire) { w.resend(10, "later") }, func(w *wire) { w.send(get("/123456789")[:10]); w.cseq += 5 }, 0, 0, 0},
		{"HTTP/2", func(w *wire) { w.send(h2Start + beginPut(newH2(), 1)) }, func(w *wire) { w.send(h2body(1, "end")) }, 0, 1, 1},
		{"a WebSocket frame", func(w *wire) { w.send(askWS).answer(acceptWS).send(fromClient(text(2000))[:1000]) },
			func(w *wire) { w.send(fromClient(text(2000))[1000:]) }, 2, 1, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, put := feed(t, Config{Ports: []uint16{80}, Responses: true, Queue: 1 << 30})
			tr := newTrace(t)
			share := halfShare(t)
			var shed, kept []*wire
			for i := range n {
				w := tr.dial(clientAt(i), aServer)
				c.begin(w)
				if share.Includes(shedSalt.Connection(w.client)) {
					kept = append(kept, w)
				} else {
					shed = append(shed, w)
				}
			}
			put(tr.packets)
			before := l.out.held.Load()
			if before != int64(n*c.before) {
				t.Fatalf("%d messages before, want %d", before, n*c.before)
			}
			l.Shed(shedSalt, share)
			sound(t, &l.asm)
			if got := len(l.asm.table.conns); got != len(kept) {
				t.Errorf("%d connections left, want %d", got, len(kept))
			}
			cpu, all := l.messages.Dropped(kagami.CPULimit), l.messages.Statement().DroppedTotal()
			if want := c.shed * int64(len(shed)); cpu+l.messages.Dropped(kagami.RequestDropped) != want || c.shed == 1 && cpu != want {
				t.Errorf("messages dropped: %v, want %d cpu-limit", l.messages.Statement().Dropped, want)
			}
			if got := l.connections.Dropped(kagami.CPULimit); got != int64(len(shed)) {
				t.Errorf("%d connections are cpu-limit, want %d", got, len(shed))
			}

			tr.packets = nil
			for _, w := range append(shed, kept...) {
				c.end(w)
			}
			put(tr.packets)
			sound(t, &l.asm)
			if got, want := l.out.held.Load()-before, int64(c.after*len(kept)); got != want {
				t.Errorf("%d messages of the others, want %d", got, want)
			}
			if more := l.messages.Statement().DroppedTotal() - all; more != 0 {
				t.Errorf("%d more messages dropped: %v", more, l.messages.Statement().Dropped)
			}
			late := int64(0)
			for _, p := range tr.packets {
				for _, w := range shed {
					from, to := endsOf(p.Data)
					if from == w.client || to == w.client {
						late++
					}
				}
			}
			if got := l.packets.Dropped(kagami.CPULimit); got != late {
				t.Errorf("%d packets are cpu-limit, want %d", got, late)
			}
			over(t, l)
		})
	}
}

// endsOf reads the ends from what ipPacket wrote, of IPv4.
func endsOf(b []byte) (from, to netip.AddrPort) {
	from = netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[12:16])), uint16(b[20])<<8|uint16(b[21]))
	to = netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[16:20])), uint16(b[22])<<8|uint16(b[23]))
	return from, to
}

// What was shed is joined again at its next request, and nothing is made up in between.
func TestShedAndBack(t *testing.T) {
	l, put := feed(t, Config{Ports: []uint16{80}, Responses: true, Queue: 1 << 30})
	tr := newTrace(t)
	var wires []*wire
	for i := range 50 {
		wires = append(wires, tr.dial(clientAt(i), aServer).send(get("/1")).answer(ok("1")))
	}
	none, _ := kagami.ShareOf(0)
	put(tr.packets)
	l.Shed(shedSalt, none)
	tr.packets = nil
	for _, w := range wires {
		w.send(get("/2")).answer(ok("2")[:20])
	}
	put(tr.packets)
	l.Shed(shedSalt, kagami.Whole)
	sound(t, &l.asm)
	tr.packets = nil
	for _, w := range wires {
		w.answer(ok("2")[20:])
		w.send(get("/3")).answer(ok("3"))
	}
	put(tr.packets)
	sound(t, &l.asm)
	if got := l.out.held.Load(); got != 50*4 {
		t.Errorf("%d messages, want %d", got, 50*4)
	}
	if n := l.messages.Statement().DroppedTotal(); n != 0 {
		t.Errorf("dropped: %v", l.messages.Statement().Dropped)
	}
	over(t, l)
}

// Both directions of a connection have the same fate, also where no ports are given, or
// both ends have a port that is captured.
func TestShedDirections(t *testing.T) {
	for _, ports := range [][]uint16{nil, {80}, {80, 50000}} {
		l, put := feed(t, Config{Ports: ports, Responses: true})
		l.Shed(shedSalt, halfShare(t))
		tr := newTrace(t)
		for i := range 200 {
			client := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 9, byte(i >> 8), byte(i)}), 50000)
			w := tr.dial(client.String(), aServer)
			w.send(get("/")).answer(ok("x"))
		}
		put(tr.packets)
		l.out.flush()
		requests, answers := 0, 0
		for _, b := range l.out.queue {
			for _, m := range b.Messages {
				if m.Kind == kagami.Request {
					requests++
				} else {
					answers++
				}
			}
		}
		if requests != answers || requests < 70 || requests > 130 {
			t.Errorf("ports %v: %d requests and %d answers of 200", ports, requests, answers)
		}
		over(t, l)
	}
}

// Shares that come and go at any moment, in any traffic, leave nothing behind.
func TestShedAnyTime(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 200 {
		l, put := feed(t, Config{Ports: []uint16{80}, Responses: r.IntN(2) == 0, Memory: 64 << 10, AllowIncomplete: r.IntN(2) == 0, MaxConnections: 20})
		tr := newTrace(t)
		var wires []*wire
		for i := range 30 {
			wires = append(wires, tr.conn(clientAt(i), aServer))
		}
		for range 300 {
			w := wires[r.IntN(len(wires))]
			part := segmentParts[r.IntN(len(segmentParts))]
			switch n := r.IntN(20); {
			case n == 0:
				w.open()
			case n == 1:
				w.close()
			case n == 2:
				w.reset()
			case n < 5:
				w.resend(r.IntN(40)-20, part)
			case n < 12:
				w.answer(part)
			default:
				w.send(part)
			}
			put(tr.packets)
			tr.packets = tr.packets[:0]
			if r.IntN(10) == 0 {
				share, _ := kagami.ShareOf(float64(r.IntN(5)) * 25)
				l.Shed(shedSalt, share)
				sound(t, &l.asm)
			}
		}
		over(t, l)
	}
}
