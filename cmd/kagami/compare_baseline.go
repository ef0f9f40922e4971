package main

import (
	"context"
	"errors"
	"fmt"

	"kagami"
	"kagami/output"
)

// baselineQueue is how many requests wait for the baseline at most: few, so that its
// answers come about when staging's do.
const baselineQueue = 512

// A baseline is an unchanged copy of production, which gets the requests of a compareTap too.
type baseline struct {
	tap     *compareTap
	mirror  *mirror
	cfg     output.HTTPConfig
	name    string
	queue   *output.Queue // before the http output
	answers *output.Queue // before comparing
	stage   *kagami.Stage

	failed unanswered
}

// newBaseline returns a baseline at url, whose requests are sent as hc says.
func newBaseline(t *compareTap, hc output.HTTPConfig, url string, place int, m *mirror) *baseline {
	b := &baseline{tap: t, mirror: m, cfg: hc}
	b.cfg.URL, b.cfg.Index, b.cfg.Answers = url, place, baselineAnswers{b}
	return b
}

// open makes the output and looks its host up.
func (b *baseline) open(ctx context.Context, full output.OnFull) error {
	log := b.mirror.log
	b.cfg.Notify = func(err error) {
		if err != nil {
			log.Warn("the baseline cannot be reached", "baseline", b.name, "error", hinted(err))
			return
		}
		log.Info("the baseline can be reached again", "baseline", b.name)
	}
	out, err := output.NewHTTP(b.cfg)
	if err != nil {
		return fmt.Errorf("--compare-baseline %w", err)
	}
	if b.name = out.String(); b.name == b.tap.name {
		return errors.Join(usagef("--compare-baseline %s is the target itself, and all that differs would be taken for noise: name an unchanged copy of production", b.name), out.Close())
	}
	if err := out.Check(ctx); err != nil {
		return errors.Join(fmt.Errorf("--compare-baseline %s: %w; check the name, and what resolves names on this host", b.name, err), out.Close())
	}
	b.mirror.baselines = append(b.mirror.baselines, target{b.name, out.Targets, out.Up})
	b.queue = output.NewQueue(out, output.QueueConfig{Index: b.cfg.Index, Messages: baselineQueue, OnFull: full})
	b.answers = output.NewQueue(patient{b.tap.compare.Baseline()}, output.QueueConfig{Index: b.tap.place, OnFull: full})
	b.stage = &kagami.Stage{Name: "baseline", Of: b.name, Unit: kagami.Messages, InFlight: b.queue.InFlight}
	return nil
}

// write sends requests to the baseline.
func (b *baseline) write(ctx context.Context, ms []*kagami.Message) {
	b.stage.In(len(ms))
	// A queue settles everything, and has no error to tell.
	_ = b.queue.Write(ctx, kagami.Batch{Messages: ms, Settle: func(i int, r kagami.Reason) {
		b.stage.Settle(r)
		if r != kagami.Delivered && !ms[i].Follows() {
			b.failed.add(ms[i])
		}
	}})
	b.show(ctx, nil)
}

// show shows comparing answers, and to which requests there are none.
func (b *baseline) show(ctx context.Context, ms []*kagami.Message) {
	b.tap.count(ctx, b.answers, append(b.failed.take(), ms...))
}

// shutdown sends what waits, until ctx ends, and waits for the answers.
func (b *baseline) shutdown(ctx context.Context) error {
	err := ignoreCancel(ctx, b.queue.Shutdown(ctx))
	b.show(ctx, nil)
	return errors.Join(err, ignoreCancel(ctx, b.answers.Shutdown(ctx)))
}

// baselineAnswers is where a baseline hands its answers.
type baselineAnswers struct{ of *baseline }

func (a baselineAnswers) Write(ctx context.Context, b kagami.Batch) error {
	a.of.show(ctx, withoutFrames(b.Messages))
	b.DoneAll(kagami.Delivered)
	return nil
}

func (baselineAnswers) Close() error { return nil }
