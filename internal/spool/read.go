package spool

import (
	"os"
	"slices"

	"kagami"
	"kagami/internal/stream"
)

// Seek makes Read go on behind the record with the number n, or with the first that is not
// done with if that is later. A batch with such records is read whole.
func (s *Spool) Seek(n uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seek(max(n, s.mark.done))
}

func (s *Spool) seek(n uint64) {
	s.stopReading()
	i := slices.IndexFunc(s.segments, func(g *segment) bool { return g.last > n || g == s.active })
	if i < 0 {
		return
	}
	s.readFrom(s.segments[i])
	for s.expected <= n {
		h, err := s.reading.headAt(s.off, s.expected)
		if err != nil || h.Last() > n {
			return // Read says what is wrong
		}
		s.skip(&h)
	}
}

func (s *Spool) stopReading() {
	if s.reading != nil && s.reading != s.active {
		_ = s.reading.close()
	}
	s.reading = nil
}

func (s *Spool) readFrom(g *segment) { s.reading, s.off, s.expected = g, g.start(), g.first }

func (s *Spool) skip(h *stream.Head) {
	s.off += stream.BatchHead + int64(h.Length)
	s.expected = h.Last() + 1
}

// Read returns the next batch, in the memory of buf where that is large enough. With send it
// notes that the records may have been sent. ok is false if there is none now. What cannot
// be read is dropped as damaged.
func (s *Spool) Read(buf []byte, send bool) (h stream.Head, batch []byte, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.reading != nil {
		g := s.reading
		if s.off >= g.end {
			if !s.nextSegment() {
				return h, nil, false
			}
			continue
		}
		h, err := g.headAt(s.off, s.expected)
		if err != nil {
			lost := span{s.expected, g.last}
			s.off, s.expected = g.end, g.last+1
			s.damaged(g, lost, err)
			continue
		}
		batch, err := g.batchAt(s.off, &h, buf)
		s.skip(&h)
		if err != nil {
			s.damaged(g, span{h.Seq, h.Last()}, err)
			continue
		}
		if s.isGone(span{h.Seq, h.Last()}) {
			continue
		}
		if send && h.Last() > s.mark.sent {
			s.mark.sent = h.Last()
			s.warn(s.writeMark())
		}
		return h, batch, true
	}
	return h, nil, false
}

// nextSegment makes Read go on with the next segment, and reports whether there is one.
func (s *Spool) nextSegment() bool {
	i := slices.Index(s.segments, s.reading) + 1
	if i == len(s.segments) {
		return false
	}
	s.stopReading()
	s.readFrom(s.segments[i])
	return true
}

func (s *Spool) damaged(g *segment, x span, err error) {
	s.warn(&os.PathError{Op: "read spool", Path: g.path, Err: err})
	s.drop(x, kagami.Damaged)
}

// isGone reports whether all records of x were dropped, or are done with.
func (s *Spool) isGone(x span) bool {
	x.first = max(x.first, s.mark.done+1)
	return x.first > x.last || slices.ContainsFunc(s.gone, func(y span) bool { return y.first <= x.first && x.last <= y.last })
}

// Acknowledge settles all records up to n as delivered, and returns how many those are.
func (s *Spool) Acknowledge(n uint64) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n = min(n, s.next-1); n <= s.mark.done {
		return 0
	}
	count := int(s.within(s.mark.done, n))
	s.stage.Out(count)
	s.done(n)
	return count
}

// Drop settles the records from first to last as dropped for a reason, those that are not done with.
// It returns how many those are.
func (s *Spool) Drop(first, last uint64, r kagami.Reason) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.drop(span{first, last}, r)
}

// Left is how many of the records from first to last are neither acknowledged nor dropped.
func (s *Spool) Left(first, last uint64) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int(s.within(max(first-1, s.mark.done), last))
}

// drop is Drop. Where nobody can know whether they arrived, they are in doubt, unless that is what
// the reason is about.
func (s *Spool) drop(x span, r kagami.Reason) int {
	x.first = max(x.first, s.mark.done+1)
	if x.last < x.first {
		return 0
	}
	all := int(s.within(x.first-1, x.last))
	doubt := 0
	if r == kagami.Expired || r == kagami.DrainTimeout {
		doubt = int(s.within(x.first-1, min(x.last, s.mark.sent)))
		s.stage.Drop(kagami.InDoubt, doubt)
	}
	s.stage.Drop(r, all-doubt)
	s.gone = merge(s.gone, x)
	s.done(s.mark.done)
	return all
}

// merge adds x to spans that are in order.
func merge(spans []span, x span) []span {
	i := slices.IndexFunc(spans, func(y span) bool { return y.last+1 >= x.first })
	if i < 0 {
		return append(spans, x)
	}
	j := i
	for j < len(spans) && spans[j].first <= x.last+1 {
		x = span{min(x.first, spans[j].first), max(x.last, spans[j].last)}
		j++
	}
	return slices.Replace(spans, i, j, x)
}

// done notes that the records up to n are done with, and those behind that were dropped, and
// removes the segments that are.
func (s *Spool) done(n uint64) {
	before := s.mark
	for {
		for len(s.gone) > 0 && s.gone[0].first <= n+1 {
			n = max(n, s.gone[0].last)
			s.gone = slices.Delete(s.gone, 0, 1)
		}
		// Between two segments there may be a gap in the numbers.
		i := slices.IndexFunc(s.segments, func(g *segment) bool { return g.last > n })
		if i < 0 || s.segments[i].first <= n+1 || len(s.gone) == 0 || s.gone[0].first > s.segments[i].first {
			break
		}
		n = s.segments[i].first - 1
	}
	if s.mark.done = max(n, s.mark.done); s.mark != before {
		s.warn(s.writeMark())
	}
	for len(s.segments) > 0 && s.segments[0].last <= s.mark.done {
		g := s.segments[0]
		if g == s.active && g.end < s.cfg.SegmentBytes/2 {
			break
		}
		s.forget(g)
	}
}
