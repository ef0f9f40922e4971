package output

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"kagami"
	"kagami/internal/stream"
	"kagami/internal/trust"
)

// A TCPConfig says where a replayer is and how to stream to it. A field that
// is zero has the default that stands beside it.
type TCPConfig struct {
	// Address is the replayer's host and port. The name is resolved anew for each connection.
	Address string
	// ID names this listener to the replayer: "listener". It need not be unique,
	// for a number drawn at random stands beside it.
	ID string
	// Hop is the hop of this process; messages carry theirs.
	Hop uint8
	// Responses says that answers are written too, so that the replayer
	// remembers requests to join them to. Without it answers are orphans there.
	Responses bool
	// Insecure allows to send in clear to another host.
	Insecure bool
	// Trust, if set, encrypts the stream, and is what both sides know each other by.
	Trust *trust.Client

	// BatchSize is how large a batch grows while it waits to be sent, in bytes: 256 KiB.
	BatchSize int
	// Window bounds what is not acknowledged, in bytes: 8 MiB. One batch is let
	// in whatever its size. WindowBatches bounds it in batches: 4096.
	Window        int64
	WindowBatches int

	// Compress sends batches compressed with zstd, to a replayer that takes them.
	Compress bool
	// Spool, if set, keeps on disk what is not acknowledged, in place of Window.
	Spool *TCPSpool

	// Handshake is how long connecting may take, and the replayer's answer: 5 s.
	Handshake time.Duration
	// Heartbeat is how long the line is left silent: 2 s. A replayer that is not
	// heard of for four times that is taken for dead.
	Heartbeat time.Duration
	// MinBackoff and MaxBackoff are how long to wait before connecting again:
	// 100 ms, doubled each time up to 5 s. RefusedBackoff is how long after a
	// refusal that somebody has to do something about: 30 s.
	MinBackoff, MaxBackoff, RefusedBackoff time.Duration

	// Notify, if set, is told of each change: nil when the replayer accepted the
	// stream, else why there is none. It is called from a goroutine of the
	// output and must not block. The error is a *stream.Refusal if the replayer
	// refused.
	Notify func(error)

	// Dial connects, in place of net.Dialer. The connection is held to be local
	// unless its RemoteAddr is an IP address that is not.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Rand draws the random numbers: math/rand/v2.Uint64.
	Rand func() uint64
}

// The defaults of a TCPConfig.
const (
	DefaultTCPBatch          = 256 << 10
	DefaultTCPWindow         = 8 << 20
	DefaultTCPWindowBatches  = 4096
	DefaultTCPHandshake      = 5 * time.Second
	DefaultTCPHeartbeat      = 2 * time.Second
	DefaultTCPMinBackoff     = 100 * time.Millisecond
	DefaultTCPMaxBackoff     = 5 * time.Second
	DefaultTCPRefusedBackoff = 30 * time.Second
)

// deadAfter is how many heartbeats may be missing.
const deadAfter = 4

// A TCP is an Output that streams to a replayer; docs/format.md specifies how.
//
// A message is settled as delivered when the replayer has acknowledged it,
// which it does when all its own outputs have settled it. Until then it stays
// in a bounded window, and is sent again over a new connection if the one at
// hand breaks, to the same replayer without being replayed twice. Write
// blocks while the window is full.
//
// A message that is larger than the replayer takes is settled as
// [kagami.TooLarge]. When the context of a Write is done, what is left of its
// messages is settled as [kagami.InDoubt] if it was sent, else as
// [kagami.DrainTimeout], or [kagami.Unauthorized] if the replayer refused the stream.
//
// Close waits until all is acknowledged, or those contexts are done. After a
// refusal it gives up at once.
//
// With a spool a message is settled as delivered when it is in there, and the spool keeps the books
// from then on: see [TCP.Stages]. Write never waits for the replayer, and Close leaves
// on disk what there was no time for.
type TCP struct {
	cfg      TCPConfig
	hello    stream.Hello
	store    tcpStore
	ctx      context.Context    // of the goroutine and of connections
	cancel   context.CancelFunc // ends them
	dialling context.Context    // of what comes before a connection
	stop     context.CancelFunc // ends that
	finished chan struct{}      // closed when the goroutine has ended
	closed   atomic.Bool
	progress bool // something was acknowledged over the last connection

	mu   sync.Mutex
	err  error     // why there is no connection
	told bool      // Notify was told of err
	away time.Time // since when there is none; zero while there is one

	features stream.Features // of the replayer, when it was connected to last

	linked  sync.Mutex // held while there is a connection
	writing sync.Mutex // held by a Write, for a Balance writes what it moves too
}

// A tcpStore holds what is not acknowledged: a tcpWindow or a tcpSpool.
type tcpStore interface {
	// write takes the messages in, and settles what it cannot.
	write(context.Context, kagami.Batch)
	// inFlight is how many messages it has not settled.
	inFlight() int64
	// close says that nothing will be added. wait returns when nothing is left to be done, and
	// how many messages were given up.
	close()
	wait() (givenUp int)
	// release ends what it is made of.
	release() error

	// woken has a token when there is something to be sent, or the end has come.
	woken() <-chan struct{}
	// ended reports whether nothing is left to be sent, for good.
	ended() bool
	// hello says where the stream goes on, and resume begins a connection to a replayer that
	// gave the answer. lost says that there is none, and that an attempt at one may have failed.
	hello(stream.Hello) stream.Hello
	resume(stream.Answer) error
	lost()
	// take returns the next batch to be sent, nil if there is none. wrote is called before the next take.
	take() []byte
	wrote()
	// ack settles all records up to a number as delivered, and reports whether there were any.
	ack(uint64) (bool, error)
	// refuse notes that the replayer does not want the stream, spoil that it could not read a batch.
	refuse(*stream.Refusal)
	spoil()

	// handOver gives the oldest batch away, hasRoom says whether some of another's could be taken in.
	handOver(func(b kagami.Batch, sent bool) error) bool
	hasRoom() bool
}

var (
	_ Output    = (*TCP)(nil)
	_ io.Closer = (*TCP)(nil)
)

// NewTCP returns an output that streams to a replayer, and begins to connect
// to it. The error is about the configuration: that the replayer cannot be
// reached is none, but told to cfg.Notify.
func NewTCP(cfg TCPConfig) (*TCP, error) {
	cfg.setDefaults()
	host, port, err := net.SplitHostPort(cfg.Address)
	if err != nil {
		return nil, fmt.Errorf("replayer %q: %w, want host:port", cfg.Address, err)
	}
	if port == "" {
		return nil, fmt.Errorf("replayer %q: no port, want host:port", cfg.Address)
	}
	if ip, err := netip.ParseAddr(host); err == nil && !cfg.anywhere() {
		if err := refuseInClear(ip); err != nil {
			return nil, fmt.Errorf("replayer %s: %w", cfg.Address, err)
		}
	}
	if len(cfg.ID) > stream.MaxListener {
		return nil, fmt.Errorf("listener id of %d bytes: want at most %d", len(cfg.ID), stream.MaxListener)
	}
	t := &TCP{
		cfg: cfg,
		hello: stream.Hello{
			Listener: cfg.ID, Hop: cfg.Hop, Responses: cfg.Responses, Insecure: cfg.Insecure,
		},
		finished: make(chan struct{}),
		away:     time.Now(),
	}
	var zstd *stream.Compressor
	if cfg.Compress {
		if zstd, err = stream.NewCompressor(); err != nil {
			return nil, fmt.Errorf("compress with zstd: %w", err)
		}
	}
	if cfg.Spool != nil {
		s, err := newTCPSpool(cfg, zstd)
		if err != nil {
			return nil, err
		}
		t.hello.Listener, t.hello.Epoch = s.spool.Listener(), s.spool.Epoch()
		t.store = s
	} else {
		t.hello.Epoch = cfg.Rand()
		t.store = newTCPWindow(cfg, zstd)
	}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	t.dialling, t.stop = context.WithCancel(t.ctx)
	go t.run()
	return t, nil
}

// anywhere reports whether the stream may leave this host.
func (cfg *TCPConfig) anywhere() bool { return cfg.Insecure || cfg.Trust != nil }

func (cfg *TCPConfig) setDefaults() {
	if cfg.ID == "" {
		cfg.ID = "listener"
	}
	setDefault(&cfg.BatchSize, DefaultTCPBatch)
	setDefault(&cfg.Window, DefaultTCPWindow)
	setDefault(&cfg.WindowBatches, DefaultTCPWindowBatches)
	setDefault(&cfg.Handshake, DefaultTCPHandshake)
	setDefault(&cfg.Heartbeat, DefaultTCPHeartbeat)
	setDefault(&cfg.MinBackoff, DefaultTCPMinBackoff)
	setDefault(&cfg.MaxBackoff, DefaultTCPMaxBackoff)
	setDefault(&cfg.RefusedBackoff, DefaultTCPRefusedBackoff)
	if cfg.Rand == nil {
		cfg.Rand = rand.Uint64
	}
	if cfg.Notify == nil {
		cfg.Notify = func(error) {}
	}
	if cfg.Dial == nil {
		d := net.Dialer{ControlContext: checkClear(cfg.anywhere())}
		cfg.Dial = d.DialContext
	}
}

// Write puts the messages into the window, and blocks while that is full; or into the spool.
func (t *TCP) Write(ctx context.Context, b kagami.Batch) error {
	if t.closed.Load() {
		return errors.New("write to a closed stream")
	}
	t.writing.Lock()
	defer t.writing.Unlock()
	t.store.write(ctx, b)
	return nil
}

// InFlight is how many messages the output holds: in its window, or waiting
// in a Write for room there. What is in a spool is in the spool's books.
func (t *TCP) InFlight() int64 { return t.store.inFlight() }

// Close waits until all is acknowledged or given up, and ends the stream. The
// error says how many messages were given up.
func (t *TCP) Close() error {
	t.closed.Store(true)
	t.store.close()
	givenUp := t.store.wait()
	t.stop()
	if givenUp > 0 {
		t.cancel()
	}
	// Saying goodbye should take no time.
	timer := time.AfterFunc(time.Second, t.cancel)
	<-t.finished
	timer.Stop()
	t.cancel()
	err := t.store.release()
	if givenUp == 0 {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err != nil {
		return fmt.Errorf("%d messages were not acknowledged by %s: %w", givenUp, t.cfg.Address, t.err)
	}
	return fmt.Errorf("%d messages were not acknowledged by %s in time", givenUp, t.cfg.Address)
}
