package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"kagami"
	"kagami/filter"
	"kagami/internal/lose"
	"kagami/output"
	"kagami/replay"
)

// An input is where messages come from: a capture, a stream server, files.
type input interface {
	// Run hands batches to emit until the input ends (nil), breaks (an error) or
	// ctx is done (nil, after what was taken in has been handed on).
	Run(ctx context.Context, emit func(context.Context, kagami.Batch) error) error
	// Stages are the input's lines of the ledger. What comes out of the last
	// one is what was emitted.
	Stages() []*kagami.Stage
}

// A pipeline joins inputs to outputs: what each input emits passes that
// input's filter, then goes to all outputs (or to one of them, if split), each
// with a filter and a queue of its own. It keeps the ledger.
type pipeline struct {
	ledger  *kagami.Ledger
	inputs  []*inputLine
	outputs []*outputLine
	answers []*answerLine
	looker  *outputLine // nil, or an output that is shown what the inputs bring, and settles for nobody
	split   bool
	state   *replay.State // of stream inputs; nil without one

	splitter splitter // if split

	mu      sync.Mutex // of what a reload changes: all of this, and outputs
	now     *treatment
	eras    []*era
	tallies []*tally
	joined  bool // the ledger has them
}

// An inputLine is an input and the filters right behind it.
type inputLine struct {
	input
	place  int // among the inputs
	name   string
	filter filter.Filter // at the start; nil keeps everything
	stage  *kagami.Stage

	production latencyObserver // of production's answers; nil where nobody asks
}

// An outputLine is an output and what stands before it.
type outputLine struct {
	name     string
	index    int
	filter   filter.Filter // at the start; nil keeps everything
	requests bool          // it takes requests only
	compares bool          // and production's answers, to compare
	queue    *output.Queue
	stage    *kagami.Stage // tally's
	tally    *tally        // nil for the looker

	opened               // what the mirror knows about it
	broken atomic.Bool   // it takes nothing more
	ended  atomic.Bool   // a reload took it away, and it is closed
	state  *replay.State // nil without one
	spools spoolBooks    // behind it
}

// An answerLine is where the answers that an http output hears come back in.
type answerLine struct {
	index int // of the output
	stage *kagami.Stage
}

func newPipeline(role string, split bool) *pipeline {
	return &pipeline{ledger: &kagami.Ledger{Role: role}, split: split}
}

// addInput adds an input and the filter that its requests have to pass.
func (p *pipeline) addInput(name string, in input, f filter.Filter) *inputLine {
	l := &inputLine{input: in, place: len(p.inputs), name: name, filter: f}
	l.stage = &kagami.Stage{Name: "filter", Of: name, Unit: kagami.Messages}
	p.inputs = append(p.inputs, l)
	return l
}

// addOutput adds an output. It owns out from here on.
func (p *pipeline) addOutput(name string, out output.Output, f filter.Filter, requests bool, q output.QueueConfig) (*outputLine, error) {
	if len(p.outputs) == kagami.MaxOutputs {
		return nil, fmt.Errorf("more than %d outputs", kagami.MaxOutputs)
	}
	l := &outputLine{index: len(p.outputs), filter: f, requests: requests}
	p.begin(l, name, out, q)
	p.outputs = append(p.outputs, l)
	return l, nil
}

// begin puts a queue before out, and gives the line its place in the ledger.
func (p *pipeline) begin(l *outputLine, name string, out output.Output, q output.QueueConfig) {
	q.Index = l.index
	l.name, l.queue = name, output.NewQueue(out, q)
	l.tally = p.tallyFor(name)
	l.tally.begin(l.queue)
	l.stage = l.tally.stage
	if l.state = p.state; l.state != nil {
		l.state.Output(l.stage)
	}
	if p.joined {
		l.spools.add(p.ledger)
	}
}

// setLooker sets an output that is shown all that the inputs bring, also where outputs
// are split. It has the last number an output can have, and owns out from here on.
func (p *pipeline) setLooker(name string, out output.Output, q output.QueueConfig) {
	l := &outputLine{name: name, index: kagami.MaxOutputs - 1}
	q.Index = l.index
	l.queue = output.NewQueue(out, q)
	l.stage = &kagami.Stage{Name: "output", Of: name, Unit: kagami.Messages, InFlight: l.queue.InFlight}
	p.looker = l
}

// join gives the ledger all stages, in the order in which messages pass them,
// and tells it how they are connected.
func (p *pipeline) join() {
	for _, in := range p.inputs {
		for _, s := range append(in.Stages(), in.stage) {
			p.ledger.Add(s)
		}
	}
	for _, a := range p.answers {
		p.ledger.Add(a.stage)
	}
	for _, t := range p.tallies {
		p.ledger.Add(t.stage)
	}
	for _, out := range p.outputs {
		out.spools.add(p.ledger)
	}
	if p.looker != nil {
		p.ledger.Add(p.looker.stage)
	}
	p.now, p.joined = p.first(), true
	p.eras = []*era{p.now.era}
	p.flows(p.ledger)
}

// run takes messages from the inputs to the outputs until all inputs have
// ended or ctx is done. One input's error ends them all. When run returns,
// everything emitted is in a queue or settled.
func (p *pipeline) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make([]error, len(p.inputs))
	var wg sync.WaitGroup
	for i, in := range p.inputs {
		wg.Add(1)
		go func() {
			defer wg.Done()
			// Queues stay open until every input has returned, so what an input
			// still emits while it drains is not lost: emit has a context of
			// its own.
			errs[i] = in.Run(ctx, func(ctx context.Context, b kagami.Batch) error { return p.emit(ctx, in, b) })
			if errs[i] != nil {
				cancel()
			}
		}()
	}
	wg.Wait()
	return errors.Join(errs...)
}

// shutdown sends what the queues hold and closes the outputs. When ctx ends
// first, what is left is dropped as drain-timeout. Outputs that other outputs
// hear answers from go first.
func (p *pipeline) shutdown(ctx context.Context) error {
	answering := map[int]bool{}
	for _, a := range p.answers {
		answering[a.index] = true
	}
	err := p.shutdownIf(ctx, func(o *outputLine) bool { return answering[o.index] })
	err = errors.Join(err, p.shutdownIf(ctx, func(o *outputLine) bool { return !answering[o.index] }))
	if p.looker != nil {
		err = errors.Join(err, p.looker.shutdown(ctx))
	}
	return err
}

func (p *pipeline) shutdownIf(ctx context.Context, which func(*outputLine) bool) error {
	lines := p.lines()
	errs := make([]error, len(lines))
	var wg sync.WaitGroup
	for i, out := range lines {
		if which(out) {
			wg.Add(1)
			go func() {
				defer wg.Done()
				errs[i] = out.shutdown(ctx)
			}()
		}
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (o *outputLine) shutdown(ctx context.Context) error {
	err := o.queue.Shutdown(ctx)
	if o.tally != nil {
		o.tally.end(o.queue)
	}
	// That time ran out is in the ledger, message by message.
	if err != nil && !(ctx.Err() != nil && errors.Is(err, context.Canceled)) {
		return fmt.Errorf("%s: %w", o.name, err)
	}
	if broke := o.queue.Err(); broke != nil && !errors.Is(broke, output.ErrMaxSize) {
		return fmt.Errorf("%s: %w", o.name, broke)
	}
	return nil
}

// emit takes one batch of an input through its filter and to the outputs.
func (p *pipeline) emit(ctx context.Context, in *inputLine, b kagami.Batch) error {
	t := p.hold()
	defer p.release(t)
	in.stage.In(len(b.Messages))
	kept := b.Keep(func(m *kagami.Message) (*kagami.Message, kagami.Reason) {
		if lose.One("filter") {
			return nil, kagami.Filtered // and not counted: the ledger must notice
		}
		kept, r := judge(t.inputs[in.place], m, kagami.Shared)
		if r != kagami.Delivered {
			in.stage.Drop(r, 1)
			if p.state != nil {
				p.state.Filtered(m, r)
			}
		}
		return kept, r
	})
	in.stage.Out(len(kept.Messages))
	in.observe(kept.Messages)
	shown := kagami.Batch{Messages: kept.Messages}
	t.era.handed.In(len(kept.Messages))
	err := p.fanOut(ctx, kept, t.outputs)
	t.era.handed.Out(len(shown.Messages))
	if p.looker != nil {
		// Behind the outputs, so that they have decided about each request.
		err = errors.Join(err, p.looker.write(ctx, shown, nil))
	}
	return err
}

// judge applies a filter at one place: to requests, whose fate it then sets,
// while answers, and a client's frames, share the fate of their request.
func judge(f filter.Filter, m *kagami.Message, place int) (*kagami.Message, kagami.Reason) {
	if m.Follows() {
		switch fate := m.Exchange.Fate(place); {
		case fate == kagami.Dropped:
			return nil, kagami.RequestDropped
		case m.Kind != kagami.Request || fate == kagami.Kept:
			return m, kagami.Delivered
		}
		// A frame of a WebSocket whose request was not seen stands for itself.
	}
	if f != nil {
		kept, r := f.Apply(m)
		if r != kagami.Delivered {
			m.Exchange.Decide(place, kagami.Dropped)
			return nil, r
		}
		m = kept
	}
	m.Exchange.Decide(place, kagami.Kept)
	return m, kagami.Delivered
}

// fanOut hands a batch to the outputs: a copy to each, or each exchange to one.
func (p *pipeline) fanOut(ctx context.Context, b kagami.Batch, outputs []outlet) error {
	if len(b.Messages) == 0 {
		return nil
	}
	if p.split {
		return p.fanOutSplit(ctx, b, outputs)
	}
	if len(outputs) == 0 { // answers, where only http outputs are
		b.DoneAll(kagami.Delivered)
		return nil
	}
	b.Settle = settleWhenAll(b, len(outputs))
	var errs []error
	for _, out := range outputs {
		errs = append(errs, out.write(ctx, b, out.filter))
	}
	return errors.Join(errs...)
}

// settleWhenAll returns a Settle for n holders of b: a message is settled when
// all of them have settled it, as delivered if any of them delivered it, else
// with the reason of the last.
func settleWhenAll(b kagami.Batch, n int) func(int, kagami.Reason) {
	settle := b.Settle // alone: what an output has encoded is not to be kept by who waits for it
	if settle == nil || n == 1 {
		return settle
	}
	type state struct{ left, delivered atomic.Int32 }
	states := make([]state, len(b.Messages))
	for i := range states {
		states[i].left.Store(int32(n))
	}
	return func(i int, r kagami.Reason) {
		s := &states[i]
		if r == kagami.Delivered {
			s.delivered.Store(1)
		}
		if s.left.Add(-1) == 0 {
			if s.delivered.Load() == 1 {
				r = kagami.Delivered
			}
			settle(i, r)
		}
	}
}

// write takes a batch through a filter of the output's own into its queue.
func (o *outputLine) write(ctx context.Context, b kagami.Batch, f filter.Filter) error {
	o.stage.In(len(b.Messages))
	settle := b.Settle
	b.Settle = func(i int, r kagami.Reason) {
		o.stage.Settle(r)
		if settle != nil {
			settle(i, r)
		}
	}
	if o.state != nil {
		counted, messages := b.Settle, b.Messages
		b.Settle = func(i int, r kagami.Reason) {
			o.state.Settled(messages[i], o.index, r)
			counted(i, r)
		}
	}
	kept := b.Keep(func(m *kagami.Message) (*kagami.Message, kagami.Reason) { return o.judge(m, f) })
	if len(kept.Messages) == 0 {
		return nil
	}
	return o.queue.Write(ctx, kept)
}

func (o *outputLine) judge(m *kagami.Message, f filter.Filter) (*kagami.Message, kagami.Reason) {
	if o.state != nil {
		if r, known := o.state.Recall(m, o.index); known {
			return o.recalled(m, r)
		}
	}
	if m.Kind != kagami.Request {
		if o.requests && !(o.compares && m.Kind == kagami.Response) {
			return nil, kagami.NotReplayable
		}
		if m.Exchange.Fate(o.index) == kagami.Undecided {
			return nil, kagami.OrphanResponse
		}
	}
	return judge(f, m, o.index)
}

// recalled settles a message as an earlier run has settled it here.
func (o *outputLine) recalled(m *kagami.Message, r kagami.Reason) (*kagami.Message, kagami.Reason) {
	fate := kagami.Kept
	if r != kagami.Delivered {
		fate = kagami.Dropped
	}
	if m.Kind == kagami.Request {
		m.Exchange.Decide(o.index, fate)
	}
	return nil, r
}

// answersTo returns the output through which the answers that the index-th
// output hears come back into the pipeline, and go to every output that takes
// answers.
func (p *pipeline) answersTo(name string, index int) *answerOutput {
	a := &answerLine{index: index, stage: &kagami.Stage{Name: "answers", Of: name, Unit: kagami.Messages}}
	p.answers = append(p.answers, a)
	return &answerOutput{pipeline: p, line: a}
}

type answerOutput struct {
	pipeline *pipeline
	line     *answerLine
}

var _ output.Output = (*answerOutput)(nil)

func (a *answerOutput) Write(ctx context.Context, b kagami.Batch) error {
	a.line.stage.In(len(b.Messages))
	t := a.pipeline.hold()
	defer a.pipeline.release(t)
	var takers []outlet
	for _, out := range t.outputs {
		if !out.requests {
			takers = append(takers, out)
		}
	}
	if a.pipeline.split {
		takers = t.outputs
	}
	a.line.stage.Out(len(b.Messages))
	t.era.answered.In(len(b.Messages))
	defer t.era.answered.Out(len(b.Messages))
	return a.pipeline.fanOut(ctx, b, takers)
}

func (a *answerOutput) Close() error { return nil }
