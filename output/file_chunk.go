package output

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"kagami"
	"kagami/internal/gor"
	"kagami/internal/stream"
)

// When a chunk is flushed before the flush interval has passed: at so many
// bytes, or where that would mean bad compression at more.
const (
	flushBytes    = 64 << 10
	flushBytesKGM = stream.DefaultFileBatch
	flushBytesZip = 1 << 20
)

// A chunk is one open file of a recording. Records are encoded at once, and
// written and settled when it is flushed.
type chunk struct {
	file    *os.File
	regular bool
	joined  int64 // bytes it had when it was opened
	size    int64 // bytes of whole records in it
	limit   int   // bytes in memory from which on it is flushed

	buf     bytes.Buffer // encoded, not compressed, not written
	kgm     *stream.FileWriter
	zip     *gzip.Writer // to zipped
	zipped  bytes.Buffer
	waiting []record // encoded and not settled
	held    int      // about their bytes
	broken  bool     // a write failed: nothing more is written
}

// An openMode says what a chunk does with a file that exists.
type openMode int

const (
	create openMode = iota // it is an error
	addTo                  // it is checked, and added to
	goOn                   // it is ours, and added to
)

// filePerm is the mode of new files.
const filePerm = 0o640

// openChunk opens a file to record to, whose batches are compressed with zstd if it has such and compress
// says so. Devices and pipes are written to in any mode.
func openChunk(path string, mode openMode, compress bool) (*chunk, error) {
	c := &chunk{regular: true, limit: flushBytes}
	isKGM, isZip := strings.HasSuffix(strings.TrimSuffix(path, ".gz"), ".kgm"), strings.HasSuffix(path, ".gz")
	flags := os.O_WRONLY | os.O_APPEND | os.O_CREATE
	if mode == create {
		flags |= os.O_EXCL
	}
	var tail string
	info, err := os.Stat(path)
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, err
	case err == nil && !info.Mode().IsRegular():
		c.regular, flags = false, os.O_WRONLY
	case err == nil && mode == addTo:
		if tail, err = checkAppend(path, isKGM, isZip); err != nil {
			return nil, err
		}
	}
	if c.file, err = os.OpenFile(path, flags, filePerm); err != nil {
		if errors.Is(err, fs.ErrExist) {
			err = fmt.Errorf("%s: %w, use --output-file-append to add to it, or another name", path, fs.ErrExist)
		}
		return nil, err
	}
	if info, err := c.file.Stat(); err == nil && c.regular {
		c.joined = info.Size()
		c.size = c.joined
	}
	if isZip {
		c.zip, err = gzip.NewWriterLevel(&c.zipped, gzip.BestSpeed)
		c.limit = flushBytesZip
	}
	if isKGM && err == nil {
		c.kgm, err = stream.NewFileWriter(&c.buf, stream.FileWriterConfig{Compress: compress})
		c.limit = max(c.limit, flushBytesKGM)
	}
	if err == nil {
		c.buf.WriteString(tail)
		err = c.flush(false)
	}
	if err != nil {
		return nil, errors.Join(err, c.file.Close())
	}
	return c, nil
}

// add encodes a message. n is about how many bytes that takes in the file,
// before compression. If the format can't hold it, reason is why.
func (c *chunk) add(m *kagami.Message, settle func(int, kagami.Reason), i int) (n int, reason kagami.Reason) {
	if c.kgm != nil {
		if err := c.kgm.Write(m); err != nil {
			return 0, kagami.TooLarge // the only error, as a buffer takes everything
		}
		n = len(m.Raw) + 64
	} else {
		if !gor.Holds(m) {
			return 0, kagami.AmbiguousFraming
		}
		n = c.buf.Len()
		c.buf.Grow(len(m.Raw) + 128)
		c.buf.Write(gor.Append(c.buf.AvailableBuffer(), m))
		n = c.buf.Len() - n
	}
	c.waiting = append(c.waiting, record{settle, i, c.buf.Len()})
	c.held += n
	return n, kagami.Delivered
}

// dirty reports whether there is something to flush.
func (c *chunk) dirty() bool { return len(c.waiting) > 0 }

// flushLarge flushes if enough waits.
func (c *chunk) flushLarge() error {
	if c.held < c.limit {
		return nil
	}
	return c.flush(false)
}

// flush writes what waits with one call, and settles it. end ends the
// compressed stream.
func (c *chunk) flush(end bool) error {
	if c.broken {
		return nil
	}
	out, err := c.encoded(end)
	if err == nil && len(out) == 0 {
		return nil
	}
	n, whole := 0, 0
	if err == nil {
		n, err = c.file.Write(out)
	}
	if err == nil {
		whole = n
	}
	for i := range c.waiting {
		switch r := &c.waiting[i]; {
		case err == nil:
			r.done(kagami.Delivered)
		case c.kgm == nil && c.zip == nil && r.end <= n:
			whole = r.end
			r.done(kagami.Delivered)
		default:
			r.done(kagami.SendError)
		}
	}
	if err != nil {
		c.broken = true
		err = c.takeBack(int64(whole), int64(n), err)
	}
	c.size += int64(whole)
	c.reset()
	return err
}

// encoded returns all that is to be written now.
func (c *chunk) encoded(end bool) ([]byte, error) {
	if c.kgm != nil {
		if err := c.kgm.Flush(); err != nil {
			return nil, err
		}
	}
	if c.zip == nil {
		return c.buf.Bytes(), nil
	}
	var err error
	if c.buf.Len() > 0 {
		if _, err = c.zip.Write(c.buf.Bytes()); err == nil {
			err = c.zip.Flush()
		}
	}
	if end && err == nil {
		err = c.zip.Close()
	}
	return c.zipped.Bytes(), err
}

// reset forgets what was written. The memory is kept, unless a large message
// has made it large.
func (c *chunk) reset() {
	for _, b := range []*bytes.Buffer{&c.buf, &c.zipped} {
		if b.Reset(); b.Cap() > 4*flushBytesZip {
			*b = bytes.Buffer{}
		}
	}
	clear(c.waiting)
	c.waiting, c.held = c.waiting[:0], 0
}

// takeBack removes from the file what a failed write left of records that are
// not whole, and returns the error with what can be done. Where someone else
// has written to the file since, it stays as it is.
func (c *chunk) takeBack(whole, wrote int64, err error) error {
	if info, e := c.file.Stat(); c.regular && e == nil && wrote > whole && info.Size() == c.size+wrote {
		if e := c.file.Truncate(c.size + whole); e != nil {
			return errors.Join(err, e)
		}
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG) {
		return fmt.Errorf("%w: what was recorded before is whole; make room, and go on with --output-file-append", err)
	}
	return err
}

// close writes what waits and closes the file.
func (c *chunk) close() error {
	err := c.flush(true)
	return errors.Join(err, c.file.Close())
}
