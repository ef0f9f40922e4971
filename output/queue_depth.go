package output

import "time"

// A QueueDepth is how full a Queue is.
type QueueDepth struct {
	// Messages and Bytes count against MaxMessages and MaxBytes: what waits, and
	// what the output is being given at the moment.
	Messages, MaxMessages int
	Bytes, MaxBytes       int64
	// Late is for how long the next message has been due. It is 0 where none
	// waits, or the next one has no time to be sent at.
	Late time.Duration
}

// Depth says how full the queue is.
func (q *Queue) Depth() QueueDepth {
	q.mu.Lock()
	defer q.mu.Unlock()
	d := QueueDepth{Messages: q.count, MaxMessages: q.cfg.Messages, Bytes: q.bytes, MaxBytes: q.cfg.Bytes}
	if q.head < len(q.pending) {
		if due := q.pending[q.head].m.Due; !due.IsZero() {
			d.Late = max(time.Since(due), 0)
		}
	}
	return d
}
