package replay

import (
	"encoding/binary"
	"slices"

	"kagami"
)

// acknowledge closes the account of the oldest batch of x, which is settled: it
// is counted, and may be acknowledged when that is committed.
func (s *State) acknowledge(a *account, last uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := a.session
	x.taken = slices.Delete(x.taken, 0, 1)
	x.acked = last
	for record := range x.marks { // of records that did not come again
		if record <= last {
			delete(x.marks, record)
		}
	}
	tallies := s.tally(a)
	b := appendEntry(s.buf, entryAcked, x.number, last, uint64(len(tallies)))
	for _, t := range tallies {
		b = binary.AppendUvarint(b, uint64(t.place))
		b = binary.AppendUvarint(b, uint64(t.code))
		b = binary.AppendUvarint(b, uint64(t.n))
		s.totals[t.tallyKey] += int64(t.n)
	}
	s.note(b)
}

// A tally is how many there are of something.
type tally struct {
	tallyKey
	n int
}

// tally counts what an account says, at each place that its messages have been to.
func (s *State) tally(a *account) []tally {
	var all []tally
	add := func(place int, code uint8, n int) {
		if n > 0 {
			all = append(all, tally{tallyKey{place, code}, n})
		}
	}
	server := a.session.server
	emitted := len(a.slips)
	for r, n := range a.drops {
		add(server.place, uint8(r), n)
		if r != kagami.UnknownKind { // which has no slip
			emitted -= n
		}
	}
	add(server.place, uint8(kagami.Delivered), emitted)
	passed := emitted - s.tallyColumn(a, 0, server.behind, add)
	add(server.behind, uint8(kagami.Delivered), passed)
	for output, place := range s.outputs {
		s.tallyColumn(a, 1+output, place, add)
	}
	return all
}

// tallyColumn counts the reasons in a column of an account's fates, and returns how many there are.
func (s *State) tallyColumn(a *account, column, place int, add func(place int, code uint8, n int)) (sum int) {
	clear(s.counts[:])
	for i := column; i < len(a.fates); i += a.width {
		if f := a.fates[i]; f.settled() {
			s.counts[f.reason()]++
			sum++
		}
	}
	for code, n := range s.counts {
		add(place, uint8(code), n)
	}
	return sum
}
