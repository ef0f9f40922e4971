package output

import (
	"bytes"
	"errors"
	"fmt"

	"kagami"
)

// flush writes what waits with one call, and settles it. end says that nothing
// comes behind it.
func (c *chunk) flush(end bool) error {
	if c.broken {
		return nil
	}
	out, err := c.encoded()
	records := len(out)
	if c.zip != nil && (c.regular || end) {
		out = append(out, c.zip.tail()...)
	}
	switch {
	case err != nil:
	case records == 0 && (c.regular || c.zip == nil || !end):
		return nil
	default:
		err = checkRoom(c.path, len(out), c.minFree)
	}
	n := 0
	if err == nil {
		n, err = c.write(out)
	}
	c.settle(n, err)
	if err == nil {
		c.size += int64(records)
		c.tail = len(out) - records
		c.end = append(c.end[:0], out[records:]...)
	}
	c.reset()
	return err
}

// write writes to the end of the records, and to the disk if that is asked for.
// n is how many bytes of whole records the file has more, which may be some
// although the rest could not be written.
func (c *chunk) write(out []byte) (n int, err error) {
	if c.zip != nil && c.regular {
		if info, err := c.file.Stat(); err == nil && info.Size() != c.size+int64(c.tail) {
			return 0, fmt.Errorf("%s: somebody else writes to it", c.path)
		}
		n, err = c.file.WriteAt(out, c.size)
	} else {
		n, err = c.file.Write(out)
	}
	if err == nil && c.regular && c.sync == SyncFlush {
		if err = c.file.Sync(); err != nil {
			return 0, err // what of it is on the disk nobody knows
		}
	}
	if err == nil {
		return n, nil
	}
	whole := 0
	if c.kgm == nil && c.zip == nil {
		for _, r := range c.waiting {
			if r.end <= n {
				whole = r.end
			}
		}
	}
	err = c.takeBack(int64(whole), int64(n), err)
	c.size += int64(whole)
	return whole, err
}

// settle settles what waited: as delivered what is in the first n bytes, or all
// of it if there was no error.
func (c *chunk) settle(n int, err error) {
	c.broken = err != nil
	for i := range c.waiting {
		switch r := &c.waiting[i]; {
		case err == nil, c.kgm == nil && c.zip == nil && r.end <= n:
			r.done(kagami.Delivered)
		default:
			r.done(reasonOf(err))
		}
	}
}

// encoded returns the records that are to be written now.
func (c *chunk) encoded() ([]byte, error) {
	if c.kgm != nil {
		if err := c.kgm.Flush(); err != nil {
			return nil, err
		}
	}
	if c.zip == nil {
		return c.buf.Bytes(), nil
	}
	err := c.zip.add(c.buf.Bytes())
	return c.zip.out.Bytes(), err
}

// reset forgets what was written. The memory is kept, unless a large message
// has made it large.
func (c *chunk) reset() {
	bufs := []*bytes.Buffer{&c.buf}
	if c.zip != nil {
		bufs = append(bufs, &c.zip.out)
	}
	for _, b := range bufs {
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
	info, e := c.file.Stat()
	switch {
	case !c.regular || e != nil:
	case c.zip != nil:
		// The tail's room was never given back, so it fits. How much WriteAt has
		// written before its error, it does not say.
		if _, e = c.file.WriteAt(c.end, c.size); e == nil {
			e = c.file.Truncate(c.size + int64(len(c.end)))
		}
	case wrote > whole && info.Size() == c.size+wrote:
		e = c.file.Truncate(c.size + whole)
	}
	return errors.Join(noRoom(err), e)
}
