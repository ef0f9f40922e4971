package capture

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"kagami"
	"kagami/internal/http1"
)

// A trace is a list of packets that a test writes down as they were captured,
// and what came of them.
type trace struct {
	t       *testing.T
	now     time.Time
	packets []Packet
	ifindex int   // of the packets that follow
	kind    uint8 // and their type
	snaplen int   // and what is kept of their payload, if not 0

	*Listener // after run
	requests  []*kagami.Message
	responses []*kagami.Message
}

func newTrace(t *testing.T) *trace {
	return &trace{t: t, now: time.Unix(1_700_000_000, 0)}
}

// wait lets time pass.
func (tr *trace) wait(d time.Duration) { tr.now = tr.now.Add(d) }

// last returns the last n packets, to be shuffled.
func (tr *trace) last(n int) []Packet { return tr.packets[len(tr.packets)-n:] }

// swap changes the order of the last two packets, not their time stamps.
func (tr *trace) swap() {
	l := tr.last(2)
	l[0].Data, l[1].Data = l[1].Data, l[0].Data
}

// lose takes the last packet away.
func (tr *trace) lose() { tr.packets = tr.packets[:len(tr.packets)-1] }

// again puts a copy of the last packet behind it.
func (tr *trace) again() { tr.packets = append(tr.packets, tr.packets[len(tr.packets)-1]) }

// A wire is one TCP connection of a trace. Its numbers begin at 1000 (client)
// and 5000 (server), unless they are set before the first packet.
type wire struct {
	tr             *trace
	client, server netip.AddrPort
	cseq, sseq     uint32
}

func (tr *trace) conn(client, server string) *wire {
	return &wire{tr, netip.MustParseAddrPort(client), netip.MustParseAddrPort(server), 1000, 5000}
}

// dial is conn with its handshake.
func (tr *trace) dial(client, server string) *wire {
	w := tr.conn(client, server)
	w.open()
	return w
}

// open is the handshake.
func (w *wire) open() {
	w.put(true, w.cseq, flagSYN, "")
	w.cseq++
	w.put(false, w.sseq, flagSYN|flagACK, "")
	w.sseq++
	w.put(true, w.cseq, flagACK, "")
}

// send is the client's next segments, one for each string.
func (w *wire) send(data ...string) *wire {
	for _, d := range data {
		w.put(true, w.cseq, flagACK|flagPSH, d)
		w.cseq += uint32(len(d))
	}
	return w
}

// answer is the server's next segments.
func (w *wire) answer(data ...string) *wire {
	for _, d := range data {
		w.put(false, w.sseq, flagACK|flagPSH, d)
		w.sseq += uint32(len(d))
	}
	return w
}

// resend is a segment of the client's that begins so many bytes behind what
// it sent last, or before it.
func (w *wire) resend(offset int, data string) {
	w.put(true, w.cseq+uint32(offset), flagACK|flagPSH, data)
}

// close is the client's FIN, hangUp the server's.
func (w *wire) close() {
	w.put(true, w.cseq, flagFIN|flagACK, "")
	w.cseq++
}

func (w *wire) hangUp() {
	w.put(false, w.sseq, flagFIN|flagACK, "")
	w.sseq++
}

// reset is the client's RST, refuse the server's.
func (w *wire) reset()  { w.put(true, w.cseq, flagRST, "") }
func (w *wire) refuse() { w.put(false, w.sseq, flagRST|flagACK, "") }

// put is any segment.
func (w *wire) put(fromClient bool, seq uint32, flags uint8, data string) {
	from, to, ack := w.client, w.server, w.sseq
	if !fromClient {
		from, to, ack = w.server, w.client, w.cseq
	}
	tr := w.tr
	b, length := ipPacket(from, to, seq, ack, flags, data)
	if tr.snaplen > 0 && len(data) > tr.snaplen {
		b = b[:len(b)-len(data)+tr.snaplen]
	}
	tr.packets = append(tr.packets, Packet{Data: b, WireLen: length, Link: linkRaw, Time: tr.now, Ifindex: tr.ifindex, Type: tr.kind})
	tr.now = tr.now.Add(100 * time.Microsecond)
}

// ipPacket makes an IP packet with a TCP segment in it, checksums left out, as
// they are before the network card fills them in.
func ipPacket(from, to netip.AddrPort, seq, ack uint32, flags uint8, data string) (b []byte, length int) {
	tcp := 20 + len(data)
	if from.Addr().Is4() {
		b = make([]byte, 20, 20+tcp)
		b[0], b[8], b[9] = 0x45, 64, 6
		binary.BigEndian.PutUint16(b[2:], uint16(20+tcp))
		copy(b[12:], from.Addr().AsSlice())
		copy(b[16:], to.Addr().AsSlice())
	} else {
		b = make([]byte, 40, 40+tcp)
		b[0], b[6], b[7] = 0x60, 6, 64
		binary.BigEndian.PutUint16(b[4:], uint16(tcp))
		copy(b[8:], from.Addr().AsSlice())
		copy(b[24:], to.Addr().AsSlice())
	}
	b = binary.BigEndian.AppendUint16(b, from.Port())
	b = binary.BigEndian.AppendUint16(b, to.Port())
	b = binary.BigEndian.AppendUint32(b, seq)
	b = binary.BigEndian.AppendUint32(b, ack)
	b = append(b, 5<<4, flags, 0xff, 0xff, 0, 0, 0, 0)
	b = append(b, data...)
	return b, len(b)
}

// A list is a Source of the packets in it.
type list struct {
	packets []Packet
	block   int // packets that come without waiting; 0: all
	n       int
}

func (l *list) Next() (Packet, error) {
	if l.n == len(l.packets) {
		return Packet{}, io.EOF
	}
	l.n++
	return l.packets[l.n-1], nil
}

func (l *list) Buffered() int {
	left := len(l.packets) - l.n
	if l.block > 0 {
		return min(left, l.block-1-(l.n+l.block-1)%l.block)
	}
	return left
}

// run captures the trace, and checks that nothing is unaccounted for.
func (tr *trace) run(cfg Config) *trace {
	tr.t.Helper()
	cfg.Wait = true // recorded: no ticks
	if cfg.Expire == 0 {
		cfg.Expire = DefaultExpire
	}
	l, err := New(cfg, &list{packets: tr.packets})
	if err != nil {
		tr.t.Fatal(err)
	}
	err = l.Run(tr.t.Context(), tr.emit)
	if err != nil {
		tr.t.Fatal(err)
	}
	tr.Listener = l
	balanced(tr.t, l)
	return tr
}

func (tr *trace) emit(_ context.Context, b kagami.Batch) error {
	if n := len(b.Messages); n == 0 || n > batchMessages {
		tr.t.Errorf("a batch of %d messages", n)
	}
	for _, m := range b.Messages {
		switch {
		case m.Exchange == nil || m.Exchange.ID.IsZero() && m.Kind == kagami.Request:
			tr.t.Errorf("message without an exchange: %.40q", m.Raw)
		case m.Kind == kagami.Request:
			tr.requests = append(tr.requests, m)
		default:
			tr.responses = append(tr.responses, m)
		}
	}
	return nil
}

// balanced fails a test where the ledger does not balance, or something stays
// behind after the end.
func balanced(t testing.TB, l *Listener) {
	t.Helper()
	for _, s := range l.Stages() {
		st := s.Statement()
		if st.Missing() != 0 || st.InFlight != 0 {
			t.Errorf("ledger of %s does not balance: %+v", st.Unit, st)
		}
	}
	a := &l.asm
	if a.used != 0 || a.pending.n != 0 || a.awaits != 0 || len(a.table.conns) != 0 {
		t.Errorf("after the end: %d bytes charged, %d works, %d awaits, %d connections",
			a.used, a.pending.n, a.awaits, len(a.table.conns))
	}
}

// wants fails the test unless exactly these requests were captured: each given
// as it was sent, in any order.
func (tr *trace) wants(raw ...string) {
	tr.t.Helper()
	sameMessages(tr.t, "requests", tr.requests, raw)
}

// answers is wants for responses.
func (tr *trace) answers(raw ...string) {
	tr.t.Helper()
	sameMessages(tr.t, "responses", tr.responses, raw)
}

func sameMessages(t testing.TB, what string, got []*kagami.Message, want []string) {
	t.Helper()
	left := map[string]int{}
	for _, w := range want {
		left[w]++
	}
	for _, m := range got {
		if left[string(m.Raw)]--; left[string(m.Raw)] < 0 {
			t.Errorf("%s: not sent: %.100q", what, m.Raw)
		}
		if m.WireLen != len(m.Raw) && m.Flags&kagami.Truncated == 0 && m.Proto != kagami.HTTP2 {
			t.Errorf("%s: %d bytes on the wire, Raw has %d", what, m.WireLen, len(m.Raw))
		}
	}
	for w, n := range left {
		if n > 0 {
			t.Errorf("%s: missed: %.100q", what, w)
		}
	}
}

// dropped fails the test unless exactly these were dropped at the stage of messages:
// "sequence-gap 1, incomplete 2".
func (tr *trace) dropped(want string) {
	tr.t.Helper()
	tr.droppedAt(2, want)
}

func (tr *trace) droppedAt(stage int, want string) {
	tr.t.Helper()
	s := tr.Stages()[stage].Statement()
	var got []string
	for _, r := range kagami.Reasons() {
		if n := s.Dropped[r]; n != 0 {
			got = append(got, fmt.Sprintf("%v %d", r, n))
		}
	}
	if g := strings.Join(got, ", "); g != want {
		tr.t.Errorf("dropped %s: %q, want %q", s.Unit, g, want)
	}
}

// get returns a request, post one with a body, ok an answer.
func get(path string) string { return "GET " + path + " HTTP/1.1\r\nHost: a\r\n\r\n" }

func post(path, body string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
}

func ok(body string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

// text returns n bytes that are no request.
func text(n int) string {
	r := rand.New(rand.NewPCG(1, uint64(n)))
	b := make([]byte, n)
	for i := range b {
		b[i] = "{abcdefghijklmnopqrstuvwxyz0123456789 }"[r.IntN(39)]
	}
	if n > 0 {
		b[0] = '{'
	}
	return string(b)
}

// cut cuts a string into pieces of n bytes.
func cut(s string, n int) (pieces []string) {
	for len(s) > n {
		pieces, s = append(pieces, s[:n]), s[n:]
	}
	return append(pieces, s)
}

// paths returns the targets of messages, in order.
func paths(ms []*kagami.Message) string {
	var p []string
	for _, m := range ms {
		p = append(p, string(http1.Target(m.Raw)))
	}
	return strings.Join(p, " ")
}
