package replay

import (
	"math"
	"sync"
	"time"

	"kagami"
)

// never is when a Pacer has due what is never due.
const never time.Duration = math.MaxInt64

// A clock turns the times of a recording into the times of a replay. It adds
// nothing up but what the recording says, so that it does not drift.
type clock struct {
	base  time.Time     // of the replay; zero before the first message
	first time.Time     // of this round
	start time.Duration // the offset at which this round began
	last  time.Duration // the furthest offset so far
	prev  time.Duration // what the pacer said last
	cut   time.Duration // left out of gaps so far
	count int           // messages so far
	begun int           // count when this round began
	sent  int           // requests so far
	late  int           // messages whose time lies before that of one before
}

// at returns how long after the first message of the replay m is due.
func (c *clock) at(m *kagami.Message, cfg *FilesConfig) time.Duration {
	if c.count == c.begun {
		c.first = m.Start
	}
	offset := c.start + m.Start.Sub(c.first)
	switch {
	case m.Kind == kagami.Replayed: // its time is that of another replay
		offset = c.last
	case offset < c.last:
		c.late++
		offset = c.last
	}
	c.last = offset
	n := c.sent
	if m.Follows() && n > 0 {
		n-- // it belongs to a request before it
	}
	at := max(cfg.Pacer.At(offset, n), c.prev)
	if gap := at - c.prev; cfg.MaxWait > 0 && gap > cfg.MaxWait && at < never {
		c.cut += gap - cfg.MaxWait
	}
	c.prev = at
	c.count++
	if !m.Follows() {
		c.sent++
	}
	if at == never {
		return never
	}
	return at - c.cut
}

// due returns the time of what at returned, by a clock that is asked once.
func (c *clock) due(at time.Duration, cfg *FilesConfig) time.Time {
	if c.base.IsZero() {
		c.base = cfg.Now().Add(cfg.Lead)
	}
	return c.base.Add(at)
}

// again begins another round, a mean gap between messages after the last one:
// so a steady stream goes on steadily. A recording of one moment is repeated
// once a second.
func (c *clock) again() {
	gap := time.Second
	if n := c.count - c.begun - 1; n > 0 && c.last > c.start {
		gap = (c.last - c.start) / time.Duration(n)
	}
	c.start = c.last + gap
	c.last = c.start
	c.begun = c.count
}

// A Progress is how far a replay has come.
type Progress struct {
	// Done and Total are bytes of the files; Done begins again with each round
	// of a loop. What is in a pipe counts in Done alone.
	Done, Total int64
	// Messages is how many were handed on, in all rounds.
	Messages int64
	// Round counts the rounds of a loop, from 1.
	Round int
	// First and Last are when the first and the latest message handed on in this
	// round were recorded; zero before the first.
	First, Last time.Time
}

// progress is a Progress that is kept while others look.
type progress struct {
	mu sync.Mutex
	Progress
}

// Progress returns how far the replay has come. Files are read ahead of what
// is due, so it runs ahead of what was sent. It may be called from any goroutine.
func (f *Files) Progress() Progress {
	f.progress.mu.Lock()
	defer f.progress.mu.Unlock()
	return f.progress.Progress
}

func (p *progress) emitted(batch []*kagami.Message, done int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.First.IsZero() {
		p.First = batch[0].Start
	}
	for _, m := range batch {
		if m.Kind != kagami.Replayed && m.Start.After(p.Last) {
			p.Last = m.Start
		}
	}
	p.Messages += int64(len(batch))
	p.Done = done
}

// round says that a round begins.
func (p *progress) round() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.Round++
	p.Done, p.First, p.Last = 0, time.Time{}, time.Time{}
}

// read says how many bytes have been read at the end of a round.
func (p *progress) read(done int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.Done = done
}
