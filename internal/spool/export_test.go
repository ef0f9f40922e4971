package spool

import "time"

func (s *Spool) Expire(now time.Time) { s.expire(now) }

// Has reports whether the record n is neither done with nor dropped.
func (s *Spool) Has(n uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.isGone(span{n, n})
}
