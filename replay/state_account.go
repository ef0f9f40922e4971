package replay

import (
	"fmt"
	"slices"

	"kagami"
	"kagami/internal/stream"
)

// An account is what has become of the messages of a batch that was taken in
// and is not acknowledged. But for its fixed parts it is guarded by State.mu.
type account struct {
	batch    *pendingBatch
	session  *stateSession
	first    uint64 // number of its first record
	slips    []slip
	width    int                   // fates of a message
	fates    []fate                // of each message that of the filter, and of each output
	recalled bool                  // some of its messages came before
	drops    map[kagami.Reason]int // what was not emitted
}

// A slip is a message's Origin.
type slip struct {
	account *account
	index   int32
	record  uint32 // counted from account.first
}

func (a *account) at(i int32, output int) *fate { return &a.fates[int(i)*a.width+1+output] }

// filterPlace stands for the filter behind the input, among outputs.
const filterPlace = -1

// attach finds what is known of a run of a listener that connects to server.
func (s *State) attach(key sessionKey, server *Server) (*stateSession, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x := s.sessions[key]; x != nil {
		if x.server != nil && x.server != server {
			return nil, fmt.Errorf("the listener is connected at %s too", x.server.Addr())
		}
		s.clock++
		x.server, x.used = server, s.clock
		return x, nil
	}
	if len(s.sessions) >= stateSessions {
		s.forgetOldest()
	}
	s.last++
	s.clock++
	x := &stateSession{number: s.last, key: key, server: server, used: s.clock}
	s.sessions[key] = x
	s.note(appendSession(s.buf, x))
	s.rouse()
	return x, nil
}

// forgetOldest forgets the run of a listener that has not come back for longest.
func (s *State) forgetOldest() {
	var oldest *stateSession
	for _, x := range s.sessions {
		if x.server == nil && (oldest == nil || x.used < oldest.used) {
			oldest = x
		}
	}
	if oldest != nil {
		s.drop(oldest)
	}
}

// release says that the server has forgotten the run of a listener, which it
// may do when all that it took in is settled.
func (s *State) release(x *stateSession) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x.server = nil
}

func (s *State) drop(x *stateSession) {
	delete(s.sessions, x.key)
	s.note(appendEntry(s.buf, entryForget, x.number))
}

// take gives an account to a batch that is taken in, and its messages slips.
// records says which record of the batch each message was; nil: the one of its place.
func (s *State) take(x *stateSession, b *pendingBatch, h *stream.Head, messages []*kagami.Message, records []int) *account {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := &account{batch: b, session: x, first: h.Seq, width: 1 + len(s.outputs)}
	if unknown := h.Records - len(messages); unknown > 0 {
		a.drops = map[kagami.Reason]int{kagami.UnknownKind: unknown}
	}
	a.slips = make([]slip, len(messages))
	a.fates = make([]fate, len(messages)*a.width)
	for i, m := range messages {
		record := i
		if records != nil {
			record = records[i]
		}
		a.slips[i] = slip{a, int32(i), uint32(record)}
		m.Origin = &a.slips[i]
		if len(x.marks) > 0 {
			s.recall(a, int32(i), h.Seq+uint64(record))
		}
	}
	x.taken = append(x.taken, a)
	return a
}

// recall notes what the run before has done with a message that comes again.
func (s *State) recall(a *account, i int32, record uint64) {
	fates, ok := a.session.marks[record]
	if !ok {
		return
	}
	delete(a.session.marks, record)
	a.recalled = true
	for _, f := range fates {
		output := slices.Index(s.outputs, f.place)
		switch {
		case output < 0: // it is not there any more
		case f.fate != fateSending:
			*a.at(i, output) = f.fate
		case s.cfg.Resend:
			*a.at(i, output) = fateDoubtful
		default:
			*a.at(i, output) = settledAs(kagami.InDoubt)
		}
	}
}

// Recall returns what became of a message at an output in an earlier run, where that is not
// to be done again.
func (s *State) Recall(m *kagami.Message, output int) (r kagami.Reason, known bool) {
	o, ok := m.Origin.(*slip)
	if !ok || !o.account.recalled {
		return 0, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	f := *o.account.at(o.index, output)
	return f.reason(), f.settled()
}

// RecallAny returns the output that an earlier run has settled a message at,
// or may have: where each message goes to one output, it has to be that one.
func (s *State) RecallAny(m *kagami.Message) (output int, known bool) {
	o, ok := m.Origin.(*slip)
	if !ok || !o.account.recalled {
		return 0, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for output := range s.outputs {
		if *o.account.at(o.index, output) >= fateSettled { // or in doubt there
			return output, true
		}
	}
	return 0, false
}

// Sending notes that the first byte of messages is about to be sent by an
// output. They may be sent when it has returned nil. While the journal cannot be
// written it returns an error at once; then it is to be called again, with the
// same messages, a little later.
func (s *State) Sending(output int, messages []*kagami.Message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	any := false
	for _, m := range messages {
		o, ok := m.Origin.(*slip)
		if !ok {
			continue
		}
		any = true
		f := o.account.at(o.index, output)
		if *f == fateDoubtful {
			s.resend(output)
		}
		if *f != fateSending {
			*f = fateSending
			s.mark(entrySending, o, output)
		}
	}
	if !any {
		return nil
	}
	return s.commit()
}

// resend counts a message that is sent again.
func (s *State) resend(output int) {
	key := tallyKey{s.outputs[output], tallyResent}
	s.totals[key]++
	s.note(appendEntry(s.buf, entryTotal, uint64(key.place), uint64(key.code), 1))
	s.stages[output].Resend(1)
}

// mark notes an entry about a message at an output.
func (s *State) mark(entry byte, o *slip, output int) {
	a := o.account
	s.note(appendEntry(s.buf, entry, a.session.number, uint64(s.outputs[output]), a.first+uint64(o.record)))
}

// Settled notes that an output has settled a message. It never waits. What is
// settled while the server ends, for want of time, is as if it had not come.
func (s *State) Settled(m *kagami.Message, output int, r kagami.Reason) {
	o, ok := m.Origin.(*slip)
	if !ok {
		return
	}
	b := o.account.batch
	s.mu.Lock()
	defer s.mu.Unlock()
	f := o.account.at(o.index, output)
	undone := r == kagami.DrainTimeout || r == kagami.InDoubt && s.cfg.Resend
	switch {
	case f.settled(): // by an earlier run
	case undone && b.session.server.isStopping():
		b.undone.Store(true)
		if *f == fateSending && r == kagami.DrainTimeout {
			*f = 0 // no byte was sent
			s.mark(entryUnsent, o, output)
		}
	case *f == fateSending:
		*f = settledAs(r)
		a := o.account
		s.note(appendFate(s.buf, a.session, a.first+uint64(o.record), fateAt{s.outputs[output], *f}))
		s.rouse()
	default:
		*f = settledAs(r) // nothing was sent: if it comes again it is judged again
	}
}

// Filtered notes that the filter behind the input has dropped a message.
func (s *State) Filtered(m *kagami.Message, r kagami.Reason) {
	if o, ok := m.Origin.(*slip); ok {
		s.mu.Lock()
		*o.account.at(o.index, filterPlace) = settledAs(r)
		s.mu.Unlock()
	}
}

// dropped notes that a message was not emitted.
func (s *State) dropped(m *kagami.Message, r kagami.Reason) {
	a := m.Origin.(*slip).account
	s.mu.Lock()
	defer s.mu.Unlock()
	if a.drops == nil {
		a.drops = map[kagami.Reason]int{}
	}
	a.drops[r]++
}

// appendFates appends what has been begun of a batch.
func (a *account) appendFates(b []byte, s *State) []byte {
	for i := range a.slips {
		for output, place := range s.outputs {
			if f := *a.at(int32(i), output); f != 0 {
				b = appendFate(b, a.session, a.first+uint64(a.slips[i].record), fateAt{place, f})
			}
		}
	}
	return b
}
