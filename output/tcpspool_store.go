package output

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"kagami"
	"kagami/internal/lose"
	"kagami/internal/spool"
	"kagami/internal/stream"
)

// A tcpSpool is a tcpStore on disk.
type tcpSpool struct {
	spool     *spool.Spool
	onFull    OnFull
	batchSize int
	found     spool.Found

	wake    chan struct{}
	room    chan struct{}
	settled chan struct{} // closed when the spool is closing, and either empty or without a connection
	blocked atomic.Int64  // messages of a write that are not settled

	// Of the one who writes.
	builder stream.Builder
	zstd    *stream.Compressor // nil: batches are not compressed
	packed  []byte
	indexes []int // of the messages in builder

	buf []byte // of the one who sends

	mu        sync.Mutex
	limits    stream.Limits
	connected bool // or about to be, for the first time
	closing   bool
	over      bool            // settled is closed
	ctx       context.Context // of the last write
	received  uint64          // by the replayer, when it was connected to last
	spoiled   int
	moving    bool // what is read is handed over, and begins with the oldest
}

var _ tcpStore = (*tcpSpool)(nil)

func newTCPSpool(cfg TCPConfig, zstd *stream.Compressor) (*tcpSpool, error) {
	s, found, err := spool.Open(spool.Config{
		Dir: cfg.Spool.Dir, Listener: cfg.ID, Name: cfg.Spool.Name, Rand: cfg.Rand,
		MaxBytes: cfg.Spool.MaxBytes, MaxAge: cfg.Spool.MaxAge, SyncEvery: cfg.Spool.SyncEvery, Notify: cfg.Spool.Notify,
	})
	if err != nil {
		return nil, err
	}
	w := &tcpSpool{
		spool: s, found: found, zstd: zstd, connected: true, onFull: cfg.Spool.OnFull, batchSize: cfg.BatchSize,
		wake: make(chan struct{}, 1), room: make(chan struct{}, 1), settled: make(chan struct{}),
	}
	return w, nil
}

// write puts the messages into the spool, and settles them.
func (w *tcpSpool) write(ctx context.Context, b kagami.Batch) {
	w.mu.Lock()
	limits := w.limits
	w.ctx = ctx
	w.mu.Unlock()
	w.blocked.Store(int64(len(b.Messages)))
	defer w.blocked.Store(0)
	for i, m := range b.Messages {
		if !limits.Fits(m) {
			w.done(b, i, kagami.TooLarge)
			continue
		}
		if lose.One("spool") {
			continue // and not settled: the ledger must notice
		}
		if !w.builder.Takes(m, w.batchSize, limits) {
			w.flush(ctx, b)
		}
		w.builder.Add(m)
		w.indexes = append(w.indexes, i)
	}
	w.flush(ctx, b)
	poke(w.wake)
}

func (w *tcpSpool) done(b kagami.Batch, i int, r kagami.Reason) {
	w.blocked.Add(-1)
	b.Done(i, r)
}

// flush puts what was collected into the spool.
func (w *tcpSpool) flush(ctx context.Context, b kagami.Batch) {
	if len(w.indexes) == 0 {
		return
	}
	plain := w.builder.Finish(w.spool.Next())
	batch := plain
	if w.zstd != nil {
		if batch = w.zstd.Compress(w.packed, plain); &batch[0] != &plain[0] {
			w.packed = batch
		}
	}
	r := w.append(ctx, batch, w.builder.Records())
	for _, i := range w.indexes {
		w.done(b, i, r)
	}
	w.indexes = w.indexes[:0]
	if cap(plain) > 4*w.batchSize {
		plain = nil // do not keep the memory of one large message
	}
	w.builder.Reset(plain)
}

// append puts a batch into the spool, and returns what becomes of its messages.
func (w *tcpSpool) append(ctx context.Context, batch []byte, records int) kagami.Reason {
	for {
		err := w.spool.Append(batch, records)
		switch {
		case err == nil:
			return kagami.Delivered
		case !errors.Is(err, spool.ErrFull) && w.onFull == DropWhenFull:
			return kagami.SpoolError
		case w.onFull == DropWhenFull:
			return kagami.SpoolFull
		}
		// What waits looks again when something was acknowledged, and where the disk is at fault now and then.
		timer := time.NewTimer(time.Second)
		select {
		case <-w.room:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return kagami.DrainTimeout
		}
		timer.Stop()
	}
}

func (w *tcpSpool) inFlight() int64 { return w.blocked.Load() }

func (w *tcpSpool) woken() <-chan struct{} { return w.wake }

// close says that nothing will be added.
func (w *tcpSpool) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closing = true
	w.look()
}

// look closes settled if it is time, and wakes the sender.
func (w *tcpSpool) look() {
	if w.closing && !w.over && (!w.connected || w.spool.Held() == 0) {
		w.over = true
		close(w.settled)
	}
	poke(w.wake)
}

// wait gives what is in the spool the time of the last write to be delivered, while there is a connection.
func (w *tcpSpool) wait() (givenUp int) {
	w.mu.Lock()
	ctx := w.ctx
	w.mu.Unlock()
	if ctx == nil {
		c, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		ctx = c
	}
	select {
	case <-w.settled:
	case <-ctx.Done():
		w.mu.Lock()
		w.connected = false
		w.look()
		w.mu.Unlock()
	}
	return 0
}

func (w *tcpSpool) ended() bool {
	select {
	case <-w.settled:
		return true
	default:
		return false
	}
}

func (w *tcpSpool) release() error { return w.spool.Close() }

func (w *tcpSpool) hello(h stream.Hello) stream.Hello {
	h.Next = w.spool.Next()
	return h
}

func (w *tcpSpool) resume(a stream.Answer) error {
	if next := w.spool.Next(); a.Received >= next || a.Acknowledged > a.Received {
		return fmt.Errorf("the replayer has record %d and acknowledges %d, and %d will be the next", a.Received, a.Acknowledged, next)
	}
	w.spool.Acknowledge(a.Acknowledged)
	w.spool.Seek(a.Received)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.limits, w.received, w.connected, w.moving = a.Limits, a.Received, true, false
	poke(w.room)
	w.look()
	return nil
}

func (w *tcpSpool) lost() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.connected = false
	w.look()
}

// refuse does nothing: what the replayer does not want stays where it is.
func (w *tcpSpool) refuse(*stream.Refusal) {}

func (w *tcpSpool) spoil() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.spoiled++
}

// take returns the next batch. What the replayer does not take, or could not read again and again, is dropped.
func (w *tcpSpool) take() []byte {
	if w.ended() {
		return nil
	}
	w.mu.Lock()
	limits, spoilt := w.limits, w.spoiled >= maxSpoiled
	if spoilt {
		w.spoiled = 0
	}
	w.mu.Unlock()
	for {
		h, batch, ok := w.spool.Read(w.buf, true)
		if !ok {
			return nil
		}
		if w.buf = batch; cap(batch) > 4*w.batchSize {
			w.buf = nil
		}
		r := kagami.Delivered
		switch {
		case spoilt:
			r, spoilt = kagami.Damaged, false
		case !limits.Take(&h, batch[stream.BatchHead:]):
			r = kagami.TooLarge
		default:
			return batch
		}
		w.spool.Drop(h.Seq, h.Last(), r)
		w.mu.Lock()
		w.look()
		w.mu.Unlock()
	}
}

func (w *tcpSpool) wrote() {}

func (w *tcpSpool) ack(n uint64) (bool, error) {
	if sent := w.spool.Sent(); n > sent {
		w.mu.Lock()
		defer w.mu.Unlock()
		if n > w.received { // which may be what was lost from the disk since
			return false, fmt.Errorf("the replayer acknowledges record %d, and %d was the last one sent", n, sent)
		}
	}
	if w.spool.Acknowledge(n) == 0 {
		return false, nil
	}
	poke(w.room)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.spoiled = 0
	if w.closing {
		w.look()
	}
	return true, nil
}
