package spool

import (
	"errors"
	"math"
	"os"
	"slices"
	"sync"
	"time"

	"kagami"
)

// ErrFull is what a batch is refused with that would be over MaxBytes.
var ErrFull = errors.New("the spool is full")

// jump is how far numbers go on after each start: further than what was sent and then lost
// from the disk in a power failure can reach.
const jump = 1 << 32

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

func (s *Spool) writeMark() error {
	_, err := s.marks.WriteAt(s.mark.bytes(), 0)
	return err
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
