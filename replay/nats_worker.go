package replay

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// A natsWorker takes the messages of one shard, from when it asks for the lease
// until the shard is another's, or the input ends.
type natsWorker struct {
	input *NATS
	key   natsKey

	stopped  chan struct{} // closed when it is to take in nothing more
	givingUp atomic.Bool   // because others have too few shards
	lost     chan struct{} // closed when the shard is another's
	holds    atomic.Bool   // it has the lease and a consumer
	backlog  atomic.Int64
	settled  chan struct{} // holds a token when something was settled

	mu       sync.Mutex
	lease    natsLease
	consumer jetstream.Consumer
	seen     map[uint64]*natsPending // by sequence number: those above floor
	pending  int                     // of them, that are not settled
	floor    uint64                  // all up to here is settled, and the broker knows

	sessions  natsSessions // used by one goroutine at a time
	exchanges *Exchanges   // nil until answers come; likewise
}

func newNATSWorker(n *NATS, k natsKey, l natsLease) *natsWorker {
	return &natsWorker{
		input: n, key: k, lease: l,
		stopped: make(chan struct{}), lost: make(chan struct{}), settled: make(chan struct{}, 1),
		seen: make(map[uint64]*natsPending),
	}
}

func (w *natsWorker) stopReading() { closeOnce(&w.mu, w.stopped) }

func (w *natsWorker) giveBack() {
	w.givingUp.Store(true)
	w.stopReading()
}

// leased is told of each lease of the shard that is written.
func (w *natsWorker) leased(l natsLease) {
	w.mu.Lock()
	other := l.Holder != w.input.cfg.ID && l.revision > w.lease.revision
	w.mu.Unlock()
	if other && w.holds.Load() {
		w.lose()
	}
}

// lose notes that the shard is another's.
func (w *natsWorker) lose() {
	closeOnce(&w.mu, w.lost)
	w.stopReading()
}

func closeOnce(mu *sync.Mutex, c chan struct{}) {
	mu.Lock()
	defer mu.Unlock()
	if !isClosed(c) {
		close(c)
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// run is the worker's goroutine.
func (w *natsWorker) run() {
	n := w.input
	defer n.wg.Done()
	defer n.ended(w)
	err := w.take()
	if err == nil {
		extended := make(chan struct{})
		quit := make(chan struct{})
		go func() {
			defer close(extended)
			w.extend(quit)
		}()
		defer func() { close(quit); <-extended }()
		w.consume()
	}
	n.readers.Done()
	if err != nil {
		w.explain(err)
		// Another may have been faster; if not, the next attempt is not at once.
		select {
		case <-time.After(n.cfg.Beat):
		case <-n.life.Done():
		}
		return
	}
	if w.givingUp.Load() && w.awaitSettled(w.lost) {
		ctx, cancel := context.WithTimeout(n.life, n.cfg.Lease)
		w.release(ctx)
		cancel()
		return
	}
	if isClosed(w.lost) {
		w.discard()
		return
	}
	<-n.life.Done() // Close gives the shard back, when what can be settled is
}

// explain tells why a shard could not be taken, unless another was faster.
func (w *natsWorker) explain(err error) {
	if errors.Is(err, jetstream.ErrKeyRevisionMismatch) || errors.Is(err, context.Canceled) || !w.input.conn.IsConnected() {
		return
	}
	w.input.tell(fmt.Errorf("take shard %s of %s: %w", w.key, w.key.Stream, err))
}

// context is one that is done after the length of a lease, or when the worker stops.
func (w *natsWorker) context() (context.Context, context.CancelFunc) {
	return context.WithTimeout(w.input.life, w.input.cfg.Lease)
}

// take gets the lease, and a consumer of its own. The order is what makes it
// safe to die in between: the lease first, then what the consumer of the one
// before had come to, then that consumer's end.
func (w *natsWorker) take() error {
	n := w.input
	ctx, cancel := w.context()
	defer cancel()
	before := w.lease
	l := before
	l.Holder, l.Clean = n.cfg.ID, before.Holder == "" || before.Clean
	l, err := n.putLease(ctx, w.key, l)
	if err != nil {
		return err
	}
	if before.Consumer != "" {
		info, err := w.infoOf(ctx, before.Consumer)
		if err != nil {
			return err
		}
		if info != nil {
			l.Floor = max(l.Floor, info.AckFloor.Stream)
			if !l.Clean {
				l.Doubt = max(l.Doubt, info.Delivered.Stream)
			}
		}
	}
	if before.Holder != "" && before.Holder != n.cfg.ID {
		n.counts.takenOver.Add(1)
	}
	return w.begin(ctx, l)
}

// infoOf returns what a consumer has come to, nil if there is no such consumer.
func (w *natsWorker) infoOf(ctx context.Context, name string) (*jetstream.ConsumerInfo, error) {
	c, err := w.input.stream.Consumer(ctx, name)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return c.CachedInfo(), nil
}

// begin makes a new consumer, named after the lease, in place of the one before.
func (w *natsWorker) begin(ctx context.Context, l natsLease) error {
	n := w.input
	old := l.Consumer
	l.Consumer, l.Clean = fmt.Sprintf("%s%d", w.consumerPrefix(), l.revision), false
	l, err := n.putLease(ctx, w.key, l)
	if err != nil {
		return err
	}
	w.mu.Lock()
	w.lease = l
	w.mu.Unlock()
	if old != "" {
		if err := n.stream.DeleteConsumer(ctx, old); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
			return err
		}
	}
	cfg := w.consumerConfig(l)
	c, err := n.stream.CreateConsumer(ctx, cfg)
	var api *jetstream.APIError
	if errors.As(err, &api) && api.ErrorCode == notUniqueCode {
		// Of a replayer that died between these steps.
		if err = w.deleteOthers(ctx, l.Consumer); err == nil {
			c, err = n.stream.CreateConsumer(ctx, cfg)
		}
	}
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.consumer, w.floor = c, max(w.floor, l.Floor)
	for _, seq := range l.Done {
		if w.seen[seq] == nil && seq > w.floor {
			w.seen[seq] = &natsPending{worker: w}
		}
	}
	w.holds.Store(true)
	return nil
}

// notUniqueCode is the broker's error of a second consumer of the same subject
// of a work queue.
const notUniqueCode jetstream.ErrorCode = 10100

func (w *natsWorker) consumerPrefix() string {
	return w.input.cfg.Group + "-" + w.key.String() + "-"
}

func (w *natsWorker) consumerConfig(l natsLease) jetstream.ConsumerConfig {
	cfg := jetstream.ConsumerConfig{
		Durable:       l.Consumer,
		Description:   "kagami replayer " + w.input.cfg.ID,
		FilterSubject: w.key.subject(),
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       w.input.cfg.AckWait,
		MaxAckPending: w.input.cfg.Unsettled,
		MaxDeliver:    -1,
	}
	// A work queue has no more what was acknowledged.
	if w.input.stream.CachedInfo().Config.Retention != jetstream.WorkQueuePolicy && l.Floor > 0 {
		cfg.DeliverPolicy = jetstream.DeliverByStartSequencePolicy
		cfg.OptStartSeq = l.Floor + 1
	}
	return cfg
}

// deleteOthers deletes the group's consumers of the shard but one.
func (w *natsWorker) deleteOthers(ctx context.Context, but string) error {
	names := w.input.stream.ConsumerNames(ctx)
	for name := range names.Name() {
		if strings.HasPrefix(name, w.consumerPrefix()) && name != but {
			if err := w.input.stream.DeleteConsumer(ctx, name); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
				return err
			}
		}
	}
	return names.Err()
}

// discard deletes the consumer of a lease that was lost, should it be there.
func (w *natsWorker) discard() {
	ctx, cancel := w.context()
	defer cancel()
	w.mu.Lock()
	name := w.lease.Consumer
	w.mu.Unlock()
	_ = w.input.stream.DeleteConsumer(ctx, name)
}

// release gives the shard back, with what is left of it. If that fails, what is
// left is in doubt.
func (w *natsWorker) release(ctx context.Context) {
	w.stopReading()
	if isClosed(w.lost) {
		return
	}
	_ = w.input.conn.FlushWithContext(ctx)
	if info, err := w.consumer.Info(ctx); err == nil {
		w.forget(info.AckFloor.Stream)
	}
	w.mu.Lock()
	l := w.lease
	l.Holder, l.Floor = "", max(l.Floor, w.floor)
	l.Done, l.Rest = w.done(), w.rest()
	w.holds.Store(false)
	w.mu.Unlock()
	for {
		_, err := w.input.putLease(ctx, w.key, l)
		if err == nil || errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
			return
		}
		select {
		case <-time.After(w.input.cfg.Beat / 4):
		case <-ctx.Done():
			return
		}
	}
}

// awaitSettled waits until all that was taken in is settled. It reports false if
// stop is closed first, or the input is.
func (w *natsWorker) awaitSettled(stop <-chan struct{}) bool {
	for {
		w.mu.Lock()
		n := w.pending
		w.mu.Unlock()
		if n == 0 {
			return true
		}
		select {
		case <-w.settled:
		case <-stop:
			return false
		case <-w.input.life.Done():
			return false
		}
	}
}

// extend tells the broker that work goes on, until quit is closed.
func (w *natsWorker) extend(quit <-chan struct{}) {
	tick := time.NewTicker(w.input.cfg.AckWait / 3)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-quit:
			return
		}
		w.mu.Lock()
		var at []*natsPending
		for _, p := range w.seen {
			if p.left.Load() > 0 {
				at = append(at, p)
			}
		}
		c := w.consumer
		w.mu.Unlock()
		for _, p := range at {
			_ = p.msg.InProgress()
		}
		ctx, cancel := w.context()
		if info, err := c.Info(ctx); err == nil {
			w.forget(info.AckFloor.Stream)
		}
		cancel()
	}
}

// forget forgets what the broker knows to be settled.
func (w *natsWorker) forget(floor uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.floor = max(w.floor, floor)
	for seq, p := range w.seen {
		if seq <= w.floor && p.left.Load() == 0 {
			delete(w.seen, seq)
		}
	}
}
