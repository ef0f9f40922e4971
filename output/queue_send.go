package output

import (
	"context"
	"math/bits"
	"sync/atomic"
	"time"

	"kagami"
	"kagami/internal/lose"
)

// What is written to the output at once: small enough that room in the queue
// comes back steadily, large enough that the cost of a hand-over is shared.
const (
	maxBatchMessages = 256
	maxBatchBytes    = 1 << 20
)

// A timer of the Go runtime fires up to a millisecond late where the process
// is otherwise idle (it waits in epoll, by the millisecond). What is due within
// half of that is sent at once, so that no message is off by much more than
// the other half. It also spares wake-ups.
const dueTolerance = 500 * time.Microsecond

// run is the queue's goroutine.
func (q *Queue) run() {
	defer close(q.done)
	defer q.cancel(nil)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		s, wait, more := q.take(time.Now())
		switch {
		case s != nil:
			if err := q.send(s); err != nil {
				q.breakOff(s, err)
				return
			}
		case !more:
			q.finish()
			return
		case wait > 0:
			timer.Reset(wait)
			select {
			case <-timer.C:
			case <-q.ctx.Done():
			}
		default:
			select {
			case <-q.work:
			case <-q.ctx.Done():
			}
		}
	}
}

// take takes what is due now. If nothing is, it says how long to wait: until
// the next message is due, or (0) until something comes. more is false at the end.
func (q *Queue) take(now time.Time) (s *sending, wait time.Duration, more bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ctx.Err() != nil {
		return nil, 0, false
	}
	if q.head == len(q.pending) {
		return nil, 0, !q.closing || q.waiters > 0
	}
	end, size := q.head, int64(0)
	for ; end < len(q.pending) && end-q.head < maxBatchMessages && size < maxBatchBytes; end++ {
		m := q.pending[end].m
		if !m.Due.IsZero() {
			if wait = m.Due.Sub(now) - dueTolerance; wait > 0 {
				break
			}
		}
		size += m.Size()
	}
	if end == q.head {
		return nil, wait, true
	}
	s = newSending(q.pending[q.head:end], size)
	clear(q.pending[q.head:end])
	if q.head = end; q.head == len(q.pending) {
		q.pending, q.head = q.pending[:0], 0
	}
	q.current = s
	return s, 0, true
}

// send writes what was taken, and gives the room back.
func (q *Queue) send(s *sending) error {
	b := kagami.Batch{Messages: s.messages, Settle: s.settle}
	if lose.One("queue") {
		b = b.Slice(1, len(b.Messages))
	}
	err := q.out.Write(q.ctx, b)
	n := len(s.messages)
	if err == nil {
		s.release()
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.current = nil
	q.count -= n
	q.bytes -= s.size
	q.giveRoom()
	return err
}

func (q *Queue) giveRoom() {
	if q.room != nil {
		close(q.room)
		q.room = nil
	}
}

// breakOff settles everything after the output broke while it was given s.
func (q *Queue) breakOff(s *sending, err error) {
	reason, broken := reasonOf(err), q.ctx.Err() == nil
	if !broken {
		reason = kagami.DrainTimeout // it was told to stop: that is no fault of its own
	} else {
		q.mu.Lock()
		q.err = err
		q.mu.Unlock()
	}
	s.settleRest(q.cfg.Index, reason)
	q.settlePending(reason)
	if broken && q.cfg.Broken != nil {
		q.cfg.Broken(err)
	}
	q.result = q.out.Close()
}

// finish settles what is left and closes the output.
func (q *Queue) finish() {
	n := q.settlePending(kagami.DrainTimeout)
	if q.result = q.out.Close(); q.result == nil && n > 0 {
		q.result = context.Cause(q.ctx)
	}
}

// settlePending settles all that waits and wakes the Writes that wait for
// room. It returns how many it settled.
func (q *Queue) settlePending(r kagami.Reason) int {
	q.mu.Lock()
	rest := q.pending[q.head:]
	q.pending, q.head, q.count, q.bytes = nil, 0, 0, 0
	q.giveRoom()
	q.mu.Unlock()
	for i := range rest {
		rest[i].giveUp(q.cfg.Index, r)
	}
	return len(rest)
}

// sending is a batch that a Queue has taken to write. It passes on every
// settling, also a second one of the same message, which would be an error for
// the ledger to show. It remembers which were settled only to settle the
// others when the write fails.
type sending struct {
	queued   []queued
	messages []*kagami.Message
	size     int64
	settled  []atomic.Uint64 // a bit for each
}

func newSending(q []queued, size int64) *sending {
	s := &sending{
		queued:   append(make([]queued, 0, len(q)), q...),
		messages: make([]*kagami.Message, len(q)),
		size:     size,
		settled:  make([]atomic.Uint64, (len(q)+63)/64),
	}
	for i := range q {
		s.messages[i] = q[i].m
	}
	return s
}

// release lets go of the messages, which the output has now: one that encodes them holds none
// until they are settled, and many records of small ones take a fraction of their memory.
func (s *sending) release() {
	s.messages = nil
	for i := range s.queued {
		s.queued[i].m = nil
	}
}

// mark notes that the i-th is settled, and reports whether it was not before.
func (s *sending) mark(i int) bool {
	bit := uint64(1) << (i % 64)
	return s.settled[i/64].Or(bit)&bit == 0
}

// settle settles the i-th.
func (s *sending) settle(i int, r kagami.Reason) {
	s.mark(i)
	s.queued[i].done(r)
}

// settleRest settles those that nobody has settled.
func (s *sending) settleRest(index int, r kagami.Reason) {
	for i := range s.queued {
		if s.mark(i) {
			s.queued[i].giveUp(index, r)
		}
	}
}

// unsettled is how many are not settled yet.
func (s *sending) unsettled() int64 {
	n := len(s.queued)
	for i := range s.settled {
		n -= bits.OnesCount64(s.settled[i].Load())
	}
	return int64(n)
}
