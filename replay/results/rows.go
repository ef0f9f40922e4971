package results

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"time"
)

// DefaultFlushInterval is how long a row may wait in memory at most.
const DefaultFlushInterval = time.Second

// Rows are written when so many bytes wait, and whoever adds more than maxHeld waits.
const (
	flushSize = 64 << 10
	maxHeld   = 4 << 20
)

// Create opens a file for rows. One that exists is an error, unless add: then
// rows are added to it, and a last line without an end is ended first.
func Create(path string, add bool) (io.WriteCloser, error) {
	if !add {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("%s: %w, and nothing is overwritten", path, fs.ErrExist)
		}
		return file(f, err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	if err := endLine(f); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
	}
	return f, nil
}

// file keeps a nil *os.File from being an interface that is not nil.
func file(f *os.File, err error) (io.WriteCloser, error) {
	if err != nil {
		return nil, err
	}
	return f, nil
}

// endLine ends the last line of a file, if it was cut short.
func endLine(f *os.File) error {
	info, err := f.Stat()
	if err != nil || info.Size() == 0 || !info.Mode().IsRegular() {
		return err
	}
	var last [1]byte
	if _, err := f.ReadAt(last[:], info.Size()-1); err != nil || last[0] == '\n' {
		return err
	}
	_, err = f.WriteString("\n")
	return err
}

// A rowWriter writes results from a goroutine of its own, so that whoever adds
// one waits for the file only when maxHeld bytes wait already.
type rowWriter struct {
	w      io.WriteCloser
	every  time.Duration
	broken func(error) // told once that a write failed
	work   chan struct{}
	done   chan struct{}

	mu     sync.Mutex
	room   sync.Cond
	held   []byte
	spare  []byte // nil while it is being written
	rows   int64  // that were added
	lost   int64  // that were not written
	holds  int64  // rows in held
	err    error
	closed bool
}

func newRowWriter(w io.WriteCloser, every time.Duration, broken func(error)) *rowWriter {
	r := &rowWriter{w: w, every: every, broken: broken, work: make(chan struct{}, 1), done: make(chan struct{})}
	r.room.L = &r.mu
	go r.run()
	return r
}

// add encodes a row. It waits while too much waits to be written.
func (r *rowWriter) add(res *Result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.held) >= maxHeld && r.err == nil {
		r.room.Wait()
	}
	r.rows++
	if r.err != nil || r.closed {
		r.lost++
		return
	}
	r.held = appendRow(r.held, res)
	if r.holds++; len(r.held) >= flushSize {
		r.wake()
	}
}

func (r *rowWriter) wake() {
	select {
	case r.work <- struct{}{}:
	default:
	}
}

// run is the goroutine that writes.
func (r *rowWriter) run() {
	defer close(r.done)
	t := time.NewTicker(r.every)
	defer t.Stop()
	for r.flush() {
		select {
		case <-r.work:
		case <-t.C:
		}
	}
	if err := r.w.Close(); err != nil {
		r.fail(err, 0)
	}
}

// flush writes what is held. False means that it was the last.
func (r *rowWriter) flush() bool {
	r.mu.Lock()
	full, rows, last := r.held, r.holds, r.closed
	r.held, r.spare = r.spare, nil
	r.holds = 0
	r.room.Broadcast()
	failed := r.err != nil
	if failed {
		r.lost += rows
	}
	r.mu.Unlock()
	if !failed && len(full) > 0 {
		if _, err := r.w.Write(full); err != nil {
			r.fail(err, rows)
		}
	}
	r.mu.Lock()
	r.spare = full[:0]
	r.mu.Unlock()
	return !last
}

// fail notes that rows were lost, and why.
func (r *rowWriter) fail(err error, rows int64) {
	r.mu.Lock()
	first := r.err == nil
	r.err = errors.Join(r.err, err)
	r.lost += rows
	r.room.Broadcast()
	r.mu.Unlock()
	if first && r.broken != nil {
		r.broken(err)
	}
}

// close writes what is left and closes the file.
func (r *rowWriter) close() error {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.wake()
	<-r.done
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil && r.lost > 0 {
		return fmt.Errorf("%d of %d results were not written: %w", r.lost, r.rows, r.err)
	}
	return r.err
}
