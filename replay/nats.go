package replay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"kagami"
	"kagami/internal/broker"
)

// A NATS is an input: it takes messages from a stream of NATS JetStream, which
// output.NATS publishes to. docs/format.md specifies the messages, docs/nats.md
// how replayers share them.
//
// Any number of replayers of one group share a stream. Each shard is held by
// one of them at a time, by a lease in a key-value bucket, and has a consumer
// of its own for each lease: who takes a shard over deletes the consumer of the
// one before, so that whoever has lost a shard without knowing gets nothing
// more and acknowledges nothing more.
//
// A message of the stream is acknowledged when all that is in it has been
// settled; meanwhile the broker is told that work goes on. What a replayer had
// when it died comes again at the next: it may have been sent, and is counted
// in [NATSStats], and sent again or dropped as [kagami.InDoubt].
//
// It ends in two steps, between which what it emitted can be settled: when the
// context of Run is done it takes in nothing more, but goes on acknowledging
// until Close. What is settled as [kagami.DrainTimeout] after the first step is
// left to the next replayer, to the message.
type NATS struct {
	cfg    NATSConfig
	conn   *nats.Conn
	js     jetstream.JetStream
	stage  *kagami.Stage
	memory *budget
	pace   *natsPace

	opened   atomic.Bool  // the stream was found
	emitting atomic.Int64 // messages taken in and not handed on yet
	counts   natsCounts

	emit    func(context.Context, kagami.Batch) error
	emitCtx context.Context
	stop    context.CancelFunc

	life    context.Context // of the goroutines, until Close
	end     context.CancelFunc
	wg      sync.WaitGroup
	readers sync.WaitGroup // workers that may still emit
	nudge   chan struct{}  // holds a token when the shards should be looked at

	kv     jetstream.KeyValue // set before the goroutines begin
	stream jetstream.Stream

	mu        sync.Mutex
	started   bool
	draining  bool // nothing more is taken in
	closed    bool
	roster    *roster
	workers   map[natsKey]*natsWorker
	confirmed time.Time // when the latest beat that the broker has was sent
	fault     error
	err       error // what Notify was told
	told      bool
}

var _ io.Closer = (*NATS)(nil)

// NewNATS returns an input that begins to connect. The error is about the
// configuration: that the broker cannot be reached is none, but told to
// cfg.Notify.
func NewNATS(cfg NATSConfig) (*NATS, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	n := &NATS{
		cfg:     cfg,
		memory:  newBudget(cfg.Memory),
		pace:    &natsPace{speed: cfg.Speed, now: time.Now},
		nudge:   make(chan struct{}, 1),
		workers: make(map[natsKey]*natsWorker),
		roster:  newRoster(cfg.ID),
	}
	n.stage = &kagami.Stage{Name: "broker", Of: cfg.Broker.Address.String(), Unit: kagami.Messages, InFlight: n.emitting.Load}
	n.life, n.end = context.WithCancel(context.Background())
	conn, err := cfg.Broker.Connect(func(err error) {
		if err != nil {
			n.tell(fmt.Errorf("broker %s: %w", cfg.Broker.Address, broker.Explain(err)))
			return
		}
		if n.opened.Load() {
			n.tell(nil)
		}
	})
	if err != nil {
		n.end()
		return nil, broker.Explain(err)
	}
	n.conn = conn
	if n.js, err = jetstream.New(conn); err != nil {
		n.end()
		conn.Close()
		return nil, err
	}
	return n, nil
}

// Stages is one stage: in are the records of messages taken from the stream,
// out the messages handed to emit.
func (n *NATS) Stages() []*kagami.Stage { return []*kagami.Stage{n.stage} }

// Run hands what listeners published to emit, from a goroutine for each shard;
// the batches of one shard come one after the other. It returns nil when ctx is
// done, or Close called, and all that was taken in has been handed to emit. emit
// gets a context that is done then too; if it returns an error, that ends the
// input, and Run returns it. Run is called once.
func (n *NATS) Run(ctx context.Context, emit func(context.Context, kagami.Batch) error) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(n.life, stop)()
	n.mu.Lock()
	if n.started || n.closed {
		n.mu.Unlock()
		return errors.New("run of an input that was run or closed already")
	}
	n.started, n.stop, n.emit, n.emitCtx = true, stop, emit, ctx
	n.mu.Unlock()

	if n.open(ctx) {
		n.mu.Lock()
		if !n.closed {
			n.wg.Add(3)
			go n.beat()
			go n.watch()
			go n.share()
		}
		n.mu.Unlock()
		<-ctx.Done()
	}
	n.mu.Lock()
	n.stopReading()
	n.mu.Unlock()
	n.readers.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.fault
}

// stopReading takes in nothing more. n.mu is held.
func (n *NATS) stopReading() {
	n.draining = true
	for _, w := range n.workers {
		w.stopReading()
	}
}

// open waits for the stream, which a listener makes, and for the bucket of
// leases. It reports false if ctx is done first.
func (n *NATS) open(ctx context.Context) bool {
	for {
		err := n.find(ctx)
		if err == nil {
			n.opened.Store(true)
			n.tell(nil)
			return true
		}
		if ctx.Err() == nil && n.conn.IsConnected() { // else the connection has told why
			n.tell(fmt.Errorf("broker %s: %w", n.cfg.Broker.Address, err))
		}
		select {
		case <-time.After(n.cfg.Beat):
		case <-ctx.Done():
			return false
		}
	}
}

func (n *NATS) find(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, n.cfg.Lease)
	defer cancel()
	name := n.cfg.Broker.Address.Stream
	n.stream, err = n.js.Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("there is no stream %s yet: a listener with --output-nats makes it", name)
	}
	if err != nil {
		return fmt.Errorf("look for the stream %s: %w", name, err)
	}
	info := n.stream.CachedInfo().Config
	found, err := broker.CheckSubjects(name, info.Subjects)
	if err != nil {
		return err
	}
	n.setShards(found)
	bucket := name + "-replayers"
	n.kv, err = n.js.KeyValue(ctx, bucket)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		n.kv, err = n.js.CreateKeyValue(ctx, jetstream.KeyValueConfig{
			Bucket:      bucket,
			Description: "which replayer holds which shard of " + name,
			History:     1,
			Storage:     jetstream.FileStorage,
			Replicas:    info.Replicas,
		})
		if errors.Is(err, jetstream.ErrBucketExists) {
			n.kv, err = n.js.KeyValue(ctx, bucket)
		}
	}
	if err != nil {
		return fmt.Errorf("the bucket %s: %w", bucket, err)
	}
	return nil
}

func (n *NATS) setShards(found []broker.Shards) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.roster.keys = nil
	for _, s := range found {
		for i := range s.N {
			n.roster.keys = append(n.roster.keys, natsKey{s, i})
		}
	}
}

// fail ends Run because emit failed.
func (n *NATS) fail(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.fault == nil {
		n.fault = err
		n.stop()
	}
}

// isStopping reports whether Run is ending or has ended.
func (n *NATS) isStopping() bool { return n.emitCtx.Err() != nil }

// tell tells Notify, unless it was told the same before.
func (n *NATS) tell(err error) {
	n.mu.Lock()
	same := n.told && (err == nil) == (n.err == nil) && (err == nil || err.Error() == n.err.Error())
	n.err, n.told = err, true
	closed := n.closed
	n.mu.Unlock()
	if !same && !closed {
		n.cfg.Notify(err)
	}
}

// Close gives the shards back, with what was not settled, and closes the
// connection. It ends a Run that has not ended. It may be called more than once,
// and without Run.
func (n *NATS) Close() error {
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return nil
	}
	n.closed = true
	if n.stop != nil {
		n.stop()
	}
	n.stopReading()
	n.mu.Unlock()
	n.readers.Wait()
	n.leave()
	n.end()
	n.wg.Wait()
	n.conn.Close()
	return nil
}
