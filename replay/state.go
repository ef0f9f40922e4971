package replay

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"kagami"
	"kagami/internal/journal"
)

// A StateConfig says where a State is kept. A field that is zero has the
// default that stands beside it.
type StateConfig struct {
	// Dir is a directory of its own, which is made if it is not there.
	Dir string
	// Resend has messages sent again of which nobody knows whether the run before
	// has sent them; else they are settled as [kagami.InDoubt].
	Resend bool
	// Sync waits for the disk before a message is sent, and before one is
	// acknowledged. Without it the kernel has what was written, which a crash of
	// the process does not change, and the disk has it SyncEvery later: 1 s.
	Sync      bool
	SyncEvery time.Duration
	// FileSize is how long a journal file grows before the next one begins: 8 MiB.
	FileSize int64
	// Notify, if set, is told when the journal cannot be written, and with nil
	// when it can again. It is called from one goroutine.
	Notify func(error)
}

// The defaults of a [StateConfig].
const (
	DefaultStateFile      = 8 << 20
	DefaultStateSyncEvery = time.Second
)

const (
	stateRetry    = 250 * time.Millisecond // how long until a write that failed is tried again
	stateDelay    = time.Millisecond       // how long what nobody waits for stays in memory
	stateSessions = 1024                   // listeners that are remembered, connected or not
)

// A State keeps over restarts, also over a kill -9, what has become of the
// messages that listeners stream: for each output it journals a message as
// being sent before its first byte is, and as settled behind that; and what is
// acknowledged to its listener. A [Server] that has one acknowledges only what
// the journal says is settled by all outputs, and so listeners send the rest
// again to the next run. Of that:
//
//   - what an output has settled is not sent to it again;
//   - what was being sent and not settled is in doubt: see StateConfig.Resend;
//   - the rest is as new.
//
// It keeps the ledger too: what is acknowledged is counted with its reason at
// each stage, and the next run's stages go on from there.
//
// Whoever sends calls Sending before, and sends nothing while that returns an
// error, as it does when the disk is full. Nothing is lost by it: what is not
// sent is not acknowledged.
//
// The journal is short: one that has grown is replaced by what still matters
// of it. Memory is bounded by what the servers hold, and a byte for each output
// of each message of that. Methods may be called from any goroutine.
type State struct {
	cfg StateConfig
	dir *journal.Dir

	mu      sync.Mutex
	turn    sync.Cond // when writing ends
	file    *journal.File
	number  uint64
	limit   int64  // of file: then the next one is begun
	old     uint64 // files up to this one can go when file is on disk
	sick    bool   // the disk failed: the next file is begun
	dirty   bool   // something written may not be on disk
	buf     []byte // a frame to be written
	spare   []byte
	noted   uint64          // what was put into buf, counted in entries
	written uint64          // of them, those in file
	writing bool            // somebody writes; file is its own
	retired []*journal.File // to be closed
	err     error           // why the last write failed
	failed  time.Time

	places   []string // what the ledger calls stages, by number
	totals   map[tallyKey]int64
	sessions map[sessionKey]*stateSession
	last     uint64 // the highest number of a session
	clock    uint64 // counts when listeners connected
	outputs  []int  // place of each output
	stages   []*kagami.Stage
	named    map[string]int // how many stages have a name
	doubtful int64
	counts   [256]int // scratch

	kick    chan struct{} // holds a token when there is something to write
	quit    chan struct{}
	stopped chan struct{}
}

// A tallyKey is a place and what is counted there: a reason, or tallyResent.
type tallyKey struct {
	place int
	code  uint8
}

// tallyResent counts messages that were in doubt and sent again. Reasons are below.
const tallyResent = 255

// A stateSession is one run of a listener.
type stateSession struct {
	number uint64
	key    sessionKey
	server *Server             // that remembers it too; nil if none does
	used   uint64              // when it was connected last
	acked  uint64              // number up to which all is settled
	marks  map[uint64][]fateAt // by record, of the run before; gone when it came again
	taken  []*account          // of batches that were taken in and are not acknowledged, oldest first
}

// A fateAt is what became of a message at a place.
type fateAt struct {
	place int
	fate  fate
}

// A fate is nothing, or fateSending, or fateSettled and a reason; or fateDoubtful:
// the run before was sending it, and this one will again.
type fate uint8

const (
	fateSending  fate = 1
	fateSettled  fate = 2
	fateDoubtful fate = 255
)

func settledAs(r kagami.Reason) fate { return fateSettled + fate(r) }

func (f fate) settled() bool { return f >= fateSettled && f != fateDoubtful }

func (f fate) reason() kagami.Reason { return kagami.Reason(f - fateSettled) }

// OpenState opens a directory for this process alone, and reads what the run
// before has left there. damaged is how many bytes of it cannot be read: a crash
// of the machine leaves some; the process's own leaves at most what it was writing.
func OpenState(cfg StateConfig) (s *State, damaged int64, err error) {
	cfg.FileSize = cmp.Or(max(cfg.FileSize, 0), DefaultStateFile)
	cfg.SyncEvery = cmp.Or(max(cfg.SyncEvery, 0), DefaultStateSyncEvery)
	if cfg.Notify == nil {
		cfg.Notify = func(error) {}
	}
	dir, err := journal.OpenDir(cfg.Dir)
	if err != nil {
		return nil, 0, err
	}
	s = newState(cfg)
	s.dir = dir
	if damaged, err = s.load(); err == nil {
		err = s.begin()
	}
	if err != nil {
		return nil, 0, errors.Join(err, dir.Close())
	}
	go s.run()
	return s, damaged, nil
}

func newState(cfg StateConfig) *State {
	s := &State{
		cfg:      cfg,
		limit:    cfg.FileSize,
		totals:   map[tallyKey]int64{},
		sessions: map[sessionKey]*stateSession{},
		named:    map[string]int{},
		kick:     make(chan struct{}, 1),
		quit:     make(chan struct{}),
		stopped:  make(chan struct{}),
		buf:      make([]byte, journal.Head),
	}
	s.turn.L = &s.mu
	return s
}

// begin begins a file of this run, and removes those before it.
func (s *State) begin() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writing = true
	if err := s.rotate(); err != nil {
		return err
	}
	err := s.clean(s.file, s.old)
	s.writing = false
	return err
}

// Close writes what there is to write, and lets go of the directory. Nobody
// uses the state any more.
func (s *State) Close() error {
	close(s.quit)
	<-s.stopped
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = time.Time{} // try, whatever was before
	err := s.commit()
	for _, f := range append(s.retired, s.file) {
		err = errors.Join(err, f.Sync(), f.Close())
	}
	return errors.Join(err, s.dir.Close())
}

// InDoubt is how many messages the run before was sending when it ended.
func (s *State) InDoubt() int64 { return s.doubtful }

// Err returns why the journal cannot be written, nil if it can.
func (s *State) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Size is how long the journal is, in bytes.
func (s *State) Size() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.file.Size()
}

// place returns the number of what has a name in the ledger. s.mu is held.
func (s *State) place(name string) int {
	if i := slices.Index(s.places, name); i >= 0 {
		return i
	}
	s.places = append(s.places, name)
	s.note(appendPlace(s.buf, len(s.places)-1, name))
	return len(s.places) - 1
}

// resume makes a stage go on counting where the run before ended, and returns
// its place.
func (s *State) resume(stage *kagami.Stage) (place int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	place = s.place(s.title(stage))
	stage.Continue(s.before(place))
	return place
}

// Behind says that stage is that of the filter behind a server, and continues
// it. It is said before the server runs.
func (s *State) Behind(server *Server, stage *kagami.Stage) { server.behind = s.resume(stage) }

// title is a name that no other stage of this run has.
func (s *State) title(stage *kagami.Stage) string {
	name := stage.Name + " " + stage.Of
	if s.named[name]++; s.named[name] > 1 {
		name = fmt.Sprintf("%s#%d", name, s.named[name])
	}
	return name
}

// before is what was counted at a place.
func (s *State) before(place int) kagami.StageStatement {
	b := kagami.StageStatement{Dropped: map[kagami.Reason]int64{}}
	for key, n := range s.totals {
		switch r := kagami.Reason(key.code); {
		case key.place != place:
		case key.code == tallyResent:
			b.Resent += n
		case r == kagami.Delivered:
			b.Out += n
			b.In += n
		default:
			b.Dropped[r] += n
			b.In += n
		}
	}
	return b
}

// Output says that stage is that of the index-th output, and continues it. They
// are said in order, before a Server with this state runs.
func (s *State) Output(stage *kagami.Stage) {
	place := s.resume(stage)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.outputs = append(s.outputs, place)
	s.stages = append(s.stages, stage)
}
