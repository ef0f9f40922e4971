package output

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"

	"kagami"
)

// ErrMaxSize is what a File ends with that has recorded FileConfig.MaxSize. It
// is an end that was asked for: nothing went wrong.
var ErrMaxSize = errors.New("the recording is as large as --output-file-max-size-limit allows")

// A dropError is an error that says as what the messages are dropped that it
// kept from being written.
type dropError struct {
	reason kagami.Reason
	err    error
}

func (e *dropError) Error() string { return e.err.Error() }
func (e *dropError) Unwrap() error { return e.err }

// reasonOf is as what messages are dropped when an output breaks with err.
func reasonOf(err error) kagami.Reason {
	var e *dropError
	if errors.As(err, &e) {
		return e.reason
	}
	return kagami.SendError
}

// noRoom adds to the error of a write what can be done, if it is that there is no room.
func noRoom(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG) {
		return &dropError{kagami.DiskFull, fmt.Errorf("%w: what was recorded before is whole; make room, and go on with --output-file-append", err)}
	}
	return err
}

// checkRoom fails if n more bytes would leave less than least free on path's disk.
func checkRoom(path string, n int, least int64) error {
	if least == 0 {
		return nil
	}
	dir := filepath.Dir(path)
	free, err := FreeDisk(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: there is no directory %s: make it, or record elsewhere", path, dir)
	}
	if err != nil {
		return fmt.Errorf("%s: how much is free on its disk: %w", path, err)
	}
	if free-int64(n) >= least {
		return nil
	}
	return &dropError{kagami.DiskFull, fmt.Errorf("%s: %.1f MiB are free on its disk, and --min-free-disk keeps %.1f for others: "+
		"what was recorded before is whole; make room, or record elsewhere", path, float64(free)/(1<<20), float64(least)/(1<<20))}
}
