package kagami

// A Batch is a run of messages that travel as one, oldest first.
//
// Whoever is handed a batch settles every message in it exactly once: by
// calling Settle with the message's index and [Delivered], or the Reason it was
// dropped for, or by handing it on to another who does. Settle may be called
// from any goroutine, and after the call that handed over the batch returned;
// it is quick and never blocks. A nil Settle means that nobody is waiting to
// hear: use [Batch.Done].
type Batch struct {
	Messages []*Message
	Settle   func(i int, r Reason)
}

// Done settles the i-th message.
func (b Batch) Done(i int, r Reason) {
	if b.Settle != nil {
		b.Settle(i, r)
	}
}

// DoneAll settles all messages with the same reason.
func (b Batch) DoneAll(r Reason) {
	if b.Settle == nil {
		return
	}
	for i := range b.Messages {
		b.Settle(i, r)
	}
}

// Slice returns the batch of the messages from ≤ index < to, whose settling
// settles those of b.
func (b Batch) Slice(from, to int) Batch {
	s := Batch{Messages: b.Messages[from:to:to]}
	if settle := b.Settle; settle != nil {
		s.Settle = func(i int, r Reason) { settle(from+i, r) }
	}
	return s
}

// Keep asks f about each message in order. It returns the batch of those that
// f returned with Delivered (f may return an edited clone in a message's
// place) and settles the others with the reason that f gave; so one for which f
// returns nil and Delivered is settled as delivered, and goes no further.
func (b Batch) Keep(f func(m *Message) (*Message, Reason)) Batch {
	for i, m := range b.Messages {
		k, r := f(m)
		if r == Delivered && k == m {
			continue
		}
		return b.keepFrom(i, k, r, f)
	}
	return b
}

// keepFrom is Keep from the first message on that does not stay as it is.
func (b Batch) keepFrom(i int, k *Message, r Reason, f func(m *Message) (*Message, Reason)) Batch {
	kept := append(make([]*Message, 0, len(b.Messages)), b.Messages[:i]...)
	index := make([]int32, i, len(b.Messages))
	for j := range index {
		index[j] = int32(j)
	}
	for {
		if r == Delivered && k != nil {
			kept = append(kept, k)
			index = append(index, int32(i))
		} else {
			b.Done(i, r)
		}
		if i++; i == len(b.Messages) {
			break
		}
		k, r = f(b.Messages[i])
	}
	out := Batch{Messages: kept}
	if settle := b.Settle; settle != nil {
		out.Settle = func(i int, r Reason) { settle(int(index[i]), r) }
	}
	return out
}

// Size is the sum of the messages' sizes, in bytes.
func (b Batch) Size() int64 {
	var n int64
	for _, m := range b.Messages {
		n += m.Size()
	}
	return n
}
