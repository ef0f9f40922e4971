package results

import (
	"context"
	"sync"
	"time"

	"kagami"
)

// The defaults of a PairsConfig.
const (
	DefaultPairsBytes = 16 << 20
	DefaultWait       = 10 * time.Second
	DefaultAge        = 10 * time.Minute
)

// A PairsConfig says how messages are joined. A zero field is its default.
type PairsConfig struct {
	// Target is the name of the staging target in results.
	Target string
	// Add is given each exchange when it is whole, or when no more is waited for. It is
	// called from any goroutine that calls a method of Pairs.
	Add func(Result)
	// Endpoint makes the template of a path; nil leaves it out of the results.
	Endpoint func(path string) string
	// Bytes is how much memory the exchanges may take that are not whole (16 MiB).
	// Over it those that wait for production's answer alone are handed on without it, and
	// after them the oldest as [kagami.MemoryLimit].
	Bytes int64
	// Wait is how long an exchange waits for production's answer after that of
	// staging (10 s). As long as none has come at all, none waits longer than Wait
	// after the first exchange.
	Wait time.Duration
	// Age is how long an exchange may have no answer from staging (10 min).
	Age time.Duration
	// Gone, if set, reports that a request will not come to the target any more, so
	// that production's answer to it needs no place.
	Gone func(e *kagami.Exchange) bool
	// NoProduction says that production's answers do not come at all.
	NoProduction bool
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// A Pairs joins the messages of one target by exchange, and makes a [Result] of
// each. It holds heads and times, and no body.
//
// There are two ways to use it. Beside an output that sends requests, Watch is
// given each batch on its way there, so that it learns when a request is due and
// what became of it; Note, or Write, is given production's and staging's answers. On
// its own it is an output for requests, responses and replayed messages, as
// they come from a recording; a request without an answer from staging then
// is [kagami.NoStagingResponse].
//
// Messages of one exchange share their [kagami.Exchange]; that is how they are
// known. Its methods may be called from any goroutine.
type Pairs struct {
	cfg PairsConfig

	mu       sync.Mutex
	table    map[*kagami.Exchange]*pair
	open     pairList // no answer from staging yet, oldest first
	answered pairList // waits for production's answer, oldest first
	free     *pair    // what can be used again, by next
	nfree    int
	bytes    int64
	begun    time.Time // when the first exchange came
	heard    bool      // production's answers do come
	orphans  int64
}

// NewPairs returns a Pairs.
func NewPairs(cfg PairsConfig) *Pairs {
	if cfg.Add == nil {
		cfg.Add = func(Result) {}
	}
	if cfg.Endpoint == nil {
		cfg.Endpoint = func(string) string { return "" }
	}
	if cfg.Bytes <= 0 {
		cfg.Bytes = DefaultPairsBytes
	}
	if cfg.Wait <= 0 {
		cfg.Wait = DefaultWait
	}
	if cfg.Age <= 0 {
		cfg.Age = DefaultAge
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Pairs{cfg: cfg, table: map[*kagami.Exchange]*pair{}}
}

// Watch takes note of the requests of a batch that is on its way to the target. The
// batch it returns is to be written there in its place: that tells Pairs what became
// of each.
func (p *Pairs) Watch(b kagami.Batch) kagami.Batch {
	var done []Result
	p.mu.Lock()
	now := p.cfg.Now()
	for _, m := range b.Messages {
		if !m.Follows() {
			done = p.request(done, m, now, true)
		}
	}
	done = p.expire(done, now)
	p.mu.Unlock()
	p.hand(done)
	watched := b
	watched.Settle = func(i int, r kagami.Reason) {
		if m := b.Messages[i]; !m.Follows() {
			p.Settled(m.Exchange, r)
		}
		b.Done(i, r)
	}
	return watched
}

// Settled says what became of a request at the target.
func (p *Pairs) Settled(e *kagami.Exchange, r kagami.Reason) {
	p.mu.Lock()
	now := p.cfg.Now()
	x := p.table[e]
	if x == nil || x.has&hasRequest == 0 || x.has&hasStaging != 0 {
		p.mu.Unlock()
		return // its answer was heard already, or it has been given up
	}
	x.result.Outcome = r
	if x.result.Sent.IsZero() && sent(r) {
		x.result.Sent = x.base
	}
	var one [1]Result
	done := p.staged(one[:0], x, now)
	p.mu.Unlock()
	p.hand(done)
}

// Note takes note of one message.
func (p *Pairs) Note(m *kagami.Message) {
	var one [1]Result // the usual, so that nothing is allocated
	p.mu.Lock()
	done := p.note(one[:0], m, p.cfg.Now())
	p.mu.Unlock()
	p.hand(done)
}

// Write takes note of all messages of a batch, and settles them as delivered.
func (p *Pairs) Write(_ context.Context, b kagami.Batch) error {
	p.mu.Lock()
	now := p.cfg.Now()
	var done []Result
	for _, m := range b.Messages {
		done = p.note(done, m, now)
	}
	p.mu.Unlock()
	p.hand(done)
	b.DoneAll(kagami.Delivered)
	return nil
}

// Tick hands on what has waited long enough. It is to be called about once a second.
func (p *Pairs) Tick() {
	p.mu.Lock()
	done := p.expire(nil, p.cfg.Now())
	p.mu.Unlock()
	p.hand(done)
}

// Close hands on all that is left.
func (p *Pairs) Close() error {
	p.mu.Lock()
	var done []Result
	for p.answered.first != nil {
		done = p.end(done, p.answered.first)
	}
	for p.open.first != nil {
		done = p.giveUp(done, p.open.first, kagami.NoStagingResponse)
	}
	p.mu.Unlock()
	p.hand(done)
	return nil
}

// InFlight is how many exchanges are not whole.
func (p *Pairs) InFlight() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return int64(len(p.table))
}

// Orphans is how many of staging's answers had no request.
func (p *Pairs) Orphans() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.orphans
}

// hand hands results on, without the lock: Add may wait.
func (p *Pairs) hand(done []Result) {
	for i := range done {
		p.cfg.Add(done[i])
	}
}
