package replay

import (
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go/jetstream"

	"kagami"
)

// A natsPending is a message of the stream that was taken in.
type natsPending struct {
	worker *natsWorker
	msg    jetstream.Msg
	cost   int64
	left   atomic.Int32 // messages in it that are not settled, and one until it was emitted
	total  int          // records in it that were handed on
	record []int        // of each message handed on, which record it is

	mu     sync.Mutex
	undone []int // records that were given up because the input ends
}

// settle is the Settle of the batch that is emitted. Whatever the reason, the
// message is done with, unless there was just no time for it.
func (p *natsPending) settle(i int, r kagami.Reason) {
	if r == kagami.DrainTimeout && p.worker.input.isStopping() {
		p.mu.Lock()
		p.undone = append(p.undone, p.record[i])
		p.mu.Unlock()
	}
	p.done()
}

func (p *natsPending) done() {
	if p.left.Add(-1) > 0 {
		return
	}
	w := p.worker
	w.input.memory.release(p.cost)
	if len(p.undone) == 0 && !isClosed(w.lost) {
		_ = p.msg.Ack() // should it get lost, the message comes again, and is known
	}
	w.mu.Lock()
	w.pending--
	w.mu.Unlock()
	natsPoke(w.settled)
}

// maxDone bounds the messages that a lease lists as settled.
const maxDone = 20_000

// done is what was settled in full. w.mu is held.
func (w *natsWorker) done() (seqs []uint64) {
	for seq, p := range w.seen {
		if p.left.Load() == 0 && len(p.undone) == 0 && len(seqs) < maxDone {
			seqs = append(seqs, seq)
		}
	}
	return seqs
}

// maxRest bounds the records that a lease lists, which is a value in a bucket.
const maxRest = 50_000

// rest is what was settled in part. w.mu is held.
func (w *natsWorker) rest() map[uint64][]int {
	rest := map[uint64][]int{}
	records := 0
	for seq, p := range w.seen {
		if p.left.Load() == 0 && len(p.undone) > 0 && len(p.undone) < p.total && records < maxRest {
			rest[seq] = p.undone
			records += len(p.undone)
		}
	}
	for seq, left := range w.lease.Rest { // that did not come to us
		if w.seen[seq] == nil && seq > w.floor {
			rest[seq] = left
		}
	}
	return rest
}
