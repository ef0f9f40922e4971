package main

import (
	"slices"
	"sync"

	"kagami"
	"kagami/filter"
	"kagami/output"
)

// A treatment is what happens to a batch behind its input: the filters that it
// has to pass, and the outputs that it goes to. A batch has one treatment, from
// start to end; a reload puts another in its place for the batches after it.
type treatment struct {
	inputs  []filter.Filter // of each input; nil keeps everything
	outputs []outlet
	era     *era

	// Of pipeline.mu:
	users    int           // batches that have it
	replaced bool          // no batch will get it any more
	idle     chan struct{} // closed when it is replaced and no batch has it
}

// An outlet is an output and the filter before it.
type outlet struct {
	*outputLine
	filter filter.Filter // nil keeps everything
}

// An era is a time in which the outputs were the same: the ledger compares what was handed
// on in it with what each of its outputs took in.
type era struct {
	lines    []*outputLine
	handed   *kagami.Stage // of what the inputs brought
	answered *kagami.Stage // of answers that http outputs heard
}

func newEra(lines []*outputLine) *era {
	return &era{lines,
		&kagami.Stage{Name: "inputs", Unit: kagami.Messages},
		&kagami.Stage{Name: "all answers", Unit: kagami.Messages}}
}

// first is the treatment that inputs and outputs were opened with.
func (p *pipeline) first() *treatment {
	t := &treatment{era: newEra(slices.Clone(p.outputs)), idle: make(chan struct{})}
	for _, in := range p.inputs {
		t.inputs = append(t.inputs, in.filter)
	}
	for _, out := range p.outputs {
		t.outputs = append(t.outputs, outlet{out, out.filter})
	}
	return t
}

// hold returns the treatment of a batch that comes now. It is to be released.
func (p *pipeline) hold() *treatment {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now.users++
	return p.now
}

func (p *pipeline) release(t *treatment) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t.users--; t.users == 0 && t.replaced {
		close(t.idle)
	}
}

// replace puts a treatment in the place of that which holds, and returns that.
func (p *pipeline) replace(t *treatment) (old *treatment) {
	t.idle = make(chan struct{})
	p.mu.Lock()
	defer p.mu.Unlock()
	old, p.now = p.now, t
	if t.era != old.era {
		p.eras = append(p.eras, t.era)
		p.outputs = t.era.lines
	}
	if old.replaced = true; old.users == 0 {
		close(old.idle)
	}
	return old
}

// lines are the outputs that batches go to now.
func (p *pipeline) lines() []*outputLine {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.outputs)
}

// A tally is an output's line of the ledger. An output that comes back after a reload goes on with its own.
type tally struct {
	stage *kagami.Stage

	mu     sync.Mutex
	queues []*output.Queue // of outputs that are not ended yet
}

func newTally(name string) *tally {
	t := &tally{}
	t.stage = &kagami.Stage{Name: "output", Of: name, Unit: kagami.Messages, InFlight: t.inFlight}
	return t
}

func (t *tally) inFlight() (n int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, q := range t.queues {
		n += q.InFlight()
	}
	return n
}

func (t *tally) begin(q *output.Queue) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.queues = append(t.queues, q)
}

func (t *tally) end(q *output.Queue) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.queues = slices.DeleteFunc(t.queues, func(other *output.Queue) bool { return other == q })
}

// used reports whether an output that is not ended yet counts there.
func (t *tally) used() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.queues) > 0
}

// tallyFor returns the line of the ledger for an output that is being opened, and adds it
// if it is new. All of them are in p.tallies.
func (p *pipeline) tallyFor(name string) *tally {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, t := range p.tallies {
		if t.stage.Of == name && !t.used() {
			return t
		}
	}
	t := newTally(name)
	p.tallies = append(p.tallies, t)
	if p.joined {
		p.ledger.Add(t.stage)
	}
	return t
}

// seriesOf are the names of outputs as the metrics have them, by their line of the ledger.
func (p *pipeline) seriesOf() map[*tally]string {
	p.mu.Lock()
	defer p.mu.Unlock()
	names := make([]string, len(p.tallies))
	for i, t := range p.tallies {
		names[i] = t.stage.Of
	}
	series := map[*tally]string{}
	for i, name := range seriesNames(names) {
		series[p.tallies[i]] = name
	}
	return series
}

// flows tells a ledger how the stages are connected.
func (p *pipeline) flows(l *kagami.Ledger) {
	var filtered, answered, all []*kagami.Stage
	for _, in := range p.inputs {
		stages := in.Stages()
		l.Copy(stages[len(stages)-1:], in.stage)
		filtered = append(filtered, in.stage)
	}
	for _, a := range p.answers {
		answered = append(answered, a.stage)
	}
	for _, t := range p.tallies {
		all = append(all, t.stage)
	}
	if p.looker != nil {
		l.Copy(filtered, p.looker.stage)
	}
	p.spoolFlows(l)
	if p.split {
		l.Split(slices.Concat(filtered, answered), all...)
		return
	}
	var handed, heard []*kagami.Stage
	takes := map[*kagami.Stage][]*kagami.Stage{}
	for _, e := range p.eras {
		handed, heard = append(handed, e.handed), append(heard, e.answered)
		for _, out := range e.lines {
			takes[out.stage] = append(takes[out.stage], e.handed)
			if !out.requests {
				takes[out.stage] = append(takes[out.stage], e.answered)
			}
		}
	}
	l.Split(filtered, handed...)
	l.Split(answered, heard...)
	for _, stage := range all {
		if from := takes[stage]; len(from) > 0 {
			l.Copy(from, stage)
		}
	}
}

// spoolFlows does so behind the outputs: what comes out of one that has spools, what an earlier
// process left in them and what moved from one to another is in the spools.
func (p *pipeline) spoolFlows(l *kagami.Ledger) {
	books, seen := map[*kagami.Stage]spoolBooks{}, map[*outputLine]bool{}
	for _, e := range p.eras {
		for _, out := range e.lines {
			if seen[out] || len(out.spools.spools) == 0 {
				continue
			}
			seen[out] = true
			b := books[out.stage]
			b.carried = append(b.carried, out.spools.carried...)
			b.spools = append(b.spools, out.spools.spools...)
			books[out.stage] = b
		}
	}
	for stage, b := range books {
		l.Split(append([]*kagami.Stage{stage}, b.carried...), b.spools...)
	}
}
