package spool

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"kagami"
)

// A Config says where a spool is and how much it keeps. A field that is zero has the
// default that stands beside it.
type Config struct {
	// Dir is the directory; it is made if it is missing. What root makes there belongs to the owner of the
	// directory above, so that a process can give up root and go on.
	Dir string
	// Listener is the name of the stream, where the spool has none yet. One that it has stays.
	Listener string
	// Name is what the ledger calls it.
	Name string
	// MaxBytes bounds the files: 1 GiB.
	MaxBytes int64
	// MaxAge is how old records get before they are dropped; 0 is any age.
	MaxAge time.Duration
	// SyncEvery is how long what was written may not be on the disk yet, which matters where the
	// power fails and not where the process dies: 1 s. Negative: a batch is not taken in before it is.
	SyncEvery time.Duration
	// SegmentBytes is how large a file grows: 16 MiB, and no more than an eighth of MaxBytes.
	SegmentBytes int64
	// MemoryBytes is how much goes through memory where the disk takes nothing: 4 MiB.
	MemoryBytes int64
	// Notify, if set, is told when the disk begins to take nothing, with the error, and nil when it
	// takes something again; and of other errors, each once. It must not block, nor call the spool.
	Notify func(error)
	// Rand draws the epoch of a new spool: math/rand/v2.Uint64.
	Rand func() uint64
	// Now is time.Now.
	Now func() time.Time
}

// The defaults of a Config.
const (
	DefaultMaxBytes     = 1 << 30
	DefaultSyncEvery    = time.Second
	DefaultSegmentBytes = 16 << 20
	DefaultMemoryBytes  = 4 << 20
)

func (cfg *Config) setDefaults() {
	if cfg.MaxBytes <= 0 {
		cfg.MaxBytes = DefaultMaxBytes
	}
	if cfg.SyncEvery == 0 {
		cfg.SyncEvery = DefaultSyncEvery
	}
	if cfg.SegmentBytes <= 0 {
		cfg.SegmentBytes = DefaultSegmentBytes
	}
	cfg.SegmentBytes = min(cfg.SegmentBytes, max(1, cfg.MaxBytes/8))
	if cfg.MemoryBytes <= 0 {
		cfg.MemoryBytes = DefaultMemoryBytes
	}
	if cfg.Notify == nil {
		cfg.Notify = func(error) {}
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Uint64
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
}

// ErrFull is what a batch is refused with that would be over MaxBytes.
var ErrFull = errors.New("the spool is full")

// jump is how far numbers go on after each start: further than what was sent and then lost
// from the disk in a power failure can reach.
const jump = 1 << 32

// A Found is what an earlier process left.
type Found struct {
	Messages int64     // to be delivered
	Bytes    int64     // of the files
	Oldest   time.Time // when the oldest segment was written to last; zero where there is none
	// Torn is how many bytes were cut off that were no whole batch, and TornMessages how many
	// messages were in them, as far as is known.
	Torn, TornMessages int64
}

// A Spool keeps batches on disk until they are acknowledged. Methods may be called from
// any goroutine, but only one appends and only one reads.
type Spool struct {
	cfg     Config
	id      identity
	own     func(path string) error // gives a file to whom it is to belong
	lock    *os.File
	marks   *os.File
	carried *kagami.Stage
	stage   *kagami.Stage
	quit    chan struct{}
	quitted chan struct{}

	mu       sync.Mutex
	segments []*segment // oldest first
	active   *segment   // the last of them, which is written to; nil if none is
	next     uint64     // number of the next record
	mark     mark
	gone     []span // records above mark.done that were dropped, in order
	bytes    int64  // of the files
	memory   int64  // of segments in memory
	reading  *segment
	off      int64     // where in reading the next batch is
	expected uint64    // its number
	newFiles bool      // since the directory was synced
	trouble  error     // why the disk takes nothing
	tried    time.Time // when it was tried last
	warned   error     // what Notify was told last of other things
}

// A span is records from first to last.
type span struct{ first, last uint64 }

// Open opens a spool, and makes it if it is missing. It belongs to this process until Close.
func Open(cfg Config) (*Spool, Found, error) {
	cfg.setDefaults()
	s := &Spool{
		cfg:     cfg,
		carried: &kagami.Stage{Name: "carried", Of: cfg.Name, Unit: kagami.Messages},
		stage:   &kagami.Stage{Name: "spool", Of: cfg.Name, Unit: kagami.Messages},
		quit:    make(chan struct{}),
		quitted: make(chan struct{}),
	}
	s.stage.InFlight = s.Held
	found, err := s.open()
	if err != nil {
		s.closeFiles()
		return nil, Found{}, fmt.Errorf("spool %s: %w", cfg.Dir, err)
	}
	go s.tend()
	return s, found, nil
}

func (s *Spool) open() (found Found, err error) {
	if err = os.MkdirAll(s.cfg.Dir, 0o700); err != nil {
		return found, err
	}
	if s.own, err = ownerOf(filepath.Dir(filepath.Clean(s.cfg.Dir))); err != nil {
		return found, err
	}
	if s.lock, err = lock(s.cfg.Dir); err != nil {
		return found, err
	}
	ok := false
	if s.id, ok, err = readIdentity(s.cfg.Dir); err != nil {
		return found, err
	}
	if !ok {
		s.id = identity{s.cfg.Listener, s.cfg.Rand()}
		if err = s.id.write(s.cfg.Dir); err != nil {
			return found, err
		}
		s.newFiles = true
	}
	if err = s.openMark(); err != nil {
		return found, err
	}
	if found, err = s.recover(); err != nil {
		return found, err
	}
	highest := max(s.mark.done, s.mark.sent)
	for _, g := range s.segments {
		highest = max(highest, g.last)
	}
	if highest > math.MaxUint64-2*jump {
		return found, errors.New("its numbers are used up: begin with an empty directory")
	}
	s.next = highest + 1
	if ok {
		s.next += jump
	}
	s.seek(s.mark.done)
	return found, s.giveAway()
}

// giveAway gives all that is there to the owner of the directory above.
func (s *Spool) giveAway() error {
	err := s.own(s.cfg.Dir)
	for _, name := range []string{lockName, identityName, markName} {
		err = errors.Join(err, s.own(filepath.Join(s.cfg.Dir, name)))
	}
	for _, g := range s.segments {
		err = errors.Join(err, s.own(g.path))
	}
	return err
}

// openMark reads the mark. One that is not whole is none: then more is sent again than had to be.
func (s *Spool) openMark() (err error) {
	s.marks, err = os.OpenFile(filepath.Join(s.cfg.Dir, markName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	b := make([]byte, markSize+1)
	n, err := s.marks.ReadAt(b, 0)
	if err != io.EOF && err != nil {
		return err
	}
	if m, ok := parseMark(b[:n]); ok {
		s.mark = m
		return nil
	}
	return s.writeMark() // and so room for it is there when the disk is full
}

func (s *Spool) writeMark() error {
	_, err := s.marks.WriteAt(s.mark.bytes(), 0)
	return err
}

// recover finds what an earlier process left.
func (s *Spool) recover() (found Found, err error) {
	entries, err := os.ReadDir(s.cfg.Dir) // sorted by name, and so by number
	if err != nil {
		return found, err
	}
	entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool {
		_, ok := segmentFirst(e.Name())
		return !ok
	})
	for i, e := range entries {
		first, _ := segmentFirst(e.Name())
		g, cut, err := recoverSegment(filepath.Join(s.cfg.Dir, e.Name()), first, i == len(entries)-1)
		if err != nil {
			return found, err
		}
		found.Torn += cut.bytes
		found.TornMessages += int64(cut.records)
		if g.last <= s.mark.done || g.last < g.first {
			if err := g.remove(); err != nil {
				return found, err
			}
			continue
		}
		s.segments = append(s.segments, g)
		s.bytes += g.end
		if found.Oldest.IsZero() {
			found.Oldest = g.written
		}
	}
	found.Messages, found.Bytes = s.held(), s.bytes
	s.carried.In(int(found.Messages + found.TornMessages))
	s.carried.Drop(kagami.Damaged, int(found.TornMessages))
	s.carried.Out(int(found.Messages))
	s.stage.In(int(found.Messages))
	return found, nil
}

// Listener and Epoch are what the replayer knows the stream by.
func (s *Spool) Listener() string { return s.id.listener }
func (s *Spool) Epoch() uint64    { return s.id.epoch }

// Stages are the lines of the ledger: what was carried over from an earlier process, and what
// is in the spool. Into the latter goes what comes out of the former.
func (s *Spool) Stages() (carried, spool *kagami.Stage) { return s.carried, s.stage }

// Next is the number of the next record.
func (s *Spool) Next() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.next
}

// Sent is the number of the last record of which bytes may have been sent, by this process or one before.
func (s *Spool) Sent() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mark.sent
}

// Held is how many records are neither acknowledged nor dropped, by what the segments hold.
func (s *Spool) Held() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held()
}

func (s *Spool) held() int64 {
	return s.within(s.mark.done, math.MaxUint64)
}

// Bytes is how large the files are, and Limit how large they may be.
func (s *Spool) Bytes() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bytes
}

// Limit is how large the files may be.
func (s *Spool) Limit() int64 { return s.cfg.MaxBytes }

// Age is for how long the oldest segment that is not done with was not written to: 0 if there is none.
func (s *Spool) Age() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.segments {
		if g.last > s.mark.done {
			return max(0, s.cfg.Now().Sub(g.written))
		}
	}
	return 0
}

// within is how many records above after, up to and including last, are in the segments and were not dropped.
func (s *Spool) within(after, last uint64) int64 {
	var n int64
	for _, g := range s.segments {
		n += overlap(span{g.first, g.last}, after, last)
	}
	for _, d := range s.gone {
		n -= overlap(d, after, last)
	}
	return n
}

// overlap is how many numbers of x are above after and not above last.
func overlap(x span, after, last uint64) int64 {
	from, to := max(x.first, after+1), min(x.last, last)
	if to < from {
		return 0
	}
	return int64(to - from + 1)
}

// Close ends the spool. What is in files stays; what was in memory is lost, and counted.
func (s *Spool) Close() error {
	close(s.quit)
	<-s.quitted
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.sync(s.dirty())
	for _, g := range slices.Clone(s.segments) {
		if g.path == "" {
			s.drop(span{g.first, g.last}, kagami.DrainTimeout)
		}
	}
	if s.rotate(); len(s.segments) > 0 {
		s.done(s.mark.done) // the last file may be one that is done with
	}
	return errors.Join(err, s.writeMark(), s.closeFiles())
}

func (s *Spool) closeFiles() error {
	var err error
	for _, g := range s.segments {
		err = errors.Join(err, g.close())
	}
	for _, f := range []*os.File{s.marks, s.lock} {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
	}
	return err
}
