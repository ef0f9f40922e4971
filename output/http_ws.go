package output

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"kagami"
	"kagami/internal/websocket"
)

const (
	// What waits to be sent on one WebSocket; all together are bounded as a queue is, by
	// default. A frame larger than the bytes is let in where nothing else waits.
	maxSocketFrames = 1024
	maxSocketBytes  = 2 << 20
	// wsRemembered is how many WebSockets that are over are remembered, so that frames which
	// still come for them are settled as theirs.
	wsRemembered = 4096
)

// A wsTable is the WebSockets of an HTTP output. They are known by the Exchange of the
// request that asked for them.
//
// Lock order: httpPool.mu, wsTable.mu. Nothing is settled with mu held.
type wsTable struct {
	h    *HTTP
	wait bool         // a Write waits where there is no room for a frame
	held atomic.Int64 // requests and frames that were taken in and are not settled

	counters wsCounters

	mu       sync.Mutex
	sessions map[*kagami.Exchange]*wsSession
	open     int                // of them, those that are not over
	over     []*kagami.Exchange // the others, oldest first
	frames   int                // that wait
	bytes    int64
	room     chan struct{} // gets a token when a frame waits no longer
	closing  bool
}

func newWSTable(h *HTTP) *wsTable {
	return &wsTable{
		h:        h,
		wait:     h.cfg.OnFull == WaitWhenFull,
		sessions: map[*kagami.Exchange]*wsSession{},
		room:     make(chan struct{}, 1),
	}
}

// splitFrames takes the frames of clients out of a batch.
func splitFrames(b kagami.Batch) (others, frames kagami.Batch) {
	var index [2][]int
	for i, m := range b.Messages {
		if isFrame(m) {
			index[1] = append(index[1], i)
		}
	}
	if len(index[1]) == 0 {
		return b, kagami.Batch{}
	}
	for i, m := range b.Messages {
		if !isFrame(m) {
			index[0] = append(index[0], i)
		}
	}
	return pick(b, index[0]), pick(b, index[1])
}

func isFrame(m *kagami.Message) bool {
	return m.Kind == kagami.Request && m.Proto == kagami.WebSocket
}

// wants reports whether m asks for a WebSocket.
func (t *wsTable) wants(m *kagami.Message) bool {
	return m.Kind == kagami.Request && m.Proto == kagami.HTTP1 && m.Flags&kagami.Ambiguous == 0 && websocket.Asks(m.Raw)
}

// register makes room for the WebSocket of an exchange, so that frames may wait for it.
// It returns false if there are too many.
func (t *wsTable) register(x *kagami.Exchange) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sessions[x] != nil {
		return true // it was there before, and had to wait
	}
	if t.open >= t.h.cfg.WebSockets {
		return false
	}
	t.open++
	t.sessions[x] = newWSSession(t, x)
	return true
}

// start opens the WebSocket that j asks for.
func (t *wsTable) start(j httpJob) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.sessions[j.m.Exchange]
	s.job = j
	t.held.Add(1)
	t.h.wg.Go(s.run)
}

// drop gives up the WebSocket that j asked for, if it did: j was settled as dropped.
func (t *wsTable) drop(j *httpJob) {
	t.mu.Lock()
	s := t.sessions[j.m.Exchange]
	t.mu.Unlock()
	if s != nil {
		s.end(kagami.RequestDropped)
	}
}

// write takes over a batch of frames. Where there is no room it waits, if it may.
func (t *wsTable) write(ctx context.Context, b kagami.Batch) {
	now := time.Now()
	for i, m := range b.Messages {
		j := httpJob{m: m, settle: b.Settle, i: i, ctx: ctx, at: dueAt(m, now)}
		r, full := t.put(&j)
		for full && r == kagami.Delivered {
			select {
			case <-t.room:
				r, full = t.put(&j)
			case <-ctx.Done():
				r = kagami.DrainTimeout
			}
		}
		if r != kagami.Delivered {
			t.h.settle(&j, r)
		}
	}
}

// put has a frame wait to be sent. r is Delivered if it does, or if it is to be put
// again when there is room.
func (t *wsTable) put(j *httpJob) (r kagami.Reason, full bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.sessions[j.m.Exchange]
	if s == nil {
		return kagami.NotReplayable, false
	}
	if s.ended != kagami.Delivered {
		return s.ended, false
	}
	size := j.m.Size()
	if len(s.queue) > 0 && (len(s.queue) >= maxSocketFrames || s.bytes+size > maxSocketBytes) ||
		t.frames > 0 && (t.frames >= maxHeldMessages || t.bytes+size > maxHeldBytes) {
		if t.wait {
			return kagami.Delivered, true
		}
		s.ended = kagami.NoWebSocket // what waits is sent; a part of what comes would be none
		s.wakeUp()
		return kagami.QueueFull, false
	}
	s.queue = append(s.queue, *j)
	s.bytes += size
	t.frames++
	t.bytes += size
	t.held.Add(1)
	s.wakeUp()
	return kagami.Delivered, false
}

// next takes the frame that is to be sent next, if there is one. last says that none
// comes any more, for the reason why.
func (s *wsSession) next() (j httpJob, ok, last bool, why WSEnd) {
	t := s.t
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case len(s.queue) > 0:
	case s.ended != kagami.Delivered:
		return j, false, true, WSError
	default:
		return j, false, t.closing, WSShutdown
	}
	j, s.queue[0] = s.queue[0], httpJob{}
	s.queue = s.queue[1:]
	s.let(1, j.m.Size())
	return j, true, false, 0
}

// let notes that n frames wait no longer. t.mu is held.
func (s *wsSession) let(n int, bytes int64) {
	s.bytes -= bytes
	s.t.frames -= n
	s.t.bytes -= bytes
	select {
	case s.t.room <- struct{}{}:
	default:
	}
}

// end ends the session: frames that wait, and that come, are settled so.
func (s *wsSession) end(r kagami.Reason) {
	t := s.t
	t.mu.Lock()
	queue := s.queue
	s.queue = nil
	if len(queue) > 0 {
		s.let(len(queue), s.bytes)
	}
	s.ended = r
	if !s.over {
		s.over = true
		t.open--
		t.remember(s.exchange)
	}
	t.mu.Unlock()
	for i := range queue {
		t.settle(&queue[i], r)
	}
}

// remember notes that a session is over, and forgets another for it. t.mu is held.
func (t *wsTable) remember(x *kagami.Exchange) {
	if len(t.over) >= wsRemembered {
		delete(t.sessions, t.over[0])
		t.over = t.over[1:]
	}
	t.over = append(t.over, x)
}

// settle ends a job that was taken in.
func (t *wsTable) settle(j *httpJob, r kagami.Reason) {
	t.held.Add(-1)
	t.h.settle(j, r)
}

// close has the sessions end when what waits was sent.
func (t *wsTable) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closing = true
	for _, s := range t.sessions {
		s.wakeUp()
	}
}

// WebSocketStats is what an HTTP output has done with WebSockets.
type WebSocketStats struct {
	// Open is how many there are, those being opened included.
	Open int
	// Accepted, Refused and Failed count the requests for one: answered with a
	// valid 101, with another answer, or not at all.
	Accepted, Refused, Failed uint64
	// Sent and Received count frames, those of our own included: answers to pings, and Close
	// where the recording has none.
	Sent, Received uint64
	// Ended counts those that were open by what ended them.
	Ended [NumWSEnds]uint64
}

// A WSEnd says what ended a WebSocket.
type WSEnd int

// The ends.
const (
	WSRecording WSEnd = iota // the recorded Close frame
	WSTarget                 // the target's Close, or end of the connection, before that
	WSIdle                   // nothing to send for WebSocketIdle
	WSError                  // an error of the connection, or what came is no WebSocket; a frame that can't be sent
	WSShutdown               // the output's end
	NumWSEnds
)

var wsEndNames = [NumWSEnds]string{"recording", "target", "idle", "error", "shutdown"}

// String returns the end's name, as metrics have it.
func (e WSEnd) String() string { return wsEndNames[e] }

type wsCounters struct {
	accepted, refused, failed, sent, received atomic.Uint64
	ended                                     [NumWSEnds]atomic.Uint64
}

// stats reads the counters.
func (t *wsTable) stats() WebSocketStats {
	c := &t.counters
	st := WebSocketStats{Accepted: c.accepted.Load(), Refused: c.refused.Load(), Failed: c.failed.Load(), Sent: c.sent.Load(), Received: c.received.Load()}
	for i := range c.ended {
		st.Ended[i] = c.ended[i].Load()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	st.Open = t.open
	return st
}
