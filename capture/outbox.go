package capture

import (
	"context"
	"sync"
	"sync/atomic"

	"kagami"
)

// A batch is handed on when it has so many messages or bytes, or when no packet
// is waiting to be read.
const (
	batchMessages = 256
	batchBytes    = 256 << 10
)

// An outbox holds finished messages until they are handed on, by a goroutine of
// its own: never by one that reads packets.
type outbox struct {
	limit int64 // bytes
	wait  bool  // for room, instead of refusing what is over the limit
	stage *kagami.Stage

	// Of the batch that is being gathered, under the Listener's lock.
	batch []*kagami.Message
	size  int64

	held  atomic.Int64 // messages that have not been handed on, those of batch included
	bytes atomic.Int64 // their size

	mu     sync.Mutex
	change sync.Cond // of what follows, or of bytes
	queue  []kagami.Batch
	closed bool // nothing more will come
	broken bool // nothing more will be handed on
	hurry  bool // don't wait for room any more
}

func newOutbox(limit int64, wait bool, stage *kagami.Stage) *outbox {
	o := &outbox{limit: limit, wait: wait, stage: stage}
	o.change.L = &o.mu
	return o
}

// add puts a message into the batch. It returns false if there is no room.
func (o *outbox) add(m *kagami.Message) bool {
	size := m.Size()
	if held := o.bytes.Load(); !o.wait && held > 0 && held+size > o.limit {
		return false
	}
	o.bytes.Add(size)
	o.held.Add(1)
	o.batch = append(o.batch, m)
	o.size += size
	if len(o.batch) >= batchMessages || o.size >= batchBytes {
		o.flush()
	}
	return true
}

// flush ends the batch.
func (o *outbox) flush() {
	if len(o.batch) == 0 {
		return
	}
	b := kagami.Batch{Messages: append(make([]*kagami.Message, 0, len(o.batch)), o.batch...)}
	clear(o.batch)
	o.batch, o.size = o.batch[:0], 0
	o.mu.Lock()
	o.queue = append(o.queue, b)
	o.mu.Unlock()
	o.change.Broadcast()
}

// full reports whether there is no room, where it is waited for.
func (o *outbox) full() bool { return o.wait && o.bytes.Load() > o.limit }

// waitForRoom waits until there is room, or nobody makes any.
func (o *outbox) waitForRoom() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.full() && !o.broken && !o.hurry {
		o.change.Wait()
	}
}

// dontWait ends all waiting for room, now and later.
func (o *outbox) dontWait() { o.set(&o.hurry) }

// close says that nothing more will come.
func (o *outbox) close() { o.set(&o.closed) }

func (o *outbox) set(flag *bool) {
	o.mu.Lock()
	*flag = true
	o.mu.Unlock()
	o.change.Broadcast()
}

// run hands on batches until it is closed and empty, or emit returns an error:
// what is left then is dropped.
func (o *outbox) run(ctx context.Context, emit func(context.Context, kagami.Batch) error) error {
	for {
		b, ok := o.take()
		if !ok {
			return nil
		}
		err := emit(ctx, b)
		if err == nil {
			o.stage.Out(len(b.Messages))
		} else {
			o.stage.Drop(kagami.DrainTimeout, len(b.Messages))
			o.set(&o.broken)
		}
		o.gone(b)
		if err != nil {
			return err
		}
	}
}

// take waits for the next batch. False means that none will come.
func (o *outbox) take() (b kagami.Batch, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.queue) == 0 && !o.closed {
		o.change.Wait()
	}
	if len(o.queue) == 0 {
		return b, false
	}
	b = o.queue[0]
	o.queue[0] = kagami.Batch{}
	if o.queue = o.queue[1:]; len(o.queue) == 0 {
		o.queue = nil
	}
	return b, true
}

// gone notes that nothing of b is held any more.
func (o *outbox) gone(b kagami.Batch) {
	o.mu.Lock() // so that nobody is between looking at bytes and waiting
	o.bytes.Add(-b.Size())
	o.held.Add(-int64(len(b.Messages)))
	o.mu.Unlock()
	if o.wait {
		o.change.Broadcast()
	}
}

// discard drops what will not be handed on.
func (o *outbox) discard() {
	o.flush()
	o.mu.Lock()
	queue := o.queue
	o.queue = nil
	o.mu.Unlock()
	for _, b := range queue {
		o.stage.Drop(kagami.DrainTimeout, len(b.Messages))
		o.gone(b)
	}
}
