package output

import (
	"context"
	"sync"
	"sync/atomic"

	"kagami"
	"kagami/internal/lose"
	"kagami/internal/stream"
)

// A tcpWindow holds the batches that the replayer has not acknowledged, encoded,
// oldest first: those that were sent, then those to be sent. It is bounded in
// bytes and in batches. The last batch grows until the sender takes it.
type tcpWindow struct {
	batchSize int
	maxBytes  int64
	maxCount  int

	wake    chan struct{}  // holds a token when the sender should look again
	room    chan struct{}  // holds a token when Write should look again
	drained chan struct{}  // closed when it is empty and nothing will be added
	watches sync.WaitGroup // watches over contexts
	blocked atomic.Int64   // messages of a write that are not in here yet
	zstd    *stream.Compressor
	packed  []byte // its memory

	mu      sync.Mutex
	limits  stream.Limits // the replayer's
	batches []*tcpBatch
	next    int       // index in batches of the first to be sent on this connection
	bytes   int64     // of batches
	memory  int64     // of their buffers
	last    uint64    // number of the last record added
	sent    uint64    // number of the last record that was ever sent, if only in part
	writing *tcpBatch // what the sender writes at the moment
	free    [][]byte  // buffers to use again
	freed   int64     // their bytes
	refused *stream.Refusal
	closing bool
	givenUp int // messages settled because of a context or a refusal
	spoiled int // how often in a row the replayer could not read a batch
}

// A tcpBatch is a batch in the window.
type tcpBatch struct {
	builder stream.Builder
	wire    []byte // the finished batch, once the sender has taken it
	first   uint64 // the numbers of its records
	last    uint64
	largest int // bytes of the largest record, at most
	parts   []tcpPart
	done    <-chan struct{} // of the context of its Writes
	unwatch func() bool
	touched bool // bytes of it may have been sent
	gone    bool // not in the window any more
	packed  bool // wire is compressed, and has a memory of its own
}

// A tcpPart is messages of one Write that follow one another.
type tcpPart struct {
	write   *tcpWrite
	from, n int
}

// A tcpWrite is a Write under way, and then what its messages are settled
// with. It does not hold on to them: what is in the window are their records.
type tcpWrite struct {
	settle   func(int, kagami.Reason)
	ctx      context.Context
	messages []*kagami.Message // until Write has returned
	next     int               // the first message that is not in the window
	bound    int               // bytes of the messages from there on, at most
}

func newTCPWrite(ctx context.Context, b kagami.Batch) *tcpWrite {
	x := &tcpWrite{settle: b.Settle, ctx: ctx, messages: b.Messages}
	for _, m := range b.Messages {
		x.bound += stream.RecordBound(m)
	}
	return x
}

func (e *tcpBatch) settle(r kagami.Reason) {
	for _, p := range e.parts {
		for i := range p.n {
			if p.write.settle != nil {
				p.write.settle(p.from+i, r)
			}
		}
	}
}

// messages is how many are in the batch.
func (e *tcpBatch) messages() int {
	n := 0
	for _, p := range e.parts {
		n += p.n
	}
	return n
}

// count notes that the next message of x is in the batch.
func (e *tcpBatch) count(x *tcpWrite) {
	if n := len(e.parts); n > 0 {
		if p := &e.parts[n-1]; p.write == x && p.from+p.n == x.next {
			p.n++
			return
		}
	}
	e.parts = append(e.parts, tcpPart{x, x.next, 1})
}

func newTCPWindow(cfg TCPConfig, zstd *stream.Compressor) *tcpWindow {
	return &tcpWindow{
		zstd:      zstd,
		batchSize: cfg.BatchSize,
		maxBytes:  cfg.Window,
		maxCount:  cfg.WindowBatches,
		wake:      make(chan struct{}, 1),
		room:      make(chan struct{}, 1),
		drained:   make(chan struct{}),
	}
}

// write puts the messages into the window, and blocks while that is full.
func (w *tcpWindow) write(ctx context.Context, b kagami.Batch) {
	x := newTCPWrite(ctx, b)
	defer func() {
		x.messages = nil
		w.blocked.Store(0)
	}()
	for {
		w.blocked.Store(int64(len(b.Messages) - x.next))
		if ctx.Err() != nil {
			b.Slice(x.next, len(b.Messages)).DoneAll(w.unsentReason())
			return
		}
		for _, i := range w.add(x) {
			b.Done(i, kagami.TooLarge)
		}
		if x.next == len(b.Messages) {
			return
		}
		select {
		case <-w.room:
		case <-ctx.Done():
		}
	}
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// add takes in messages of x, as many as there is room for. It returns the
// indexes of those that the replayer would not take, for the caller to settle.
func (w *tcpWindow) add(x *tcpWrite) (tooLarge []int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	before := w.last
	for ; x.next < len(x.messages); x.next++ {
		m := x.messages[x.next]
		bound := stream.RecordBound(m)
		if !w.limits.Fits(m) {
			tooLarge = append(tooLarge, x.next)
		} else if !lose.One("tcp") {
			e := w.open(x, m, bound)
			if e == nil {
				break
			}
			w.count(e, -1)
			w.makeRoom(e, bound)
			e.builder.Add(m)
			w.count(e, 1)
			w.last++
			e.last, e.largest = w.last, max(e.largest, bound)
			e.count(x)
		}
		x.bound -= bound
	}
	if w.last != before {
		poke(w.wake)
	}
	return tooLarge
}

// open returns the batch that takes m, nil if there is no room.
func (w *tcpWindow) open(x *tcpWrite, m *kagami.Message, bound int) *tcpBatch {
	if len(w.batches) > 0 && w.bytes+int64(bound) > w.maxBytes {
		return nil
	}
	if n := len(w.batches); n > w.next {
		e := w.batches[n-1]
		if e.wire == nil && e.done == x.ctx.Done() && e.builder.Takes(m, w.batchSize, w.limits) {
			return e
		}
	}
	if len(w.batches) >= w.maxCount {
		return nil
	}
	e := &tcpBatch{first: w.last + 1, done: x.ctx.Done()}
	e.builder.Reset(w.buffer(min(x.bound+stream.BatchHead, w.batchSize)))
	w.watch(x.ctx, e)
	w.count(e, 1)
	w.batches = append(w.batches, e)
	return e
}

// makeRoom has e grow into a larger buffer, if a record of so many bytes needs that: one that
// was used before, where append would leave garbage behind.
func (w *tcpWindow) makeRoom(e *tcpBatch, bound int) {
	used, size := max(e.builder.Len(), stream.BatchHead), e.builder.Cap()
	if used+bound > size {
		w.keep(e.builder.Move(w.buffer(max(used+bound, min(2*size, w.batchSize)))))
	}
}

// count adds the size of e to what the window holds, or takes it away.
func (w *tcpWindow) count(e *tcpBatch, sign int64) {
	size, memory := e.builder.Len(), e.builder.Cap()
	if e.packed {
		size, memory = len(e.wire), cap(e.wire)
	}
	w.bytes += sign * int64(size)
	w.memory += sign * int64(memory)
}

// buffer returns a buffer for a batch of so many bytes or more. One that was
// used before may be much too large, but not for so many small batches that the
// bound in bytes would not be one of memory any more.
func (w *tcpWindow) buffer(size int) []byte {
	for i, b := range w.free {
		if cap(b) >= size && (cap(b) <= 4*size || w.memory+int64(cap(b)) <= w.maxBytes) {
			n := len(w.free) - 1
			w.free[i], w.free[n] = w.free[n], nil
			w.free = w.free[:n]
			w.freed -= int64(cap(b))
			return b
		}
	}
	return make([]byte, 0, size)
}

// recycle keeps the buffer of e to be used again.
func (w *tcpWindow) recycle(e *tcpBatch) {
	w.keep(e.wire)
	e.builder.Reset(nil)
	e.wire = nil
}

// keep keeps a buffer to be used again, as long as all buffers, with those in use, are a quarter
// more than the window at most: a full one that is acknowledged at once fills again without garbage.
func (w *tcpWindow) keep(b []byte) {
	if b != nil && cap(b) <= 2*w.batchSize && w.freed+w.memory+int64(cap(b)) <= w.maxBytes+w.maxBytes/4 {
		w.free = append(w.free, b)
		w.freed += int64(cap(b))
	}
}
