package replay

import (
	"time"

	"kagami"
)

// The defaults of an Exchanges.
const (
	DefaultExchanges   = 65536
	DefaultExchangeAge = time.Minute
)

// An Exchanges joins answers that were read to the requests read before them:
// records carry an ID each, and nothing else that tells which belong together.
//
// It is bounded in entries and in age, and so in memory: with the default
// bounds it holds at most about 10 MiB. Age is counted in message time, for a
// recording is read faster or slower than it was made, and because the ids of
// GoReplay come round again on a busy host. The zero value works. It is not for
// use from several goroutines at once.
type Exchanges struct {
	// Max is how many requests are remembered; 0 means DefaultExchanges. The
	// oldest is forgotten for a new one.
	Max int
	// Age is how long after its request's first byte an answer may begin; 0
	// means DefaultExchangeAge.
	Age time.Duration

	known map[kagami.ID]remembered
	// order is a ring of what was remembered, oldest first: it begins at head and
	// holds held of them. It grows up to Max.
	order []remembered
	head  int
	held  int
}

// remembered is an exchange and when its request began.
type remembered struct {
	exchange *kagami.Exchange
	start    time.Time
}

// Join makes m part of the exchange it belongs to. m.Exchange holds a fresh
// Exchange with the ID that was read, and the method if m is a request. A
// request is remembered, in place of an earlier one with the same ID; an answer
// gets the Exchange of its request. Join reports whether the request is known:
// false leaves an answer with its own Exchange, an orphan.
func (t *Exchanges) Join(m *kagami.Message) (known bool) {
	t.forget(m.Start)
	id := m.Exchange.ID
	if m.Kind == kagami.Request {
		t.remember(remembered{m.Exchange, m.Start})
		return true
	}
	r, ok := t.known[id]
	if !ok || t.expired(r, m.Start) {
		return false
	}
	m.Exchange = r.exchange
	return true
}

// Len is how many requests are remembered.
func (t *Exchanges) Len() int { return len(t.known) }

// Reset forgets everything, as when a recording is read from its start again.
func (t *Exchanges) Reset() {
	clear(t.known)
	clear(t.order)
	t.head, t.held = 0, 0
}

func (t *Exchanges) max() int {
	if t.Max > 0 {
		return t.Max
	}
	return DefaultExchanges
}

func (t *Exchanges) expired(r remembered, now time.Time) bool {
	age := t.Age
	if age <= 0 {
		age = DefaultExchangeAge
	}
	return now.Sub(r.start) > age
}

// forget drops from the front of the ring what is too old at now. now is the
// time of the message at hand and not the highest seen, so that one record with
// a time far ahead costs what is remembered and not all that comes after it.
func (t *Exchanges) forget(now time.Time) {
	for t.held > 0 && t.expired(t.order[t.head], now) {
		t.forgetOldest()
	}
}

func (t *Exchanges) forgetOldest() {
	r := t.order[t.head]
	t.order[t.head] = remembered{}
	t.head = (t.head + 1) % len(t.order)
	t.held--
	// A later request with the same id has taken its place in the map.
	if t.known[r.exchange.ID].exchange == r.exchange {
		delete(t.known, r.exchange.ID)
	}
}

func (t *Exchanges) remember(r remembered) {
	if t.known == nil {
		t.known = make(map[kagami.ID]remembered)
	}
	if t.held >= t.max() {
		t.forgetOldest()
	}
	if t.held == len(t.order) {
		t.grow()
	}
	t.order[(t.head+t.held)%len(t.order)] = r
	t.held++
	t.known[r.exchange.ID] = r
}

func (t *Exchanges) grow() {
	bigger := make([]remembered, min(max(64, 2*len(t.order)), t.max()))
	n := copy(bigger, t.order[t.head:])
	copy(bigger[n:], t.order[:t.head])
	t.order, t.head = bigger, 0
}
