package replay

import (
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"kagami"
	"kagami/internal/broker"
	"kagami/internal/lose"
	"kagami/internal/stream"
)

// How messages are asked for: so many ahead of what was taken in, by requests
// that last so long, with signs of life while nothing comes.
const (
	natsAhead     = 16
	natsExpiry    = 10 * time.Second
	natsHeartbeat = 2 * time.Second
)

// consume takes messages in until the worker is to stop. Where deliveries were
// lost on the way it begins again with a new consumer, so that their order
// holds.
func (w *natsWorker) consume() {
	for !isClosed(w.stopped) {
		if err := w.read(); err != nil {
			w.explain(err)
		}
		for {
			if isClosed(w.stopped) || !w.awaitSettled(w.stopped) {
				return
			}
			err := w.again()
			if err == nil {
				break
			}
			w.explain(err)
			select {
			case <-time.After(w.input.cfg.Beat):
			case <-w.stopped:
				return
			}
		}
	}
}

// again makes a new consumer, when all that came of the one before is settled. If
// another has the lease by now, that is told soon, and ends the worker.
func (w *natsWorker) again() error {
	ctx, cancel := w.context()
	defer cancel()
	n := w.input
	n.mu.Lock()
	written := n.roster.leases[w.key]
	n.mu.Unlock()
	w.mu.Lock()
	l := w.lease
	w.mu.Unlock()
	if written.Holder == n.cfg.ID && written.revision > l.revision {
		l = written // which we wrote, without being told that it was taken
	}
	info, err := w.infoOf(ctx, l.Consumer)
	if err != nil {
		return err
	}
	if info != nil {
		l.Floor = max(l.Floor, info.AckFloor.Stream)
	}
	return w.begin(ctx, l)
}

// maxSilent is how many signs of life of the broker may be missing in a row
// before a new consumer is made: the one at hand may be gone.
const maxSilent = 2

// read takes messages from the consumer. It returns nil when the worker is to
// stop, or it needs a new consumer.
func (w *natsWorker) read() error {
	w.mu.Lock()
	c := w.consumer
	w.mu.Unlock()
	it, err := c.Messages(jetstream.PullMaxMessages(min(natsAhead, w.input.cfg.Unsettled)),
		jetstream.PullExpiry(natsExpiry), jetstream.PullHeartbeat(natsHeartbeat))
	if err != nil {
		return err
	}
	defer it.Stop()
	quit := make(chan struct{})
	defer close(quit)
	go func() {
		select {
		case <-w.stopped:
			it.Stop()
		case <-quit:
		}
	}()
	var delivered uint64 // the consumer's number of the last delivery
	for silent := 0; ; {
		msg, err := it.Next()
		switch {
		case err == nil:
			silent = 0
		case errors.Is(err, jetstream.ErrMsgIteratorClosed):
			return nil
		case errors.Is(err, jetstream.ErrNoHeartbeat):
			if silent++; silent >= maxSilent {
				return nil
			}
			continue // it asks again by itself
		default:
			return err
		}
		meta, err := msg.Metadata()
		if err != nil {
			return err
		}
		if n := meta.Sequence.Consumer; n > delivered {
			if n != delivered+1 {
				return nil // what came between comes from a new consumer, in order
			}
			delivered = n
		}
		w.backlog.Store(int64(meta.NumPending))
		if !w.takeIn(msg, meta.Sequence.Stream) {
			return nil
		}
	}
}

// takeIn takes a message of the stream in, and emits it. It reports false if
// the worker is to stop, and the message was not taken in.
func (w *natsWorker) takeIn(msg jetstream.Msg, seq uint64) bool {
	n := w.input
	w.mu.Lock()
	before, floor, lease := w.seen[seq], w.floor, w.lease
	w.mu.Unlock()
	switch {
	case before != nil && before.left.Load() > 0:
		_ = msg.InProgress()
		return true
	case before != nil || seq <= floor:
		_ = msg.Ack() // the one before did not arrive
		return true
	}
	h, messages, unknown, err := stream.ParseBatch(msg.Data(), n.cfg.Limits)
	if err != nil {
		n.stage.In(1)
		n.stage.Drop(kagami.Damaged, 1)
		n.tell(fmt.Errorf("message %d of the stream %s: %w", seq, w.key.Stream, err))
		_ = msg.Term()
		w.pass(seq)
		return true
	}
	doubt := seq <= lease.Doubt
	if id, err := broker.ParseID(msg.Headers().Get(broker.HeaderID)); err == nil {
		duplicate, first, missing := w.sessions.note(id, h.Seq, h.Last())
		if duplicate {
			n.counts.duplicate.Add(int64(h.Records))
			_ = msg.Ack()
			w.pass(seq)
			return true
		}
		if missing > 0 {
			n.stage.In(missing)
			n.stage.Drop(kagami.BrokerLimit, missing)
		}
		doubt = doubt || first && msg.Headers().Get(broker.HeaderAgain) != ""
	}
	record := indexes(len(messages))
	if rest, ok := lease.Rest[seq]; ok {
		messages, record = only(messages, rest)
		doubt, unknown = false, 0
	}
	if doubt {
		n.counts.inDoubt.Add(int64(len(messages)))
		if n.cfg.DropInDoubt {
			n.stage.In(len(messages) + unknown)
			n.stage.Drop(kagami.InDoubt, len(messages))
			n.stage.Drop(kagami.UnknownKind, unknown)
			_ = msg.Ack()
			w.pass(seq)
			return true
		}
		for _, m := range messages {
			m.Flags |= kagami.Doubtful
		}
	}
	p := &natsPending{worker: w, msg: msg, total: len(messages), cost: int64(len(msg.Data()) + natsOverhead*len(messages))}
	if !n.memory.acquire(w.stopped, p.cost) {
		return false
	}
	if !w.awaitLease() {
		n.memory.release(p.cost)
		return false
	}
	return w.hand(p, seq, messages, record, unknown, msg.Headers().Get(broker.HeaderAnswers) != "")
}

// natsOverhead is about what a message takes beside its bytes.
const natsOverhead = 256

// awaitLease waits while others might have taken the shard over.
func (w *natsWorker) awaitLease() bool {
	for !w.input.mayEmit() {
		select {
		case <-time.After(w.input.cfg.Beat / 4):
		case <-w.stopped:
			return false
		}
	}
	return !isClosed(w.stopped)
}

// pass notes that a message is done with.
func (w *natsWorker) pass(seq uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen[seq] = &natsPending{worker: w}
}

// hand counts messages in and emits them.
func (w *natsWorker) hand(p *natsPending, seq uint64, messages []*kagami.Message, record []int, unknown int, answers bool) bool {
	n := w.input
	p.left.Store(1)
	w.mu.Lock()
	w.seen[seq] = p
	w.pending++
	w.mu.Unlock()
	n.emitting.Add(int64(len(messages)))
	n.stage.In(len(messages) + unknown)
	if unknown > 0 {
		n.stage.Drop(kagami.UnknownKind, unknown)
	}
	messages, p.record = w.join(messages, record, answers)
	p.left.Add(int32(len(messages)))
	if len(messages) > 0 {
		n.pace.due(messages)
		n.emitting.Add(-int64(len(messages)))
		n.stage.Out(len(messages))
		if err := n.emit(n.emitCtx, kagami.Batch{Messages: messages, Settle: p.settle}); err != nil {
			p.done()
			n.fail(err)
			return false
		}
	}
	p.done()
	return true
}

// join makes answers part of the exchange of their request, and drops those
// whose request is not known.
func (w *natsWorker) join(messages []*kagami.Message, record []int, answers bool) ([]*kagami.Message, []int) {
	n := w.input
	if answers && w.exchanges == nil {
		w.exchanges = &Exchanges{Max: max(1, n.cfg.MaxExchanges/w.key.N), Age: n.cfg.ExchangeAge}
	}
	kept, at := messages[:0], record[:0]
	for i, m := range messages {
		known := m.Kind == kagami.Request
		if w.exchanges != nil {
			known = w.exchanges.Join(m)
		}
		switch {
		case !known:
			n.stage.Drop(kagami.OrphanResponse, 1)
			n.emitting.Add(-1)
		case lose.One("broker"):
			n.emitting.Add(-1)
		default:
			kept, at = append(kept, m), append(at, record[i])
		}
	}
	return kept, at
}

func indexes(n int) []int {
	at := make([]int, n)
	for i := range at {
		at[i] = i
	}
	return at
}

// only returns the messages with these numbers.
func only(messages []*kagami.Message, which []int) (kept []*kagami.Message, at []int) {
	for _, i := range which {
		if i >= 0 && i < len(messages) {
			kept, at = append(kept, messages[i]), append(at, i)
		}
	}
	return kept, at
}
