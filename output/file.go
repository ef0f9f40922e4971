package output

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"kagami"
	"kagami/internal/lose"
)

// maxOpenFiles bounds how many files a File has open at a time, where its name
// has a token that differs from message to message.
const maxOpenFiles = 16

// A File is an Output that records messages in a file, or in several, one
// after the other.
//
// Messages are collected in memory and written when there are 64 KiB of them
// (of .kgm 256 KiB, before compression 1 MiB), when the flush interval has
// passed, and at the end; then they are settled as delivered. Whether they are
// on the disk then is up to [SyncPolicy].
//
// A write that fails breaks the output: what is not whole in the file is settled
// as [kagami.SendError], or as [kagami.DiskFull] where there was no room, and what
// was written of it is taken back. So the file is whole, a compressed one too,
// and stays so when the process or the host crashes, as far as the disk has it.
// New files can be read and written by their owner and read by its group
// (mode 0640), as they hold whatever the traffic holds.
//
// A message that the format cannot hold is dropped: as
// [kagami.AmbiguousFraming] one that in a .gor recording would be read as
// several, as [kagami.TooLarge] one beyond the limits of .kgm. What comes when
// the recording is as large as it may be is dropped as [kagami.SizeLimit].
type File struct {
	cfg      FileConfig
	name     nameTemplate
	numbered bool

	mu     sync.Mutex
	series map[string]*series
	open   []*series // those with an open file, the one written last at the end
	begun  string    // the name of the open file, where it stays the same; see lasting
	total  int64     // bytes in files that were closed, without what was there before

	finished []finished // files that we made, the oldest first
	kept     int64      // their bytes

	err    error // what broke the output
	told   bool  // err was returned
	closed bool
	timer  *time.Timer // runs while there is something to flush; nil while not
	timers sync.WaitGroup
	held   atomic.Int64
}

var _ Output = (*File)(nil)

// NewFile opens the file, unless its name depends on the messages. The error
// says if the file exists already; or, with Append, why nothing can be added to
// it: because it is something else, or damaged.
func NewFile(cfg FileConfig) (*File, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	f := &File{
		cfg:      cfg,
		name:     parseName(cfg.Path, cfg.Instance),
		numbered: cfg.numbered(),
		series:   map[string]*series{},
	}
	if !f.name.perMessage {
		if _, err := f.at(f.nameFor(cfg.Now(), nil)); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// Write records the batch. The error names the file, and what to do.
func (f *File) Write(_ context.Context, b kagami.Batch) error {
	if lose.One("file") {
		b = b.Slice(1, len(b.Messages))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	defer f.count()
	name := ""
	for i, m := range b.Messages {
		if f.err != nil {
			f.told = true
			return f.err
		}
		if i == 0 || f.name.perMessage {
			name = f.nameFor(f.cfg.Now(), m)
		}
		if f.err = f.record(name, m, b.Settle, i); f.err != nil {
			f.settleAll()
		}
	}
	f.told = f.err != nil
	return f.err
}

// settleAll writes what waits, so that of a batch that could not be written
// whole only that is left to the caller to settle which is in no file.
func (f *File) settleAll() {
	for _, s := range f.open {
		f.err = errors.Join(f.err, s.chunk.flush(false))
	}
}

// lasting reports whether a file keeps the name it was begun with: a new file each
// second, which %S would mean, is not what anybody wants who did not ask for it.
func (f *File) lasting() bool {
	return f.name.seconds && !f.name.perMessage && !f.cfg.GorNames
}

// nameFor is the name of the file for a message that is written now.
func (f *File) nameFor(now time.Time, m *kagami.Message) string {
	if !f.lasting() {
		return f.name.render(now, m)
	}
	if f.begun == "" {
		f.begun = f.name.render(now, m)
	}
	return f.begun
}

// record adds one message to the file of the given name.
func (f *File) record(name string, m *kagami.Message, settle func(int, kagami.Reason), i int) error {
	if err := f.checkSize(name); err != nil {
		return err
	}
	s, err := f.at(name)
	if err != nil {
		return err
	}
	n, reason := s.chunk.add(m, settle, i)
	if reason != kagami.Delivered {
		if settle != nil {
			settle(i, reason)
		}
		return nil
	}
	if s.messages == 0 {
		s.since = f.cfg.Now()
	}
	s.bytes += int64(n)
	s.messages++
	f.arm()
	if err := s.chunk.flushLarge(); err != nil {
		return err
	}
	return f.retire()
}

// checkSize fails when the recording is as large as it may be. What waits is
// written as it gets close, for only then is it known how large it is.
func (f *File) checkSize(name string) error {
	if f.cfg.MaxSize == 0 || f.written(true) < f.cfg.MaxSize {
		return nil
	}
	for _, s := range f.open {
		if err := s.chunk.flush(false); err != nil {
			return err
		}
	}
	if f.written(false) < f.cfg.MaxSize {
		return nil
	}
	return &dropError{kagami.SizeLimit, fmt.Errorf("%s: %w, which is %d bytes", name, ErrMaxSize, f.cfg.MaxSize)}
}

// written is how many bytes are in the files, or will be with what waits.
func (f *File) written(withWaiting bool) int64 {
	n := f.total
	for _, s := range f.open {
		n += s.chunk.size - s.chunk.joined
		if withWaiting {
			n += int64(s.chunk.held)
		}
	}
	return n
}

// at returns the series of the given name with a file open to write to.
func (f *File) at(name string) (*series, error) {
	if n := len(f.open); n > 0 && f.open[n-1].name == name && !f.full(f.open[n-1]) {
		return f.open[n-1], nil
	}
	s := f.series[name]
	if s == nil {
		s = &series{name: name, index: -1}
		f.remember(s)
	}
	if f.full(s) {
		if err := f.end(s); err != nil {
			return nil, err
		}
		if f.lasting() {
			return f.at(f.nameFor(f.cfg.Now(), nil))
		}
	}
	if s.chunk == nil {
		if err := f.makeRoom(); err != nil {
			return nil, err
		}
		if err := f.openNext(s); err != nil {
			return nil, err
		}
	}
	f.unlist(s)
	f.open = append(f.open, s)
	return s, f.retire()
}

// full reports whether the chunk of s has reached a limit.
func (f *File) full(s *series) bool {
	return f.numbered && (f.cfg.SizeLimit > 0 && s.bytes >= f.cfg.SizeLimit ||
		f.cfg.QueueLimit > 0 && s.messages >= f.cfg.QueueLimit ||
		f.cfg.TimeLimit > 0 && s.messages > 0 && f.cfg.Now().Sub(s.since) >= f.cfg.TimeLimit)
}

// end closes a chunk that is full. The series goes on with another.
func (f *File) end(s *series) error {
	if err := f.shut(s); err != nil {
		return err
	}
	s.path, s.bytes, s.messages = "", 0, 0
	f.begun = ""
	return nil
}

// makeRoom closes files so that one more can be opened.
func (f *File) makeRoom() error {
	limit := 1
	if f.name.perMessage {
		limit = maxOpenFiles
	}
	for len(f.open) >= limit {
		if err := f.shut(f.open[0]); err != nil {
			return err
		}
	}
	return nil
}

// shut closes the file of s, if it has one open.
func (f *File) shut(s *series) error {
	f.unlist(s)
	if s.chunk == nil {
		return nil
	}
	err := s.chunk.close()
	f.total += s.chunk.size - s.chunk.joined
	err = errors.Join(err, f.finish(s))
	s.chunk = nil
	return err
}

// unlist takes s out of the list of those with an open file.
func (f *File) unlist(s *series) {
	for i, o := range f.open {
		if o == s {
			f.open = append(f.open[:i], f.open[i+1:]...)
			return
		}
	}
}

// arm sees to it that what was added is flushed in time.
func (f *File) arm() {
	if f.timer == nil {
		f.timers.Add(1)
		f.timer = time.AfterFunc(f.cfg.FlushInterval, f.tick)
	}
}

// tick flushes all files. It closes those that have lasted long enough and,
// where there may be many, those that were not written to since the last tick.
func (f *File) tick() {
	defer f.timers.Done()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return
	}
	f.timer = nil
	defer f.count()
	for _, s := range append([]*series(nil), f.open...) {
		idle := !s.chunk.dirty()
		err := s.chunk.flush(false)
		switch {
		case err != nil:
		case f.cfg.TimeLimit > 0 && f.full(s):
			err = f.end(s)
		case idle && f.name.perMessage:
			err = f.shut(s)
		}
		if err == nil {
			err = f.retire()
		}
		if err != nil && f.err == nil {
			f.err = err
		}
	}
	if f.err == nil && (f.name.perMessage || f.cfg.TimeLimit > 0) && len(f.open) > 0 {
		f.arm()
	}
}

// InFlight is how many messages wait in memory to be written.
func (f *File) InFlight() int64 { return f.held.Load() }

// count takes stock of what waits.
func (f *File) count() {
	n := 0
	for _, s := range f.open {
		n += len(s.chunk.waiting)
	}
	f.held.Store(int64(n))
}

// Close writes what waits and closes the files. The error is what went wrong
// in that, or since the last Write.
func (f *File) Close() error {
	f.mu.Lock()
	f.closed = true
	if f.timer != nil && f.timer.Stop() {
		f.timers.Done()
	}
	var errs []error
	if !f.told {
		errs = append(errs, f.err)
	}
	for len(f.open) > 0 {
		errs = append(errs, f.shut(f.open[0]))
	}
	errs = append(errs, f.retire())
	f.count()
	f.mu.Unlock()
	f.timers.Wait()
	return errors.Join(errs...)
}
