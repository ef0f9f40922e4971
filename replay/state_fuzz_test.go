package replay

import (
	"bytes"
	"maps"
	"slices"
	"testing"

	"kagami"
	"kagami/internal/journal"
)

// FuzzState reads a frame of a journal: whatever it says, it is an error or a
// state, and what the next file would begin with is read as the same state.
func FuzzState(f *testing.F) {
	seed := func(entries ...[]byte) { f.Add(bytes.Join(entries, nil)) }
	x := &stateSession{number: 1, key: sessionKey{"edge-1", 5}}
	head := bytes.Join([][]byte{appendReason(nil, kagami.Delivered), appendReason(nil, kagami.Timeout),
		appendPlace(nil, 0, "stream :1"), appendPlace(nil, 1, "output a"), appendSession(nil, x)}, nil)
	seed()
	seed(head, appendEntry(nil, entryTotal, 1, 0, 7), appendEntry(nil, entryTotal, 1, tallyResent, 7), []byte{entryReady})
	seed(head, appendFate(nil, x, 3, fateAt{1, fateSending}), appendFate(nil, x, 4, fateAt{1, fateSending}),
		appendFate(nil, x, 3, fateAt{1, settledAs(kagami.Timeout)}), appendEntry(nil, entryUnsent, 1, 1, 4))
	seed(head, appendEntry(nil, entryAcked, 1, 3, 1, 1, 0, 2), appendEntry(nil, entryForget, 1))
	seed(head, appendSession(nil, x))
	seed([]byte{99})
	f.Fuzz(func(t *testing.T, payload []byte) {
		s := newState(StateConfig{})
		l := newStateLoader(s)
		if err := l.frame(payload); err != nil {
			return
		}
		l.finish()
		again := newState(StateConfig{})
		l = newStateLoader(again)
		for _, frame := range s.snapshot() {
			if err := l.frame(frame[journal.Head:]); err != nil {
				t.Fatalf("%v in what was written", err)
			}
		}
		l.finish()
		if !l.ready {
			t.Fatal("not whole")
		}
		if !slices.Equal(s.places, again.places) || !maps.Equal(s.totals, again.totals) || s.doubtful != again.doubtful {
			t.Fatalf("%v %v %d, then %v %v %d", s.places, s.totals, s.doubtful, again.places, again.totals, again.doubtful)
		}
		if len(s.sessions) != len(again.sessions) {
			t.Fatalf("%d sessions, then %d", len(s.sessions), len(again.sessions))
		}
		for key, x := range s.sessions {
			y := again.sessions[key]
			if y == nil || x.acked != y.acked || len(x.marks) != len(y.marks) {
				t.Fatalf("session %+v, then %+v", x, y)
			}
			for record, fates := range x.marks {
				if !slices.Equal(fates, y.marks[record]) {
					t.Fatalf("record %d: %v, then %v", record, fates, y.marks[record])
				}
			}
		}
	})
}
