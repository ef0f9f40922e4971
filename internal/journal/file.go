package journal

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
)

// A file is a head of 16 bytes:
//
//	 0  8 bytes "KGMJ" CR LF 0x1a LF
//	 8  u8  version, 1
//	 9  3 bytes 0
//	12  u32 CRC-32C of the 12 bytes before
//
// and frames:
//
//	0  u32 length of the payload, at least 1
//	4  u32 CRC-32C of the 4 bytes before and of the payload
//	8  …   payload
const (
	magic    = "KGMJ\r\n\x1a\n"
	version  = 1
	fileHead = 16
	// Head is how many bytes stand before a frame's payload.
	Head = 8
	// MaxPayload bounds a frame's payload, in bytes.
	MaxPayload = 16 << 20
)

// castagnoli is the table of CRC-32C (RFC 9260, appendix A). It is never written.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A File is a journal file that is being written.
type File struct {
	f    *os.File
	size int64
}

// Create begins the n-th file, in place of what may be left of one.
func (d *Dir) Create(n uint64) (*File, error) {
	f, err := os.OpenFile(d.Path(n), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	head := append([]byte(magic), version, 0, 0, 0)
	head = binary.BigEndian.AppendUint32(head, crc32.Checksum(head, castagnoli))
	if _, err := f.WriteAt(head, 0); err != nil {
		return nil, errors.Join(err, f.Close(), d.Remove(n))
	}
	return &File{f, fileHead}, nil
}

// Append writes a frame with one write. b begins with Head bytes for it to
// fill in, and goes on with the payload, of 1 to MaxPayload bytes. After an error
// the file is as it was before, but for bytes behind its end that the next
// Append overwrites: it can be tried again.
func (f *File) Append(b []byte) error {
	binary.BigEndian.PutUint32(b, uint32(len(b)-Head))
	sum := crc32.Update(crc32.Checksum(b[:4], castagnoli), castagnoli, b[Head:])
	binary.BigEndian.PutUint32(b[4:], sum)
	if _, err := f.f.WriteAt(b, f.size); err != nil {
		_ = f.f.Truncate(f.size) // no matter if not: half a frame is not read
		return err
	}
	f.size += int64(len(b))
	return nil
}

// Size is how long the file is, in bytes.
func (f *File) Size() int64 { return f.size }

// Sync puts on disk what was appended.
func (f *File) Sync() error { return syncData(f.f) }

// Close closes the file. It does not Sync.
func (f *File) Close() error { return f.f.Close() }

// ErrNoHead is what Read returns for a file that does not even begin as one:
// it was being made when the machine crashed, or is something else.
var ErrNoHead = errors.New("not a journal")

// Read calls frame with the payload of each whole frame of the n-th file, in
// order, until frame returns an error. cut is how many bytes stand behind the
// last whole frame: what a crash has left of frames, or damage. The payload is
// valid until frame returns.
func (d *Dir) Read(n uint64, frame func(payload []byte) error) (cut int64, err error) {
	f, err := os.Open(d.Path(n))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	whole, err := ReadFrom(f, frame)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", d.Path(n), err)
	}
	return max(info.Size()-whole, 0), nil
}

// ReadFrom is Read from r. It returns how many bytes it could read as head and
// whole frames.
func ReadFrom(r io.Reader, frame func(payload []byte) error) (whole int64, err error) {
	b := bufio.NewReaderSize(r, 64<<10)
	if err := readHead(b); err != nil {
		return 0, err
	}
	whole = fileHead
	var buf []byte
	for {
		buf, err = readFrame(b, buf)
		if err != nil {
			return whole, ignoreDamage(err)
		}
		if err := frame(buf); err != nil {
			return whole, err
		}
		whole += Head + int64(len(buf))
	}
}

func readHead(r io.Reader) error {
	var h [fileHead]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		if err = ignoreDamage(err); err == nil {
			err = ErrNoHead
		}
		return err
	}
	switch {
	case string(h[:len(magic)]) != magic:
		return ErrNoHead
	case binary.BigEndian.Uint32(h[12:]) != crc32.Checksum(h[:12], castagnoli):
		return ErrNoHead
	case h[8] != version:
		return fmt.Errorf("version %d, and this version of kagami reads %d: was it written by a newer one?", h[8], version)
	}
	return nil
}

// errDamaged is a frame that is not whole.
var errDamaged = errors.New("damaged frame")

// ignoreDamage is err, but nil for the end of what can be read.
func ignoreDamage(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF || err == errDamaged {
		return nil
	}
	return err
}

// readFrame reads a frame into buf, or a larger one, which grows with what is
// read and not with what was announced.
func readFrame(r *bufio.Reader, buf []byte) ([]byte, error) {
	var h [Head]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return buf, err
	}
	length := int64(binary.BigEndian.Uint32(h[:]))
	if length == 0 || length > MaxPayload {
		return buf, errDamaged
	}
	const step = 64 << 10
	buf = buf[:0]
	for int64(len(buf)) < length {
		n := len(buf)
		buf = append(buf, make([]byte, min(step, int(length)-n))...)
		if _, err := io.ReadFull(r, buf[n:]); err != nil {
			return buf, err
		}
	}
	if binary.BigEndian.Uint32(h[4:]) != crc32.Update(crc32.Checksum(h[:4], castagnoli), castagnoli, buf) {
		return buf, errDamaged
	}
	return buf, nil
}
