package output

import (
	"fmt"
	"time"

	"kagami"
	"kagami/internal/stream"
)

// awayFor is for how long there has been no stream to the replayer, 0 while there is one.
func (t *TCP) awayFor() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.away.IsZero() {
		return 0
	}
	return max(1, time.Since(t.away))
}

// knowsDoubt reports whether the replayer knows what to do with messages that may have been delivered.
func (t *TCP) knowsDoubt() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.features.Has(stream.FeatureInDoubt)
}

// handOver gives the oldest batch that is not acknowledged to another, with whether bytes of it were sent. It
// does so only while there is no connection. It returns false if there was nothing to give.
func (t *TCP) handOver(give func(b kagami.Batch, sent bool) error) bool {
	if !t.linked.TryLock() {
		return false
	}
	defer t.linked.Unlock()
	return t.store.handOver(give)
}

// unpack returns the messages of a batch as they were given to its sender.
func unpack(wire []byte) ([]*kagami.Message, error) {
	h, messages, unknown, err := stream.ParseBatch(wire, stream.Limits{})
	if err == nil && unknown > 0 {
		err = fmt.Errorf("%d records of an unknown kind", unknown)
	}
	for _, m := range messages {
		m.Hop = h.Hop
	}
	return messages, err
}

func (w *tcpWindow) handOver(give func(b kagami.Batch, sent bool) error) bool {
	w.mu.Lock()
	if len(w.batches) == 0 {
		w.mu.Unlock()
		return false
	}
	e := w.batches[0]
	if e.wire == nil {
		e.wire = e.builder.Finish(e.first)
	}
	w.batches, w.next = w.batches[1:], max(0, w.next-1)
	w.writing = e // or its memory would be used again
	w.remove(e)
	w.changed()
	w.mu.Unlock()
	defer w.wrote()
	settle := e.each()
	messages, err := unpack(e.wire)
	if err != nil || len(messages) != len(settle) {
		e.settle(kagami.Damaged)
		return true
	}
	for _, m := range messages {
		m.Raw = append([]byte(nil), m.Raw...) // the memory of e will be used again
	}
	_ = give(kagami.Batch{Messages: messages, Settle: func(i int, r kagami.Reason) { settle[i](r) }}, e.touched)
	return true
}

// each returns what settles the messages of the batch, one by one.
func (e *tcpBatch) each() []func(kagami.Reason) {
	all := make([]func(kagami.Reason), 0, e.messages())
	for _, p := range e.parts {
		for i := range p.n {
			all = append(all, func(r kagami.Reason) {
				if p.write.settle != nil {
					p.write.settle(p.from+i, r)
				}
			})
		}
	}
	return all
}

func (w *tcpWindow) hasRoom() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.bytes < w.maxBytes/2 && len(w.batches) < w.maxCount/2
}

// handOver adds the batch there before it drops it here: where the process dies between, it is in both.
func (w *tcpSpool) handOver(give func(b kagami.Batch, sent bool) error) bool {
	w.mu.Lock()
	if !w.moving {
		w.moving = true
		w.spool.Seek(0)
	}
	w.mu.Unlock()
	sent := w.spool.Sent()
	h, batch, ok := w.spool.Read(nil, false)
	if !ok {
		return false
	}
	messages, err := unpack(batch)
	if err != nil {
		w.spool.Drop(h.Seq, h.Last(), kagami.Damaged)
		return true
	}
	// Some of the batch may be acknowledged.
	messages = messages[len(messages)-w.spool.Left(h.Seq, h.Last()):]
	_ = give(kagami.Batch{Messages: messages}, h.Seq <= sent)
	w.spool.Drop(h.Seq, h.Last(), kagami.FailedOver)
	poke(w.room)
	return true
}

func (w *tcpSpool) hasRoom() bool { return w.spool.Bytes() < w.spool.Limit()/2 }
