package capture

import (
	"time"
	"unsafe"

	"kagami"
	"kagami/internal/http1"
)

// A work is what one direction of a connection needs while something in it is
// unfinished: a message whose end has not come, or segments that came early. All
// of them are in one list, the one without progress for longest first.
type work struct {
	conn       *conn
	half       *half
	prev, next *work
	since      int64 // clock at the last progress
	charged    int64 // bytes of the memory budget

	message
	framer http1.Framer

	held      *held // by sequence number, not overlapping
	lastHeld  *held
	heldCount int
	heldBytes int
}

// A message is one that has begun and not ended. It belongs to a work.
type message struct {
	phase   phase
	counted bool // it was counted as begun
	lost    bool // it is dropped, and counted as such once it is counted; framing goes on to find its end
	why     kagami.Reason
	cut     bool // bytes of its body are missing: raw ends where they would be
	answer  bool // a response
	raw     []byte
	wire    int // bytes on the wire so far
	start   time.Time
	end     time.Time
	ack     seqNum // of the segment that held the first byte
	seq     seqNum // of the first byte
	ordinal uint32 // among the connection's requests with that ack
	method  string
	flags   kagami.Flags
	expects bool            // a request that said Expect: 100-continue
	interim bool            // an answer of 1xx: no message of its own
	leaves  bool            // an answer after which the connection is HTTP no more
	to      *await          // the exchange, where answers are captured
	early   *kagami.Message // the answer to a request, complete before the request is
}

type phase uint8

const (
	phaseNone phase = iota
	phaseHead       // bytes were consumed, the head is not whole
	phaseBody       // the head is whole
)

// workSize is what a work counts for in the memory budget.
const workSize = int64(unsafe.Sizeof(work{}))

// A workList is a list of works, oldest since first.
type workList struct {
	first, last *work
	n           int
}

func (l *workList) push(w *work) {
	w.prev, w.next = l.last, nil
	if l.last != nil {
		l.last.next = w
	} else {
		l.first = w
	}
	l.last = w
	l.n++
}

func (l *workList) remove(w *work) {
	if w.prev != nil {
		w.prev.next = w.next
	} else {
		l.first = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	} else {
		l.last = w.prev
	}
	w.prev, w.next = nil, nil
	l.n--
}

// attach gives a half a work, if it has none. A guess has no use of what HTTP/1.x used, nor
// that of what it did: how large the buffers are that it gets must not depend on guesses.
func (a *assembler) attach(c *conn, h *half) *work {
	switch {
	case h.work != nil:
	case c.of != nil:
		a.attachWork(c, h, &work{})
	default:
		w := a.spare
		a.spare = a.newWork()
		a.attachWork(c, h, w)
	}
	return h.work
}

func (a *assembler) attachWork(c *conn, h *half, w *work) {
	h.work, w.half, w.conn = w, h, c
	w.since = a.clock
	a.pending.push(w)
	a.recharge(w)
}

func (a *assembler) newWork() *work {
	w := a.works
	if w == nil {
		return &work{}
	}
	a.works, w.next = w.next, nil
	a.worksFree--
	return w
}

// progress notes that w got a new byte.
func (a *assembler) progress(w *work) {
	if w.since != a.clock {
		w.since = a.clock
		if a.pending.last != w {
			a.pending.remove(w)
			a.pending.push(w)
		}
	}
}

// settle takes the work from a half that has nothing unfinished any more.
func (a *assembler) settle(h *half) {
	w := h.work
	if w == nil || w.phase != phaseNone || w.held != nil {
		return
	}
	guess := w.conn.of != nil
	a.pending.remove(w)
	a.used -= w.charged
	h.work = nil
	*w = work{framer: w.framer}
	w.framer.Reset()
	if !guess && a.worksFree < maxFree {
		w.next, a.works = a.works, w
		a.worksFree++
	}
}

// recharge corrects what w counts for in the memory budget.
func (a *assembler) recharge(w *work) {
	n := workSize + int64(cap(w.raw)) + int64(w.framer.Held()) + int64(w.heldBytes) + int64(w.heldCount)*heldSize
	if w.early != nil {
		n += w.early.Size()
	}
	a.used += n - w.charged
	w.charged = n
}

// maxFree is how many unused structures of a kind are kept for later.
const maxFree = 1024
