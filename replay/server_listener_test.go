package replay_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"kagami"
	"kagami/internal/stream"
	"kagami/replay"
)

// A pipes is a net.Listener whose connections are pipes.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes"} }

// A serverTest is a server that runs, and what the test sees of it.
type serverTest struct {
	t      *testing.T
	server *replay.Server
	pipes  *pipes
	stop   context.CancelFunc // as a signal does
	ended  chan error         // what Run returned

	mu      sync.Mutex
	emitted []emission
	hold    chan struct{} // if set, emit waits for it to be closed
	fail    error         // if set, what emit returns
	errors  []string      // what Notify was told
}

// An emission is a message that was emitted, and how to settle it.
type emission struct {
	m      *kagami.Message
	settle func(kagami.Reason)
}

// startServer runs a test with a server in a synctest bubble.
func startServer(t *testing.T, change func(*replay.ServerConfig), f func(*serverTest)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &serverTest{t: t, pipes: newPipes(), ended: make(chan error, 1)}
		cfg := replay.ServerConfig{Listener: s.pipes, Notify: func(err error) {
			s.mu.Lock()
			s.errors = append(s.errors, err.Error())
			s.mu.Unlock()
		}}
		if change != nil {
			change(&cfg)
		}
		var err error
		if s.server, err = replay.NewServer(cfg); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		s.stop = cancel
		go func() { s.ended <- s.server.Run(ctx, s.emit) }()
		f(s)
		s.server.Close()
		synctest.Wait()
	})
}

func (s *serverTest) emit(ctx context.Context, b kagami.Batch) error {
	s.mu.Lock()
	hold, fail := s.hold, s.fail
	for i, m := range b.Messages {
		s.emitted = append(s.emitted, emission{m, func(r kagami.Reason) { b.Done(i, r) }})
	}
	s.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
		}
	}
	return fail
}

// ids are the messages emitted so far.
func (s *serverTest) ids() string {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids []string
	for _, e := range s.emitted {
		ids = append(ids, e.m.Exchange.ID.String())
	}
	return strings.Join(ids, " ")
}

func (s *serverTest) expectIDs(want string) {
	s.t.Helper()
	if got := s.ids(); got != want {
		s.t.Errorf("emitted %q, want %q", got, want)
	}
}

// settle settles the emitted messages with these numbers, from 0.
func (s *serverTest) settle(which ...int) {
	synctest.Wait()
	for _, i := range which {
		s.mu.Lock()
		e := s.emitted[i]
		s.mu.Unlock()
		e.settle(kagami.QueueFull) // the reason does not matter to the listener
	}
}

// expectErrors compares what Notify was told: one word or more of each.
func (s *serverTest) expectErrors(want ...string) {
	s.t.Helper()
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.errors) != len(want) {
		s.t.Errorf("told %q, want %q", s.errors, want)
		return
	}
	for i := range want {
		if !strings.Contains(s.errors[i], want[i]) {
			s.t.Errorf("told %q, want %q", s.errors[i], want[i])
		}
	}
}

// expectStage compares the ledger's line.
func (s *serverTest) expectStage(in, out int64, dropped string) {
	s.t.Helper()
	synctest.Wait()
	st := s.server.Stages()[1].Statement()
	var drops []string
	for _, r := range kagami.Reasons() {
		if n := st.Dropped[r]; n > 0 {
			drops = append(drops, fmt.Sprintf("%v %d", r, n))
		}
	}
	if got := strings.Join(drops, ", "); st.In != in || st.Out != out || got != dropped || st.Missing() != 0 {
		s.t.Errorf("in %d, out %d, dropped %q, in flight %d; want %d, %d, %q", st.In, st.Out, got, st.InFlight, in, out, dropped)
	}
}

// A peer is the listener's end of a connection.
type peer struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

// dial connects and says nothing. from is the address it seems to come from.
func (s *serverTest) dial(from net.Addr) *peer {
	ours, theirs := net.Pipe()
	if from != nil {
		theirs = fromConn{theirs, from}
	}
	s.pipes.conns <- theirs
	return &peer{t: s.t, conn: ours, r: bufio.NewReader(ours)}
}

type fromConn struct {
	net.Conn
	from net.Addr
}

func (c fromConn) RemoteAddr() net.Addr { return c.from }

// hello says hello and returns the answer.
func (p *peer) hello(h stream.Hello) stream.Answer {
	p.t.Helper()
	p.write(stream.AppendHello(nil, h))
	a, err := stream.ReadAnswer(p.r)
	if err != nil {
		p.t.Fatal(err)
	}
	return a
}

// connect is dial and hello by a usual listener, whose next record is next.
func (s *serverTest) connect(next uint64) (*peer, stream.Answer) {
	s.t.Helper()
	p := s.dial(nil)
	return p, p.hello(stream.Hello{Listener: "edge-1", Epoch: 5, Next: next, Responses: true})
}

func (p *peer) write(b []byte) {
	p.t.Helper()
	if _, err := p.conn.Write(b); err != nil {
		p.t.Fatal(err)
	}
}

// expectAck reads frames until an acknowledgement of n comes.
func (p *peer) expectAck(n uint64) {
	p.t.Helper()
	for {
		f, err := stream.ReadFrame(p.r, stream.Limits{})
		if err != nil || f.Type != stream.FrameAlive || f.Acknowledged > n {
			p.t.Fatalf("frame %+v, %v; want an acknowledgement of %d", f, err, n)
		}
		if f.Acknowledged == n {
			return
		}
	}
}

// expectEnd reads frames until the end comes, with a code and a text.
func (p *peer) expectEnd(acked uint64, code stream.Code, text string) {
	p.t.Helper()
	for {
		f, err := stream.ReadFrame(p.r, stream.Limits{})
		if err != nil {
			p.t.Fatalf("%v where the end should come", err)
		}
		if f.Type == stream.FrameEnd {
			if f.Code != code || f.Acknowledged != acked || !strings.Contains(f.Text, text) {
				p.t.Errorf("end %+v, want code %d, %d acknowledged, %q", f, code, acked, text)
			}
			p.conn.Close()
			return
		}
	}
}

// expectCut expects that the connection is closed without a word.
func (p *peer) expectCut() {
	p.t.Helper()
	if f, err := stream.ReadFrame(p.r, stream.Limits{}); err == nil {
		p.t.Errorf("frame %+v where the connection should be cut", f)
	}
}

// wireMessage is a request (or an answer) with an id of two hexadecimal digits.
func wireMessage(kind kagami.Kind, id string, size int) *kagami.Message {
	x, err := kagami.ParseID(id)
	if err != nil {
		panic(err)
	}
	raw := "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	if kind != kagami.Request {
		raw = "HTTP/1.1 204 No Content\r\n\r\n"
	}
	raw += strings.Repeat("x", max(0, size-len(raw)))
	return &kagami.Message{Kind: kind, Proto: kagami.HTTP1, Raw: []byte(raw), WireLen: len(raw), Exchange: &kagami.Exchange{ID: x}}
}

// wireBatch is a batch of requests.
func wireBatch(seq uint64, ids ...string) []byte {
	var b stream.Builder
	for _, id := range ids {
		b.Add(wireMessage(kagami.Request, id, 0))
	}
	return b.Finish(seq)
}
