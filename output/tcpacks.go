package output

import (
	"context"
	"fmt"

	"kagami"
	"kagami/internal/stream"
)

// remove takes e out of account. It is cut out of w.batches by the caller.
func (w *tcpWindow) remove(e *tcpBatch) {
	e.gone = true
	w.count(e, -1)
	if e.unwatch != nil && e.unwatch() {
		w.watches.Done()
	}
	if e != w.writing {
		w.recycle(e)
	}
}

// changed tells those who wait for the window that it has become smaller.
func (w *tcpWindow) changed() {
	poke(w.room)
	poke(w.wake)
	if w.closing && len(w.batches) == 0 {
		select {
		case <-w.drained:
		default:
			close(w.drained)
		}
	}
}

// watch gives up what was written with a context when that is done.
func (w *tcpWindow) watch(ctx context.Context, e *tcpBatch) {
	if e.done == nil {
		return
	}
	w.watches.Add(1)
	e.unwatch = context.AfterFunc(ctx, func() {
		defer w.watches.Done()
		w.giveUp(func(_ int, b *tcpBatch) bool { return b.done == e.done })
	})
}

// giveUp settles the batches that which chooses: as in doubt if bytes of them
// were sent.
func (w *tcpWindow) giveUp(which func(i int, e *tcpBatch) bool) {
	w.drop(which, kagami.InDoubt, w.unsentReason())
}

func everyBatch(int, *tcpBatch) bool { return true }

// drop settles the batches that which chooses: for the reason touched if bytes
// of them were sent, else for the reason unsent. It returns how many messages
// they held.
func (w *tcpWindow) drop(which func(i int, e *tcpBatch) bool, touched, unsent kagami.Reason) (messages int) {
	w.mu.Lock()
	var gone []*tcpBatch
	kept := make([]*tcpBatch, 0, len(w.batches))
	next := w.next
	for i, e := range w.batches {
		if !which(i, e) {
			kept = append(kept, e)
			continue
		}
		if gone = append(gone, e); i < w.next {
			next--
		}
		messages += e.messages()
		w.remove(e)
	}
	w.batches, w.next = kept, next
	if touched == kagami.InDoubt {
		w.givenUp += messages
	}
	w.changed()
	w.mu.Unlock()
	for _, e := range gone {
		if e.touched {
			e.settle(touched)
		} else {
			e.settle(unsent)
		}
	}
	return messages
}

// ack settles all batches up to the record n as delivered, and reports whether there were any.
func (w *tcpWindow) ack(n uint64) (bool, error) {
	w.mu.Lock()
	if n > w.sent {
		defer w.mu.Unlock()
		return false, fmt.Errorf("the replayer acknowledges record %d, and %d was the last one sent", n, w.sent)
	}
	k := 0
	for k < len(w.batches) && w.batches[k].touched && w.batches[k].last <= n {
		w.remove(w.batches[k])
		k++
	}
	acked := w.batches[:k]
	w.batches, w.next = w.batches[k:], max(0, w.next-k)
	if k > 0 {
		w.spoiled = 0
		w.changed()
	}
	w.mu.Unlock()
	for i, e := range acked {
		e.settle(kagami.Delivered)
		acked[i] = nil // appending goes on behind acked, in the same array
	}
	return len(acked) > 0, nil
}

// take returns the next batch to be sent, nil if there is none. wrote is to be
// called before the next take.
func (w *tcpWindow) take() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.next == len(w.batches) {
		return nil
	}
	e := w.batches[w.next]
	w.next++
	e.touched = true
	w.sent = max(w.sent, e.last)
	w.writing = e
	if e.wire == nil {
		w.finish(e)
	}
	return e.wire
}

// finish makes the bytes of e that are sent, without the lock where that takes long. It is
// taken already, so nothing is added to it; it may be gone when finish returns.
func (w *tcpWindow) finish(e *tcpBatch) {
	e.wire = e.builder.Finish(e.first)
	if w.zstd == nil {
		return
	}
	plain := e.wire
	w.mu.Unlock()
	packed := w.zstd.Compress(w.packed, plain)
	w.mu.Lock()
	if &packed[0] == &plain[0] {
		return
	}
	w.packed = packed
	if e.gone {
		return // nobody has settled more than its messages: it can be sent all the same
	}
	w.count(e, -1)
	e.wire = append(w.buffer(len(packed))[:0], packed...)
	e.packed = true
	w.count(e, 1)
	w.keep(plain)
	w.changed()
}

// wrote ends what take began.
func (w *tcpWindow) wrote() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if e := w.writing; e != nil && e.gone {
		w.recycle(e)
	}
	w.writing = nil
}

// maxSpoiled is how many connections may end because the replayer could not
// read a batch before that is given up: it would be sent for ever.
const maxSpoiled = 3

// resume begins a connection to a replayer that gave the answer a.
func (w *tcpWindow) resume(a stream.Answer) error {
	w.mu.Lock()
	if a.Received > w.sent || a.Acknowledged > a.Received {
		defer w.mu.Unlock()
		return fmt.Errorf("the replayer has record %d and acknowledges %d, and %d was the last one sent", a.Received, a.Acknowledged, w.sent)
	}
	w.refused, w.limits = nil, a.Limits
	w.next = 0
	for w.next < len(w.batches) && w.batches[w.next].touched && w.batches[w.next].last <= a.Received {
		w.next++
	}
	var spoilt *tcpBatch
	if w.spoiled >= maxSpoiled && w.next < len(w.batches) {
		spoilt, w.spoiled = w.batches[w.next], 0
	}
	w.mu.Unlock()
	w.drop(func(_ int, e *tcpBatch) bool { return e == spoilt }, kagami.Damaged, kagami.Damaged)
	w.drop(func(i int, e *tcpBatch) bool { return i >= w.next && e.exceeds(a.Limits) }, kagami.TooLarge, kagami.TooLarge)
	_, err := w.ack(a.Acknowledged)
	return err
}

// exceeds reports whether a replayer with these limits would not take e.
func (e *tcpBatch) exceeds(l stream.Limits) bool {
	return e.largest > l.Record || e.builder.Len()-stream.BatchHead > l.Batch || e.builder.Records() > l.Records
}

// refuse notes that the replayer does not want the stream, nor will.
func (w *tcpWindow) refuse(r *stream.Refusal) {
	w.mu.Lock()
	w.refused = r
	closing := w.closing
	w.mu.Unlock()
	if closing {
		w.giveUp(everyBatch)
	}
}

// spoil notes that the replayer could not read a batch.
func (w *tcpWindow) spoil() {
	w.mu.Lock()
	w.spoiled++
	w.mu.Unlock()
}

func (w *tcpWindow) woken() <-chan struct{} { return w.wake }

func (w *tcpWindow) lost() {}

func (w *tcpWindow) release() error { return nil }

// wait waits until all is settled.
func (w *tcpWindow) wait() (givenUp int) {
	<-w.drained
	w.watches.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.givenUp
}

// close says that nothing will be added. What the replayer will not take is
// given up at once.
func (w *tcpWindow) close() {
	w.mu.Lock()
	w.closing = true
	refused := w.refused != nil
	w.changed()
	w.mu.Unlock()
	if refused {
		w.giveUp(everyBatch)
	}
}

// ended reports whether the window is empty for good.
func (w *tcpWindow) ended() bool {
	select {
	case <-w.drained:
		return true
	default:
		return false
	}
}

// inFlight is how many messages are in the window, or wait for room there.
func (w *tcpWindow) inFlight() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.blocked.Load()
	for _, e := range w.batches {
		n += int64(e.messages())
	}
	return n
}

// hello says where the stream goes on.
func (w *tcpWindow) hello(h stream.Hello) stream.Hello {
	w.mu.Lock()
	defer w.mu.Unlock()
	h.Next = w.last + 1
	return h
}

// unsentReason is what becomes of messages that were not sent when there is no
// more time to.
func (w *tcpWindow) unsentReason() kagami.Reason {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.refused != nil {
		return w.refused.Reason()
	}
	return kagami.DrainTimeout
}
