package capture

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"kagami"
)

// dice gives the numbers that a fuzzer chose, and zeros behind them.
type dice struct{ b []byte }

// roll returns a number from 0 to n-1.
func (d *dice) roll(n int) int {
	if len(d.b) == 0 {
		return 0
	}
	v := int(d.b[0])
	d.b = d.b[1:]
	if n > 256 && len(d.b) > 0 {
		v = v<<8 | int(d.b[0])
		d.b = d.b[1:]
	}
	return v % n
}

// A talk is what two ends say to each other: requests and answers in turn.
type talk struct {
	requests, answers []string
	turns             []int // how many requests are sent before their answers come
}

func (d *dice) talk() (k talk) {
	for range 1 + d.roll(6) {
		i := len(k.requests)
		path := fmt.Sprint("/", i)
		switch d.roll(5) {
		case 0:
			k.requests = append(k.requests, get(path))
		case 1:
			k.requests = append(k.requests, post(path, text(d.roll(6000))))
		case 2:
			k.requests = append(k.requests, "POST "+path+" HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"+d.chunks())
		case 3:
			k.requests = append(k.requests, "PROPFIND "+path+strings.Repeat("x", d.roll(3000))+" HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
		case 4:
			k.requests = append(k.requests, "HEAD "+path+" HTTP/1.1\nA: b\n\n")
		}
		switch {
		case k.requests[i][0] == 'H':
			k.answers = append(k.answers, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
		case d.roll(2) == 0:
			k.answers = append(k.answers, ok(text(d.roll(6000))))
		default:
			k.answers = append(k.answers, "HTTP/1.1 299 \r\nTransfer-Encoding: chunked\r\n\r\n"+d.chunks())
		}
	}
	for left := len(k.requests); left > 0; {
		n := 1 + d.roll(left)
		k.turns = append(k.turns, n)
		left -= n
	}
	return k
}

func (d *dice) chunks() (s string) {
	for range d.roll(4) {
		b := text(1 + d.roll(600))
		s += fmt.Sprintf("%x\r\n%s\r\n", len(b), b)
	}
	return s + "0\r\n\r\n"
}

// scatter sends a string in segments that overlap.
func (d *dice) scatter(w *wire, fromClient bool, s string) {
	seq := &w.cseq
	if !fromClient {
		seq = &w.sseq
	}
	for at := 0; at < len(s); {
		n := 1 + d.roll(1500)
		back := min(d.roll(8)*d.roll(100), at)
		end := min(at+n, len(s))
		w.put(fromClient, *seq+uint32(at-back), flagACK, s[at-back:end])
		at = end
	}
	*seq += uint32(len(s))
}

// disturb changes the order of packets, by a few places or altogether, and repeats some.
// Their times stay in order.
func (d *dice) disturb(packets []Packet) []Packet {
	far := 6
	if d.roll(4) == 1 {
		far = len(packets)
	}
	for i := range packets {
		if j := min(i+d.roll(far), len(packets)-1); j != i {
			packets[i].Data, packets[j].Data = packets[j].Data, packets[i].Data
			packets[i].WireLen, packets[j].WireLen = packets[j].WireLen, packets[i].WireLen
		}
	}
	var out []Packet
	for i, p := range packets {
		out = append(out, p)
		if d.roll(8) == 1 {
			q := packets[max(i-d.roll(10), 0)]
			q.Time = p.Time
			out = append(out, q)
		}
	}
	return out
}

// What is said is captured, however it is cut, shuffled, repeated and overlapping.
func FuzzAssembler(f *testing.F) {
	f.Add([]byte{}, uint32(1000))
	f.Add([]byte("\x05\x01\x10\x20\x03\x02\x99\x01\x07\x03\x04\x02\x50\x02\x01\x00\x00\x03\x02\x01\x05\x04\x03\x02\x01"), uint32(0xfffffff0))
	long := make([]byte, 600)
	for i := range long {
		long[i] = byte(i * i * 7)
	}
	f.Add(long, uint32(0xfffff000))
	f.Fuzz(func(t *testing.T, choices []byte, seq uint32) {
		sayAndCapture(t, &dice{choices}, seq)
	})
}

// The same with numbers that no fuzzer chose.
func TestScattered(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for n := range 500 {
		choices := make([]byte, r.IntN(2000))
		for i := range choices {
			choices[i] = byte(r.Uint32())
		}
		if sayAndCapture(t, &dice{choices}, -uint32(r.IntN(20_000))); t.Failed() {
			t.Fatalf("round %d", n)
		}
	}
}

func sayAndCapture(t *testing.T, d *dice, seq uint32) {
	k := d.talk()
	w := newTrace(t).conn(aClient, aServer)
	w.cseq, w.sseq = seq, ^seq
	w.open()
	said, i, holes := w.tr.packets, 0, false
	for _, n := range k.turns {
		w.tr.packets = nil
		if d.roll(4) == 1 { // bytes are lost that are no message's
			w.cseq += uint32(d.roll(3000))
			w.sseq += uint32(d.roll(3000))
			holes = true
		}
		d.scatter(w, true, strings.Join(k.requests[i:i+n], ""))
		d.scatter(w, false, strings.Join(k.answers[i:i+n], ""))
		said = append(said, w.tr.packets...)
		i += n
	}
	w.tr.packets = append(said[:3:3], d.disturb(said[3:])...)
	cfg := Config{Responses: true}
	if d.roll(2) == 1 {
		cfg.Ports = []uint16{80}
	}
	tr := w.tr.run(cfg)
	tr.wants(k.requests...)
	if holes {
		tr.answersButOrphans(k)
		return
	}
	tr.answers(k.answers...)
	tr.dropped("")
	for i, m := range tr.responses {
		if !t.Failed() && m.Exchange != tr.requests[i].Exchange {
			t.Errorf("answer %d is that of another request", i)
		}
	}
}

// answersButOrphans is answers where bytes were lost between messages: those may have been
// requests, so that it is not always known which one an answer is for. None may be taken for
// that of another request, and each that is missing is counted as an orphan.
//
// One thing nobody can know: an answer to a HEAD has no body whatever its head says
// (RFC 9112 §6.3), so that one whose request is not known seems to have one, and takes the
// front of the next answer for it. How many answers behind it are found again depends on
// where segments begin. So of those behind the first such orphan, and of no others, some
// may be missing uncounted.
func (tr *trace) answersButOrphans(k talk) {
	tr.t.Helper()
	of := map[*kagami.Exchange]int{}
	for _, m := range tr.requests {
		of[m.Exchange] = slices.Index(k.requests, string(m.Raw))
	}
	found := make([]bool, len(k.answers))
	for _, m := range tr.responses {
		i, known := of[m.Exchange]
		if !known || i < 0 || found[i] || string(m.Raw) != k.answers[i] {
			tr.t.Errorf("not the answer to its request, or there twice: %.100q", m.Raw)
			continue
		}
		found[i] = true
	}
	least, most, vague := 0, 0, false
	for i := range found {
		if found[i] {
			continue
		}
		if most++; !vague {
			least++
		}
		vague = vague || strings.HasPrefix(k.requests[i], "HEAD")
	}
	dropped := tr.Stages()[2].Statement().Dropped
	orphans := int(dropped[kagami.OrphanResponse])
	delete(dropped, kagami.OrphanResponse)
	if orphans < least || orphans > most || len(dropped) > 0 {
		tr.t.Errorf("%d answers missing: %d orphans and not at least %d, dropped %v", most, orphans, least, dropped)
	}
}

// Whatever comes, nothing panics, memory stays within its bounds and the ledger balances.
func FuzzSegments(f *testing.F) {
	f.Add([]byte("\x00\x02\x03\xe8\x00" + "\x01\x12\x13\x88\x00" + "\x00\x18\x03\xe9\x85"))
	f.Add([]byte("\x00\x18\x03\xe9\x85\x01\x18\x13\x89\x82\x00\x18\x04\x00\xff\x00\x11\x03\xea\x20"))
	f.Add([]byte(strings.Repeat("\x00\x18\x03\xe9\x81\x00\x18\x13\x89\x90\x02\x18\x04\x00\xa3", 20)))
	f.Fuzz(takeSegments)
}

// The same with many more segments than a fuzzer tries.
func TestAnySegments(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 100 {
		b := make([]byte, 5*r.IntN(1000))
		for i := range b {
			if b[i] = byte(r.Uint32()); i%5 == 2 || i%5 == 3 && r.IntN(4) > 0 {
				b[i] = byte(3 + r.IntN(3)) // sequence numbers near each other
			}
			if i%5 == 1 && r.IntN(8) > 0 {
				b[i] &= flagPSH | flagACK
			}
			if i%5 == 4 {
				b[i] = 0x80 | byte(r.IntN(len(segmentParts)))
			}
		}
		takeSegments(t, b)
	}
}

// segmentParts is what segments may hold beside bytes of the input.
var segmentParts = []string{
	get("/"), post("/p", text(50)), post("/p", text(50))[:60], "GET / HT", "TP/1.1\r\n", "\r\n", "\r\n\r\n",
	ok("hello"), ok(text(100))[:50], "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.0 200 OK\r\n\r\n", "HTTP/1.1 101 Go\r\n\r\n",
	"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", "5\r\nhello\r\n", "0\r\n\r\n", "CONNECT a:1 HTTP/1.1\r\n\r\n",
	"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n", "GET / HTTP/1.1\r\nUpgrade: a\r\nConnection: upgrade\r\n\r\n",
	"POST / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", "\x16\x03\x01\x00\x50\x01", text(3000), "HEAD / HTTP/1.1\r\n\r\n",
	"GET / HTTP/1.1\r\nKagami-Replay: 1\r\n\r\n", "PRI * HTTP/2.0\r\n\r\n", "\x00\x00",
	h2Start, h2Answer, "SM\r\n\r\n", "\x00\x00\x0b\x01\x05\x00\x00\x00\x01\x82\x86\x84\x41\x06shop.a", "\x00\x00\x01\x01\x04\x00\x00\x00\x01\x88",
	"\x00\x00\x05\x00\x01\x00\x00\x00\x01hello", "\x00\x00\x03\x01\x04\x00\x00\x00\x03\x83\x86\x84", "\x00\x20\x00\x00\x00\x00\x00\x00\x03" + text(2000),
	"\x00\x00\x04\x03\x00\x00\x00\x00\x01\x00\x00\x00\x08",
	"GET / HTTP/1.1\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n", "HTTP/1.1 101 Go\r\nUpgrade: h2c\r\n\r\n",
	askWS, acceptWS, fromClient("hello"), fromServer("hello"), fromClient(text(2000))[:1000], fromServer(text(6000)),
}

func takeSegments(t *testing.T, b []byte) {
	const memory = 20_000
	cfg := Config{Responses: true, Memory: memory, MaxMessage: 5000, MaxConnections: 4, Queue: 1 << 30, ReplayHeader: "Kagami-Replay"}
	if len(b) > 0 && b[0]&0x80 != 0 {
		cfg.Ports = []uint16{80, 8080}
	}
	if len(b) > 0 && b[0]&0x40 != 0 {
		cfg.AllowIncomplete = true
	}
	if len(b) > 0 && b[0]&0x20 != 0 {
		cfg.Responses = false
	}
	if len(b) > 0 && b[0]&0x08 != 0 {
		cfg.ResponseHead = 64
	}
	l, put := feed(t, cfg)
	tr := newTrace(t)
	for n := 0; len(b) >= 5 && n < 2000; n++ {
		head := b[:5]
		b = b[5:]
		data := ""
		if i := int(head[4] & 0x7f); head[4]&0x80 != 0 && i < len(segmentParts) {
			data = segmentParts[i]
		} else {
			i = min(i, len(b))
			data, b = string(b[:i]), b[i:]
		}
		w := tr.conn(fmt.Sprintf("10.0.0.%d:%d", 1+head[0]>>1&7, 40000), []string{aServer, "10.0.0.9:8080"}[head[0]>>4&1])
		w.cseq, w.sseq = 1000, 5000
		tr.packets = nil
		tr.snaplen = 0
		if head[1]&0x80 != 0 {
			tr.snaplen = 20
		}
		tr.ifindex = int(head[1] >> 5 & 1)
		tr.wait([]time.Duration{0, 0, 0, time.Second}[head[1]>>5&3])
		seq := uint32(binary.BigEndian.Uint16(head[2:]))
		if seq > 0xff00 {
			seq *= 0x10001 // far away
		}
		w.put(head[0]&1 == 0, seq, head[1]&(flagFIN|flagSYN|flagRST|flagPSH|flagACK), data)
		put(tr.packets)
		sound(t, &l.asm)
		if used := l.asm.used; used > memory || used < 0 {
			t.Fatalf("%d bytes of memory used, the budget is %d", used, memory)
		}
		if n := len(l.asm.table.conns); n > cfg.MaxConnections {
			t.Fatalf("%d connections in the table", n)
		}
	}
	for _, s := range l.Stages() {
		if st := s.Statement(); st.Missing() != 0 {
			t.Errorf("before the end: ledger of %s does not balance: %+v", st.Unit, st)
		}
	}
	over(t, l)
	for _, b := range l.out.queue {
		for _, m := range b.Messages {
			if m.Kind != kagami.Request && m.Kind != kagami.Response {
				t.Errorf("a message of kind %v", m.Kind)
			}
		}
	}
}
