package replay

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"kagami"
	"kagami/internal/stream"
)

// A session is one run of a listener, over all its connections.
type session struct {
	server    *Server
	key       sessionKey
	window    *budget       // bytes that are not settled
	emitting  sync.Mutex    // held from taking in a batch until it was emitted, which keeps order
	exchanges *Exchanges    // guarded by emitting
	used      uint64        // when it was used last; guarded by Server.mu
	kept      *stateSession // nil without a State

	mu       sync.Mutex
	owner    *serverConn // the connection at hand
	received uint64      // number of the last record taken in
	acked    uint64      // number up to which all is settled
	durable  uint64      // number up to which the state's journal says so too
	pending  []*pendingBatch
}

type sessionKey struct {
	listener string
	epoch    uint64
}

// A pendingBatch is a batch that was taken in and is not acknowledged.
type pendingBatch struct {
	session *session
	last    uint64       // number of its last record
	cost    int64        // what it takes of the budgets
	account *account     // nil without a State
	left    atomic.Int32 // messages that are not settled, and one until it was emitted
	undone  atomic.Bool  // a message was given up because the server ends
}

// settle is the Settle of the batch that is emitted. Whatever the reason, the
// message is done with, unless there was just no time for it.
func (b *pendingBatch) settle(_ int, r kagami.Reason) {
	if r == kagami.DrainTimeout && b.session.server.isStopping() {
		b.undone.Store(true)
	}
	b.settled()
}

func (b *pendingBatch) settled() {
	if b.left.Add(-1) == 0 {
		b.session.acknowledge()
		b.session.release(b.cost)
	}
}

// acknowledge moves acked over all batches that are settled.
func (x *session) acknowledge() {
	x.mu.Lock()
	defer x.mu.Unlock()
	n := 0
	for n < len(x.pending) && x.pending[n].left.Load() == 0 && !x.pending[n].undone.Load() {
		b := x.pending[n]
		if b.account != nil {
			x.server.cfg.State.acknowledge(b.account, b.last)
		}
		x.acked = b.last
		x.pending[n] = nil
		n++
	}
	x.pending = x.pending[n:]
	if n > 0 && x.owner != nil {
		x.owner.wake()
	}
}

// acknowledged returns up to which number the listener may forget all: it is
// settled, and if there is a State, that is journalled.
func (x *session) acknowledged() uint64 {
	x.mu.Lock()
	acked := x.acked
	x.mu.Unlock()
	state := x.server.cfg.State
	journalled := state == nil || state.Commit() == nil
	x.mu.Lock()
	defer x.mu.Unlock()
	if journalled {
		x.durable = max(x.durable, acked)
	}
	return x.durable
}

func (x *session) release(cost int64) {
	x.window.release(cost)
	x.server.memory.release(cost)
}

// has reports whether a batch was taken in before.
func (x *session) has(h *stream.Head) (bool, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if h.Seq <= x.received && h.Last() > x.received {
		return false, fmt.Errorf("batch of the records %d to %d, where those up to %d were sent before", h.Seq, h.Last(), x.received)
	}
	return h.Last() <= x.received, nil
}

// errReplaced is the end of a connection whose listener has another one, and
// errDraining that of one whose server takes in nothing more.
var (
	errReplaced = errors.New("the listener has another connection")
	errDraining = errors.New("the replayer is shutting down")
)

// A sessionTable holds the sessions. It is guarded by Server.mu.
type sessionTable struct {
	known map[sessionKey]*session
	clock uint64
}

// attach makes c the connection of the session that hello names, and returns
// the answer to it. The connection before it, if any, is cut.
func (s *Server) attach(c *serverConn, hello stream.Hello) (*session, stream.Answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := &s.sessions
	key := sessionKey{hello.Listener, hello.Epoch}
	x := t.known[key]
	if x == nil {
		if len(t.known) >= s.cfg.MaxSessions && !t.forget() {
			return nil, refusal(stream.CodeBusy, "the replayer still works for %d listeners, which is its limit", len(t.known))
		}
		x = &session{server: s, key: key, window: newBudget(s.cfg.Window)}
		if err := x.resume(s.cfg.State); err != nil {
			return nil, refusal(stream.CodeBusy, "%v", err)
		}
		x.exchanges = &Exchanges{Max: s.cfg.MaxExchanges, Age: s.cfg.ExchangeAge, OnlyWebSockets: !hello.Responses}
		t.known[key] = x
	}
	t.clock++
	x.used = t.clock
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.received >= hello.Next {
		return nil, refusal(stream.CodeProtocol, "the listener goes on with record %d, and has sent %d before", hello.Next, x.received)
	}
	if x.owner != nil {
		x.owner.cut()
	}
	x.owner = c
	return x, stream.Answer{Received: x.received, Acknowledged: x.durable, Limits: s.cfg.Limits, Features: features}
}

// features are what this server understands.
const features = stream.FeatureZstd | stream.FeatureInDoubt

// resume makes a new session go on where the server before this one ended.
func (x *session) resume(state *State) (err error) {
	if state == nil {
		return nil
	}
	if x.kept, err = state.attach(x.key, x.server); err == nil {
		x.acked = x.kept.acked
		x.received, x.durable = x.acked, x.acked
	}
	return err
}

// detach ends the connection c of x. done says that the listener ended the stream.
func (s *Server) detach(c *serverConn, x *session, done bool) {
	if s.disown(c, x) && done {
		x.rest()
	}
}

// disown reports whether x was c's until now.
func (s *Server) disown(c *serverConn, x *session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.owner != c {
		return false
	}
	x.owner = nil
	return true
}

// rest frees what a session needs only while its listener runs. What the
// listener has sent is remembered: it may keep on disk what it has not heard
// the acknowledgement of.
func (x *session) rest() {
	x.emitting.Lock()
	defer x.emitting.Unlock()
	x.exchanges.Reset()
}

// forget makes room for a session: the one that was not connected for longest
// goes, of those that are and that have something unsettled none.
func (t *sessionTable) forget() bool {
	var oldest *session
	for _, x := range t.known {
		x.mu.Lock()
		idle := x.owner == nil && len(x.pending) == 0
		x.mu.Unlock()
		if idle && (oldest == nil || x.used < oldest.used) {
			oldest = x
		}
	}
	if oldest == nil {
		return false
	}
	delete(t.known, oldest.key)
	if oldest.kept != nil {
		oldest.server.cfg.State.release(oldest.kept)
	}
	return true
}

func refusal(code stream.Code, format string, args ...any) stream.Answer {
	return stream.Answer{Refused: &stream.Refusal{Code: code, Text: fmt.Sprintf(format, args...)}}
}

// isOf reports whether c is the session's connection.
func (x *session) isOf(c *serverConn) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.owner == c
}
