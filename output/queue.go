package output

import (
	"context"
	"sync"

	"kagami"
)

// OnFull says what a Queue does with messages that do not fit.
type OnFull int

// The zero value, DropWhenFull, is for live traffic: it never blocks.
// WaitWhenFull is for files and brokers, which can wait.
const (
	DropWhenFull OnFull = iota
	WaitWhenFull
)

// String returns "drop" or "wait", as users write it.
func (f OnFull) String() string {
	if f == WaitWhenFull {
		return "wait"
	}
	return "drop"
}

// The defaults of a QueueConfig.
const (
	DefaultQueueMessages = 10_000
	DefaultQueueBytes    = 8 << 20
)

// A QueueConfig says how much a Queue holds. A field of zero or less is its default.
type QueueConfig struct {
	// Index is the output's number in [kagami.Exchange.Decide].
	Index int
	// Messages and Bytes (of [kagami.Message.Size]) bound what waits: 10 000
	// messages, 8 MiB. A message larger than Bytes is let in when nothing else waits.
	Messages int
	Bytes    int64
	// OnFull says what is done when a bound is reached.
	OnFull OnFull
	// Broken, if set, is called once, from the queue's goroutine, with the
	// error that broke the output. It must not call the Queue.
	Broken func(error)
}

// A Queue stands before an output and writes to it from a goroutine of its
// own, so that nobody waits for a slow output who need not.
//
// Messages leave in the order they came. One that has a Due time holds back
// those behind it until then; whatever is due (to half a millisecond) goes out
// as one batch, and small batches are merged. What waits is bounded; see [QueueConfig].
//
// An answer whose request was dropped at this output is settled as
// [kagami.RequestDropped] and not queued.
//
// If the output breaks, all that is queued and all that comes is settled as
// [kagami.SendError], or as [kagami.DiskFull] or [kagami.SizeLimit] if that is
// why; [Queue.Err] says it in words.
//
// Write may be called from several goroutines at once. The other methods too.
type Queue struct {
	out    Output
	cfg    QueueConfig
	ctx    context.Context // of the writes to out; ends when a Shutdown ran out of time
	cancel context.CancelCauseFunc
	work   chan struct{}  // holds a token when the goroutine should look again
	done   chan struct{}  // closed when the goroutine has ended
	writes sync.WaitGroup // Writes under way

	mu      sync.Mutex
	pending []queued // what waits, from head on
	head    int
	count   int   // messages that count against the bound: pending, and those in out.Write
	bytes   int64 // their bytes
	current *sending
	room    chan struct{} // closed when room comes back; nil while nobody waits for it
	waiters int           // Writes that may wait for room
	closing bool
	err     error // what broke the output
	result  error // of Shutdown
}

var _ Output = (*Queue)(nil)

// queued is a message that waits, and how to settle it.
type queued struct {
	m      *kagami.Message
	settle func(int, kagami.Reason)
	i      int
}

func (e *queued) done(r kagami.Reason) {
	if e.settle != nil {
		e.settle(e.i, r)
	}
}

// giveUp settles e as dropped, and a request's answers with it.
func (e *queued) giveUp(index int, r kagami.Reason) {
	if e.m.Kind == kagami.Request {
		e.m.Exchange.Decide(index, kagami.Dropped)
	}
	e.done(r)
}

// NewQueue returns a queue before out. It owns out from here on, and closes it.
// [Queue.Shutdown] or [Queue.Close] end it.
func NewQueue(out Output, cfg QueueConfig) *Queue {
	if cfg.Messages <= 0 {
		cfg.Messages = DefaultQueueMessages
	}
	if cfg.Bytes <= 0 {
		cfg.Bytes = DefaultQueueBytes
	}
	q := &Queue{
		out:  out,
		cfg:  cfg,
		work: make(chan struct{}, 1),
		done: make(chan struct{}),
	}
	q.ctx, q.cancel = context.WithCancelCause(context.Background())
	go q.run()
	return q
}

// Write queues the batch and returns nil: whatever happens to a message is
// told by settling it.
//
// With DropWhenFull it never blocks. What does not fit is settled as
// [kagami.QueueFull], and a request among it is dropped at this output, so
// that its answer is too. With WaitWhenFull it blocks until all of the batch
// has found room; if ctx ends first, the rest is settled as [kagami.DrainTimeout].
// So is everything that is written after Shutdown has begun.
func (q *Queue) Write(ctx context.Context, b kagami.Batch) error {
	b = b.Keep(q.follow)
	q.mu.Lock()
	if r, ended := q.ended(); ended || q.closing {
		q.mu.Unlock()
		if !ended {
			r = kagami.DrainTimeout
		}
		dropAll(q.cfg.Index, b, r)
		return nil
	}
	q.writes.Add(1)
	defer q.writes.Done()
	if q.cfg.OnFull == WaitWhenFull {
		q.waiters++
		q.pushAll(ctx, b)
		return nil
	}
	var over []int
	for i := range b.Messages {
		if !q.push(b, i) {
			over = append(over, i)
		}
	}
	q.mu.Unlock()
	for _, i := range over {
		drop(q.cfg.Index, b, i, kagami.QueueFull)
	}
	return nil
}

// follow lets an answer follow its request.
func (q *Queue) follow(m *kagami.Message) (*kagami.Message, kagami.Reason) {
	return followRequest(m, q.cfg.Index)
}

func followRequest(m *kagami.Message, index int) (*kagami.Message, kagami.Reason) {
	if m.Follows() && m.Exchange.Fate(index) == kagami.Dropped {
		return m, kagami.RequestDropped
	}
	return m, kagami.Delivered
}

// drop settles the i-th message as dropped for the reason. An answer whose
// request is gone is dropped for that.
func drop(index int, b kagami.Batch, i int, r kagami.Reason) {
	m := b.Messages[i]
	if m.Kind == kagami.Request {
		m.Exchange.Decide(index, kagami.Dropped)
	} else if _, f := followRequest(m, index); f != kagami.Delivered {
		r = f
	}
	b.Done(i, r)
}

func dropAll(index int, b kagami.Batch, r kagami.Reason) {
	for i := range b.Messages {
		drop(index, b, i, r)
	}
}

// pushAll queues the whole batch, waiting for room. q.mu is held when it is
// called, and not when it returns.
func (q *Queue) pushAll(ctx context.Context, b kagami.Batch) {
	i, reason := 0, kagami.Delivered
	for i < len(b.Messages) && reason == kagami.Delivered {
		if r, ended := q.ended(); ended {
			reason = r
		} else if q.push(b, i) {
			i++
		} else if !q.awaitRoom(ctx) {
			reason = kagami.DrainTimeout
		}
	}
	if q.waiters--; q.closing {
		q.wake() // the goroutine may be waiting for us alone
	}
	q.mu.Unlock()
	dropAll(q.cfg.Index, b.Slice(i, len(b.Messages)), reason)
}

// awaitRoom gives up the lock until there is room again. It reports false if
// ctx ended first.
func (q *Queue) awaitRoom(ctx context.Context) bool {
	if q.room == nil {
		q.room = make(chan struct{})
	}
	room := q.room
	q.mu.Unlock()
	defer q.mu.Lock()
	select {
	case <-room:
	case <-q.ctx.Done():
	case <-ctx.Done():
		return false
	}
	return true
}

// ended reports whether nothing can be queued any more, and why. q.mu is held.
func (q *Queue) ended() (kagami.Reason, bool) {
	switch {
	case q.err != nil:
		return reasonOf(q.err), true
	case q.ctx.Err() != nil:
		return kagami.DrainTimeout, true
	}
	return kagami.Delivered, false
}

// push queues the i-th message if there is room. q.mu is held.
func (q *Queue) push(b kagami.Batch, i int) bool {
	m := b.Messages[i]
	size := m.Size()
	if q.count > 0 && (q.count >= q.cfg.Messages || q.bytes+size > q.cfg.Bytes) {
		return false
	}
	if len(q.pending) == cap(q.pending) && q.head > 0 && q.head >= len(q.pending)/2 {
		n := copy(q.pending, q.pending[q.head:])
		clear(q.pending[n:])
		q.pending, q.head = q.pending[:n], 0
	}
	q.pending = append(q.pending, queued{m, b.Settle, i})
	q.count++
	q.bytes += size
	if len(q.pending)-q.head == 1 {
		q.wake()
	}
	return true
}

func (q *Queue) wake() {
	select {
	case q.work <- struct{}{}:
	default:
	}
}

// Err returns the error that broke the output, nil while it is whole.
func (q *Queue) Err() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.err
}

// InFlight is how many messages wait in the queue and how many its output holds.
func (q *Queue) InFlight() int64 {
	q.mu.Lock()
	n := int64(len(q.pending) - q.head)
	_, asks := q.out.(interface{ InFlight() int64 })
	if q.current != nil && !asks {
		n += q.current.unsettled()
	}
	q.mu.Unlock()
	return n + InFlight(q.out)
}

// Shutdown ends the queue: it sends what is queued, each message when it is
// due, and closes the output. If ctx ends first, what is still queued is
// settled as [kagami.DrainTimeout], and the output is told to give up what it
// has in flight. When Shutdown returns all is settled and the goroutine gone.
//
// The error is that of closing the output, or else the cause of ctx's end if
// queued messages were given up. Further calls wait too, and return the same.
func (q *Queue) Shutdown(ctx context.Context) error {
	q.mu.Lock()
	q.closing = true
	q.wake()
	q.mu.Unlock()
	stop := context.AfterFunc(ctx, func() { q.cancel(context.Cause(ctx)) })
	defer stop()
	<-q.done
	q.writes.Wait()
	return q.result
}

// Close is Shutdown without a limit in time.
func (q *Queue) Close() error { return q.Shutdown(context.Background()) }
