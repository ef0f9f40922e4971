package output

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// A finished file is one that this File made and closed.
type finished struct {
	path string
	info os.FileInfo // when it was closed
}

// finish remembers a chunk that is being closed, if it is ours to delete.
func (f *File) finish(s *series) error {
	if !s.chunk.made || f.cfg.KeepFiles == 0 && f.cfg.KeepSize == 0 {
		return nil
	}
	info, err := os.Lstat(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // somebody has taken it away
	}
	if err == nil {
		f.finished = append(f.finished, finished{s.path, info})
		f.kept += info.Size()
	}
	return err
}

// reopen forgets that a file was finished.
func (f *File) reopen(path string) (ours bool) {
	for i := range f.finished {
		if f.finished[i].path == path {
			f.kept -= f.finished[i].info.Size()
			f.finished = append(f.finished[:i], f.finished[i+1:]...)
			return true
		}
	}
	return false
}

// retire deletes the oldest files until no more are left than are to be kept,
// but never the last.
func (f *File) retire() error {
	for len(f.finished) > 0 && len(f.finished)+len(f.open) > 1 && f.tooMany() {
		oldest := f.finished[0]
		f.finished = f.finished[1:]
		f.kept -= oldest.info.Size()
		now, err := os.Lstat(oldest.path)
		if errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(now, oldest.info) {
			continue // somebody has taken it away, and perhaps put another in its place
		}
		if err == nil {
			err = os.Remove(oldest.path)
		}
		if err != nil {
			return fmt.Errorf("delete the oldest file of the recording: %w", err)
		}
	}
	return nil
}

// tooMany reports whether more is there than is to be kept.
func (f *File) tooMany() bool {
	if keep := f.cfg.KeepFiles; keep > 0 && len(f.finished)+len(f.open) > keep {
		return true
	}
	if f.cfg.KeepSize == 0 {
		return false
	}
	size := f.kept
	for _, s := range f.open {
		size += s.chunk.size + int64(s.chunk.tail)
	}
	return size > f.cfg.KeepSize
}
