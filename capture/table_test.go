package capture

import "testing"

// Whatever the connections look like, after no packet are there more in the table than
// it may hold.
func TestTableStaysBounded(t *testing.T) {
	const most, seen = 500, 20_000
	for _, c := range []struct {
		name string
		say  func(w *wire)
	}{
		{"only a SYN", func(w *wire) { w.put(true, w.cseq, flagSYN, "") }},
		{"only a SYN and its answer", func(w *wire) {
			w.put(true, w.cseq, flagSYN, "")
			w.put(false, w.sseq, flagSYN|flagACK, "")
		}},
		{"idle", func(w *wire) { w.open() }},
		{"a request", func(w *wire) { w.open(); w.send(get("/")) }},
		{"a request and its answer", func(w *wire) { w.open(); w.send(get("/")).answer(ok("1")) }},
		{"half a request", func(w *wire) { w.open(); w.send(post("/", "12345")[:50]) }},
		{"mid-stream", func(w *wire) { w.send("no request") }},
		{"closed", func(w *wire) { w.open(); w.send(get("/")); w.close(); w.hangUp() }},
		{"reset", func(w *wire) { w.open(); w.send(get("/")); w.reset() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, put := feed(t, Config{Ports: []uint16{80}, Responses: true, MaxConnections: most, Queue: 1 << 30})
			tr, largest := newTrace(t), 0
			for i := range seen {
				tr.packets = tr.packets[:0]
				c.say(tr.conn(clientAt(i), aServer))
				for j := range tr.packets {
					put(tr.packets[j : j+1])
					largest = max(largest, len(l.asm.table.conns))
				}
				l.out.flush()
				l.out.discard()
			}
			if largest > most || largest == 0 {
				t.Errorf("%d connections in the table, %d are allowed", largest, most)
			}
			over(t, l)
		})
	}
}
