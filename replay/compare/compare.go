package compare

import (
	"context"
	"hash/maphash"
	"io"
	"slices"
	"sync"
	"time"

	"kagami"
)

// A Compare is an Output that compares staging's answers with production's.
//
// It takes the answers of production (Kind Response) and of staging (Kind
// Replayed), in any order, and joins them by exchange. Requests may be written
// to it too, and should be: of each its line and its time are kept, and give the
// endpoint and production's latency. Write, and that of [Compare.Baseline], may
// be called from several goroutines at once.
//
// A Replayed message whose Raw is empty says that there is no answer and will be
// none: an exchange without staging's is finished as
// [kagami.NoStagingResponse] then, without waiting for production's; one
// without the baseline's is compared without it.
//
// A message is settled when its exchange is finished: an answer that was
// compared, or could have been, as delivered; one whose counterpart has not
// come within Config.Timeout as [kagami.NoStagingResponse] or
// [kagami.NoProductionResponse], and one that was given up to stay within
// Config.MaxBytes as [kagami.MemoryLimit]. Requests are settled at once. What is not HTTP,
// such as the frames of a WebSocket, is not taken: [kagami.NotHTTP].
type Compare struct {
	cfg     Config
	rules   *rules
	tally   *tally
	seed    maphash.Seed
	differs sync.Pool

	eachMu sync.Mutex // held while Each is called
	table  table
	work   sync.WaitGroup // what is taken out of the table and not settled yet
	stop   chan struct{}
	ticker sync.WaitGroup
}

// output is what a Compare and its baseline are to whoever writes to them.
type output interface {
	Write(ctx context.Context, b kagami.Batch) error
	io.Closer
}

var (
	_ output = (*Compare)(nil)
	_ output = (*Baseline)(nil)
)

// New returns a Compare, or says what is wrong with its Config. Close frees it.
func New(cfg Config) (*Compare, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	rules, err := newRules(cfg)
	if err != nil {
		return nil, err
	}
	c := &Compare{cfg: cfg, rules: rules, tally: newTally(cfg.Examples), seed: maphash.MakeSeed(), stop: make(chan struct{})}
	c.differs.New = func() any { return &differ{track: track{rules: rules}, seed: c.seed} }
	c.table.byID = map[kagami.ID]*entry{}
	c.table.gone = map[kagami.ID]lost{}
	c.table.max = cfg.MaxBytes
	c.table.wait = [numSides]bool{production: true, staging: true, baseline: cfg.Baseline}
	c.ticker.Go(c.tick)
	return c, nil
}

// tick gives up what is too old where nothing is written any more.
func (c *Compare) tick() {
	t := time.NewTicker(max(min(c.cfg.Timeout/4, time.Second), time.Millisecond))
	defer t.Stop()
	for {
		select {
		case <-t.C:
			c.expire()
		case <-c.stop:
			return
		}
	}
}

// expire gives up what is too old.
func (c *Compare) expire() {
	c.table.mu.Lock()
	done := c.table.expire(c.cfg.Now(), c.cfg.Timeout, nil)
	c.unlock(done)
}

// unlock gives the table's mutex back and finishes what was taken out of it.
func (c *Compare) unlock(done []finished) {
	c.work.Add(len(done))
	c.table.mu.Unlock()
	for _, f := range done {
		c.finish(f)
		c.work.Done()
	}
}

// Write takes requests and answers. It compares those that are complete before
// it returns.
func (c *Compare) Write(ctx context.Context, b kagami.Batch) error { return c.write(ctx, b, staging) }

// write takes a batch whose Replayed messages are of that side.
func (c *Compare) write(ctx context.Context, b kagami.Batch, side int) error {
	c.table.mu.Lock()
	t := &c.table
	if t.closed {
		t.mu.Unlock()
		return errClosed
	}
	now := c.cfg.Now()
	done := t.expire(now, c.cfg.Timeout, nil)
	h := newHold(ctx)
	settle := make([]kagami.Reason, len(b.Messages)) // what is settled at once
	kept := make([]bool, len(b.Messages))
	for i, m := range b.Messages {
		switch {
		case m.Proto != kagami.HTTP1 && m.Proto != kagami.HTTP2:
			settle[i] = kagami.NotHTTP
		case m.Kind == kagami.Request && side == staging:
			done = c.request(m, now, done)
		case m.Kind == kagami.Response && side == staging:
			kept[i], settle[i], done = c.answer(slot{m, b.Settle, i, h}, production, now, done)
		case m.Kind == kagami.Replayed:
			kept[i], settle[i], done = c.answer(slot{m, b.Settle, i, h}, side, now, done)
		default:
			settle[i] = kagami.UnknownKind
		}
	}
	done = t.expire(now, c.cfg.Timeout, done)
	if h != nil && h.left > 0 {
		h.stop = context.AfterFunc(ctx, func() { c.cancel(h) })
	}
	c.unlock(done)
	for i, r := range settle {
		if !kept[i] {
			b.Done(i, r)
		}
	}
	return nil
}

// request keeps what is needed of a request. The table's mutex is held.
func (c *Compare) request(m *kagami.Message, now time.Time, done []finished) []finished {
	e, evict := c.table.find(m.Exchange, func(e *entry) bool { return e.endpoint == "" })
	if evict != nil {
		c.table.giveUp(evict, kagami.MemoryLimit)
		done = append(done, finished{evict, kagami.MemoryLimit})
	}
	e.endpoint, e.start = requestEndpoint(m.Raw), m.Start
	c.table.touch(e, now)
	return done
}

// answer puts an answer into the table and takes its exchange out if it is
// whole. An answer that is too late is not kept. The table's mutex is held.
func (c *Compare) answer(s slot, side int, now time.Time, done []finished) (kept bool, r kagami.Reason, _ []finished) {
	t := &c.table
	if r, late := t.late(s.m.Exchange.ID, side); late {
		c.tally.lateAnswer()
		return false, r, done
	}
	e, evict := t.find(s.m.Exchange, func(e *entry) bool { return e.slots[side].m == nil })
	if evict != nil {
		t.giveUp(evict, kagami.MemoryLimit)
		done = append(done, finished{evict, kagami.MemoryLimit})
	}
	if e.method == "" {
		e.method = s.m.Exchange.Method
	}
	t.put(e, side, s)
	if t.whole(e) {
		t.remove(e)
		return true, 0, append(done, finished{entry: e})
	}
	t.touch(e, now)
	return true, 0, done
}

// cancel gives up what waits of a Write whose context is done.
func (c *Compare) cancel(h *hold) {
	c.table.mu.Lock()
	var done []finished
	for _, e := range slices.Clone(h.entries) {
		if !e.done {
			c.table.giveUp(e, kagami.DrainTimeout)
			done = append(done, finished{e, kagami.DrainTimeout})
		}
	}
	c.unlock(done)
}

// InFlight is how many messages wait for their counterpart.
func (c *Compare) InFlight() int64 {
	c.table.mu.Lock()
	defer c.table.mu.Unlock()
	return c.table.messages
}

// Report says what comparing came to so far. It may be called at any time, after
// Close too.
func (c *Compare) Report() Report { return c.tally.report(c.cfg.Baseline) }

// Close finishes what waits: what is not complete then stays so. It returns when
// all is settled.
func (c *Compare) Close() error {
	c.table.mu.Lock()
	if c.table.closed {
		c.table.mu.Unlock()
		return errClosed
	}
	c.table.closed = true
	close(c.stop)
	var done []finished
	for e := c.table.oldest; e != nil; e = c.table.oldest {
		c.table.remove(e)
		done = append(done, finished{e, kagami.Timeout})
	}
	c.unlock(done)
	c.ticker.Wait()
	c.work.Wait()
	return nil
}

// A Baseline is the Output for the answers (Kind Replayed) of an unchanged copy
// of production's server.
type Baseline struct{ c *Compare }

// Baseline returns where the answers of the unchanged copy are written. It takes
// none unless Config.Baseline is set.
func (c *Compare) Baseline() *Baseline { return &Baseline{c} }

// Write takes answers.
func (b *Baseline) Write(ctx context.Context, batch kagami.Batch) error {
	if !b.c.cfg.Baseline {
		return errNoBaseline
	}
	return b.c.write(ctx, batch, baseline)
}

// Close says that no more answers of the baseline will come: exchanges that wait
// for nothing else are compared without. The Compare stays open.
func (b *Baseline) Close() error {
	t := &b.c.table
	t.mu.Lock()
	t.wait[baseline] = false
	var done []finished
	for e := t.oldest; e != nil; {
		newer := e.newer
		if t.whole(e) {
			t.remove(e)
			done = append(done, finished{entry: e})
		}
		e = newer
	}
	b.c.unlock(done)
	return nil
}
