package main

import (
	"fmt"
	"reflect"
)

// A reloadPlan is what a new configuration comes to beside what runs.
type reloadPlan struct {
	inputs  []InputConfig   // of the inputs that run, with what is new about them
	outputs []plannedOutput // in the order of the new configuration
	kept    []string        // what the new configuration asks for and a reload cannot do
}

// A plannedOutput is one that runs and goes on, or one to be opened.
type plannedOutput struct {
	line *outputLine // nil: it is to be opened
	cfg  OutputConfig
}

// reloaded is c with what a reload changes of an input.
func (c InputConfig) reloaded(by InputConfig) InputConfig {
	c.Filters, c.Share, c.SampleBy, c.Limit, c.Raw.RealIPHeader = by.Filters, by.Share, by.SampleBy, by.Limit, by.Raw.RealIPHeader
	return c
}

// reloaded is c with what a reload changes of an output that goes on.
func (c OutputConfig) reloaded(by OutputConfig) OutputConfig {
	c.Filters, c.Share, c.SampleBy, c.Limit = by.Filters, by.Share, by.SampleBy, by.Limit
	return c
}

// planReload says what has to be done so that what runs, as cur, is as next says, as far
// as that can be while it runs.
func planReload(cur *Config, first, next *Config, lines []*outputLine) reloadPlan {
	var p reloadPlan
	p.processSettings(first, next)
	p.planInputs(cur, next)
	p.planOutputs(cur, next, lines)
	p.answers(first)
	return p
}

// answers notes if outputs would take answers that no input captures.
func (p *reloadPlan) answers(first *Config) {
	eff := *first
	eff.Outputs = nil
	for _, out := range p.outputs {
		eff.Outputs = append(eff.Outputs, out.cfg)
	}
	if first.takesResponses() || !eff.takesResponses() {
		return
	}
	for _, in := range p.inputs {
		if in.Kind == InputRaw && in.Raw.atInterfaces() && in.Raw.responses() {
			p.keep("%s %s goes on without answers, which no output took when it was opened", in.Kind, shown(in.Address))
		}
	}
}

func (p *reloadPlan) keep(format string, args ...any) {
	p.kept = append(p.kept, fmt.Sprintf(format, args...))
}

// processSettings notes which settings of the whole process would be others.
func (p *reloadPlan) processSettings(first, next *Config) {
	c := mirrorCatalog()
	for i := range c.options {
		o := &c.options[i]
		if !o.in(scopeProcess, "") || o.flag == "safe-methods" {
			continue
		}
		if was, is := o.bind(&subject{config: first}).String(), o.bind(&subject{config: next}).String(); was != is {
			p.keep("%s stays %s", o.key, quoteIfOdd(was))
		}
	}
}

// planInputs finds each input that runs in the new configuration.
func (p *reloadPlan) planInputs(cur, next *Config) {
	used := make([]bool, len(next.Inputs))
	find := func(fits func(InputConfig) bool) (InputConfig, bool) {
		for i, in := range next.Inputs {
			if !used[i] && fits(in) {
				used[i] = true
				return in, true
			}
		}
		return InputConfig{}, false
	}
	p.inputs = make([]InputConfig, len(cur.Inputs))
	done := make([]bool, len(cur.Inputs))
	for i, in := range cur.Inputs {
		if by, ok := find(func(n InputConfig) bool {
			return reflect.DeepEqual(in.reloaded(InputConfig{}), n.reloaded(InputConfig{}))
		}); ok {
			p.inputs[i], done[i] = in.reloaded(by), true
		}
	}
	for i, in := range cur.Inputs {
		if done[i] {
			continue
		}
		p.inputs[i] = in
		if by, ok := find(func(n InputConfig) bool { return n.Kind == in.Kind && n.Address == in.Address }); ok {
			p.inputs[i] = in.reloaded(by)
			p.keep("%s %s keeps how it was opened: only its filters, share and limit change", in.Kind, shown(in.Address))
		} else {
			p.keep("%s %s goes on", in.Kind, shown(in.Address))
		}
	}
	for i, in := range next.Inputs {
		if !used[i] {
			p.keep("%s %s is not opened", in.Kind, shown(in.Address))
		}
	}
}

// planOutputs finds the outputs that go on, and those that are to be opened. Lines that are
// in neither are to be closed.
func (p *reloadPlan) planOutputs(cur, next *Config, lines []*outputLine) {
	if cur.SplitOutput || cur.compares() || cur.Results.on() || cur.State.Dir != "" {
		p.keepOutputs(next, lines)
		return
	}
	// Whether a filter sets the Host is what the sender is made for.
	eff := Config{Filters: next.Filters, Inputs: p.inputs}
	used := map[*outputLine]bool{}
	find := func(fits func(*outputLine) bool) *outputLine {
		for _, line := range lines {
			if !used[line] && fits(line) {
				used[line] = true
				return line
			}
		}
		return nil
	}
	p.outputs = make([]plannedOutput, len(next.Outputs))
	for i := range next.Outputs {
		out := &next.Outputs[i]
		p.outputs[i] = plannedOutput{cfg: *out, line: find(func(l *outputLine) bool {
			return !l.broken.Load() && reflect.DeepEqual(l.cfg.reloaded(OutputConfig{}), out.reloaded(OutputConfig{})) &&
				(out.Kind != OutputHTTP || cur.originalHost(&l.cfg) == eff.originalHost(out))
		})}
	}
	for i, out := range next.Outputs {
		if p.outputs[i].line != nil || out.Kind == OutputHTTP || out.Kind == OutputNull {
			continue
		}
		// Two of them at the same place would get in each other's way.
		line := find(func(l *outputLine) bool { return l.cfg.Kind == out.Kind && l.cfg.Address == out.Address })
		if line != nil {
			p.outputs[i] = plannedOutput{line, line.cfg.reloaded(out)}
			p.keep("%s %s keeps how it was opened: only its filters, share and limit change", out.Kind, shown(out.Address))
		}
	}
}

// keepOutputs plans for outputs that are tied to each other: their number and order stay.
func (p *reloadPlan) keepOutputs(next *Config, lines []*outputLine) {
	used := make([]bool, len(next.Outputs))
	for _, line := range lines {
		cfg, found := line.cfg, false
		for i, out := range next.Outputs {
			if !used[i] && reflect.DeepEqual(line.cfg.reloaded(OutputConfig{}), out.reloaded(OutputConfig{})) {
				cfg, used[i], found = out, true, true
				break
			}
		}
		if !found {
			p.keep("%s %s goes on as it is: with --split-output, --state, results or comparing, outputs change with a restart", cfg.Kind, shown(cfg.Address))
		}
		p.outputs = append(p.outputs, plannedOutput{line, cfg})
	}
	for i, out := range next.Outputs {
		if !used[i] {
			p.keep("%s %s is not opened: with --split-output, --state, results or comparing, outputs change with a restart", out.Kind, shown(out.Address))
		}
	}
}
