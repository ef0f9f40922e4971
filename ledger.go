package kagami

import (
	"encoding/json"
	"fmt"
	"io"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
)

// A Unit is what a stage counts.
type Unit string

// The units. They balance apart: a lost packet is not a lost message.
const (
	Packets     Unit = "packets"
	Connections Unit = "connections"
	Messages    Unit = "messages"
)

// A Stage counts what one place in the chain took in and what became of it.
// in and out are to be counted by different code at different places, or the
// balance would prove nothing. The zero value counts; methods may be called
// from any goroutine.
type Stage struct {
	// Name says where in the chain it is: "capture", "filter", "output", …
	Name string
	// Of says which, where there are several: an output's address.
	Of string
	// Unit is what is counted.
	Unit Unit
	// InFlight, if set, measures how much is inside the stage now, by looking at
	// what the stage holds, not by subtracting counters.
	InFlight func() int64
	// Bounded, if set, reports that packets were lost before they could be
	// counted as messages, so that the balance is a lower bound.
	Bounded func() bool
	// KernelShare, if set, says what share the kernel lets through to the stage. What it
	// leaves out is counted nowhere.
	KernelShare func() []KernelShare

	in, out atomic.Int64
	dropped [numReasons]atomic.Int64
	resent  atomic.Int64
	before  *StageStatement // of earlier runs; nil for none
}

// Continue makes the stage's statements go on from what earlier runs counted: in, out and
// dropped for each reason, which balance, and resent. It is called before anything is counted.
func (s *Stage) Continue(before StageStatement) { s.before = &before }

// Resend counts n messages that an earlier run may have sent, and that are sent again.
func (s *Stage) Resend(n int) { s.resent.Add(int64(n)) }

// In counts n that came in.
func (s *Stage) In(n int) { s.in.Add(int64(n)) }

// Out counts n that went out.
func (s *Stage) Out(n int) { s.out.Add(int64(n)) }

// Drop counts n that were dropped for the reason.
func (s *Stage) Drop(r Reason, n int) { s.dropped[r].Add(int64(n)) }

// Settle counts one message's end: out if r is Delivered, else dropped.
func (s *Stage) Settle(r Reason) {
	if r == Delivered {
		s.out.Add(1)
	} else {
		s.dropped[r].Add(1)
	}
}

// Count returns what has come in and gone out so far.
func (s *Stage) Count() (in, out int64) { return s.in.Load(), s.out.Load() }

// Dropped returns how many were dropped for the reason so far.
func (s *Stage) Dropped(r Reason) int64 { return s.dropped[r].Load() }

// A KernelShare is a sample that the kernel takes, so that the rest is neither
// captured nor counted.
type KernelShare struct {
	By      string  `json:"by"`      // "connection" or "client"; "cpu-limit": connections, for want of time
	Percent float64 `json:"percent"` // of all, 0 to 100
}

// Statement reads the stage's counters.
func (s *Stage) Statement() StageStatement {
	st := StageStatement{Stage: s.Name, Name: s.Of, Unit: s.Unit, Dropped: map[Reason]int64{}}
	// What has gone out is read before what came in, so that a reading taken
	// while messages move never shows more out than in.
	st.Out = s.out.Load()
	for r := range s.dropped {
		if n := s.dropped[r].Load(); n != 0 {
			st.Dropped[Reason(r)] = n
		}
	}
	if s.InFlight != nil {
		st.InFlight = s.InFlight()
	}
	if s.KernelShare != nil {
		st.KernelShare = s.KernelShare()
	}
	st.In = s.in.Load()
	st.Resent = s.resent.Load()
	if b := s.before; b != nil {
		st.In += b.In
		st.Out += b.Out
		st.Resent += b.Resent
		for r, n := range b.Dropped {
			st.Dropped[r] += n
		}
	}
	return st
}

// A Ledger is the stages of one process and how they are joined.
type Ledger struct {
	// Role is the part that the process plays: "kagami", "listen" or "replay".
	Role string
	// Shedding, if set, says how a CPU limit is kept to.
	Shedding func() Shedding

	mu     sync.Mutex
	stages []*Stage
	flows  []flow
}

type flow struct {
	from, to []*Stage
	copies   bool
}

// Add adds a stage and returns it.
func (l *Ledger) Add(s *Stage) *Stage {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stages = append(l.stages, s)
	return s
}

// Copy says that what comes out of the stages from, together, goes into each of to.
func (l *Ledger) Copy(from []*Stage, to ...*Stage) { l.join(flow{from, to, true}) }

// Split says that what comes out of the stages from goes into one or other of to.
func (l *Ledger) Split(from []*Stage, to ...*Stage) { l.join(flow{from, to, false}) }

// Rejoin replaces all that Copy and Split have said by what join says of its
// argument: how the stages are joined, where that has changed.
func (l *Ledger) Rejoin(join func(*Ledger)) {
	var anew Ledger
	join(&anew)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flows = anew.flows
}

func (l *Ledger) join(f flow) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flows = append(l.flows, f)
}

// Stages returns the stages in the order they were added.
func (l *Ledger) Stages() []*Stage {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]*Stage(nil), l.stages...)
}

// Statement reads all counters and says whether they balance. While messages
// move a statement can be off by those on their way from one stage to the
// next; after everything was drained and closed it is exact.
func (l *Ledger) Statement() Statement {
	l.mu.Lock()
	defer l.mu.Unlock()
	st := Statement{Version: StatementVersion, Role: l.Role, Balanced: true, Stages: []StageStatement{}}
	for _, s := range l.stages {
		ss := s.Statement()
		if missing := ss.Missing(); missing != 0 {
			st.fault("%s: %d in, %d out, %d dropped, %d in flight: %d unaccounted for",
				ss.title(), ss.In, ss.Out, ss.DroppedTotal(), ss.InFlight, missing)
		}
		if s.Bounded != nil && s.Bounded() {
			st.Bounded = true
		}
		st.Stages = append(st.Stages, ss)
	}
	for _, f := range l.flows {
		f.check(&st)
	}
	if l.Shedding != nil {
		c := l.Shedding()
		st.Shedding = &c
	}
	return st
}

func (f flow) check(st *Statement) {
	var out, in int64
	for _, s := range f.from {
		out += s.out.Load()
	}
	for _, s := range f.to {
		n := s.in.Load()
		if in += n; f.copies && n != out {
			st.fault("%s took in %d of the %d that came out of %s", s.title(), n, out, titles(f.from))
		}
	}
	if !f.copies && in != out {
		st.fault("%s took in %d of the %d that came out of %s", titles(f.to), in, out, titles(f.from))
	}
}

func titles(stages []*Stage) string {
	names := make([]string, len(stages))
	for i, s := range stages {
		names[i] = s.title()
	}
	return strings.Join(names, " and ")
}

func (s *Stage) title() string { return title(s.Name, s.Of, s.Unit) }

func title(stage, name string, unit Unit) string {
	if name != "" {
		stage += " " + name
	}
	return stage + " (" + string(unit) + ")"
}

// StatementVersion is the version of the JSON form of a Statement.
const StatementVersion = 1

// A Statement is what a ledger says at one moment. Its JSON form is what
// --summary writes.
type Statement struct {
	Version int    `json:"version"`
	Role    string `json:"role"`
	// Balanced says that nothing is unaccounted for, at any stage or between two.
	Balanced bool `json:"balanced"`
	// Bounded says that the kernel lost packets, and nobody can know how many
	// messages they held.
	Bounded bool `json:"bounded"`
	// Faults says what does not balance.
	Faults []string         `json:"faults,omitempty"`
	Stages []StageStatement `json:"stages"`
	// Shedding says what a CPU limit took, where there is one.
	Shedding *Shedding `json:"cpu_limit,omitempty"`
}

// A Shedding says how much of the traffic is captured to stay within a CPU limit. What
// is not is known by its share alone: the kernel hands over none of it.
type Shedding struct {
	Cores  float64 `json:"cores"`        // the limit: 0.1 is a tenth of a core
	Share  float64 `json:"share"`        // of the connections, now: 1 is all
	Lowest float64 `json:"lowest_share"` // since the start
}

func (st *Statement) fault(format string, args ...any) {
	st.Balanced = false
	st.Faults = append(st.Faults, fmt.Sprintf(format, args...))
}

// Stage returns the statement of a stage by name, what it is of ("" for any) and unit.
func (st Statement) Stage(stage, of string, unit Unit) (StageStatement, bool) {
	for _, s := range st.Stages {
		if s.Stage == stage && s.Unit == unit && (of == "" || s.Name == of) {
			return s, true
		}
	}
	return StageStatement{}, false
}

// WriteJSON writes the statement as one indented JSON object.
func (st Statement) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", " ")
	return e.Encode(st)
}

// WriteText writes the statement as a table for people.
func (st Statement) WriteText(w io.Writer) error {
	var b strings.Builder
	verdict := "balanced"
	if !st.Balanced {
		verdict = "NOT BALANCED"
	}
	if st.Bounded {
		verdict += ", bounded (the kernel lost packets)"
	}
	fmt.Fprintf(&b, "ledger of %s: %s\n", st.Role, verdict)
	for _, s := range st.Stages {
		fmt.Fprintf(&b, "  %-44s %10d in %10d out", title(s.Stage, s.Name, s.Unit), s.In, s.Out)
		if s.InFlight != 0 {
			fmt.Fprintf(&b, " %d in flight", s.InFlight)
		}
		for _, r := range s.reasons() {
			fmt.Fprintf(&b, "  %s %d", r, s.Dropped[r])
		}
		if s.Resent != 0 {
			fmt.Fprintf(&b, "  resent %d", s.Resent)
		}
		for _, k := range s.KernelShare {
			fmt.Fprintf(&b, "  kernel_share %.6g%% by %s", k.Percent, k.By)
		}
		b.WriteByte('\n')
	}
	if c := st.Shedding; c != nil && c.Lowest < 1 {
		fmt.Fprintf(&b, "  of the connections %.3g%% were captured at the least, and %.3g%% at the end, for the CPU limit of %.3g%% of a core\n",
			100*c.Lowest, 100*c.Share, 100*c.Cores)
	}
	for _, f := range st.Faults {
		fmt.Fprintf(&b, "  ! %s\n", f)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// A StageStatement is one line of a Statement.
type StageStatement struct {
	Stage    string           `json:"stage"`
	Name     string           `json:"name,omitempty"`
	Unit     Unit             `json:"unit"`
	In       int64            `json:"in"`
	Out      int64            `json:"out"`
	Dropped  map[Reason]int64 `json:"dropped"`
	InFlight int64            `json:"in_flight"`
	// Resent is how many of In an earlier run may have sent already: in doubt, and sent again.
	Resent int64 `json:"resent,omitempty"`
	// KernelShare is the samples that the kernel took before the stage, each of what the others leave.
	KernelShare []KernelShare `json:"kernel_share,omitempty"`
}

// DroppedTotal is how many were dropped, whatever the reason.
func (s StageStatement) DroppedTotal() int64 {
	var n int64
	for _, d := range s.Dropped {
		n += d
	}
	return n
}

// Missing is how many came in and are unaccounted for: in − (out + Σ dropped +
// in_flight). Less than zero, some were counted twice.
func (s StageStatement) Missing() int64 {
	return s.In - s.Out - s.DroppedTotal() - s.InFlight
}

func (s StageStatement) title() string { return title(s.Stage, s.Name, s.Unit) }

func (s StageStatement) reasons() []Reason {
	rs := make([]Reason, 0, len(s.Dropped))
	for r := range s.Dropped {
		rs = append(rs, r)
	}
	sort.Slice(rs, func(i, j int) bool { return rs[i] < rs[j] })
	return rs
}
