package nats

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kagami"
	"kagami/internal/broker"
	"kagami/internal/brokertest"
	"kagami/output"
	"kagami/replay"
)

// connections is how many client connections the requests of a test have.
const connections = 64

// request is the n-th request, with that number as its id, on one of the connections.
func request(n int) *kagami.Message {
	id, _ := kagami.IDFromBytes(binary.BigEndian.AppendUint32(nil, uint32(n)))
	raw := fmt.Appendf(nil, "GET /%d HTTP/1.1\r\nHost: www.example.com\r\n\r\n", n)
	return &kagami.Message{
		Kind: kagami.Request, Proto: kagami.HTTP1, Raw: raw, WireLen: len(raw),
		Start:    time.Unix(1_800_000_000, int64(n)*int64(time.Millisecond)),
		Client:   client(n),
		Exchange: &kagami.Exchange{ID: id, Method: "GET"},
	}
}

func client(n int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, 1}), uint16(40_000+n%connections))
}

// answer is production's answer to the n-th request.
func answer(n int) *kagami.Message {
	m := request(n)
	m.Kind = kagami.Response
	m.Raw = []byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	m.WireLen = len(m.Raw)
	return m
}

func number(m *kagami.Message) int { return int(binary.BigEndian.Uint32(m.Exchange.ID.Append(nil))) }

// A target counts what arrives at any of several replayers, and how often.
type target struct {
	mu      sync.Mutex
	more    sync.Cond
	count   map[int]int
	order   []int
	answers int
	hops    map[uint8]int
	settle  func(b kagami.Batch, i int)
}

func newTarget() *target {
	g := &target{count: map[int]int{}, hops: map[uint8]int{}, settle: func(b kagami.Batch, i int) { b.Done(i, kagami.Delivered) }}
	g.more.L = &g.mu
	return g
}

func (g *target) emit(_ context.Context, b kagami.Batch) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, m := range b.Messages {
		if m.Kind == kagami.Request {
			g.count[number(m)]++
			g.order = append(g.order, number(m))
		} else {
			g.answers++
		}
		g.hops[m.Hop]++
		g.settle(b, i)
	}
	g.more.Broadcast()
	return nil
}

// await waits until n different requests have arrived.
func (g *target) await(t *testing.T, n int) {
	t.Helper()
	late := time.AfterFunc(brokertest.Patience, g.more.Broadcast)
	defer late.Stop()
	begun := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	for len(g.count) < n {
		if time.Since(begun) >= brokertest.Patience {
			t.Fatalf("%d of %d requests arrived", len(g.count), n)
		}
		g.more.Wait()
	}
}

// twice is how many arrivals there were beyond the first of each request.
func (g *target) twice() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.order) - len(g.count)
}

// inOrder checks that the requests of each connection arrived in their order,
// leaving out those that came again.
func (g *target) inOrder(t *testing.T) {
	t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	last, seen := map[netip.AddrPort]int{}, map[int]bool{}
	for _, n := range g.order {
		if seen[n] {
			continue
		}
		seen[n] = true
		c := client(n)
		if before, ok := last[c]; ok && n < before {
			t.Fatalf("request %d of connection %s arrived behind %d", n, c, before)
		}
		last[c] = n
	}
}

// fates counts how messages were settled.
type fates struct{ by [256]atomic.Int64 }

func (f *fates) settle(_ int, r kagami.Reason) { f.by[r].Add(1) }

func (f *fates) all() (n int64) {
	for i := range f.by {
		n += f.by[i].Load()
	}
	return n
}

func address(t *testing.T, b *brokertest.Brokers) broker.Config {
	t.Helper()
	a, err := broker.ParseAddress(b.URL() + "/traffic")
	if err != nil {
		t.Fatal(err)
	}
	return broker.Config{Address: a, Name: t.Name(), ReconnectWait: 20 * time.Millisecond}
}

func publisher(t *testing.T, b *brokertest.Brokers, change func(*output.NATSConfig)) *output.NATS {
	t.Helper()
	cfg := output.NATSConfig{
		Broker: address(t, b), MinBackoff: 10 * time.Millisecond,
		Notify: func(err error) { t.Logf("listener: %v", err) },
	}
	if change != nil {
		change(&cfg)
	}
	out, err := output.NewNATS(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// A consumer is a replayer under test.
type consumer struct {
	t *testing.T
	*replay.NATS
	cancel context.CancelFunc
	ended  chan error
}

func consume(t *testing.T, b *brokertest.Brokers, g *target, change func(*replay.NATSConfig)) *consumer {
	t.Helper()
	cfg := replay.NATSConfig{
		Broker: address(t, b), Beat: 100 * time.Millisecond, Lease: time.Second,
		Notify: func(err error) { t.Logf("replayer: %v", err) },
	}
	if change != nil {
		change(&cfg)
	}
	n, err := replay.NewNATS(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &consumer{t, n, cancel, make(chan error, 1)}
	go func() { c.ended <- n.Run(ctx, g.emit) }()
	t.Cleanup(func() { cancel(); n.Close() })
	return c
}

// stop ends a replayer as a signal does: it takes in nothing more, settles, and
// gives its shards back. between is done after the first of these.
func (c *consumer) stop(between func()) {
	c.t.Helper()
	c.cancel()
	if err := <-c.ended; err != nil {
		c.t.Errorf("replayer: %v", err)
	}
	if between != nil {
		between()
	}
	if err := c.Close(); err != nil {
		c.t.Error(err)
	}
	if st := c.Stages()[0].Statement(); st.Missing() != 0 {
		c.t.Errorf("the replayer's ledger does not balance: %+v", st)
	}
}

// awaitShards waits until a replayer holds so many.
func (c *consumer) awaitShards(n int) {
	c.t.Helper()
	for begun := time.Now(); c.Stats().Shards != n; time.Sleep(5 * time.Millisecond) {
		if time.Since(begun) > brokertest.Patience {
			c.t.Fatalf("holds %d shards, want %d", c.Stats().Shards, n)
		}
	}
}

// awaitShared waits until replayers hold all shards, none of them more than its part.
func awaitShared(t *testing.T, all ...*consumer) {
	t.Helper()
	most := (broker.DefaultShards + len(all) - 1) / len(all)
	for begun := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		sum, uneven := 0, false
		for _, c := range all {
			n := c.Stats().Shards
			sum += n
			uneven = uneven || n > most || n == 0
		}
		if sum == broker.DefaultShards && !uneven {
			return
		}
		if time.Since(begun) > brokertest.Patience {
			t.Fatalf("%d replayers hold %d shards, or one of them too many", len(all), sum)
		}
	}
}

func write(t *testing.T, out *output.NATS, f *fates, from, to, size int) {
	t.Helper()
	for i := from; i < to; i += size {
		b := kagami.Batch{Settle: f.settle}
		for j := i; j < min(i+size, to); j++ {
			b.Messages = append(b.Messages, request(j))
		}
		if err := out.Write(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNATSDeliversAll(t *testing.T) {
	b := brokertest.Start(t, 1, "")
	b.JetStream()
	const n = 20_000
	g := newTarget()
	out := publisher(t, b, func(c *output.NATSConfig) { c.Window = 256 << 10 })
	c := consume(t, b, g, nil)
	var f fates
	write(t, out, &f, 0, n, 100)
	if err := out.Close(); err != nil {
		t.Error(err)
	}
	if d := f.by[kagami.Delivered].Load(); d != n || f.all() != n || out.InFlight() != 0 {
		t.Errorf("%d of %d delivered, %d settled, %d in flight", d, n, f.all(), out.InFlight())
	}
	g.await(t, n)
	c.stop(nil)
	if g.twice() > 0 {
		t.Errorf("%d arrived twice", g.twice())
	}
	g.inOrder(t)
	if st := c.Stages()[0].Statement(); st.In != n || st.Out != n {
		t.Errorf("ledger: %+v", st)
	}
	if g.hops[1] != n {
		t.Errorf("hops %v, want 1", g.hops)
	}
}
