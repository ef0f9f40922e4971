package main

import (
	"context"
	"errors"
	"slices"
	"sync"

	"kagami"
	"kagami/output"
	"kagami/replay/compare"
)

// A compareTap stands right before an http output, behind everything that can keep a
// request from it. Production's answers come to it behind their requests, and it
// lets comparing see them, the requests, and what the target answers.
//
// What is seen goes through a queue, so that comparing takes no time of sending.
type compareTap struct {
	output.Output
	of       *comparison
	name     string
	index    int // of the output
	place    int // of comparing, in Exchange.Decide
	compare  *compare.Compare
	queue    *output.Queue // before compare
	stage    *kagami.Stage // of comparing
	baseline *baseline     // nil none
	rows     *comparedRows // nil where there are no results
	next     output.Output // where answers go beside; nil nowhere
	last     context.Context

	showing sync.Mutex // keeps what is put into the queue in order
	failed  unanswered
}

// before returns out with t before it; a nil t changes nothing.
func (t *compareTap) before(ctx context.Context, out output.Output, name string) (output.Output, error) {
	if t == nil {
		return out, nil
	}
	t.Output, t.name = out, name
	cfg := t.of.cfg.Compare.config()
	cfg.Baseline = t.baseline != nil
	cfg.Each = t.verdict
	var err error
	if t.compare, err = compare.New(cfg); err != nil {
		return nil, usagef("--output-http-compare: %w", err)
	}
	full := t.of.onFull(t.index)
	t.queue = output.NewQueue(patient{t.compare}, output.QueueConfig{Index: t.place, OnFull: full})
	t.stage = &kagami.Stage{Name: "compare", Of: name, Unit: kagami.Messages, InFlight: t.inCompare}
	if t.baseline != nil {
		if err := t.baseline.open(ctx, full); err != nil {
			return nil, errors.Join(err, t.queue.Close())
		}
	}
	return t, nil
}

// onFull is what the output with that number does when it is full.
func (c *comparison) onFull(index int) output.OnFull { return queueOnFull(c.cfg.Outputs[index].OnFull) }

// verdict takes note of what comparing an exchange came to.
func (t *compareTap) verdict(v compare.Verdict) {
	t.of.tally.add(&v)
	t.rows.verdict(v)
}

// inCompare is how many messages comparing holds.
func (t *compareTap) inCompare() int64 {
	n := t.queue.InFlight()
	if t.baseline != nil {
		n += t.baseline.answers.InFlight()
	}
	return n
}

// InFlight is what the output holds.
func (t *compareTap) InFlight() int64 { return output.InFlight(t.Output) }

// Write passes the requests on, and shows comparing all of the batch. Answers are settled
// at once: nobody waits for their being compared.
func (t *compareTap) Write(ctx context.Context, b kagami.Batch) error {
	t.last = ctx
	requests, answers := splitKinds(b)
	t.show(ctx, withoutFrames(requests.Messages))
	if len(requests.Messages) > 0 {
		if t.baseline != nil {
			t.baseline.write(ctx, requests.Messages)
		}
		watched := requests
		watched.Settle = func(i int, r kagami.Reason) {
			if m := requests.Messages[i]; r != kagami.Delivered && !m.Follows() {
				t.failed.add(m)
			}
			requests.Done(i, r)
		}
		if err := t.Output.Write(ctx, watched); err != nil {
			answers.DoneAll(kagami.SendError)
			return err
		}
	}
	if len(answers.Messages) > 0 {
		t.showAnswers(ctx, answers)
	}
	return nil
}

// withoutFrames returns the messages that can be compared: frames of WebSockets can't.
func withoutFrames(ms []*kagami.Message) []*kagami.Message {
	isFrame := func(m *kagami.Message) bool { return m.Proto == kagami.WebSocket }
	if slices.ContainsFunc(ms, isFrame) {
		return slices.DeleteFunc(slices.Clone(ms), isFrame)
	}
	return ms
}

// splitKinds returns the requests of a batch, and all else.
func splitKinds(b kagami.Batch) (requests, answers kagami.Batch) {
	of := [2][]int{}
	parts := [2]kagami.Batch{}
	for i, m := range b.Messages {
		k := 0
		if m.Kind != kagami.Request {
			k = 1
		}
		of[k] = append(of[k], i)
		parts[k].Messages = append(parts[k].Messages, m)
	}
	for k := range parts {
		parts[k].Settle = func(i int, r kagami.Reason) { b.Done(of[k][i], r) }
	}
	return parts[0], parts[1]
}

// showAnswers shows comparing production's answers. One whose request has failed in the
// meantime is not shown: of that comparing is told by itself.
func (t *compareTap) showAnswers(ctx context.Context, b kagami.Batch) {
	t.showing.Lock()
	defer t.showing.Unlock()
	// What fails from here on is told behind these answers.
	failed := t.failed.take()
	kept := b.Keep(func(m *kagami.Message) (*kagami.Message, kagami.Reason) {
		switch {
		case m.Proto != kagami.HTTP1 && m.Proto != kagami.HTTP2:
			return nil, kagami.NotReplayable
		case m.Exchange.Fate(t.index) == kagami.Dropped:
			return nil, kagami.RequestDropped
		}
		return m, kagami.Delivered
	})
	t.count(ctx, t.queue, append(failed, kept.Messages...))
	kept.DoneAll(kagami.Delivered)
}

// show shows comparing messages, and to which requests there are no answers.
func (t *compareTap) show(ctx context.Context, ms []*kagami.Message) {
	t.showing.Lock()
	defer t.showing.Unlock()
	t.count(ctx, t.queue, append(t.failed.take(), ms...))
}

// count writes messages to comparing, and keeps its line of the ledger.
func (t *compareTap) count(ctx context.Context, to output.Output, ms []*kagami.Message) {
	if len(ms) == 0 {
		return
	}
	t.stage.In(len(ms))
	// A queue settles everything, and has no error to tell.
	_ = to.Write(ctx, kagami.Batch{Messages: ms, Settle: func(i int, r kagami.Reason) {
		t.stage.Settle(r)
		if m := ms[i]; m.Kind == kagami.Request && r != kagami.Delivered {
			// Its answers are not let in either, so no verdict comes. The row is not there yet.
			t.rows.verdict(compare.Verdict{ID: m.Exchange.ID, Outcome: compare.NotCompared})
		}
	}})
}

// An unanswered is what comparing is to be told of requests that have failed: a message
// without bytes says that there is no answer. It is told with the next that comes, for
// whoever settles a request must not wait.
type unanswered struct {
	mu   sync.Mutex
	told []*kagami.Message
}

// add takes note of a request that has failed.
func (u *unanswered) add(m *kagami.Message) {
	none := &kagami.Message{Kind: kagami.Replayed, Proto: kagami.HTTP1, Hop: m.Hop, Exchange: m.Exchange}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.told = append(u.told, none)
}

// take returns what is to be told, and forgets it.
func (u *unanswered) take() []*kagami.Message {
	u.mu.Lock()
	defer u.mu.Unlock()
	told := u.told
	u.told = nil
	return told
}

// Close closes the output, when it has its answers, and then ends comparing.
func (t *compareTap) Close() error {
	ctx := t.last
	if ctx == nil {
		ctx = context.Background()
	}
	err := t.Output.Close()
	if t.baseline != nil {
		err = errors.Join(err, t.baseline.shutdown(ctx))
	}
	t.show(ctx, nil)
	return errors.Join(err, ignoreCancel(ctx, t.queue.Shutdown(ctx)))
}

// A patient output is written to without a context that ends: a queue's ends with it,
// and what it has handed to comparing may still wait for what another queue has.
type patient struct{ output.Output }

func (p patient) Write(_ context.Context, b kagami.Batch) error {
	return p.Output.Write(context.Background(), b)
}

// InFlight is what the output holds.
func (p patient) InFlight() int64 { return output.InFlight(p.Output) }

// ignoreCancel leaves out that time ran out, which the ledger says message by message.
func ignoreCancel(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
		return nil
	}
	return err
}

// comparedAnswers is where the output behind a tap hands its answers.
type comparedAnswers struct{ tap *compareTap }

func (a comparedAnswers) Write(ctx context.Context, b kagami.Batch) error {
	a.tap.show(ctx, withoutFrames(b.Messages))
	if a.tap.next == nil {
		b.DoneAll(kagami.Delivered)
		return nil
	}
	return a.tap.next.Write(ctx, b)
}

func (comparedAnswers) Close() error { return nil }
