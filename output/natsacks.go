package output

import (
	"context"

	"kagami"
)

// holds reports whether a batch was not settled yet.
func (w *natsWindow) holds(e *natsBatch) bool {
	select {
	case <-e.gone:
		return false
	default:
		return true
	}
}

// ack settles a batch as delivered.
func (w *natsWindow) ack(e *natsBatch) { w.finish(e, kagami.Delivered) }

// drop settles a batch that the broker refused for good, so that its numbers
// are free again.
func (w *natsWindow) drop(e *natsBatch, r kagami.Reason) {
	if w.finish(e, r) {
		w.mu.Lock()
		w.shard[e.shard].next = e.first
		w.mu.Unlock()
	}
}

func (w *natsWindow) finish(e *natsBatch, r kagami.Reason) bool {
	w.mu.Lock()
	held := w.remove(e)
	w.mu.Unlock()
	if held {
		e.settle(r)
	}
	return held
}

// remove takes a batch out of the window, if it is there. w.mu is held.
func (w *natsWindow) remove(e *natsBatch) bool {
	s := &w.shard[e.shard]
	for k := range s.batches {
		if s.batches[k] == e {
			s.batches = append(s.batches[:k], s.batches[k+1:]...)
			w.bytes -= e.size
			w.count -= int64(len(e.parts))
			close(e.gone)
			poke(w.room)
			w.end()
			return true
		}
	}
	return false
}

// end closes drained if nothing is left. w.mu is held.
func (w *natsWindow) end() {
	if !w.closing || w.count > 0 {
		return
	}
	select {
	case <-w.drained:
	default:
		close(w.drained)
	}
}

// watch calls giveUp when ctx is done. It remembers which contexts it watches,
// for Writes come with the same one again and again.
func (w *natsWindow) watch(ctx context.Context, giveUp func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if ctx.Done() == nil || ctx.Done() == w.watched {
		return
	}
	w.watched = ctx.Done()
	w.watches.Add(1)
	stop := context.AfterFunc(ctx, func() {
		defer w.watches.Done()
		giveUp()
	})
	w.stops = append(w.stops, stop)
}

// unwatch ends all watches.
func (w *natsWindow) unwatch() {
	w.mu.Lock()
	for _, stop := range w.stops {
		if stop() {
			w.watches.Done()
		}
	}
	w.stops = nil
	w.mu.Unlock()
	w.watches.Wait()
}

// giveUp settles what was written with the context that done is of: as in
// doubt what was published, the rest as unsent.
func (w *natsWindow) giveUp(done <-chan struct{}, unsent kagami.Reason) {
	w.mu.Lock()
	var gone []*natsBatch
	for i := range w.shard {
		for _, e := range append([]*natsBatch(nil), w.shard[i].batches...) {
			if e.done == done {
				w.remove(e)
				w.givenUp += len(e.parts)
				gone = append(gone, e)
			}
		}
	}
	w.mu.Unlock()
	for _, e := range gone {
		if e.tried.IsZero() {
			e.settle(unsent)
		} else {
			e.settle(kagami.InDoubt)
		}
	}
}

func (w *natsWindow) countGivenUp() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.givenUp
}
