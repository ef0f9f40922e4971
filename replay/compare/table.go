package compare

import (
	"context"
	"sync"
	"time"

	"kagami"
)

// The sides of an exchange.
const (
	production = iota
	staging
	baseline
	numSides
)

const (
	// entryOverhead is about what an exchange in the table takes beside its
	// messages, in bytes.
	entryOverhead = 512
	// maxChain is how many exchanges with one ID may wait at once: a recording
	// played in a loop has each ID many times.
	maxChain = 16
	// maxGone is how many exchanges that were given up are remembered, so that
	// their late answers are known for that.
	maxGone = 8192
)

// An entry is an exchange that waits for an answer.
type entry struct {
	id       kagami.ID
	method   string
	endpoint string    // "" where the request was not seen
	start    time.Time // of the request
	slots    [numSides]slot
	since    time.Time // when the last message of it came
	bytes    int64
	done     bool

	newer, older *entry // by since
	next         *entry // with the same ID
}

// A slot holds an answer and who is to be told what became of it.
type slot struct {
	m      *kagami.Message
	settle func(i int, r kagami.Reason) // may be nil
	index  int
	hold   *hold
}

// A hold is what waits of the messages of one Write whose context can end.
type hold struct {
	entries []*entry
	left    int
	stop    func() bool
}

// A table joins the messages of exchanges. It is bounded in bytes and in time.
type table struct {
	mu       sync.Mutex
	byID     map[kagami.ID]*entry
	oldest   *entry
	newest   *entry
	bytes    int64
	messages int64
	closed   bool

	wait  [numSides]bool // what makes an exchange whole
	max   int64
	gone  map[kagami.ID]lost
	order []kagami.ID // of gone, a ring
	at    int
}

// A lost says what an exchange that was given up still lacked, and the reason.
type lost struct {
	lacks  [numSides]bool
	reason kagami.Reason
}

// find returns the first exchange with the ID for which free says that the
// message is not there yet, or a new one. It returns one to give up first where
// too many have the same ID.
func (t *table) find(ex *kagami.Exchange, free func(*entry) bool) (e, evict *entry) {
	n := 0
	var last *entry
	for e = t.byID[ex.ID]; e != nil; e = e.next {
		if free(e) {
			return e, nil
		}
		last = e
		n++
	}
	e = &entry{id: ex.ID, method: ex.Method, bytes: entryOverhead}
	t.bytes += e.bytes
	if last == nil {
		t.byID[ex.ID] = e
	} else {
		last.next = e
	}
	if n >= maxChain {
		evict = t.byID[ex.ID]
	}
	return e, evict
}

// touch makes e the newest.
func (t *table) touch(e *entry, now time.Time) {
	t.unlink(e)
	e.since = now
	e.older = t.newest
	if t.newest != nil {
		t.newest.newer = e
	} else {
		t.oldest = e
	}
	t.newest = e
}

// unlink takes e out of the order, if it is in it.
func (t *table) unlink(e *entry) {
	if e.older != nil {
		e.older.newer = e.newer
	} else if t.oldest == e {
		t.oldest = e.newer
	}
	if e.newer != nil {
		e.newer.older = e.older
	} else if t.newest == e {
		t.newest = e.older
	}
	e.older, e.newer = nil, nil
}

// put puts an answer into e.
func (t *table) put(e *entry, side int, s slot) {
	e.slots[side] = s
	e.bytes += s.m.Size()
	t.bytes += s.m.Size()
	t.messages++
	if s.hold != nil {
		s.hold.entries = append(s.hold.entries, e)
		s.hold.left++
	}
}

// whole reports whether e waits for nothing more: where it is known that staging has no
// answer, production's is not waited for.
func (t *table) whole(e *entry) bool {
	for side, needed := range t.wait {
		if needed && e.slots[side].m == nil && !(side == production && e.unanswered()) {
			return false
		}
	}
	return true
}

// answer is the answer of that side, nil where there is none.
func (e *entry) answer(side int) *kagami.Message {
	if m := e.slots[side].m; m != nil && len(m.Raw) > 0 {
		return m
	}
	return nil
}

// unanswered reports whether it is known that staging has no answer.
func (e *entry) unanswered() bool { return e.slots[staging].m != nil && e.answer(staging) == nil }

// remove takes e out of the table. Whoever does so settles what it holds.
func (t *table) remove(e *entry) {
	e.done = true
	t.unlink(e)
	t.bytes -= e.bytes
	if first := t.byID[e.id]; first == e {
		if e.next == nil {
			delete(t.byID, e.id)
		} else {
			t.byID[e.id] = e.next
		}
	} else {
		for ; first != nil; first = first.next {
			if first.next == e {
				first.next = e.next
				break
			}
		}
	}
	e.next = nil
	for side := range e.slots {
		s := &e.slots[side]
		if s.m == nil {
			continue
		}
		t.messages--
		if h := s.hold; h != nil {
			s.hold = nil
			if h.left--; h.left == 0 && h.stop != nil {
				h.stop()
				h.entries = nil
			}
		}
	}
}

// giveUp takes e out and remembers what it lacked.
func (t *table) giveUp(e *entry, r kagami.Reason) {
	t.remove(e)
	l := lost{reason: r}
	held := false
	for side, needed := range t.wait {
		l.lacks[side] = needed && e.slots[side].m == nil
		held = held || e.slots[side].m != nil
	}
	if !held {
		return
	}
	if len(t.order) < maxGone {
		t.order = append(t.order, e.id)
	} else {
		delete(t.gone, t.order[t.at])
		t.order[t.at] = e.id
		t.at = (t.at + 1) % maxGone
	}
	t.gone[e.id] = l
}

// late reports whether an answer belongs to an exchange that was given up, and
// why that was.
func (t *table) late(id kagami.ID, side int) (kagami.Reason, bool) {
	l, ok := t.gone[id]
	if !ok || !l.lacks[side] || t.byID[id] != nil {
		return 0, false
	}
	l.lacks[side] = false
	t.gone[id] = l
	return l.reason, true
}

// expire takes out what is too old at now, or too much.
func (t *table) expire(now time.Time, timeout time.Duration, done []finished) []finished {
	for e := t.oldest; e != nil; e = t.oldest {
		var r kagami.Reason
		switch {
		case now.Sub(e.since) >= timeout:
			r = kagami.Timeout
		case t.bytes > t.max:
			r = kagami.MemoryLimit
		default:
			return done
		}
		t.giveUp(e, r)
		done = append(done, finished{e, r})
	}
	return done
}

// A finished is an exchange that was taken out of the table: with Delivered
// because it is whole, else because of the reason.
type finished struct {
	*entry
	why kagami.Reason
}

// newHold returns what ends the waiting of a Write's messages when its context
// ends, nil where it cannot.
func newHold(ctx context.Context) *hold {
	if ctx.Done() == nil {
		return nil
	}
	return &hold{}
}
