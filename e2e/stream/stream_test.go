package stream

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kagami"
	"kagami/output"
	"kagami/replay"
)

// request is the n-th request, with that number as its id.
func request(n int) *kagami.Message {
	id, _ := kagami.IDFromBytes(binary.BigEndian.AppendUint32(nil, uint32(n)))
	raw := fmt.Appendf(nil, "GET /%d HTTP/1.1\r\nHost: www.example.com\r\n\r\n", n)
	return &kagami.Message{
		Kind: kagami.Request, Proto: kagami.HTTP1, Raw: raw, WireLen: len(raw),
		Exchange: &kagami.Exchange{ID: id, Method: "GET"},
	}
}

func number(m *kagami.Message) int { return int(binary.BigEndian.Uint32(m.Exchange.ID.Append(nil))) }

// A target counts what arrives, and how often.
type target struct {
	mu     sync.Mutex
	more   sync.Cond
	count  map[int]int
	order  []int
	settle func(b kagami.Batch, i int)
}

func newTarget() *target {
	g := &target{count: map[int]int{}, settle: func(b kagami.Batch, i int) { b.Done(i, kagami.Delivered) }}
	g.more.L = &g.mu
	return g
}

func (g *target) emit(_ context.Context, b kagami.Batch) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, m := range b.Messages {
		g.count[number(m)]++
		g.order = append(g.order, number(m))
		g.settle(b, i)
	}
	g.more.Broadcast()
	return nil
}

// await waits until n messages have arrived.
func (g *target) await(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for len(g.order) < n {
		g.more.Wait()
	}
}

// fates counts how messages were settled.
type fates struct{ by [256]atomic.Int64 }

func (f *fates) settle(_ int, r kagami.Reason) { f.by[r].Add(1) }

// serve runs a server at address until stop is called, which drains it.
func serve(t *testing.T, address string, g *target) (s *replay.Server, stop func()) {
	t.Helper()
	s, err := replay.NewServer(replay.ServerConfig{Address: address})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, g.emit) }()
	return s, func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("server: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

func dial(t *testing.T, address string, change func(*output.TCPConfig)) *output.TCP {
	t.Helper()
	cfg := output.TCPConfig{Address: address, MinBackoff: time.Millisecond, MaxBackoff: 10 * time.Millisecond}
	if change != nil {
		change(&cfg)
	}
	out, err := output.NewTCP(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestStreamDeliversAll(t *testing.T) {
	const n, size = 20_000, 100
	g := newTarget()
	s, stop := serve(t, "127.0.0.1:0", g)
	out := dial(t, s.Addr().String(), func(c *output.TCPConfig) { c.Window = 256 << 10 })
	var f fates
	for i := 0; i < n; i += size {
		b := kagami.Batch{Settle: f.settle}
		for j := range size {
			b.Messages = append(b.Messages, request(i+j))
		}
		if err := out.Write(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	if err := out.Close(); err != nil {
		t.Error(err)
	}
	stop()
	if d := f.by[kagami.Delivered].Load(); d != n || out.InFlight() != 0 {
		t.Errorf("%d of %d delivered, %d in flight", d, n, out.InFlight())
	}
	for i, got := range g.order {
		if got != i {
			t.Fatalf("message %d arrived in place of %d", got, i)
		}
	}
	stages := s.Stages()
	if st := stages[len(stages)-1].Statement(); st.Unit != kagami.Messages || st.In != n || st.Out != n || st.Missing() != 0 {
		t.Errorf("ledger: %+v", st)
	}
}

// A flaky carries connections to a server, and cuts each after some bytes of
// one direction or the other.
type flaky struct {
	net.Conn
	mu   sync.Mutex
	left int
}

func (c *flaky) Write(p []byte) (int, error) {
	c.mu.Lock()
	n := min(len(p), c.left)
	c.left -= n
	c.mu.Unlock()
	n, err := c.Conn.Write(p[:n])
	if err == nil && n < len(p) {
		c.Conn.Close()
		err = io.ErrShortWrite
	}
	return n, err
}

// Over connections that break every few batches, in the middle of one, every
// message arrives exactly once, and in order.
func TestStreamOverBreakingConnections(t *testing.T) {
	const n, size = 5_000, 10
	g := newTarget()
	s, stop := serve(t, "127.0.0.1:0", g)
	random := rand.New(rand.NewPCG(1, 2))
	breaks := 0
	out := dial(t, s.Addr().String(), func(c *output.TCPConfig) {
		c.BatchSize = 2 << 10
		c.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
			breaks++
			return &flaky{Conn: conn, left: 200 + random.IntN(20_000)}, err
		}
	})
	var f fates
	for i := 0; i < n; i += size {
		b := kagami.Batch{Settle: f.settle}
		for j := range size {
			b.Messages = append(b.Messages, request(i+j))
		}
		if err := out.Write(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	if err := out.Close(); err != nil {
		t.Error(err)
	}
	stop()
	if d := f.by[kagami.Delivered].Load(); d != n {
		t.Errorf("%d of %d delivered", d, n)
	}
	if len(g.order) != n {
		t.Errorf("%d messages emitted, want %d", len(g.order), n)
	}
	for i, got := range g.order {
		if got != i {
			t.Fatalf("message %d arrived in place of %d", got, i)
		}
	}
	if breaks < 20 {
		t.Errorf("%d connections: too few to prove anything", breaks)
	}
}

// A replayer that dies without having settled what it took in is replaced by
// one that knows nothing: everything unsettled is replayed there.
func TestStreamToFreshReplayer(t *testing.T) {
	first := newTarget()
	arrived := make(chan struct{})
	first.settle = func(b kagami.Batch, i int) {
		if number(b.Messages[i]) < 50 {
			b.Done(i, kagami.Delivered)
		}
		if number(b.Messages[i]) == 99 {
			close(arrived)
		}
	}
	s, err := replay.NewServer(replay.ServerConfig{Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Run(t.Context(), first.emit) }()
	address := s.Addr().String()
	out := dial(t, address, nil)
	var f fates
	for i := range 100 {
		if err := out.Write(t.Context(), kagami.Batch{Messages: []*kagami.Message{request(i)}, Settle: f.settle}); err != nil {
			t.Fatal(err)
		}
	}
	<-arrived
	s.Close() // killed
	if err := <-ended; err != nil {
		t.Error(err)
	}
	second := newTarget()
	_, stop := serve(t, address, second)
	if err := out.Close(); err != nil {
		t.Error(err)
	}
	stop()
	if d := f.by[kagami.Delivered].Load(); d != 100 {
		t.Errorf("%d of 100 delivered", d)
	}
	for i := range 100 {
		switch a, b := first.count[i], second.count[i]; {
		case a != 1 || b > 1:
			t.Errorf("message %d arrived %d and %d times", i, a, b)
		case i >= 50 && b != 1:
			t.Errorf("message %d was not settled by the first replayer, and did not arrive at the second", i)
		}
	}
}

// A replayer that is told to stop acknowledges what it has settled: none of it
// is replayed by the next one.
func TestStreamToDrainedReplayer(t *testing.T) {
	first := newTarget()
	var held []func()
	first.settle = func(b kagami.Batch, i int) { held = append(held, func() { b.Done(i, kagami.Delivered) }) }
	s, err := replay.NewServer(replay.ServerConfig{Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, first.emit) }()
	address := s.Addr().String()
	out := dial(t, address, nil)
	var f fates
	write := func(from, to int) {
		for i := from; i < to; i++ {
			if err := out.Write(t.Context(), kagami.Batch{Messages: []*kagami.Message{request(i)}, Settle: f.settle}); err != nil {
				t.Fatal(err)
			}
		}
	}
	write(0, 100)
	first.await(100)
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	for _, done := range held {
		done()
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	second := newTarget()
	_, stop := serve(t, address, second)
	write(100, 200)
	if err := out.Close(); err != nil {
		t.Error(err)
	}
	stop()
	for i := range 200 {
		if n := first.count[i] + second.count[i]; n != 1 {
			t.Errorf("message %d arrived %d times", i, n)
		}
	}
	if d := f.by[kagami.Delivered].Load(); d != 200 {
		t.Errorf("%d of 200 delivered", d)
	}
}

// A replayer that is stuck makes its listener's window fill, and nothing else.
func TestStreamToStuckReplayer(t *testing.T) {
	g := newTarget()
	g.settle = func(kagami.Batch, int) {}
	s, err := replay.NewServer(replay.ServerConfig{Address: "127.0.0.1:0", Window: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Run(t.Context(), g.emit) }()
	out := dial(t, s.Addr().String(), func(c *output.TCPConfig) { c.Window, c.BatchSize = 256<<10, 8<<10 })
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	var f fates
	const n = 10_000
	for i := 0; i < n; i += 100 {
		b := kagami.Batch{Settle: f.settle}
		for j := range 100 {
			b.Messages = append(b.Messages, request(i+j))
		}
		if err := out.Write(ctx, b); err != nil {
			t.Fatal(err)
		}
	}
	if err := out.Close(); err == nil || !strings.Contains(err.Error(), "not acknowledged") {
		t.Errorf("closed with %v", err)
	}
	s.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	doubt, late := f.by[kagami.InDoubt].Load(), f.by[kagami.DrainTimeout].Load()
	if doubt == 0 || late == 0 || doubt+late != n {
		t.Errorf("%d in doubt and %d given up of %d", doubt, late, n)
	}
	if int64(len(g.order)) > doubt {
		t.Errorf("%d arrived, and only %d are in doubt", len(g.order), doubt)
	}
}

// A queue that is shut down in time settles everything, also what its stream
// has on the way.
func TestStreamBehindQueue(t *testing.T) {
	g := newTarget()
	g.settle = func(b kagami.Batch, i int) {
		if number(b.Messages[i]) < 500 {
			b.Done(i, kagami.Delivered)
		}
	}
	s, err := replay.NewServer(replay.ServerConfig{Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Run(t.Context(), g.emit) }()
	const n = 2000
	q := output.NewQueue(dial(t, s.Addr().String(), nil), output.QueueConfig{})
	var f fates
	for i := range n {
		if err := q.Write(t.Context(), kagami.Batch{Messages: []*kagami.Message{request(i)}, Settle: f.settle}); err != nil {
			t.Fatal(err)
		}
	}
	g.await(n)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := q.Shutdown(ctx); err == nil {
		t.Error("nothing was given up")
	}
	delivered, doubt := f.by[kagami.Delivered].Load(), f.by[kagami.InDoubt].Load()
	if delivered > 500 || delivered+doubt != n || q.InFlight() != 0 {
		t.Errorf("%d delivered, %d in doubt of %d, %d in flight", delivered, doubt, n, q.InFlight())
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	<-ended
}

func TestStreamNobodyThere(t *testing.T) {
	told := make(chan error, 1)
	out := dial(t, "127.0.0.1:1", func(c *output.TCPConfig) { c.Notify = func(err error) { told <- err } })
	if err := <-told; !errors.As(err, new(*net.OpError)) {
		t.Errorf("told %v", err)
	}
	if err := out.Close(); err != nil {
		t.Error(err)
	}
}

// BenchmarkStream is what a message costs both ends together, from Write to
// its settling; an op is a message of 400 bytes, in batches of 100.
func BenchmarkStream(b *testing.B) {
	s, err := replay.NewServer(replay.ServerConfig{Address: "127.0.0.1:0"})
	if err != nil {
		b.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		ended <- s.Run(b.Context(), func(_ context.Context, batch kagami.Batch) error {
			batch.DoneAll(kagami.Delivered)
			return nil
		})
	}()
	out, err := output.NewTCP(output.TCPConfig{Address: s.Addr().String()})
	if err != nil {
		b.Fatal(err)
	}
	var f fates
	batch := kagami.Batch{Settle: f.settle}
	for i := range 100 {
		m := request(i)
		m.Raw = append(m.Raw, make([]byte, 330-len(m.Raw))...)
		batch.Messages = append(batch.Messages, m)
	}
	b.ReportAllocs()
	left := 0
	for b.Loop() {
		if left == 0 {
			left = len(batch.Messages)
			if err := out.Write(context.Background(), batch); err != nil {
				b.Fatal(err)
			}
		}
		left--
	}
	if err := out.Close(); err != nil {
		b.Error(err)
	}
	b.StopTimer()
	s.Close()
	<-ended
}
