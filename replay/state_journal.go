package replay

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"kagami"
	"kagami/internal/journal"
)

// note takes buf with an entry more at its end. s.mu is held.
func (s *State) note(buf []byte) {
	s.buf = buf
	s.noted++
}

// rouse sees to it that what was noted is written soon. s.mu is held.
func (s *State) rouse() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// Commit writes what was noted before. It returns an error at once while the
// journal cannot be written; then it is to be called again a little later.
func (s *State) Commit() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.commit()
}

// await waits until the journal can be written: while it cannot, nothing more
// is taken in. It reports false if stop is closed first.
func (s *State) await(stop <-chan struct{}) bool {
	for s.Err() != nil {
		select {
		case <-time.After(stateRetry):
		case <-stop:
			return false
		}
	}
	return true
}

// commit is Commit with s.mu held; it is given up meanwhile. Who comes while
// another writes waits, and the next write is for all that have come.
func (s *State) commit() error {
	for want := s.noted; s.written < want; {
		switch {
		case s.err != nil && time.Since(s.failed) < stateRetry:
			return s.err
		case s.writing:
			s.turn.Wait()
		default:
			s.write()
		}
	}
	return nil
}

// write writes all that is noted. s.mu is held, and given up meanwhile.
func (s *State) write() {
	s.writing = true
	over := len(s.buf) > journal.Head+journal.MaxPayload
	must := s.sick || over
	var err error
	if must || s.file.Size() >= s.limit {
		if err = s.rotate(); err != nil {
			s.limit = s.file.Size() + s.cfg.FileSize // the file at hand will do a little longer
		}
	}
	if !must && (err != nil || s.written < s.noted) {
		err = s.append()
	}
	if s.err = err; err != nil {
		s.failed = time.Now()
		s.rouse() // to be told, and tried again
	}
	s.writing = false
	s.turn.Broadcast()
}

// append appends what is noted to the file. s.writing is set; s.mu is held, and
// given up meanwhile.
func (s *State) append() error {
	buf, upTo := s.buf, s.noted
	s.buf = append(s.spare[:0], make([]byte, journal.Head)...)
	s.spare = nil
	s.mu.Unlock()
	err := s.file.Append(buf)
	var bad error
	if err == nil && s.cfg.Sync {
		bad = s.file.Sync()
	}
	s.mu.Lock()
	switch {
	case err != nil:
		s.buf = append(buf, s.buf[journal.Head:]...)
		return fmt.Errorf("write the journal: %w", err)
	case bad != nil:
		s.sick = true // nobody knows what the disk has
		return fmt.Errorf("write the journal: %w", bad)
	}
	s.written = upTo
	s.dirty = s.dirty || !s.cfg.Sync
	if cap(buf) <= 1<<20 {
		s.spare = buf
	}
	return nil
}

// rotate begins a file with all that still matters, in place of the file at
// hand and what is noted. s.writing is set; s.mu is held, and given up meanwhile.
func (s *State) rotate() error {
	noted, upTo := s.buf, s.noted
	frames := s.snapshot()
	s.buf = make([]byte, journal.Head, 4096)
	s.mu.Unlock()
	f, err := s.beginFile(frames)
	s.mu.Lock()
	if err != nil {
		s.buf = append(noted, s.buf[journal.Head:]...)
		return fmt.Errorf("begin a journal: %w", err)
	}
	if s.file != nil {
		s.retired = append(s.retired, s.file)
	}
	s.old = s.number
	s.file, s.number = f, s.number+1
	s.written = upTo
	s.dirty, s.sick = true, false
	s.limit = max(s.cfg.FileSize, 4*f.Size())
	s.rouse()
	return nil
}

// beginFile writes the next file, whole or not at all.
func (s *State) beginFile(frames [][]byte) (*journal.File, error) {
	f, err := s.dir.Create(s.number + 1)
	if err != nil {
		return nil, err
	}
	for _, frame := range frames {
		if err = f.Append(frame); err != nil {
			break
		}
	}
	if err == nil && s.cfg.Sync {
		err = errors.Join(f.Sync(), s.dir.Sync())
	}
	if err != nil {
		return nil, errors.Join(err, f.Close(), s.dir.Remove(s.number+1))
	}
	return f, nil
}

// snapshotFrame is how long the frames of a snapshot are, about.
const snapshotFrame = 256 << 10

// snapshot returns frames with all that still matters. s.mu is held.
func (s *State) snapshot() [][]byte {
	var frames [][]byte
	b := make([]byte, journal.Head, 16<<10)
	cut := func() {
		if len(b) >= snapshotFrame {
			frames = append(frames, b)
			b = make([]byte, journal.Head, snapshotFrame+4096)
		}
	}
	for _, r := range append(kagami.Reasons(), kagami.Delivered) {
		b = appendReason(b, r)
	}
	for i, name := range s.places {
		b = appendPlace(b, i, name)
		cut()
	}
	for key, n := range s.totals {
		b = appendEntry(b, entryTotal, uint64(key.place), uint64(key.code), uint64(n))
		cut()
	}
	for _, x := range s.sessions {
		b = appendSession(b, x)
		for record, fates := range x.marks {
			for _, f := range fates {
				b = appendFate(b, x, record, f)
			}
			cut()
		}
		for _, a := range x.taken {
			b = a.appendFates(b, s)
			cut()
		}
	}
	return append(frames, append(b, entryReady))
}

// load reads the newest file that is whole.
func (s *State) load() (damaged int64, err error) {
	files, err := s.dir.Files()
	if err != nil || len(files) == 0 {
		return 0, err
	}
	s.number = files[len(files)-1]
	for _, n := range slices.Backward(files) {
		fresh := newState(s.cfg)
		l := newStateLoader(fresh)
		cut, err := s.dir.Read(n, l.frame)
		switch {
		case err == nil && l.ready:
			l.finish()
			s.places, s.totals, s.sessions = fresh.places, fresh.totals, fresh.sessions
			s.last, s.clock, s.doubtful = fresh.last, fresh.last, fresh.doubtful
			return cut, nil
		case err != nil && !errors.Is(err, journal.ErrNoHead):
			return 0, err
		}
		// It was being begun when the machine crashed: the one before is whole.
	}
	if s.number == 1 {
		return 0, nil // nothing was ever in it
	}
	return 0, fmt.Errorf("%s: no journal there can be read: move the directory away to begin anew, "+
		"and what listeners have not got acknowledged is sent again", s.cfg.Dir)
}

// run is the goroutine that writes what nobody waits for, has it on disk, and
// tells how it goes.
func (s *State) run() {
	defer close(s.stopped)
	timer := time.NewTimer(s.cfg.SyncEvery)
	defer timer.Stop()
	var told bool
	for {
		select {
		case <-s.quit:
			return
		case <-s.kick:
			select {
			case <-s.quit:
				return
			case <-time.After(stateDelay):
			}
			_ = s.Commit() // it is kept in s.err
		case <-timer.C:
			_ = s.Commit()
			s.tidy()
			timer.Reset(s.cfg.SyncEvery)
		}
		err := s.Err()
		if err != nil {
			timer.Reset(stateRetry)
		}
		if bad := err != nil; bad != told {
			told = bad
			s.cfg.Notify(err)
		}
	}
}

// tidy puts on disk what was written, and removes files that are not needed any more.
func (s *State) tidy() {
	s.mu.Lock()
	f, old, dirty, retired := s.file, s.old, s.dirty, s.retired
	s.dirty, s.retired = false, nil
	s.mu.Unlock()
	for _, r := range retired {
		r.Close()
	}
	var err error
	if old > 0 {
		err = s.clean(f, old)
	} else if dirty {
		err = f.Sync()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.old == old {
		s.old = 0
	}
	if err != nil {
		s.sick, s.err, s.failed = true, fmt.Errorf("write the journal: %w", err), time.Time{}
		s.noted++ // so that there is something to commit
	}
}

// clean puts f on disk, and then removes the files up to the one numbered old.
func (s *State) clean(f *journal.File, old uint64) error {
	if err := errors.Join(f.Sync(), s.dir.Sync()); err != nil {
		return err
	}
	files, err := s.dir.Files()
	for _, n := range files {
		if n <= old {
			err = errors.Join(err, s.dir.Remove(n))
		}
	}
	return err
}
