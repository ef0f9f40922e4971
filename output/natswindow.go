package output

import (
	"context"
	"sync"
	"time"

	"kagami"
	"kagami/internal/broker"
	"kagami/internal/lose"
	"kagami/internal/stream"
)

// A natsWindow holds what the broker has not acknowledged, by shard. It is
// bounded in bytes. The last batch of a shard grows until it is taken.
type natsWindow struct {
	batchSize int
	maxBytes  int64
	linger    time.Duration

	room    chan struct{}  // holds a token when Write should look again
	drained chan struct{}  // closed when it is empty and nothing will be added
	watches sync.WaitGroup // watches over contexts

	mu      sync.Mutex
	shards  broker.Shards // N is 0 until the stream is known
	limits  stream.Limits
	memory  time.Duration // how long the broker remembers what was published
	shard   []natsShard
	bytes   int64 // of all batches
	count   int64 // messages in them
	watched <-chan struct{}
	stops   []func() bool
	free    [][]byte
	follow  natsFollow
	closing bool
	givenUp int
}

// A natsShard is the batches of one shard, oldest first; the first may be on
// its way.
type natsShard struct {
	batches []*natsBatch
	wake    chan struct{}
	next    uint64 // number of the next record
	number  uint64 // batches so far
}

// A natsBatch is a batch in the window.
type natsBatch struct {
	builder stream.Builder
	wire    []byte // the finished batch, once it was taken
	shard   int
	number  uint64
	first   uint64
	size    int64 // what it counts for in the window
	parts   []natsPart
	done    <-chan struct{} // of the context of its Writes
	begun   time.Time       // when it had its first message, where batches wait to grow
	tried   time.Time       // when it was published first; zero if it was not
	gone    chan struct{}   // closed when it is not in the window any more
}

// A natsPart is a message in a batch.
type natsPart struct {
	settle func(int, kagami.Reason)
	i      int
}

func (e *natsBatch) settle(r kagami.Reason) {
	for _, p := range e.parts {
		if p.settle != nil {
			p.settle(p.i, r)
		}
	}
}

func newNATSWindow(cfg NATSConfig) *natsWindow {
	return &natsWindow{
		batchSize: cfg.BatchSize,
		maxBytes:  cfg.Window,
		linger:    cfg.Linger,
		room:      make(chan struct{}, 1),
		drained:   make(chan struct{}),
		follow:    natsFollow{remembers: cfg.Staging},
	}
}

// open says what the stream is like.
func (w *natsWindow) open(s broker.Shards, l stream.Limits, memory time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.shards, w.limits, w.memory = s, l, memory
	w.shard = make([]natsShard, s.N)
	for i := range w.shard {
		w.shard[i].wake = make(chan struct{}, 1)
		w.shard[i].next = 1
	}
	poke(w.room)
}

// add takes in messages of b from the next on, as many as there is room for. It
// returns the index of the first that it did not take, and those that the
// broker would not.
func (w *natsWindow) add(ctx context.Context, b kagami.Batch, next int) (rest int, tooLarge []int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.shards.N == 0 {
		return next, nil
	}
	for ; next < len(b.Messages); next++ {
		m := b.Messages[next]
		if !w.limits.Fits(m) {
			tooLarge = append(tooLarge, next)
			continue
		}
		if lose.One("nats") {
			continue
		}
		i := w.follow.shard(w.shards, m)
		e := w.batch(ctx, i, m)
		if e == nil {
			break
		}
		before := e.builder.Len()
		e.builder.Add(m)
		grown := int64(e.builder.Len() - before)
		e.size += grown
		w.bytes += grown
		w.count++
		e.parts = append(e.parts, natsPart{b.Settle, next})
	}
	return next, tooLarge
}

// batch returns the batch of a shard that takes m, nil if there is no room.
func (w *natsWindow) batch(ctx context.Context, i int, m *kagami.Message) *natsBatch {
	s := &w.shard[i]
	if w.count > 0 && w.bytes+int64(stream.RecordBound(m)) > w.maxBytes {
		return nil
	}
	if k := len(s.batches); k > 0 {
		e := s.batches[k-1]
		if e.wire == nil && e.done == ctx.Done() && e.builder.Takes(m, w.batchSize, w.limits) {
			return e
		}
	}
	e := &natsBatch{shard: i, done: ctx.Done(), gone: make(chan struct{})}
	if w.linger > 0 {
		e.begun = time.Now()
	}
	e.builder.Reset(w.buffer())
	s.batches = append(s.batches, e)
	poke(s.wake)
	return e
}

// buffer returns memory for a batch: some that was used before, or none, for
// most batches are small and grow as they need.
func (w *natsWindow) buffer() []byte {
	if k := len(w.free); k > 0 {
		b := w.free[k-1]
		w.free = w.free[:k-1]
		return b
	}
	return nil
}

// The buffers that are kept to be used again: so many for each shard, and not
// those of large batches.
const (
	natsFreeBuffers = 2
	natsFreeBuffer  = 64 << 10
)

// recycle keeps the buffer of a batch that is gone, and was taken.
func (w *natsWindow) recycle(e *natsBatch) {
	w.mu.Lock()
	defer w.mu.Unlock()
	b := e.wire
	e.wire = nil
	if b != nil && cap(b) <= natsFreeBuffer && len(w.free) < natsFreeBuffers*len(w.shard) {
		w.free = append(w.free, b[:0])
	}
}

func (w *natsWindow) wake(i int) <-chan struct{} { return w.shard[i].wake }

// take returns the next batch of a shard to be published, nil if there is none,
// or it is to grow: for how long, it says then. It stays in the window until ack,
// drop or giveUp. A batch behind which another has begun does not grow any more,
// nor does any where the window is half full, or closing.
func (w *natsWindow) take(i int, now time.Time) (e *natsBatch, wait time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := &w.shard[i]
	if len(s.batches) == 0 {
		return nil, 0
	}
	e = s.batches[0]
	if w.linger > 0 && len(s.batches) == 1 && !w.closing && w.bytes < w.maxBytes/2 {
		if wait = e.begun.Add(w.linger).Sub(now); wait > 0 {
			return nil, wait
		}
	}
	// A number is used again where its records were never published.
	e.first = s.next
	s.number++
	e.number = s.number
	e.wire = e.builder.Finish(e.first)
	return e, 0
}

// attempt notes that a batch is about to be published, and reports whether it
// was before, so long ago that the broker may not remember.
func (w *natsWindow) attempt(e *natsBatch) (again bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	if e.tried.IsZero() {
		e.tried = now
		// Should it be given up, it may be there all the same.
		w.shard[e.shard].next = e.first + uint64(len(e.parts))
		return false
	}
	// A little early, for the broker counts from when it had the batch.
	return now.Sub(e.tried) > w.memory*9/10
}

// close says that nothing will be added.
func (w *natsWindow) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closing = true
	for i := range w.shard {
		poke(w.shard[i].wake) // nothing more is to grow
	}
	w.end()
}

func (w *natsWindow) inFlight() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.count
}
