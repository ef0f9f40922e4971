package nats

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"kagami"
	"kagami/internal/broker"
	"kagami/internal/brokertest"
	"kagami/output"
	"kagami/replay"
)

// Replayers that come and go share the shards, and nothing is lost, comes twice
// or out of order by it.
func TestNATSReplayersShare(t *testing.T) {
	b := brokertest.Start(t, 1, "")
	b.JetStream()
	const n = 30_000
	g := newTarget()
	out := publisher(t, b, nil)
	first := consume(t, b, g, nil)
	var f fates
	write(t, out, &f, 0, n/3, 50)
	first.awaitShards(broker.DefaultShards)
	second := consume(t, b, g, nil)
	third := consume(t, b, g, nil)
	write(t, out, &f, n/3, n/2, 50)
	awaitShared(t, first, second, third)
	write(t, out, &f, n/2, 2*n/3, 50)
	first.stop(nil)
	awaitShared(t, second, third)
	write(t, out, &f, 2*n/3, n, 50)
	if err := out.Close(); err != nil {
		t.Error(err)
	}
	g.await(t, n)
	second.stop(nil)
	third.stop(nil)
	if g.twice() > 0 {
		t.Errorf("%d arrived twice", g.twice())
	}
	g.inOrder(t)
	if s := third.Stats(); s.InDoubt > 0 || s.TakenOver > 0 {
		t.Errorf("nobody died: %+v", s)
	}
}

// What a replayer had no time for goes to the next one, to the message: of a
// batch that was delivered in part the rest.
func TestNATSDrainLeavesTheRest(t *testing.T) {
	b := brokertest.Start(t, 1, "")
	b.JetStream()
	const n = 4000
	var mu sync.Mutex
	var late []func()
	first := newTarget()
	first.settle = func(b kagami.Batch, i int) {
		if number(b.Messages[i])%3 == 0 {
			mu.Lock()
			defer mu.Unlock()
			late = append(late, func() { b.Done(i, kagami.DrainTimeout) })
			return
		}
		b.Done(i, kagami.Delivered)
	}
	out := publisher(t, b, nil)
	c := consume(t, b, first, func(c *replay.NATSConfig) { c.Unsettled = 1000 })
	var f fates
	write(t, out, &f, 0, n, 100)
	if err := out.Close(); err != nil {
		t.Error(err)
	}
	first.await(t, n)
	c.stop(func() {
		for _, done := range late {
			done()
		}
	})
	second := newTarget()
	next := consume(t, b, second, nil)
	want := (n + 2) / 3
	second.await(t, want)
	next.stop(nil)
	for i := range n {
		if got := second.count[i]; got != 0 && i%3 != 0 || got != 1 && i%3 == 0 {
			t.Fatalf("request %d arrived %d times at the second replayer", i, got)
		}
	}
	if s := next.Stats(); s.InDoubt != 0 {
		t.Errorf("%d in doubt, though the first replayer had the time to say what it left", s.InDoubt)
	}
}

// Answers find their request, whatever the batch it came in.
func TestNATSAnswers(t *testing.T) {
	b := brokertest.Start(t, 1, "")
	b.JetStream()
	const n = 1000
	g := newTarget()
	out := publisher(t, b, func(c *output.NATSConfig) { c.Answers = true })
	c := consume(t, b, g, nil)
	var f fates
	write(t, out, &f, 0, n, 50)
	for i := range n {
		if err := out.Write(t.Context(), kagami.Batch{Messages: []*kagami.Message{answer(i)}, Settle: f.settle}); err != nil {
			t.Fatal(err)
		}
	}
	if err := out.Write(t.Context(), kagami.Batch{Messages: []*kagami.Message{answer(n)}, Settle: f.settle}); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Error(err)
	}
	g.await(t, n)
	for begun := time.Now(); ; time.Sleep(time.Millisecond) {
		st := c.Stages()[0].Statement()
		if st.Out == 2*n && st.Dropped[kagami.OrphanResponse] == 1 {
			break
		}
		if time.Since(begun) > brokertest.Patience {
			t.Fatalf("%d answers, ledger %+v", g.answers, st)
		}
	}
	c.stop(nil)
	if g.answers != n {
		t.Errorf("%d answers, want %d", g.answers, n)
	}
}

// A stream that is full makes the listener's window fill: what does not fit is
// dropped before it, with a name, and goes on when there is room.
func TestNATSFullStream(t *testing.T) {
	b := brokertest.Start(t, 1, "")
	js := b.JetStream()
	out := publisher(t, b, func(c *output.NATSConfig) {
		c.Stream.MaxBytes, c.Window, c.BatchSize = 300_000, 100_000, 8<<10
	})
	q := output.NewQueue(out, output.QueueConfig{Messages: 100})
	const n = 20_000
	var f fates
	for i := 0; i < n; i += 50 {
		var batch kagami.Batch
		for j := range 50 {
			batch.Messages = append(batch.Messages, request(i+j))
		}
		batch.Settle = f.settle
		if err := q.Write(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
		if i < n/4 { // not faster than the broker, until it is full
			for begun := time.Now(); q.InFlight() > 0 && time.Since(begun) < 20*time.Millisecond; time.Sleep(time.Millisecond) {
			}
		}
	}
	if f.by[kagami.QueueFull].Load() == 0 {
		t.Fatal("the stream was never full")
	}
	s, err := js.Stream(t.Context(), "traffic")
	if err != nil {
		t.Fatal(err)
	}
	if s.CachedInfo().State.Bytes > 300_000 {
		t.Errorf("%d bytes in a stream of 300000", s.CachedInfo().State.Bytes)
	}
	g := newTarget()
	c := consume(t, b, g, nil)
	if err := q.Close(); err != nil {
		t.Error(err)
	}
	delivered := f.by[kagami.Delivered].Load()
	g.await(t, int(delivered))
	c.stop(nil)
	if f.all() != n || f.by[kagami.QueueFull].Load()+delivered != n || len(g.order) != int(delivered) {
		t.Errorf("%d delivered and %d dropped of %d, %d arrived", delivered, f.by[kagami.QueueFull].Load(), n, len(g.order))
	}
	g.inOrder(t)
}

// What the broker's limits took before a replayer came is counted, where the
// stream was made to forget rather than to refuse.
func TestNATSBrokerLimit(t *testing.T) {
	b := brokertest.Start(t, 1, "")
	js := b.JetStream()
	s, err := js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: "traffic", Subjects: []string{"traffic.1.*"}, Storage: jetstream.FileStorage, Duplicates: time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	const n = 3000
	g := newTarget()
	out := publisher(t, b, func(c *output.NATSConfig) { c.BatchSize = 4 << 10 })
	c := consume(t, b, g, func(c *replay.NATSConfig) { c.Unsettled = 2 })
	block := make(chan struct{})
	g.settle = func(b kagami.Batch, i int) {
		go func() { <-block; b.Done(i, kagami.Delivered) }()
	}
	var f fates
	write(t, out, &f, 0, n, 10)
	if err := out.Close(); err != nil {
		t.Error(err)
	}
	g.await(t, 10)
	info, err := s.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// All but the last message of the stream, as its limits would.
	if err := s.Purge(t.Context(), jetstream.WithPurgeKeep(1)); err != nil {
		t.Fatal(err)
	}
	close(block)
	last := n - 1
	for begun := time.Now(); ; time.Sleep(time.Millisecond) {
		g.mu.Lock()
		done := g.count[last] > 0
		g.mu.Unlock()
		if done {
			break
		}
		if time.Since(begun) > brokertest.Patience {
			t.Fatalf("the last request did not arrive; the stream had %d messages", info.State.Msgs)
		}
	}
	c.stop(nil)
	st := c.Stages()[0].Statement()
	if st.In != n || st.Dropped[kagami.BrokerLimit] != int64(n-len(g.order)) || st.Dropped[kagami.BrokerLimit] == 0 {
		t.Errorf("%d of %d arrived, ledger %+v", len(g.order), n, st)
	}
}

// A broker that dies and comes back loses nothing, and neither do a listener and
// a replayer that have to wait for it.
func TestNATSBrokerRestarts(t *testing.T) {
	b := brokertest.Start(t, 1, "")
	b.JetStream()
	const n = 10_000
	g := newTarget()
	out := publisher(t, b, func(c *output.NATSConfig) { c.AckTimeout = time.Second })
	c := consume(t, b, g, nil)
	var f fates
	write(t, out, &f, 0, n/2, 20)
	g.await(t, n/4)
	b.Kill(0)
	wrote := make(chan struct{})
	go func() {
		defer close(wrote)
		write(t, out, &f, n/2, n, 20)
	}()
	b.Restart(0)
	<-wrote
	if err := out.Close(); err != nil {
		t.Error(err)
	}
	g.await(t, n)
	c.stop(nil)
	if d := f.by[kagami.Delivered].Load(); d != n {
		t.Errorf("%d of %d delivered", d, n)
	}
	if g.twice() > 0 {
		t.Errorf("%d arrived twice", g.twice())
	}
	g.inOrder(t)
}

// Wrong credentials are told in words, and drop by name.
func TestNATSUnauthorized(t *testing.T) {
	b := brokertest.Start(t, 1, `authorization { user: kagami, password: "s3cret" }`)
	b.JetStream(nats.UserInfo("kagami", "s3cret"))
	told := make(chan error, 100)
	out := publisher(t, b, func(c *output.NATSConfig) { c.Notify = func(err error) { told <- err } })
	if err := <-told; !broker.Unauthorized(err) {
		t.Errorf("told %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var f fates
	if err := out.Write(ctx, kagami.Batch{Messages: []*kagami.Message{request(1)}, Settle: f.settle}); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Error(err)
	}
	if f.by[kagami.Unauthorized].Load() != 1 {
		t.Error("not dropped as unauthorized")
	}
	good := publisher(t, b, func(c *output.NATSConfig) {
		a, err := broker.ParseAddress("nats://kagami:s3cret@" + b.URL()[len("nats://"):] + "/traffic")
		if err != nil {
			t.Fatal(err)
		}
		c.Broker.Address = a
	})
	write(t, good, &f, 0, 10, 10)
	if err := good.Close(); err != nil {
		t.Error(err)
	}
	if f.by[kagami.Delivered].Load() != 10 {
		t.Error("not delivered with the right password")
	}
}

// A stream that is there is used as it is, by its own number of shards.
func TestNATSStreamAsItIs(t *testing.T) {
	b := brokertest.Start(t, 1, "")
	js := b.JetStream()
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: "traffic", Subjects: []string{"traffic.3.*"}, Storage: jetstream.MemoryStorage,
	}); err != nil {
		t.Fatal(err)
	}
	const n = 3000
	out := publisher(t, b, nil)
	var f fates
	write(t, out, &f, 0, n, 50)
	if err := out.Close(); err != nil {
		t.Error(err)
	}
	// Two groups each get all of it.
	for _, group := range []string{"one", "two"} {
		g := newTarget()
		c := consume(t, b, g, func(c *replay.NATSConfig) { c.Group = group })
		c.awaitShards(3)
		g.await(t, n)
		c.stop(nil)
		if g.twice() > 0 {
			t.Errorf("%d arrived twice", g.twice())
		}
		g.inOrder(t)
		// And one that comes after that has nothing to do.
		again := newTarget()
		c = consume(t, b, again, func(c *replay.NATSConfig) { c.Group = group })
		c.awaitShards(3)
		c.stop(nil)
		if len(again.order) > 0 {
			t.Errorf("%d came again", len(again.order))
		}
	}
}

// A batch that is to grow is not published before its time, but is when the
// listener ends; one that is not, at once.
func TestNATSLinger(t *testing.T) {
	b := brokertest.Start(t, 1, "")
	b.JetStream()
	const n = 100
	for _, linger := range []time.Duration{0, time.Hour} {
		open := make(chan struct{}, 100)
		out := publisher(t, b, func(c *output.NATSConfig) {
			c.Linger = linger
			c.Notify = func(err error) {
				if err == nil {
					open <- struct{}{}
				}
			}
		})
		<-open
		var f fates
		for i := range n {
			write(t, out, &f, i, i+1, 1)
			for begun := time.Now(); linger == 0 && out.InFlight() > 0; time.Sleep(time.Millisecond) {
				if time.Since(begun) > brokertest.Patience {
					t.Fatal("it is not published")
				}
			}
		}
		if linger > 0 && out.InFlight() != n {
			t.Errorf("%d in flight of %d: some did not wait", out.InFlight(), n)
		}
		if err := out.Close(); err != nil {
			t.Error(err)
		}
		if d := f.by[kagami.Delivered].Load(); d != n {
			t.Errorf("%d of %d delivered", d, n)
		}
		if got := out.Stats().Batches; linger == 0 && got != n || linger > 0 && got > broker.DefaultShards {
			t.Errorf("%d batches where they wait %v", got, linger)
		}
	}
}
