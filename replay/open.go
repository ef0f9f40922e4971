package replay

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"kagami"
	"kagami/internal/gor"
	"kagami/internal/stream"
)

// A Reader reads messages one after the other. Each owns its bytes. Next returns
// io.EOF at the end; after any error it returns the same again. A Reader is not
// for use from several goroutines at once.
type Reader interface {
	Next() (*kagami.Message, error)
	Close() error
}

// A Format is how a recording is written.
type Format string

// The formats. Either may be compressed with gzip.
const (
	GOR Format = "gor" // GoReplay's
	KGM Format = "kgm" // Kagami's own: docs/format.md
)

// A Recording reads the messages of a file in the order they were written.
// Every message has an Exchange of its own: [Exchanges] joins them.
//
// Where a file is damaged or cut short, Next returns all messages that are
// whole and then an error that names the file and the byte offset of the
// damage; it is io.ErrUnexpectedEOF ([errors.Is]) where the file was cut short.
// [Damages] tells how many stretches could not be read.
//
// Memory is bounded: by the largest record, of which one of more than 64 MiB
// counts as damage.
type Recording struct {
	name    string
	format  Format
	zipped  bool
	records interface {
		Next() (*kagami.Message, error)
	}
	unknown func() int64
	source  counted
	close   func() error
	size    int64
}

var _ Reader = (*Recording)(nil)

// OpenFile opens the recording at path. What it is, is told by its first
// bytes and not by its name. An error says what the file seems to be instead.
func OpenFile(path string) (*Recording, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	r, err := NewRecording(f, path)
	if err != nil {
		f.Close()
		return nil, err
	}
	r.close = f.Close
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
		r.size = info.Size()
	}
	return r, nil
}

// NewRecording reads a recording from src, which it does not close. name is what
// errors call it.
func NewRecording(src io.Reader, name string) (*Recording, error) {
	r := &Recording{name: name, source: counted{r: src}, close: func() error { return nil }}
	in := bufio.NewReaderSize(&r.source, 64<<10)
	if magic, _ := in.Peek(2); string(magic) == "\x1f\x8b" {
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, r.wrap(err)
		}
		r.zipped = true
		in = bufio.NewReaderSize(z, 64<<10)
	}
	if magic, _ := in.Peek(len(stream.FileMagic)); string(magic) == stream.FileMagic {
		records, err := stream.NewFileReader(in)
		if err != nil {
			return nil, r.wrap(err)
		}
		r.format, r.records, r.unknown = KGM, records, records.Unknown
		return r, nil
	}
	records := gor.NewReader(in)
	r.format, r.records = GOR, records
	r.unknown = func() int64 { return int64(records.Unknown()) }
	return r, nil
}

// Next returns the next message.
func (r *Recording) Next() (*kagami.Message, error) {
	m, err := r.records.Next()
	if err != nil && err != io.EOF {
		err = r.wrap(err)
	}
	return m, err
}

// wrap says which recording err is about.
func (r *Recording) wrap(err error) error {
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if r.zipped {
		return fmt.Errorf("%s, decompressed: %w", r.name, err)
	}
	return fmt.Errorf("%s: %w", r.name, err)
}

// Format is the format that was found.
func (r *Recording) Format() Format { return r.format }

// Unknown is how many records were passed over so far because this version does
// not know their kind.
func (r *Recording) Unknown() int64 { return r.unknown() }

// Progress returns how many bytes of the file have been read, and how many it
// had when it was opened, 0 where that is not known. It may be called from any
// goroutine.
func (r *Recording) Progress() (done, total int64) { return r.source.n.Load(), r.size }

// Close closes the file.
func (r *Recording) Close() error { return r.close() }

// Damages is how many stretches of a recording the error of its Next says could
// not be read: one where it was cut short, more where it is damaged in several
// places.
func Damages(err error) int {
	var damage *gor.DamageError
	if errors.As(err, &damage) {
		return damage.Records
	}
	return 1
}

// counted counts the bytes that are read.
type counted struct {
	r io.Reader
	n atomic.Int64
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n.Add(int64(n))
	return n, err
}
