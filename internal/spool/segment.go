package spool

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"kagami/internal/stream"
)

// A segment is a run of batches: a .kgm file, or memory where the disk takes nothing. The
// numbers of its records follow one another.
type segment struct {
	path    string   // "" in memory
	file    *os.File // nil while it is not open
	memory  []byte
	first   uint64 // number of its first record, or of the one to come
	last    uint64 // first-1 while it is empty
	end     int64  // bytes of whole batches, with the file's head
	begun   time.Time
	written time.Time // when the last batch came
	synced  int64     // as much of end is on disk for sure
}

const segmentEnd = ".kgm"

func segmentPath(dir string, first uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%016x%s", first, segmentEnd))
}

// segmentFirst returns the number in a segment's name.
func segmentFirst(name string) (first uint64, ok bool) {
	digits, ok := strings.CutSuffix(name, segmentEnd)
	if !ok || len(digits) != 16 {
		return 0, false
	}
	first, err := strconv.ParseUint(digits, 16, 64)
	return first, err == nil && first > 0
}

// newSegment makes a file, whose head is written.
func newSegment(dir string, first uint64, now time.Time) (*segment, error) {
	g := &segment{path: segmentPath(dir, first), first: first, last: first - 1, begun: now, written: now}
	f, err := os.OpenFile(g.path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	head := stream.FileHead()
	if _, err := f.Write(head); err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(g.path))
	}
	g.file, g.end = f, int64(len(head))
	return g, nil
}

// ReadAt reads from the batches.
func (g *segment) ReadAt(p []byte, off int64) (n int, err error) {
	if g.path == "" {
		if off >= int64(len(g.memory)) {
			return 0, io.EOF
		}
		if n = copy(p, g.memory[off:]); n < len(p) {
			err = io.ErrUnexpectedEOF
		}
		return n, err
	}
	if g.file == nil {
		if g.file, err = os.OpenFile(g.path, os.O_RDWR, 0); err != nil {
			return 0, err
		}
	}
	return g.file.ReadAt(p, off)
}

// start is where its first batch begins.
func (g *segment) start() int64 {
	if g.path == "" {
		return 0
	}
	return int64(len(stream.FileHead()))
}

// append adds a batch of so many records. What was written of it before an error it takes back.
func (g *segment) append(batch []byte, records int, now time.Time) error {
	if g.path == "" {
		g.memory = append(g.memory, batch...)
	} else if n, err := g.file.WriteAt(batch, g.end); err != nil {
		if n > 0 {
			err = errors.Join(err, g.file.Truncate(g.end))
		}
		return err
	}
	g.end += int64(len(batch))
	g.last += uint64(records)
	g.written = now
	return nil
}

// remove frees what it holds.
func (g *segment) remove() error {
	g.memory = nil
	err := g.close()
	if g.path != "" {
		err = errors.Join(err, os.Remove(g.path))
	}
	return err
}

func (g *segment) close() error {
	if g.file == nil {
		return nil
	}
	err := g.file.Close()
	g.file = nil
	return err
}

// headAt reads the head of the batch at off, which is to have the number want.
func (g *segment) headAt(off int64, want uint64) (h stream.Head, err error) {
	var raw [stream.BatchHead]byte
	if off+stream.BatchHead > g.end {
		return h, io.ErrUnexpectedEOF
	}
	if _, err := g.ReadAt(raw[:], off); err != nil {
		return h, err
	}
	if h, err = stream.ParseHead(raw[:], stream.Limits{}); err != nil {
		return h, err
	}
	if h.Seq != want {
		return h, fmt.Errorf("a batch of the record %d where %d should come", h.Seq, want)
	}
	if off+stream.BatchHead+int64(h.Length) > g.end {
		return h, io.ErrUnexpectedEOF
	}
	return h, nil
}

// batchAt reads the batch with the head h at off into the memory of buf, and checks its sum.
func (g *segment) batchAt(off int64, h *stream.Head, buf []byte) ([]byte, error) {
	n := stream.BatchHead + h.Length
	if cap(buf) < n {
		buf = make([]byte, n)
	}
	buf = buf[:n]
	if _, err := g.ReadAt(buf, off); err != nil {
		return nil, err
	}
	return buf, h.Check(buf[stream.BatchHead:])
}

// tail is what was cut off a segment.
type tail struct {
	bytes   int64
	records int // as far as is known
}

// recoverSegment opens a segment that an earlier process wrote, and cuts off what is not whole: it
// looks at every head, and, where thorough, at every byte.
func recoverSegment(path string, first uint64, thorough bool) (g *segment, cut tail, err error) {
	g = &segment{path: path, first: first, last: first - 1}
	info, err := os.Stat(path)
	if err != nil {
		return nil, cut, err
	}
	g.end = info.Size()
	g.begun, g.written = info.ModTime(), info.ModTime()
	off := min(g.start(), g.end)
	head := make([]byte, off)
	if _, err := g.ReadAt(head, 0); err != nil {
		return nil, cut, errors.Join(err, g.close())
	}
	if string(head) != string(stream.FileHead()) {
		off = 0
	}
	var buf []byte
	for off > 0 && off < g.end {
		h, herr := g.headAt(off, g.last+1)
		if herr == nil && thorough {
			buf, herr = g.batchAt(off, &h, buf)
		}
		if herr != nil {
			if h.Seq == g.last+1 {
				cut.records = h.Records
			}
			break
		}
		off += stream.BatchHead + int64(h.Length)
		g.last = h.Last()
	}
	if off < g.end {
		cut.bytes = g.end - off
		err = g.file.Truncate(off)
		g.end = off
	}
	g.synced = 0
	return g, cut, errors.Join(err, g.close())
}
