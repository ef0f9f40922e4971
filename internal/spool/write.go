package spool

import (
	"errors"
	"os"
	"slices"
	"time"

	"kagami"
)

// retryDisk is how long after an error the disk is tried again.
const retryDisk = time.Second

// Append takes in a batch of so many records, whose first has the number Next. The error is
// ErrFull, or why the disk did not take it; nothing of the batch is kept then.
func (s *Spool) Append(batch []byte, records int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.cfg.Now()
	if s.bytes+s.memory+int64(len(batch)) > s.cfg.MaxBytes {
		return ErrFull
	}
	err := s.appendFile(batch, records, now)
	if err != nil && s.memory+int64(len(batch)) <= s.cfg.MemoryBytes {
		err = s.appendMemory(batch, records, now)
	}
	if err != nil {
		return err
	}
	s.next += uint64(records)
	s.stage.In(records)
	return nil
}

// appendFile writes to the file at hand, or a new one.
func (s *Spool) appendFile(batch []byte, records int, now time.Time) error {
	if s.trouble != nil && now.Sub(s.tried) < retryDisk {
		return s.trouble
	}
	s.tried = now
	err := s.write(batch, records, now)
	if err != nil && s.trouble == nil || err == nil && s.trouble != nil {
		s.cfg.Notify(err)
	}
	s.trouble = err
	return err
}

func (s *Spool) write(batch []byte, records int, now time.Time) error {
	if s.active != nil && (s.active.path == "" || s.active.end+int64(len(batch)) > s.cfg.SegmentBytes && s.active.last >= s.active.first ||
		s.cfg.MaxAge > 0 && now.Sub(s.active.begun) > s.cfg.MaxAge/8) {
		s.rotate()
	}
	if s.active == nil {
		g, err := newSegment(s.cfg.Dir, s.next, now)
		if err != nil {
			return err
		}
		s.add(g)
		s.newFiles = true
		s.warn(s.own(g.path))
	}
	g := s.active
	before := g.end
	if err := g.append(batch, records, now); err != nil {
		if g.last < g.first {
			s.forget(g)
		}
		return err
	}
	s.bytes += g.end - before
	if s.cfg.SyncEvery < 0 {
		s.warn(s.sync(s.dirty()))
	}
	return nil
}

// appendMemory keeps the batch in memory. It is called with the disk's error at hand.
func (s *Spool) appendMemory(batch []byte, records int, now time.Time) error {
	if s.active == nil || s.active.path != "" {
		s.rotate()
		s.add(&segment{first: s.next, last: s.next - 1, begun: now})
	}
	s.memory += int64(len(batch))
	return s.active.append(batch, records, now)
}

// add makes g the segment that is written to.
func (s *Spool) add(g *segment) {
	s.segments = append(s.segments, g)
	s.active = g
	s.bytes += g.end
	if s.reading == nil {
		s.reading, s.off, s.expected = g, g.start(), g.first
	}
}

// rotate ends the segment that is written to.
func (s *Spool) rotate() {
	g := s.active
	s.active = nil
	if g == nil {
		return
	}
	if g.last < g.first {
		s.forget(g)
	} else if g != s.reading {
		s.warn(g.close())
	}
}

// warn tells of an error that does not keep the spool from its work, unless it did so before.
func (s *Spool) warn(err error) {
	if err == nil || errors.Is(err, s.warned) || s.warned != nil && err.Error() == s.warned.Error() {
		return
	}
	s.warned = err
	s.cfg.Notify(err)
}

// forget removes a segment. What of it was in doubt is counted by then.
func (s *Spool) forget(g *segment) {
	i := slices.Index(s.segments, g)
	s.segments = slices.Delete(s.segments, i, i+1)
	if g == s.active {
		s.active = nil
	}
	if g == s.reading {
		s.reading = nil
		if i < len(s.segments) {
			s.readFrom(s.segments[i])
		}
	}
	if g.path == "" {
		s.memory -= int64(len(g.memory))
	} else {
		s.bytes -= g.end
	}
	s.warn(g.remove())
}

// tend syncs and drops what is too old, until Close.
func (s *Spool) tend() {
	defer close(s.quitted)
	every := s.cfg.SyncEvery
	if every < 0 {
		every = DefaultSyncEvery
	}
	if s.cfg.MaxAge > 0 {
		every = min(every, max(s.cfg.MaxAge/8, time.Millisecond))
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-s.quit:
			return
		}
		s.expire(s.cfg.Now())
		s.mu.Lock()
		files := s.dirty()
		s.mu.Unlock()
		err := s.sync(files)
		s.mu.Lock()
		s.warn(err)
		s.mu.Unlock()
	}
}

// dirty returns the files that hold something that is not on disk for sure, and the directory
// if it is one. It takes them for synced.
func (s *Spool) dirty() (paths []string) {
	for _, g := range s.segments {
		if g.path != "" && g.synced < g.end {
			g.synced = g.end
			paths = append(paths, g.path)
		}
	}
	if s.newFiles {
		s.newFiles = false
		paths = append(paths, s.cfg.Dir)
	}
	return paths
}

// sync opens the files for itself, so that nobody has to wait while they are synced.
func (s *Spool) sync(paths []string) error {
	var errs []error
	for _, path := range paths {
		f, err := os.Open(path)
		if errors.Is(err, os.ErrNotExist) {
			continue // it was acknowledged meanwhile
		}
		if err == nil {
			err = errors.Join(f.Sync(), f.Close())
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// expire drops the segments that were written to last more than MaxAge ago.
func (s *Spool) expire(now time.Time) {
	if s.cfg.MaxAge <= 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.segments) > 0 && now.Sub(s.segments[0].written) > s.cfg.MaxAge {
		g := s.segments[0]
		if g == s.active {
			s.rotate()
		}
		s.drop(span{g.first, g.last}, kagami.Expired)
		if len(s.segments) > 0 && s.segments[0] == g {
			s.forget(g) // all of it was acknowledged
		}
	}
}
