package replay

import (
	"context"
	"errors"
	"fmt"
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
