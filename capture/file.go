package capture

import (
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
)

// maxRecord bounds the size of one packet in a file, in bytes. Live packets are
// at most 512 KiB.
const maxRecord = 16 << 20

// A File is a Source that reads a pcap or a pcapng file, gzip-compressed or not.
//
// A file that was cut short (by a crash, or because it is still being written)
// gives all packets that are whole, and then an error that names the offset of the
// damage and unwraps to io.ErrUnexpectedEOF. Offsets count uncompressed bytes.
// Packets come in the order of the file. A packet of more than 16 MiB is damage, not a packet.
type File struct {
	w      window
	format interface {
		next(w *window, p *Packet) error
		buffered(w *window) bool
	}
	packet Packet // here, so that filling it in through the interface does not allocate
	close  func() error
	closed atomic.Bool
	err    error
}

var (
	_ Source    = (*File)(nil)
	_ Buffered  = (*File)(nil)
	_ io.Closer = (*File)(nil)
)

// ErrNotCapture says that a file is neither pcap nor pcapng.
var ErrNotCapture = errors.New("not a capture")

// OpenFile opens a pcap or pcapng file. The error unwraps to ErrNotCapture where it
// is something else.
func OpenFile(path string) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	file, err := NewFile(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	file.close = f.Close
	return file, nil
}

// NewFile reads a capture from r, which may be a pipe. Closing the File does not
// close r.
func NewFile(r io.Reader) (*File, error) {
	f := &File{w: window{r: r}}
	magic, err := f.w.magic()
	if err == nil && magic[0] == 0x1f && magic[1] == 0x8b { // RFC 1952 §2.3.1
		outer := f.w
		z, zerr := gzip.NewReader(&outer)
		if zerr != nil {
			return nil, fmt.Errorf("decompress capture: %w", zerr)
		}
		f = &File{w: window{r: z}}
		magic, err = f.w.magic()
	}
	if err != nil {
		return nil, err
	}
	switch binary.LittleEndian.Uint32(magic) {
	case magicMicro, magicNano, magicPatched, swapped(magicMicro), swapped(magicNano), swapped(magicPatched):
		if f.format, err = newPcap(&f.w); err != nil {
			return nil, err
		}
	case blockSection:
		f.format = &pcapng{}
	default:
		return nil, fmt.Errorf("%w: it begins with % x; want a pcap or pcapng file, as tcpdump -w writes", ErrNotCapture, magic)
	}
	return f, nil
}

// magic returns the first four bytes.
func (w *window) magic() ([]byte, error) {
	b, err := w.peek(4)
	switch {
	case err == io.EOF:
		return nil, fmt.Errorf("%w: the file is empty", ErrNotCapture)
	case err == io.ErrUnexpectedEOF:
		return nil, fmt.Errorf("%w: the file has %d bytes", ErrNotCapture, w.rest())
	case err != nil:
		return nil, fmt.Errorf("read capture: %w", err)
	}
	return b, nil
}

// Next returns the next packet. Its Data is valid until the next call.
func (f *File) Next() (Packet, error) {
	if f.closed.Load() {
		return Packet{}, os.ErrClosed
	}
	if f.err != nil {
		return Packet{}, f.err
	}
	if err := f.format.next(&f.w, &f.packet); err != nil {
		if err == io.ErrUnexpectedEOF {
			err = fmt.Errorf("capture cut short: the record at byte %d is not whole: %w", f.w.offset, err)
		} else if err != io.EOF && !errors.Is(err, os.ErrClosed) {
			err = fmt.Errorf("capture damaged at byte %d: %w", f.w.offset, err)
		}
		f.err = err
		return Packet{}, err
	}
	return f.packet, nil
}

// Buffered returns 1 if the next packet was read already and 0 else: then Next
// reads, and if it reads from a pipe may wait.
func (f *File) Buffered() int {
	if f.err == nil && f.format.buffered(&f.w) {
		return 1
	}
	return 0
}

// Close closes the file, if OpenFile opened it. Next then returns os.ErrClosed.
func (f *File) Close() error {
	if f.closed.Swap(true) || f.close == nil {
		return nil
	}
	return f.close()
}

// A window is the part of a file that is in memory.
type window struct {
	r          io.Reader
	buf        []byte
	start, end int   // what was read and not yet taken is buf[start:end]
	offset     int64 // of buf[start] in the file
	err        error // why r gives no more
}

// windowSize is how much a window reads at once, in bytes.
const windowSize = 256 << 10

// peek returns the next n bytes. The error is io.EOF if there are none,
// io.ErrUnexpectedEOF if there are fewer. The bytes are valid until the next call.
func (w *window) peek(n int) ([]byte, error) {
	if w.end-w.start < n {
		if err := w.fill(n); err != nil {
			return nil, err
		}
	}
	return w.buf[w.start : w.start+n : w.start+n], nil
}

// take moves the window n bytes on, all of which were peeked at.
func (w *window) take(n int) {
	w.start += n
	w.offset += int64(n)
}

// rest is how many bytes are in memory.
func (w *window) rest() int { return w.end - w.start }

// fill reads until n bytes are there. Memory grows as bytes come, so that a length
// that lies costs nothing.
func (w *window) fill(n int) error {
	for w.end-w.start < n {
		if w.err != nil {
			if w.err == io.EOF && w.end > w.start {
				return io.ErrUnexpectedEOF
			}
			return w.err
		}
		if w.start > 0 {
			w.end = copy(w.buf, w.buf[w.start:w.end])
			w.start = 0
		}
		if w.end == len(w.buf) {
			w.buf = append(w.buf, make([]byte, max(windowSize, len(w.buf)))...)
		}
		w.read()
	}
	return nil
}

// read reads once, into what is free.
func (w *window) read() {
	for range 100 {
		n, err := w.r.Read(w.buf[w.end:])
		w.end += n
		w.err = err
		if n > 0 || err != nil {
			return
		}
	}
	w.err = io.ErrNoProgress
}

// skip moves the window n bytes on, whether they are in memory or not.
func (w *window) skip(n int64) error {
	for n > 0 {
		k := int(min(n, windowSize))
		if w.rest() > 0 {
			k = min(k, w.rest())
		} else if err := w.fill(1); err != nil {
			return err
		} else {
			continue
		}
		w.take(k)
		n -= int64(k)
	}
	return nil
}

// Read makes the window an io.Reader, for what is inside it compressed.
func (w *window) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if w.rest() == 0 {
		if err := w.fill(1); err != nil {
			return 0, err
		}
	}
	n := copy(p, w.buf[w.start:w.end])
	w.take(n)
	return n, nil
}

// ReadByte keeps the decompressor from reading ahead.
func (w *window) ReadByte() (byte, error) {
	b, err := w.peek(1)
	if err != nil {
		return 0, err
	}
	w.take(1)
	return b[0], nil
}

// recordSize checks the size of a record, in bytes.
func recordSize(n uint32) error {
	if n > maxRecord {
		return fmt.Errorf("a record of %d bytes: want at most %d", n, maxRecord)
	}
	return nil
}
