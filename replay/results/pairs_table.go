package results

import (
	"time"

	"kagami"
)

// What is known of a pair.
const (
	hasRequest = 1 << iota
	hasProduction
	hasStaging // its answer, or why there is none
)

// A pair is an exchange that is not whole.
type pair struct {
	exchange *kagami.Exchange
	result   Result
	has      uint8
	base     time.Time // when the request was due, or handed to the target; zero where nobody said
	due      time.Time // zero where nobody said
	ended    time.Time // when production's answer ended
	since    time.Time // when it was put into its list
	size     int64

	list       *pairList
	prev, next *pair
}

// pairSize is about what a pair takes beside its texts, its place in the table included.
const pairSize = 640

// maxFreePairs is how many pairs are kept for the next exchanges.
const maxFreePairs = 1024

// A pairList is pairs in the order they came.
type pairList struct{ first, last *pair }

func (l *pairList) push(x *pair, now time.Time) {
	x.list, x.since, x.prev, x.next = l, now, l.last, nil
	if l.last != nil {
		l.last.next = x
	} else {
		l.first = x
	}
	l.last = x
}

func (x *pair) unlink() {
	l := x.list
	if x.prev != nil {
		x.prev.next = x.next
	} else {
		l.first = x.next
	}
	if x.next != nil {
		x.next.prev = x.prev
	} else {
		l.last = x.prev
	}
	x.list, x.prev, x.next = nil, nil, nil
}

// note takes note of a message. p.mu is held, here and below; done is what is to be handed on.
func (p *Pairs) note(done []Result, m *kagami.Message, now time.Time) []Result {
	if m.Proto != kagami.HTTP1 && m.Proto != kagami.HTTP2 {
		return done
	}
	switch m.Kind {
	case kagami.Request:
		done = p.request(done, m, now, false)
	case kagami.Response:
		done = p.response(done, m, now)
	case kagami.Replayed:
		done = p.replayed(done, m, now)
	}
	return p.expire(done, now)
}

// at is the pair of an exchange, which is new if there is none.
func (p *Pairs) at(e *kagami.Exchange, now time.Time) *pair {
	x := p.table[e]
	if x != nil {
		return x
	}
	if p.begun.IsZero() {
		p.begun = now
	}
	if x = p.free; x != nil {
		p.free, x.next = x.next, nil
		p.nfree--
	} else {
		x = new(pair)
	}
	x.exchange, x.size = e, pairSize
	x.result.ID, x.result.Target = e.ID, p.cfg.Target
	p.table[e] = x
	p.bytes += x.size
	p.open.push(x, now)
	return x
}

// request notes a request: watched, on its way to the target now.
func (p *Pairs) request(done []Result, m *kagami.Message, now time.Time, watched bool) []Result {
	if x := p.table[m.Exchange]; x != nil && x.has&hasRequest != 0 {
		if x.has&hasStaging == 0 {
			return done // it is sent again
		}
		done = p.end(done, x)
	}
	x := p.at(m.Exchange, now)
	x.has |= hasRequest
	r := &x.result
	r.Time = m.Start
	method, path := requestOf(m.Raw)
	r.Path, r.Method = path, m.Exchange.Method
	if r.Method == "" {
		r.Method = cut(string(method), maxText)
	}
	r.Endpoint = cut(p.cfg.Endpoint(r.Path), maxText)
	if watched {
		x.base = now
		if !m.Due.IsZero() {
			x.due = m.Due
			if m.Due.Before(now) {
				x.base = m.Due
			}
		}
	}
	p.resize(x, int64(len(r.Method)+len(r.Path)+len(r.Endpoint)))
	if x.has&hasProduction != 0 {
		x.produced()
	}
	return done
}

func (p *Pairs) resize(x *pair, text int64) {
	p.bytes += pairSize + text - x.size
	x.size = pairSize + text
}

// produced works out production's latency from the times of request and answer.
func (x *pair) produced() { x.result.ProductionLatency = max(x.ended.Sub(x.result.Time), 0) }

// response notes production's answer. It may come before its request.
func (p *Pairs) response(done []Result, m *kagami.Message, now time.Time) []Result {
	status := statusOf(m.Raw)
	if status == 0 || p.cfg.NoProduction {
		return done
	}
	p.heard = true
	if p.table[m.Exchange] == nil && p.cfg.Gone != nil && p.cfg.Gone(m.Exchange) {
		return done
	}
	x := p.at(m.Exchange, now)
	x.has |= hasProduction
	x.ended = m.End
	x.result.ProductionStatus, x.result.ProductionBytes = status, wireLen(m)
	if x.has&hasRequest != 0 {
		x.produced()
	}
	if x.has&hasStaging != 0 {
		return p.end(done, x)
	}
	return done
}

// replayed notes staging's answer.
func (p *Pairs) replayed(done []Result, m *kagami.Message, now time.Time) []Result {
	x := p.table[m.Exchange]
	status := statusOf(m.Raw)
	if x == nil || x.has&hasRequest == 0 || x.has&hasStaging != 0 || status == 0 {
		p.orphans++
		return done
	}
	r := &x.result
	r.Outcome, r.Sent = kagami.Delivered, m.Start
	r.StagingStatus, r.StagingBytes = status, wireLen(m)
	if x.base.IsZero() || m.Start.Before(x.base) {
		x.base = m.Start
	}
	r.StagingLatency = max(m.End.Sub(x.base), 0)
	if !x.due.IsZero() {
		r.Scheduled, r.ScheduleLag = true, m.Start.Sub(x.due)
	}
	return p.staged(done, x, now)
}

func wireLen(m *kagami.Message) int64 { return int64(max(m.WireLen, len(m.Raw))) }

// staged moves on a pair of which it is known what staging did.
func (p *Pairs) staged(done []Result, x *pair, now time.Time) []Result {
	x.has |= hasStaging
	if x.has&hasProduction != 0 || p.cfg.NoProduction || !p.heard && now.Sub(p.begun) > p.cfg.Wait {
		return p.end(done, x)
	}
	x.unlink()
	p.answered.push(x, now)
	return done
}

// end hands a pair on.
func (p *Pairs) end(done []Result, x *pair) []Result {
	done = append(done, x.result)
	p.remove(x)
	return done
}

// remove takes a pair out of the table. It may be another's from then on.
func (p *Pairs) remove(x *pair) {
	x.unlink()
	delete(p.table, x.exchange)
	p.bytes -= x.size
	*x = pair{}
	if p.nfree < maxFreePairs {
		x.next, p.free = p.free, x
		p.nfree++
	}
}

// giveUp ends a pair of which it is not known what staging did. Without a request
// there is nothing to say about it.
func (p *Pairs) giveUp(done []Result, x *pair, r kagami.Reason) []Result {
	if x.has&hasRequest == 0 {
		p.remove(x)
		return done
	}
	x.result.Outcome = r
	return p.end(done, x)
}

// expire hands on what has waited for too long, and what does not fit.
func (p *Pairs) expire(done []Result, now time.Time) []Result {
	for x := p.answered.first; x != nil && (now.Sub(x.since) > p.cfg.Wait || p.bytes > p.cfg.Bytes); x = p.answered.first {
		done = p.end(done, x)
	}
	for x := p.open.first; x != nil; x = p.open.first {
		switch {
		case p.bytes > p.cfg.Bytes:
			done = p.giveUp(done, x, kagami.MemoryLimit)
		case now.Sub(x.since) > p.cfg.Age:
			done = p.giveUp(done, x, kagami.NoStagingResponse)
		default:
			return done
		}
	}
	return done
}
