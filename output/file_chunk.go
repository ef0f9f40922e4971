package output

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

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
	path    string
	regular bool
	made    bool  // it was not there before
	joined  int64 // bytes it had when it was opened
	size    int64 // bytes of whole records in it
	tail    int   // bytes behind those, which the next write takes the place of
	limit   int   // bytes in memory from which on it is flushed
	minFree int64 // bytes that are to stay free on the disk; 0 does not matter
	sync    SyncPolicy

	buf     bytes.Buffer // encoded, not compressed, not written
	kgm     *stream.FileWriter
	zip     *zipper
	end     []byte   // of the zip, as it is in the file
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

// openChunk opens a file to record to. Devices and pipes are written to in any mode.
func (f *File) openChunk(path string, mode openMode) (*chunk, error) {
	c := &chunk{path: path, regular: true, limit: flushBytes, minFree: f.cfg.MinFree, sync: f.cfg.Sync}
	isKGM, isZip := strings.HasSuffix(strings.TrimSuffix(path, ".gz"), ".kgm"), strings.HasSuffix(path, ".gz")
	flags := os.O_WRONLY | os.O_CREATE
	if !isZip {
		flags |= os.O_APPEND
	}
	if mode == create {
		flags |= os.O_EXCL
	}
	var tail string
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if c.made = true; f.cfg.MinFree > 0 {
			if err := checkRoom(path, 0, f.cfg.MinFree); err != nil {
				return nil, err
			}
		}
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		c.regular, c.minFree, flags = false, 0, os.O_WRONLY
	case mode == addTo:
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
	if err := c.begin(isKGM, isZip, f.cfg.Compress, tail); err != nil {
		err = errors.Join(err, c.file.Close())
		if c.made {
			err = errors.Join(err, os.Remove(path)) // nothing is in it
		}
		return nil, err
	}
	return c, nil
}

// begin writes what stands before the first record.
func (c *chunk) begin(isKGM, isZip, compress bool, tail string) (err error) {
	if info, err := c.file.Stat(); err == nil && c.regular {
		c.joined = info.Size()
		c.size = c.joined
	}
	if isZip {
		c.zip = newZipper()
		c.limit = flushBytesZip
	}
	if isKGM {
		c.kgm, err = stream.NewFileWriter(&c.buf, stream.FileWriterConfig{Compress: compress})
		c.limit = max(c.limit, flushBytesKGM)
	}
	if err == nil {
		c.buf.WriteString(tail)
		err = c.flush(false)
	}
	if err == nil && c.made && c.sync != SyncNever {
		err = syncDir(filepath.Dir(c.path))
	}
	return err
}

// syncDir sees to it that the name of a new file is on the disk.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
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

// close writes what waits and closes the file.
func (c *chunk) close() error {
	err := c.flush(true)
	if err == nil && c.regular && !c.broken && c.sync == SyncClose {
		err = c.file.Sync()
	}
	return errors.Join(err, c.file.Close())
}
