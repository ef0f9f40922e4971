package http2_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2/hpack"

	"kagami/internal/http2"
)

// The types of frames (RFC 9113 §6) and their flags.
const (
	tData = iota
	tHeaders
	tPriority
	tReset
	tSettings
	tPush
	tPing
	tGoAway
	tWindow
	tContinuation
)

const (
	endStream  = 0x1
	endHeaders = 0x4
	padded     = 0x8
	priority   = 0x20
)

// A wire is a connection as a test writes it down: what each end sends, in order.
type wire struct {
	steps []step
	enc   [2]*hpack.Encoder
	block [2]bytes.Buffer
	from  int // who sends what follows: 0 the client, 1 the server
}

// A step is bytes that were sent, or what became of them.
type step struct {
	client bool
	bytes  []byte
	lost   int64 // bytes that did not come; -1: nobody knows how many
	cut    bool
	eof    bool
	wait   time.Duration
}

func newWire() *wire {
	w := &wire{}
	for i := range w.enc {
		w.enc[i] = hpack.NewEncoder(&w.block[i])
	}
	return w
}

// begun is a wire on which both ends have said who they are.
func begun() *wire {
	w := newWire()
	w.client().raw([]byte(http2.Preface)).frame(tSettings, 0, 0, "")
	w.server().frame(tSettings, 0, 0, "")
	return w
}

func (w *wire) client() *wire { w.from = 0; return w }
func (w *wire) server() *wire { w.from = 1; return w }

// raw sends bytes.
func (w *wire) raw(b []byte) *wire {
	w.steps = append(w.steps, step{client: w.from == 0, bytes: append([]byte(nil), b...)})
	return w
}

// frame sends a frame.
func (w *wire) frame(typ, flags uint8, stream uint32, payload string) *wire {
	n := len(payload)
	b := []byte{byte(n >> 16), byte(n >> 8), byte(n), typ, flags,
		byte(stream >> 24), byte(stream >> 16), byte(stream >> 8), byte(stream)}
	return w.raw(append(b, payload...))
}

// encode returns a header block of names and values, and changes the table.
func (w *wire) encode(fields ...string) string {
	b := &w.block[w.from]
	b.Reset()
	for i := 0; i+1 < len(fields); i += 2 {
		w.enc[w.from].WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	return b.String()
}

// headers sends a header block of names and values. flags are endStream or 0.
func (w *wire) headers(flags uint8, stream uint32, fields ...string) *wire {
	return w.frame(tHeaders, flags|endHeaders, stream, w.encode(fields...))
}

// get sends a request, post one with a body, ok an answer.
func (w *wire) get(stream uint32, path string) *wire {
	return w.client().headers(endStream, stream, ":method", "GET", ":scheme", "http", ":path", path, ":authority", "a")
}

func (w *wire) post(stream uint32, path, body string) *wire {
	return w.client().headers(0, stream, ":method", "POST", ":scheme", "http", ":path", path, ":authority", "a").
		frame(tData, endStream, stream, body)
}

func (w *wire) ok(stream uint32, body string) *wire {
	return w.server().headers(0, stream, ":status", "200").frame(tData, endStream, stream, body)
}

func (w *wire) lost(n int64) *wire {
	w.steps = append(w.steps, step{client: w.from == 0, lost: n})
	return w
}

func (w *wire) cut(n int64) *wire {
	w.steps = append(w.steps, step{client: w.from == 0, lost: n, cut: true})
	return w
}

func (w *wire) eof() *wire {
	w.steps = append(w.steps, step{client: w.from == 0, eof: true})
	return w
}

func (w *wire) wait(d time.Duration) *wire {
	w.steps = append(w.steps, step{wait: d})
	return w
}

// reqGET, reqPOST and resOK are get, post and ok as they are rendered.
func reqGET(path string) string { return "GET " + path + " HTTP/1.1\r\nHost: a\r\n\r\n" }

func reqPOST(path, body string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: a\r\ncontent-length: %d\r\n\r\n%s", path, len(body), body)
}

func resOK(body string) string {
	return fmt.Sprintf("HTTP/1.1 200 \r\ncontent-length: %d\r\n\r\n%s", len(body), body)
}

// A recorder is a Handler that writes everything down.
type recorder struct {
	t     testing.TB
	begun int
	open  map[string]bool
	lines []string
	all   []http2.Message
	user  int
}

func name(m *http2.Message) string {
	if m.Response {
		return fmt.Sprintf("response %d", m.Stream)
	}
	return fmt.Sprintf("request %d", m.Stream)
}

func (r *recorder) Begin(m *http2.Message) {
	if r.open == nil {
		r.open = map[string]bool{}
	}
	if r.open[name(m)] {
		r.t.Errorf("%s begins twice", name(m))
	}
	r.open[name(m)] = true
	r.begun++
	if !m.Response {
		r.user++
		m.User = r.user
	}
}

func (r *recorder) End(m *http2.Message) {
	if !r.open[name(m)] {
		r.t.Errorf("%s ends and has not begun", name(m))
	}
	delete(r.open, name(m))
	if (m.Err == nil) != (m.Raw != nil) {
		r.t.Errorf("%s: Err %v and Raw %.40q", name(m), m.Err, m.Raw)
	}
	r.all = append(r.all, *m)
	r.lines = append(r.lines, line(m))
}

// line describes a message: its stream, its flags, and Raw or why there is none.
func line(m *http2.Message) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d ", m.Stream)
	if m.Pushed {
		b.WriteString("pushed ")
	}
	if m.Ambiguous {
		b.WriteString("ambiguous ")
	}
	if m.Truncated {
		b.WriteString("truncated ")
	}
	if m.Incomplete {
		b.WriteString("incomplete ")
	}
	if m.Err != nil {
		b.WriteString(reasonOf(m))
	} else {
		b.Write(m.Raw)
	}
	return b.String()
}

var kinds = map[error]string{
	http2.ErrUndecodable: "undecodable", http2.ErrMalformed: "malformed", http2.ErrTooLarge: "too large",
	http2.ErrLost: "lost", http2.ErrUnfinished: "unfinished", http2.ErrNoRequest: "no request", http2.ErrNoRoom: "no room",
}

func reasonOf(m *http2.Message) string {
	for err, s := range kinds {
		if errors.Is(m.Err, err) {
			return name(m)[:strings.IndexByte(name(m), ' ')] + " " + s
		}
	}
	return m.Err.Error()
}

// play feeds the steps to a Conn, each cut by the given function, and closes it.
func (w *wire) play(t testing.TB, cfg http2.Config, cut func(n int) int) (*recorder, error) {
	t.Helper()
	r := &recorder{t: t}
	c := http2.New(cfg, r)
	now := time.Unix(1_700_000_000, 0)
	var failed error
	for _, s := range w.steps {
		switch {
		case s.wait > 0:
			now = now.Add(s.wait)
			c.Expire(now.Add(-2 * time.Second).UnixNano())
		case s.eof:
			c.EOF(s.client)
		case s.lost != 0:
			c.Lost(s.client, s.lost, s.cut)
		}
		for p := s.bytes; len(p) > 0; {
			n := min(max(cut(len(p)), 1), len(p))
			if err := c.Feed(s.client, p[:n], http2.Mark{Time: now, Clock: now.UnixNano()}); err != nil {
				failed = err
			}
			p = p[n:]
		}
		if n := c.Size(); n > 8<<20 {
			t.Fatalf("%d bytes held", n)
		}
		if len(r.open) > 0 && !c.Busy() {
			t.Errorf("not busy, and open are %v", r.open)
		}
		if n := c.InFlight(); int(n) != len(r.open) {
			t.Errorf("%d in flight, %d begun and not ended", n, len(r.open))
		}
	}
	c.Close()
	if len(r.open) > 0 {
		t.Errorf("closed, and still open: %v", r.open)
	}
	if r.begun != len(r.all) {
		t.Errorf("%d begun, %d ended", r.begun, len(r.all))
	}
	return r, failed
}

// The ways in which a test cuts bytes.
func whole(n int) int  { return n }
func single(n int) int { return 1 }

func random(seed uint64) func(int) int {
	r := rand.New(rand.NewPCG(seed, 1))
	return func(n int) int { return 1 + r.IntN(min(n, 1+r.IntN(n))) }
}

// wants plays w in several cuts, and fails the test unless these are the
// messages that ended, in this order: "STREAM [FLAGS] RAW", or "STREAM request REASON".
func (w *wire) wants(t testing.TB, cfg http2.Config, want ...string) {
	t.Helper()
	for _, c := range []struct {
		name string
		cut  func(int) int
	}{{"whole", whole}, {"byte by byte", single}, {"random", random(1)}, {"random", random(2)}} {
		r, err := w.play(t, cfg, c.cut)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		same(t, c.name, r.lines, want)
	}
}

func same(t testing.TB, what string, got, want []string) {
	t.Helper()
	for i := range max(len(got), len(want)) {
		g, w := "nothing", "nothing"
		if i < len(got) {
			g = got[i]
		}
		if i < len(want) {
			w = want[i]
		}
		if g != w {
			t.Errorf("%s: message %d is\n\t%.300q, want\n\t%.300q", what, i, g, w)
		}
	}
}
