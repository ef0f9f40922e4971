package compare

import (
	"slices"

	"kagami"
)

// finish compares an exchange that was taken out of the table, as far as it is
// there, and settles its messages.
func (c *Compare) finish(f finished) {
	e := f.entry
	if e.slots[production].m == nil && e.slots[staging].m == nil && e.slots[baseline].m == nil {
		return // a request alone
	}
	p, s := e.answer(production), e.answer(staging)
	name := e.endpoint
	if name == "" {
		name = Endpoint(e.method, "")
	}
	v := Verdict{ID: e.id, Endpoint: name, Outcome: NotCompared}
	reason := kagami.Delivered
	based := false
	if p != nil && s != nil {
		based = c.compare(e, &v)
	} else {
		reason = lacking(f.why, e)
		v.Reason = reason.String()
		c.count(e, &v)
	}
	c.tally.finished(&v, based)
	c.each(v)
	for i, s := range e.slots {
		if s.settle != nil {
			s.settle(s.index, reason)
		}
		e.slots[i] = slot{}
	}
}

// lacking is what an exchange is settled as that has no answer of production, or
// none of staging.
func lacking(why kagami.Reason, e *entry) kagami.Reason {
	switch {
	case e.unanswered():
		return kagami.NoStagingResponse
	case why == kagami.MemoryLimit || why == kagami.DrainTimeout:
		return why
	case e.answer(production) == nil:
		return kagami.NoProductionResponse
	}
	return kagami.NoStagingResponse
}

// count fills in what is known of an exchange that is not compared.
func (c *Compare) count(e *entry, v *Verdict) {
	for side := range e.slots {
		if m := e.answer(side); m != nil {
			v.measure(side, e, m, readAnswer(m, nil))
		}
	}
	ep := c.tally.endpoint(v.Endpoint)
	v.Endpoint = ep.name
	ep.mu.Lock()
	defer ep.mu.Unlock()
	ep.add(c.tally, v)
}

func (c *Compare) each(v Verdict) {
	if c.cfg.Each == nil {
		return
	}
	c.eachMu.Lock()
	defer c.eachMu.Unlock()
	c.cfg.Each(v)
}

// compare compares an exchange that has both answers, and reports whether the
// baseline's was a help.
func (c *Compare) compare(e *entry, v *Verdict) (based bool) {
	d := c.differs.Get().(*differ)
	defer c.differs.Put(d)
	defer d.release()
	var as [numSides]*answer
	for side := range e.slots {
		if m := e.answer(side); m != nil {
			as[side] = readAnswer(m, d.room[side])
			d.room[side] = as[side].fields
			v.measure(side, e, m, as[side])
		}
	}
	p, s, b := as[production], as[staging], as[baseline]
	if !c.rules.nobody && (!p.sameBody(s) || b != nil && !p.sameBody(b)) {
		for _, a := range as {
			if a != nil {
				a.decode(c.cfg.MaxBody)
			}
		}
	}
	ep := c.tally.endpoint(v.Endpoint)
	v.Endpoint = ep.name
	ep.mu.Lock()
	defer ep.mu.Unlock()
	if p.status != 0 && s.status != 0 {
		based = c.learn(ep, d, p, b)
		c.judge(ep, d, p, s, v)
	} else {
		v.Reason = defects(p, s)
	}
	ep.add(c.tally, v)
	return based
}

// learn compares the baseline's answer b, if there is one, with production's.
func (c *Compare) learn(ep *endpoint, d *differ, p, b *answer) bool {
	d.noise, d.status = nil, 0
	if !c.cfg.Baseline {
		return false
	}
	d.noise = &ep.noise
	if b == nil || b.status == 0 {
		return false
	}
	d.learning = true
	whole := d.compare(p, b)
	d.learning = false
	ep.noise.learn(d.found)
	d.status = b.status
	return whole
}

// judge compares staging's answer s with production's.
func (c *Compare) judge(ep *endpoint, d *differ, p, s *answer, v *Verdict) {
	whole := d.compare(p, s)
	if !whole {
		v.Reason = defects(p, s)
	}
	v.Noise, v.Cut = d.masked, d.cut
	switch {
	case len(d.found) > 0:
		v.Outcome = Different
		v.Differences = slices.Clone(d.found)
	case whole:
		v.Outcome = Same
	}
}

// defects says which answer cannot be compared, and why.
func defects(p, s *answer) string {
	switch {
	case p.defect != "":
		return "production-" + p.defect
	case s.defect != "":
		return "staging-" + s.defect
	case p.tooDeep:
		return "production-" + tooLarge
	}
	return "staging-" + tooLarge
}

// measure fills in what is known of one answer.
func (v *Verdict) measure(side int, e *entry, m *kagami.Message, a *answer) {
	out := Answer{Status: a.status, Bytes: max(m.WireLen, len(m.Raw)), Body: len(a.body), Start: m.Start}
	from := m.Start // of a Replayed message: when the request was sent
	if side == production {
		from = e.start
	}
	if !from.IsZero() && m.End.After(from) {
		out.Latency = m.End.Sub(from)
	}
	switch side {
	case production:
		v.Production = out
	case staging:
		v.Staging = out
	case baseline:
		v.Baseline = out
	}
}
