package replay

import (
	"encoding/binary"
	"errors"
	"fmt"

	"kagami"
	"kagami/internal/stream"
)

// A frame of the journal is entries: a byte that says what it is, and uvarints.
// docs/format.md specifies them.
const (
	entryPlace   = 1 // place, length, name
	entryReason  = 2 // code, length, name
	entrySession = 3 // session, epoch, acknowledged, length, listener
	entryForget  = 4 // session
	entryTotal   = 5 // place, code, count
	entryReady   = 6 // the file has all that came before it
	entrySending = 7 // session, place, record
	entrySettled = 8 // session, place, record, code
	entryUnsent  = 9 // session, place, record
	entryAcked   = 10
	// entryAcked: session, record, number of tallies, for each place, code and count
)

const (
	maxPlaceName  = 4096
	maxPlaces     = 4096
	maxMarks      = 1 << 20 // messages that were begun and not acknowledged
	maxTallies    = 1 << 16
	maxEntryValue = 1 << 62
)

func appendEntry(b []byte, entry byte, values ...uint64) []byte {
	b = append(b, entry)
	for _, v := range values {
		b = binary.AppendUvarint(b, v)
	}
	return b
}

func appendName(b []byte, name string) []byte {
	b = binary.AppendUvarint(b, uint64(len(name)))
	return append(b, name...)
}

func appendPlace(b []byte, place int, name string) []byte {
	name = name[:min(len(name), maxPlaceName)]
	return appendName(appendEntry(b, entryPlace, uint64(place)), name)
}

func appendReason(b []byte, r kagami.Reason) []byte {
	return appendName(appendEntry(b, entryReason, uint64(r)), r.String())
}

func appendSession(b []byte, x *stateSession) []byte {
	b = appendEntry(b, entrySession, x.number, x.key.epoch, x.acked)
	return appendName(b, x.key.listener)
}

// appendFate appends what became of a record at a place.
func appendFate(b []byte, x *stateSession, record uint64, f fateAt) []byte {
	if f.fate == fateSending || f.fate == fateDoubtful {
		return appendEntry(b, entrySending, x.number, uint64(f.place), record)
	}
	return appendEntry(b, entrySettled, x.number, uint64(f.place), record, uint64(f.fate.reason()))
}

// errEntry is a frame whose CRC-32C is right, and that makes no sense: no crash
// leaves one.
var errEntry = errors.New("an entry that makes no sense")

// An entryReader takes entries apart. Its error stays.
type entryReader struct {
	b   []byte
	err error
}

func (r *entryReader) fail() uint64 {
	r.b, r.err = nil, errEntry
	return 0
}

func (r *entryReader) byte() byte {
	if len(r.b) == 0 {
		return byte(r.fail())
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

// any reads a value of 64 bits.
func (r *entryReader) any() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		return r.fail()
	}
	r.b = r.b[n:]
	return v
}

// below reads a value that is less than limit.
func (r *entryReader) below(limit uint64) uint64 {
	if v := r.any(); v < limit {
		return v
	}
	return r.fail()
}

func (r *entryReader) name(limit int) string {
	n := int(r.below(uint64(limit) + 1))
	if n > len(r.b) {
		r.fail()
		return ""
	}
	v := string(r.b[:n])
	r.b = r.b[n:]
	return v
}

// A stateLoader builds a state from the frames of a file.
type stateLoader struct {
	s       *State
	ready   bool
	reasons [256]kagami.Reason
	known   [256]bool
	byNo    map[uint64]*stateSession
	marks   int
	prune   int // with so many marks, look for those that do not matter any more
}

func newStateLoader(s *State) *stateLoader {
	return &stateLoader{s: s, byNo: map[uint64]*stateSession{}, prune: 4096}
}

// frame takes the entries of a frame.
func (l *stateLoader) frame(payload []byte) error {
	r := &entryReader{b: payload}
	for len(r.b) > 0 {
		if err := l.entry(r); err != nil {
			return err
		}
		if r.err != nil {
			return r.err
		}
	}
	return nil
}

func (l *stateLoader) entry(r *entryReader) error {
	switch entry := r.byte(); entry {
	case entryPlace:
		return l.place(int(r.below(maxPlaces)), r.name(maxPlaceName), r)
	case entryReason:
		return l.reason(uint8(r.below(256)), r.name(maxPlaceName), r)
	case entrySession:
		return l.session(r)
	case entryForget:
		l.forget(r.any())
	case entryTotal:
		place, code, n := l.placeOf(r), l.code(r), r.below(maxEntryValue)
		if r.err == nil {
			l.s.totals[tallyKey{place, code}] += int64(n)
		}
	case entryReady:
		l.ready = true
	case entrySending, entryUnsent, entrySettled:
		return l.mark(entry, r)
	case entryAcked:
		l.acked(r)
	default:
		return fmt.Errorf("entry of type %d: was it written by a newer version of kagami?", entry)
	}
	return nil
}

func (l *stateLoader) place(place int, name string, r *entryReader) error {
	if r.err != nil {
		return r.err
	}
	if place != len(l.s.places) {
		return errEntry
	}
	l.s.places = append(l.s.places, name)
	return nil
}

func (l *stateLoader) reason(code uint8, name string, r *entryReader) error {
	if r.err != nil {
		return r.err
	}
	reason, err := kagami.ParseReason(name)
	if err != nil {
		return fmt.Errorf("%w: was it written by a newer version of kagami?", err)
	}
	l.reasons[code], l.known[code] = reason, true
	return nil
}

// code reads a code, and returns what it means in this version.
func (l *stateLoader) code(r *entryReader) uint8 {
	code := uint8(r.below(256))
	if code == tallyResent {
		return code
	}
	if !l.known[code] {
		return uint8(r.fail())
	}
	return uint8(l.reasons[code])
}

func (l *stateLoader) placeOf(r *entryReader) int { return int(r.below(uint64(len(l.s.places)))) }

func (l *stateLoader) session(r *entryReader) error {
	number, epoch, acked := r.below(maxEntryValue), r.any(), r.any()
	x := &stateSession{number: number, used: number, acked: acked, marks: map[uint64][]fateAt{}}
	x.key = sessionKey{r.name(stream.MaxListener), epoch}
	if r.err != nil {
		return r.err
	}
	if l.byNo[number] != nil || l.s.sessions[x.key] != nil || len(l.byNo) >= 2*stateSessions {
		return errEntry
	}
	l.byNo[number], l.s.sessions[x.key] = x, x
	l.s.last = max(l.s.last, number)
	return nil
}

func (l *stateLoader) forget(number uint64) {
	if x := l.byNo[number]; x != nil {
		l.marks -= len(x.marks)
		delete(l.byNo, number)
		delete(l.s.sessions, x.key)
	}
}

// mark notes what became of a record. Of a session that was forgotten it does
// not matter.
func (l *stateLoader) mark(entry byte, r *entryReader) error {
	number, place, record := r.any(), l.placeOf(r), r.any()
	f := fateAt{place, fateSending}
	if entry == entrySettled {
		f.fate = settledAs(kagami.Reason(l.code(r)))
	}
	x := l.byNo[number]
	if r.err != nil || x == nil || record <= x.acked {
		return r.err
	}
	fates := x.marks[record]
	if len(fates) == 0 {
		l.marks++
	}
	for i := range fates {
		if fates[i].place == place {
			fates = append(fates[:i], fates[i+1:]...)
			break
		}
	}
	if entry != entryUnsent {
		fates = append(fates, f)
	}
	x.marks[record] = fates
	return l.bound()
}

// bound forgets marks that do not matter any more, when there are many.
func (l *stateLoader) bound() error {
	if l.marks < l.prune {
		return nil
	}
	l.pruneAll()
	if l.marks >= maxMarks {
		return fmt.Errorf("more than %d messages that are not acknowledged", maxMarks)
	}
	l.prune = min(max(4096, 2*l.marks), maxMarks)
	return nil
}

func (l *stateLoader) pruneAll() {
	l.marks = 0
	for _, x := range l.byNo {
		for record, fates := range x.marks {
			if record <= x.acked || len(fates) == 0 {
				delete(x.marks, record)
			}
		}
		l.marks += len(x.marks)
	}
}

// acked takes what is acknowledged, once.
func (l *stateLoader) acked(r *entryReader) {
	number, record, n := r.any(), r.any(), r.below(maxTallies)
	x := l.byNo[number]
	news := x != nil && record > x.acked
	for range n {
		key := tallyKey{place: l.placeOf(r), code: l.code(r)}
		count := r.below(maxEntryValue)
		if r.err != nil {
			return
		}
		if news {
			l.s.totals[key] += int64(count)
		}
	}
	if news {
		x.acked = record
	}
}

// finish is called behind the last frame.
func (l *stateLoader) finish() {
	l.pruneAll()
	for _, x := range l.byNo {
		for _, fates := range x.marks {
			for _, f := range fates {
				if f.fate == fateSending {
					l.s.doubtful++
				}
			}
		}
	}
}
