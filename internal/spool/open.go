package spool

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"kagami"
)

// A Found is what an earlier process left.
type Found struct {
	Messages int64     // to be delivered
	Bytes    int64     // of the files
	Oldest   time.Time // when the oldest segment was written to last; zero where there is none
	// Torn is how many bytes were cut off that were no whole batch, and TornMessages how many
	// messages were in them, as far as is known.
	Torn, TornMessages int64
}

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
