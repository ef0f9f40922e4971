package output_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"kagami"
	"kagami/internal/stream"
	"kagami/output"
)

// A tcpReplayer is the other end of a TCP output, played by the test: each
// connection comes out of conns.
type tcpReplayer struct {
	t      *testing.T
	conns  chan net.Conn
	mu     sync.Mutex
	down   error // if set, why it cannot be reached
	dials  int
	events []string
}

func newTCPReplayer(t *testing.T) *tcpReplayer {
	return &tcpReplayer{t: t, conns: make(chan net.Conn, 1)}
}

func (r *tcpReplayer) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	r.mu.Lock()
	down := r.down
	r.dials++
	r.mu.Unlock()
	if down != nil {
		return nil, down
	}
	ours, theirs := net.Pipe()
	select {
	case r.conns <- ours:
		return theirs, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (r *tcpReplayer) notify(err error) {
	event := "connected"
	if err != nil {
		event = err.Error()
	}
	r.mu.Lock()
	r.events = append(r.events, event)
	r.mu.Unlock()
}

// seen returns what Notify was told, and how often was dialled.
func (r *tcpReplayer) seen() ([]string, int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.events...), r.dials
}

func (r *tcpReplayer) output(change func(*output.TCPConfig)) *output.TCP {
	cfg := output.TCPConfig{
		Address: "replayer.test:28020", Dial: r.dial, Notify: r.notify,
		Rand: func() uint64 { return 7 },
	}
	if change != nil {
		change(&cfg)
	}
	out, err := output.NewTCP(cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	return out
}

// A tcpLine is one connection, seen from the replayer.
type tcpLine struct {
	t     *testing.T
	conn  net.Conn
	r     *bufio.Reader
	hello stream.Hello
}

// accept takes a connection and gives the answer to its hello.
func (r *tcpReplayer) accept(a stream.Answer) *tcpLine {
	r.t.Helper()
	conn := <-r.conns
	l := &tcpLine{t: r.t, conn: conn, r: bufio.NewReader(conn)}
	var err error
	if l.hello, err = stream.ReadHello(l.r); err != nil {
		r.t.Fatal(err)
	}
	if _, err := conn.Write(stream.AppendAnswer(nil, a)); err != nil {
		r.t.Fatal(err)
	}
	return l
}

// batch reads the next batch and returns its numbers and its messages' ids.
func (l *tcpLine) batch() (first, last uint64, ids string) {
	l.t.Helper()
	for {
		f, err := stream.ReadFrame(l.r, stream.Limits{})
		if err != nil {
			l.t.Fatal(err)
		}
		if f.Type == stream.FrameAlive {
			continue
		}
		if f.Type != stream.FrameBatch {
			l.t.Fatalf("frame %+v where a batch should come", f)
		}
		body, err := f.Batch.ReadBody(l.r, nil)
		if err != nil {
			l.t.Fatal(err)
		}
		messages, _, err := f.Batch.Messages(body, stream.Limits{})
		if err != nil {
			l.t.Fatal(err)
		}
		for _, m := range messages {
			ids += m.Exchange.ID.String() + " "
		}
		return f.Batch.Seq, f.Batch.Last(), strings.TrimSpace(ids)
	}
}

func (l *tcpLine) ack(n uint64) {
	l.send(stream.Frame{Type: stream.FrameAlive, Acknowledged: n})
}

func (l *tcpLine) send(f stream.Frame) {
	if _, err := l.conn.Write(stream.AppendFrame(nil, f)); err != nil {
		l.t.Error(err)
	}
}

// end expects the listener's goodbye.
func (l *tcpLine) end() {
	l.t.Helper()
	for {
		f, err := stream.ReadFrame(l.r, stream.Limits{})
		if err != nil || f.Type == stream.FrameBatch {
			l.t.Fatalf("frame %+v, %v where the end should come", f, err)
		}
		if f.Type == stream.FrameEnd {
			return
		}
	}
}

// expectBatch reads a batch and compares it.
func (l *tcpLine) expectBatch(first, last uint64, ids string) {
	l.t.Helper()
	if f, n, got := l.batch(); f != first || n != last || got != ids {
		l.t.Fatalf("batch of records %d to %d, %q; want %d to %d, %q", f, n, got, first, last, ids)
	}
}

// tcpFates notes how messages are settled, by their id.
type tcpFates struct {
	t    *testing.T
	mu   sync.Mutex
	fate map[string]kagami.Reason
}

// batch returns requests with the given ids, two hexadecimal digits each, and
// so many bytes long.
func (f *tcpFates) batch(size int, ids ...string) kagami.Batch {
	b := kagami.Batch{Settle: func(i int, r kagami.Reason) {
		f.mu.Lock()
		defer f.mu.Unlock()
		if was, settled := f.fate[ids[i]]; settled {
			f.t.Errorf("message %s settled twice: %v, then %v", ids[i], was, r)
		}
		f.fate[ids[i]] = r
	}}
	for _, s := range ids {
		id, err := kagami.ParseID(s)
		if err != nil {
			f.t.Fatal(err)
		}
		raw := "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
		raw += strings.Repeat("x", max(0, size-len(raw)))
		b.Messages = append(b.Messages, &kagami.Message{
			Kind: kagami.Request, Proto: kagami.HTTP1, Raw: []byte(raw), WireLen: len(raw),
			Exchange: &kagami.Exchange{ID: id, Method: "GET"},
		})
	}
	return b
}

// expect compares what was settled so far, as in "01 delivered, 02 timeout".
func (f *tcpFates) expect(want string) {
	f.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	var got []string
	for id := range 256 {
		if r, ok := f.fate[fmt.Sprintf("%02x", id)]; ok {
			got = append(got, fmt.Sprintf("%02x %v", id, r))
		}
	}
	if g := strings.Join(got, ", "); g != want {
		f.t.Errorf("settled: %s\nwant:    %s", g, want)
	}
}
