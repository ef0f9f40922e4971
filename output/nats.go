package output

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"kagami"
	"kagami/internal/broker"
	"kagami/internal/stream"
)

// A NATSConfig says which stream of a NATS server to publish to. A field that
// is zero has the default that stands beside it.
type NATSConfig struct {
	// Broker says where the stream is and how to connect.
	Broker broker.Config
	// Stream is how it is made where there is none.
	Stream broker.StreamConfig
	// ID names this listener to replayers: "listener". It need not be unique,
	// for a number drawn at random stands beside it.
	ID string
	// Answers says that production's answers are written too, so that replayers
	// remember requests to join them to. Without it answers are orphans there.
	Answers bool
	// Staging says that staging's answers are written too. They are to go where
	// their request went, so the latest requests are remembered.
	Staging bool

	// BatchSize is how large a batch grows while it waits to be published, in
	// bytes: 256 KiB, and what the broker takes if that is less.
	BatchSize int
	// Linger is how long a batch waits to grow before it is published: not at all.
	// Fewer and larger batches cost the broker less, and every request that time.
	Linger time.Duration
	// Window bounds what is not acknowledged, in bytes: 8 MiB. One batch is let
	// in whatever its size.
	Window int64
	// AckTimeout is how long to wait for the broker's acknowledgement before a
	// batch is published again: 5 s. It knows then that it has it already.
	AckTimeout time.Duration
	// MinBackoff and MaxBackoff are how long to wait after the broker refused a
	// batch, or cannot be reached: 100 ms, doubled each time up to 2 s.
	MinBackoff, MaxBackoff time.Duration

	// Notify, if set, is told of each change: nil when the stream can be
	// published to, else why not. It is called from goroutines of the output and
	// must not block.
	Notify func(error)
	// Rand draws the random numbers: math/rand/v2.Uint64.
	Rand func() uint64
}

// The defaults of a NATSConfig.
const (
	DefaultNATSBatch      = 256 << 10
	DefaultNATSWindow     = 8 << 20
	DefaultNATSAckTimeout = 5 * time.Second
	DefaultNATSMinBackoff = 100 * time.Millisecond
	DefaultNATSMaxBackoff = 2 * time.Second
)

// A NATS is an Output that publishes to a stream of NATS JetStream, for
// replay.NATS to take from; docs/format.md specifies how.
//
// Messages of one client connection, and the answers to them, go to one shard
// of the stream, and are published in order. Each shard has one batch on its
// way to the broker, and the next one grows meanwhile; so order holds also
// where a batch has to be published again, and a broker that is slow gets
// larger batches.
//
// A message is settled as delivered when the broker has acknowledged it: it is
// stored then, on as many servers as the stream has copies. A batch whose
// acknowledgement does not come is published again under the same name, by
// which the broker knows it. While the stream is full, or cannot be reached,
// the window fills, and then Write blocks.
//
// A message larger than what the broker takes is settled as [kagami.TooLarge].
// When the context of a Write is done, what is left of its messages is settled
// as [kagami.InDoubt] if it was published, else as [kagami.DrainTimeout], or
// [kagami.Unauthorized] if the broker refused our credentials.
//
// Close waits until all is acknowledged, or those contexts are done.
type NATS struct {
	cfg    NATSConfig
	epoch  uint64
	conn   *nats.Conn
	js     jetstream.JetStream
	ctx    context.Context // of the goroutines
	cancel context.CancelFunc
	wg     sync.WaitGroup
	window *natsWindow
	closed atomic.Bool
	opened atomic.Bool // the stream is known

	blocked atomic.Int64 // messages of a Write that are not in the window yet
	retries atomic.Int64
	bytes   atomic.Int64
	batches atomic.Int64

	mu      sync.Mutex
	err     error     // why nothing can be published
	told    bool      // Notify was told of err
	failed  time.Time // when it was told of an error last
	changed chan struct{}
}

var (
	_ Output    = (*NATS)(nil)
	_ io.Closer = (*NATS)(nil)
)

// NewNATS returns an output that publishes to a stream, and begins to connect.
// The error is about the configuration: that the broker cannot be reached is
// none, but told to cfg.Notify.
func NewNATS(cfg NATSConfig) (*NATS, error) {
	cfg.setDefaults()
	if err := cfg.Broker.Validate(); err != nil {
		return nil, err
	}
	if cfg.Stream.Shards < 0 || cfg.Stream.Shards > broker.MaxShards {
		return nil, fmt.Errorf("%d shards: want 1 to %d", cfg.Stream.Shards, broker.MaxShards)
	}
	n := &NATS{cfg: cfg, epoch: cfg.Rand(), window: newNATSWindow(cfg), changed: make(chan struct{})}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	conn, err := cfg.Broker.Connect(n.connected)
	if err != nil {
		n.cancel()
		return nil, broker.Explain(err)
	}
	n.conn = conn
	n.js, err = jetstream.New(conn, jetstream.WithPublishAsyncTimeout(cfg.AckTimeout), jetstream.WithPublishAsyncMaxPending(2*broker.MaxShards))
	if err != nil {
		n.cancel()
		conn.Close()
		return nil, err
	}
	n.wg.Add(1)
	go n.run()
	return n, nil
}

func (cfg *NATSConfig) setDefaults() {
	cfg.ID = broker.PlainName(cfg.ID)
	setDefault(&cfg.BatchSize, DefaultNATSBatch)
	setDefault(&cfg.Window, DefaultNATSWindow)
	setDefault(&cfg.AckTimeout, DefaultNATSAckTimeout)
	setDefault(&cfg.MinBackoff, DefaultNATSMinBackoff)
	setDefault(&cfg.MaxBackoff, DefaultNATSMaxBackoff)
	if cfg.Rand == nil {
		cfg.Rand = rand.Uint64
	}
	if cfg.Notify == nil {
		cfg.Notify = func(error) {}
	}
}

// Write puts the messages into the window, and blocks while that is full.
func (n *NATS) Write(ctx context.Context, b kagami.Batch) error {
	if n.closed.Load() {
		return errors.New("write to a closed stream")
	}
	n.window.watch(ctx, func() { n.window.giveUp(ctx.Done(), n.unsentReason()) })
	defer n.blocked.Store(0)
	for next := 0; ; {
		n.blocked.Store(int64(len(b.Messages) - next))
		if ctx.Err() != nil {
			b.Slice(next, len(b.Messages)).DoneAll(n.unsentReason())
			return nil
		}
		var tooLarge []int
		next, tooLarge = n.window.add(ctx, b, next)
		for _, i := range tooLarge {
			b.Done(i, kagami.TooLarge)
		}
		if next == len(b.Messages) {
			return nil
		}
		select {
		case <-n.window.room:
		case <-ctx.Done():
		}
	}
}

// InFlight is how many messages the output holds: in its window, or waiting in
// a Write for room there.
func (n *NATS) InFlight() int64 { return n.blocked.Load() + n.window.inFlight() }

// NATSStats counts since the output was made.
type NATSStats struct {
	Batches int64 // that were acknowledged
	Bytes   int64 // of them
	Retries int64 // batches published again
}

// Stats counts what was published.
func (n *NATS) Stats() NATSStats {
	return NATSStats{Batches: n.batches.Load(), Bytes: n.bytes.Load(), Retries: n.retries.Load()}
}

// Close waits until all is acknowledged or given up, and closes the
// connection. The error says how many messages were given up.
func (n *NATS) Close() error {
	n.closed.Store(true)
	n.window.close()
	<-n.window.drained
	n.cancel()
	n.wg.Wait()
	n.conn.Close()
	n.window.unwatch()
	givenUp := n.window.countGivenUp()
	if givenUp == 0 {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.err != nil {
		return fmt.Errorf("%d messages were not acknowledged by %s: %w", givenUp, n.cfg.Broker.Address, n.err)
	}
	return fmt.Errorf("%d messages were not acknowledged by %s in time", givenUp, n.cfg.Broker.Address)
}

// connected is told by the connection how it is.
func (n *NATS) connected(err error) {
	if err != nil {
		n.tell(fmt.Errorf("broker %s: %w", n.cfg.Broker.Address, broker.Explain(err)))
		return
	}
	n.retryNow() // whoever waits to publish again need not
	if n.opened.Load() {
		n.tell(nil)
	}
}

// retryNow ends all waits before the next attempt.
func (n *NATS) retryNow() {
	n.mu.Lock()
	defer n.mu.Unlock()
	close(n.changed)
	n.changed = make(chan struct{})
}

// works notes that a batch was acknowledged. While others are not, that is no
// news: it is told when for a second nothing failed.
func (n *NATS) works() {
	n.mu.Lock()
	steady := time.Since(n.failed) > time.Second
	n.mu.Unlock()
	if steady {
		n.tell(nil)
	}
}

// tell tells Notify, unless it was told the same before.
func (n *NATS) tell(err error) {
	n.mu.Lock()
	same := n.told && (err == nil) == (n.err == nil) && (err == nil || err.Error() == n.err.Error())
	n.err, n.told = err, true
	if err != nil {
		n.failed = time.Now()
	}
	n.mu.Unlock()
	if !same && !n.closed.Load() {
		n.cfg.Notify(err)
	}
}

// unsentReason is what becomes of messages that were not published when there
// is no more time to.
func (n *NATS) unsentReason() kagami.Reason {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.err != nil && broker.Unauthorized(n.err) {
		return kagami.Unauthorized
	}
	return kagami.DrainTimeout
}

// natsLimits are what fits a message of the broker, its headers aside: payload
// is what the server takes, and message what the stream does, 0 or less being any.
func natsLimits(payload, message int64) stream.Limits {
	most := payload
	if message > 0 {
		most = min(most, message)
	}
	most = max(most-natsHeaders-stream.BatchHead, 1)
	return stream.Limits{Batch: int(most), Record: int(most)}
}

// natsHeaders is more than the headers of a message take, in bytes.
const natsHeaders = 512
