package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"

	"kagami"
	"kagami/filter"
)

// A Reload is how a process that runs gets a new configuration.
type Reload struct {
	Signals <-chan os.Signal
	Read    func() (Config, error) // the configuration as it is now
	First   Config                 // as it was at the start
}

// reloadWhenAsked reloads at each signal until ctx is done. What is wrong is said, and
// leaves everything as it was.
func (m *mirror) reloadWhenAsked(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.cfg.Reload.Signals:
		}
		next, err := m.cfg.Reload.Read()
		if err == nil {
			err = m.reload(ctx, next)
		}
		if err != nil {
			m.log.Error("the configuration was not reloaded: everything goes on as it was", "error", err)
		}
	}
}

// reload gives batches from now on the filters, shares, limits and outputs of next. Each
// batch has the old ones or the new ones, and none is lost; outputs that are gone
// are drained. An error leaves everything as it was.
func (m *mirror) reload(ctx context.Context, next Config) error {
	plan := planReload(&m.cfg, &m.cfg.Reload.First, &next, m.lines())
	was := m.cfg
	answers := len(m.answers)
	m.cfg.Filters, m.cfg.SafeMethods, m.cfg.Inputs = next.Filters, next.SafeMethods, plan.inputs
	m.cfg.Outputs = nil
	for _, out := range plan.outputs {
		m.cfg.Outputs = append(m.cfg.Outputs, out.cfg)
	}
	opened, t, err := m.prepare(ctx, plan)
	if err != nil {
		m.cfg.Filters, m.cfg.SafeMethods, m.cfg.Inputs, m.cfg.Outputs = was.Filters, was.SafeMethods, was.Inputs, was.Outputs
		m.answers = m.answers[:answers]
		ended, cancel := context.WithCancel(ctx)
		cancel()
		for _, line := range opened {
			err = errors.Join(err, line.shutdown(ended))
		}
		return err
	}
	for _, a := range m.answers[answers:] {
		m.ledger.Add(a.stage)
	}
	gone := m.change(&was, plan, t)
	m.say(plan, opened, gone)
	return nil
}

// prepare makes all that the plan needs: the outputs that are opened, and the treatment.
func (m *mirror) prepare(ctx context.Context, plan reloadPlan) (opened []*outputLine, t *treatment, err error) {
	t = &treatment{era: m.now.era}
	shared, err := m.cfg.sharedFilter()
	if err != nil {
		return nil, nil, err
	}
	for i, in := range plan.inputs {
		chain, err := m.inputFilters(in, shared, m.limits[i])
		if err != nil {
			return nil, nil, err
		}
		t.inputs = append(t.inputs, chain)
	}
	var lines []*outputLine
	for _, out := range plan.outputs {
		line, chain := out.line, filter.Chain(nil)
		if line == nil {
			index, err := m.freeIndex(opened)
			if err == nil {
				line, err = m.openOutput(ctx, out.cfg, index)
			}
			if err != nil {
				return opened, nil, err
			}
			opened = append(opened, line)
			if err := m.checkSelf(line); err != nil {
				return opened, nil, err
			}
		}
		if chain, err = m.filters(out.cfg.Filters, out.cfg.Share, out.cfg.SampleBy, kagami.OutputSide); err != nil {
			return opened, nil, err
		}
		lines = append(lines, line)
		t.outputs = append(t.outputs, outlet{line, chain})
	}
	if !sameLines(lines, t.era.lines) {
		t.era = newEra(lines)
	}
	return opened, t, nil
}

func sameLines(a, b []*outputLine) bool {
	same := len(a) == len(b)
	for _, line := range a {
		same = same && slices.Contains(b, line)
	}
	return same
}

// freeIndex is a number for an output that no exchange on its way knows as another's: the one
// that has been out of use for longest.
func (m *mirror) freeIndex(opened []*outputLine) (int, error) {
	used := map[int]bool{}
	m.leaving = slices.DeleteFunc(m.leaving, func(line *outputLine) bool { return line.ended.Load() })
	for _, line := range slices.Concat(m.lines(), m.leaving, opened) {
		used[line.index] = true
	}
	for range kagami.MaxOutputs - 1 {
		m.lastIndex = (m.lastIndex + 1) % (kagami.MaxOutputs - 1)
		if !used[m.lastIndex] {
			return m.lastIndex, nil
		}
	}
	return 0, fmt.Errorf("more than %d outputs, those being drained included", kagami.MaxOutputs-1)
}

// checkSelf is refuseSelf for an output that is new beside the inputs.
func (m *mirror) checkSelf(line *outputLine) error {
	if line.target == nil {
		return nil
	}
	for i, live := range m.live {
		if err := m.refuseSelf(&m.cfg.Inputs[i].Raw, live, []target{*line.target}); err != nil {
			return err
		}
	}
	return nil
}

// change puts the new treatment in the place of the old one, and returns the outputs that
// are gone from it.
func (m *mirror) change(was *Config, plan reloadPlan, t *treatment) (gone []*outputLine) {
	resampled := map[int][]kernelSample{}
	for i, live := range m.live {
		samples := m.cfg.kernelSamples(m.cfg.Inputs[i])
		if !reflect.DeepEqual(samples, was.kernelSamples(was.Inputs[i])) {
			// What neither the old shares nor the new ones take is known by both only.
			m.resample(live.kernel, nil)
			resampled[i] = samples
		}
	}
	for i, in := range plan.inputs {
		if in.Limit > 0 && in.Limit != was.Inputs[i].Limit {
			m.limits[i].set(in.Limit)
		}
	}
	for _, out := range plan.outputs {
		if out.line != nil && out.cfg.Limit != out.line.cfg.Limit {
			out.line.limit.SetRate(outputRate(out.cfg.Limit))
		}
	}
	before := m.lines()
	m.past = append(m.past, m.replace(t))
	for i, samples := range resampled {
		m.resample(m.live[i].kernel, samples)
	}
	for i, out := range t.outputs {
		out.cfg = plan.outputs[i].cfg
	}
	m.ledger.Rejoin(m.flows)
	m.reloads.Add(1)
	for _, line := range before {
		if !slices.Contains(t.era.lines, line) {
			gone = append(gone, line)
		}
	}
	m.retire(gone)
	return gone
}

func (m *mirror) resample(k *kernelFilter, samples []kernelSample) {
	if err := k.resample(samples); err != nil {
		m.log.Warn("the kernel does not take the samples: more is captured than is needed", "error", err)
	}
}

// retire drains and closes outputs when no batch can come to them any more.
func (m *mirror) retire(gone []*outputLine) {
	m.past = slices.DeleteFunc(m.past, func(t *treatment) bool {
		select {
		case <-t.idle:
			return true
		default:
			return false
		}
	})
	past := slices.Clone(m.past)
	for _, line := range gone {
		m.leaving = append(m.leaving, line)
		m.retiring.Add(1)
		go func() {
			defer m.retiring.Done()
			defer line.ended.Store(true)
			for _, t := range past {
				<-t.idle
			}
			ctx, cancel := context.WithTimeout(context.Background(), m.cfg.DrainTimeout)
			defer cancel()
			if err := line.shutdown(ctx); err != nil && ctx.Err() == nil {
				m.log.Warn("an output that a reload took away ended with an error", "output", line.name, "error", err)
			}
		}()
	}
}

// say logs what came of a reload.
func (m *mirror) say(plan reloadPlan, opened, gone []*outputLine) {
	names := func(lines []*outputLine) []string {
		all := []string{}
		for _, line := range lines {
			all = append(all, line.name)
		}
		return all
	}
	m.log.Info("the configuration is reloaded", "opened", names(opened), "closed", names(gone))
	if len(plan.kept) > 0 {
		m.log.Warn("some of the configuration takes a restart", "kept", strings.Join(plan.kept, "; "))
	}
}
