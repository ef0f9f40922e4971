package replay

import (
	"time"

	"kagami"
	"kagami/internal/websocket"
)

// The defaults of an Exchanges.
const (
	DefaultExchanges   = 65536
	DefaultExchangeAge = time.Minute
)

// How many WebSockets are remembered, and for how long after their last message: a client
// may say nothing for long.
const (
	maxWebSockets = 16384
	webSocketAge  = time.Hour
)

// An Exchanges joins what was read to the requests read before it: answers, and the frames
// of WebSockets. Records carry an ID each, and nothing else that tells which belong together.
//
// It is bounded in entries and in age, and so in memory: with the default
// bounds it holds at most about 13 MiB. Age is counted in message time, for a
// recording is read faster or slower than it was made, and because the ids of
// GoReplay come round again on a busy host. The zero value works. It is not for
// use from several goroutines at once.
type Exchanges struct {
	// Max is how many requests are remembered; 0 means DefaultExchanges. The
	// oldest is forgotten for a new one. Up to 16 384 WebSockets come on top.
	Max int
	// Age is how long after its request's first byte an answer may begin; 0
	// means DefaultExchangeAge. A WebSocket is remembered for an hour after its latest message.
	Age time.Duration
	// OnlyWebSockets remembers no other requests: no answers will come.
	OnlyWebSockets bool

	requests, sockets exchangeTable
}

// Join makes m part of the exchange it belongs to. m.Exchange holds a fresh
// Exchange with the ID that was read, and the method if m is a request. A
// request is remembered, in place of an earlier one with the same ID; an answer, or
// a frame, gets the Exchange of its request. Join reports whether the request is known:
// false leaves an answer with its own Exchange, an orphan. A client's frame whose
// WebSocket is not known keeps its own too, and stands for itself: true.
//
// Staging's answers have no age: they bear the time of a replay, which may be long after
// that of the recording.
func (t *Exchanges) Join(m *kagami.Message) (known bool) {
	if m.Kind == kagami.Replayed {
		return t.joinReplayed(m)
	}
	t.requests.forget(m.Start, t.age())
	t.sockets.forget(m.Start, webSocketAge)
	if !m.Follows() {
		t.remember(m)
		return true
	}
	id := m.Exchange.ID
	if r, ok := t.sockets.known[id]; ok && !r.expired(m.Start, webSocketAge) {
		m.Exchange = r.exchange
		if m.Start.After(r.seen) {
			r.seen = m.Start
			t.sockets.known[id] = r
		}
		return true
	}
	if r, ok := t.requests.known[id]; ok && !r.expired(m.Start, t.age()) {
		m.Exchange = r.exchange
		return true
	}
	return m.Kind == kagami.Request
}

func (t *Exchanges) joinReplayed(m *kagami.Message) (known bool) {
	id := m.Exchange.ID
	r, known := t.sockets.known[id]
	if !known {
		r, known = t.requests.known[id]
	}
	if known {
		m.Exchange = r.exchange
	}
	return known
}

func (t *Exchanges) remember(m *kagami.Message) {
	r := remembered{m.Exchange, m.Start}
	switch {
	case m.Proto == kagami.HTTP1 && websocket.Asks(m.Raw):
		t.sockets.remember(r, maxWebSockets)
		return
	case len(t.sockets.known) > 0:
		delete(t.sockets.known, m.Exchange.ID) // ids come round again
	}
	if !t.OnlyWebSockets {
		t.requests.remember(r, t.max())
	}
}

// Len is how many requests are remembered.
func (t *Exchanges) Len() int { return len(t.requests.known) + len(t.sockets.known) }

// Reset forgets everything, as when a recording is read from its start again.
func (t *Exchanges) Reset() {
	t.requests.reset()
	t.sockets.reset()
}

func (t *Exchanges) max() int {
	if t.Max > 0 {
		return t.Max
	}
	return DefaultExchanges
}

func (t *Exchanges) age() time.Duration {
	if t.Age > 0 {
		return t.Age
	}
	return DefaultExchangeAge
}

// remembered is an exchange, and when its request began, or something of it was seen last.
type remembered struct {
	exchange *kagami.Exchange
	seen     time.Time
}

func (r remembered) expired(now time.Time, age time.Duration) bool { return now.Sub(r.seen) > age }

// An exchangeTable is exchanges by ID.
type exchangeTable struct {
	known map[kagami.ID]remembered
	// order is a ring of what was remembered, oldest first: it begins at head and
	// holds held of them. It grows.
	order []*kagami.Exchange
	head  int
	held  int
}

func (t *exchangeTable) reset() {
	clear(t.known)
	clear(t.order)
	t.head, t.held = 0, 0
}

// forget drops from the front of the ring what is too old at now. now is the
// time of the message at hand and not the highest seen, so that one record with
// a time far ahead costs what is remembered and not all that comes after it.
func (t *exchangeTable) forget(now time.Time, age time.Duration) {
	for t.held > 0 {
		x := t.order[t.head]
		if r := t.known[x.ID]; r.exchange == x && !r.expired(now, age) {
			return
		}
		t.forgetOldest()
	}
}

func (t *exchangeTable) forgetOldest() {
	x := t.order[t.head]
	t.order[t.head] = nil
	t.head = (t.head + 1) % len(t.order)
	t.held--
	// A later request with the same id has taken its place in the map.
	if t.known[x.ID].exchange == x {
		delete(t.known, x.ID)
	}
}

func (t *exchangeTable) remember(r remembered, most int) {
	if t.known == nil {
		t.known = make(map[kagami.ID]remembered)
	}
	if t.held >= most {
		t.forgetOldest()
	}
	if t.held == len(t.order) {
		t.grow(most)
	}
	t.order[(t.head+t.held)%len(t.order)] = r.exchange
	t.held++
	t.known[r.exchange.ID] = r
}

func (t *exchangeTable) grow(most int) {
	bigger := make([]*kagami.Exchange, min(max(64, 2*len(t.order)), most))
	n := copy(bigger, t.order[t.head:])
	copy(bigger[n:], t.order[:t.head])
	t.order, t.head = bigger, 0
}
