package stream

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"kagami"
)

// FileMagic is what a .kgm file begins with. Its line ends are damaged by
// whatever takes the file for text.
const FileMagic = "KGMF\r\n\x1a\n"

// The rest of a file's head is
//
//	 8  u8  version, 1
//	 9  u8  flags, 0
//	10  u16 0
//	12  u32 CRC-32C of the 12 bytes before
//
// and then come batches. A file head may stand between batches too, so that
// files can be joined end to end.
const (
	fileHead    = 16
	fileVersion = 1
)

// A DamageError says that a file cannot be read any further. All records of
// the batches before Offset were read.
type DamageError struct {
	// Offset is where in the file the batch begins that cannot be read, in bytes.
	Offset int64
	// Err says why; io.ErrUnexpectedEOF if the file was cut short.
	Err error
}

func (e *DamageError) Error() string {
	if errors.Is(e.Err, io.ErrUnexpectedEOF) {
		return fmt.Sprintf("cut short in the batch at byte %d: %v", e.Offset, e.Err)
	}
	return fmt.Sprintf("damaged at byte %d: %v", e.Offset, e.Err)
}

// Unwrap returns Err.
func (e *DamageError) Unwrap() error { return e.Err }

// A FileReader reads a .kgm file. Its memory is bounded by the largest batch
// in the file and by the limits.
type FileReader struct {
	r       *bufio.Reader
	limits  Limits
	start   int64 // where the batch at hand begins
	off     int64 // where the next one does
	head    Head
	body    []byte // the batch, whose memory is used again
	plain   []byte // and that of its records, where they are compressed
	rest    []byte // what of it was not returned yet
	left    int    // records in rest
	slab    []kagami.Exchange
	unknown int64
	err     error
}

// NewFileReader returns a reader of the file that r reads from its start, with
// the default limits. The error is a *DamageError if that is not a .kgm file.
func NewFileReader(r io.Reader) (*FileReader, error) {
	return NewFileReaderLimits(r, Limits{})
}

// NewFileReaderLimits is NewFileReader with other limits.
func NewFileReaderLimits(r io.Reader, limits Limits) (*FileReader, error) {
	f := &FileReader{r: bufio.NewReaderSize(r, 64<<10), limits: limits.withDefaults()}
	if err := f.readFileHead(); err != nil {
		return nil, f.damage(err)
	}
	return f, nil
}

// Next returns the next message, which owns its bytes and is one hop further
// than the writer was. Records of an unknown kind are skipped. At the end of
// the file the error is io.EOF; where the file cannot be read any further it
// is a *DamageError. An error stays.
func (f *FileReader) Next() (*kagami.Message, error) {
	for f.err == nil {
		for f.left > 0 {
			m, err := f.nextRecord()
			if err != nil {
				return nil, f.damage(err)
			}
			if m != nil {
				return m, nil
			}
		}
		if len(f.rest) > 0 {
			return nil, f.damage(fmt.Errorf("%d bytes behind the last record of a batch", len(f.rest)))
		}
		f.readBatch()
	}
	return nil, f.err
}

// Unknown is how many records of an unknown kind were skipped so far.
func (f *FileReader) Unknown() int64 { return f.unknown }

// Offset is how many bytes of the file were read as whole batches, up to and
// including the one that holds the last message returned by Next.
func (f *FileReader) Offset() int64 { return f.off }

// fileSlab is how many exchanges are allocated at a time.
const fileSlab = 8

// nextRecord returns nil for a record to be skipped.
func (f *FileReader) nextRecord() (*kagami.Message, error) {
	n, err := recordLen(f.rest, f.limits.Record)
	if err != nil {
		return nil, err
	}
	record := f.rest[:n]
	f.rest = f.rest[n:]
	f.left--
	if !known(record) {
		f.unknown++
		return nil, nil
	}
	// Raw is copied out, one by one: of a recording that is sampled or
	// filtered a few messages wait in queues, and must not hold on to batches.
	m := new(kagami.Message)
	if len(f.slab) == 0 {
		f.slab = make([]kagami.Exchange, fileSlab)
	}
	e := &f.slab[0]
	f.slab = f.slab[1:]
	if err := parseRecord(record, m, e); err != nil {
		return nil, err
	}
	if m.Raw != nil {
		m.Raw = append(make([]byte, 0, len(m.Raw)), m.Raw...)
	}
	m.Hop = f.head.messageHop()
	return m, nil
}

// readBatch reads the next batch into f.rest, or sets f.err.
func (f *FileReader) readBatch() {
	f.start = f.off
	start, err := f.r.Peek(4)
	if len(start) == 0 && err == io.EOF {
		f.err = io.EOF
		return
	}
	if string(start) == FileMagic[:4] {
		if err := f.readFileHead(); err != nil {
			f.err = f.damage(err)
		}
		return
	}
	var raw [BatchHead]byte
	if _, err = io.ReadFull(f.r, raw[:]); err != nil {
		f.err = f.damage(noEOF(err))
		return
	}
	if f.head, err = parseHead(raw[:], f.limits); err != nil {
		f.err = f.damage(err)
		return
	}
	if f.body, err = f.head.ReadBody(f.r, f.body); err != nil {
		f.err = f.damage(err)
		return
	}
	f.rest, f.left = f.body, f.head.Records
	if f.head.Compressed {
		if f.plain, err = f.head.unpack(f.body, f.plain); err != nil {
			f.err = f.damage(err)
			return
		}
		f.rest = f.plain
	}
	f.off += BatchHead + int64(f.head.Length)
}

func (f *FileReader) readFileHead() error {
	var h [fileHead]byte
	n, err := io.ReadFull(f.r, h[:])
	if n < len(FileMagic) || string(h[:len(FileMagic)]) != FileMagic {
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			return err
		}
		if n < len(FileMagic) && string(h[:n]) == FileMagic[:n] {
			return noEOF(err)
		}
		return errors.New("not a .kgm file: its first bytes are not those of one")
	}
	if err != nil {
		return noEOF(err)
	}
	if h[8] != fileVersion {
		return fmt.Errorf(".kgm file of format version %d, and this version reads %d: was it written by a newer one?", h[8], fileVersion)
	}
	if h[9] != 0 {
		return fmt.Errorf(".kgm file with unknown flags %#02x", h[9])
	}
	if binary.BigEndian.Uint32(h[12:]) != crc32.Checksum(h[:12], castagnoli) {
		return errors.New("the head of the .kgm file was changed")
	}
	f.off += fileHead
	return nil
}

// damage makes an error with the place, and makes it stay.
func (f *FileReader) damage(err error) error {
	f.err = &DamageError{Offset: f.start, Err: err}
	return f.err
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// FileWriterConfig says how a FileWriter writes.
type FileWriterConfig struct {
	// Append: w is at the end of a .kgm file that is whole, whose head is there.
	Append bool
	// Seq is the number of the first record; 0 means 1.
	Seq uint64
	// BatchSize is how many bytes are collected for a batch; 0 means 256 KiB. A
	// message larger than that gets a batch of its own.
	BatchSize int
	// Limits bound what is written, so that readers can read it.
	Limits Limits
	// Compress compresses each batch with zstd.
	Compress bool
}

// DefaultFileBatch is the default of FileWriterConfig.BatchSize.
const DefaultFileBatch = 256 << 10

// A FileWriter writes a .kgm file. It calls the Write of its io.Writer once
// per batch: a crash loses at most the batch that was being collected or
// written. It is not for use from several goroutines at once.
type FileWriter struct {
	w     io.Writer
	cfg   FileWriterConfig
	batch Builder
	seq   uint64
	err   error

	zstd   *Compressor // nil unless cfg.Compress
	packed []byte      // its memory
}

// NewFileWriter returns a FileWriter, and writes the head of the file.
func NewFileWriter(w io.Writer, cfg FileWriterConfig) (*FileWriter, error) {
	cfg.Limits = cfg.Limits.withDefaults()
	if cfg.BatchSize <= 0 {
		cfg.BatchSize = DefaultFileBatch
	}
	f := &FileWriter{w: w, cfg: cfg, seq: max(1, cfg.Seq)}
	if cfg.Compress {
		var err error
		if f.zstd, err = NewCompressor(); err != nil {
			return nil, err
		}
	}
	if cfg.Append {
		return f, nil
	}
	if _, err := w.Write(FileHead()); err != nil {
		return nil, err
	}
	return f, nil
}

// FileHead returns the head of a file.
func FileHead() []byte {
	h := make([]byte, fileHead)
	copy(h, FileMagic)
	h[8] = fileVersion
	binary.BigEndian.PutUint32(h[12:], crc32.Checksum(h[:12], castagnoli))
	return h
}

// Write adds a message, and writes the batch collected so far if m has no
// place in it. The error is ErrTooLarge for a message beyond the limits, which
// is not written and does no harm to the others; any other error is that of
// the io.Writer, and stays.
func (f *FileWriter) Write(m *kagami.Message) error {
	if f.err != nil {
		return f.err
	}
	if !f.cfg.Limits.Fits(m) {
		return fmt.Errorf("message of %d bytes: %w, the limit of a record is %d", len(m.Raw), ErrTooLarge, f.cfg.Limits.Record)
	}
	if !f.batch.Takes(m, f.cfg.BatchSize, f.cfg.Limits) {
		if err := f.Flush(); err != nil {
			return err
		}
	}
	f.batch.Add(m)
	return nil
}

// Buffered is how many messages wait for the batch to be written.
func (f *FileWriter) Buffered() int { return f.batch.Records() }

// Flush writes the messages collected so far as a batch. It does not sync a
// file to its disk. Without messages it does nothing.
func (f *FileWriter) Flush() error {
	if f.err != nil || f.batch.Records() == 0 {
		return f.err
	}
	n := f.batch.Records()
	b := f.batch.Finish(f.seq)
	wire := b
	if f.zstd != nil {
		wire = f.zstd.Compress(f.packed, b)
		if &wire[0] != &b[0] {
			f.packed = wire
		}
	}
	if _, f.err = f.w.Write(wire); f.err != nil {
		return f.err
	}
	f.seq += uint64(n)
	if cap(b) > 4*f.cfg.BatchSize {
		b = nil // do not keep the memory of one large message
	}
	f.batch.Reset(b)
	return nil
}
